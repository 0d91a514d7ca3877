"""The process-wide state of the data plane and the wait for quiescence."""
from libc.errno cimport EINVAL, ENOMEM
from libc.stdint cimport uint64_t
from libc.stdlib cimport abs, calloc
from posix.stdlib cimport posix_memalign

from pmd_ext.atomics cimport (
    add_release_u32, fence_full, load_acquire_i32, load_relaxed_u32, store_relaxed_u8,
    store_release_u16,
)
from pmd_ext.dpdk.eal cimport rte_get_tsc_hz, rte_rdtsc
from pmd_ext.dpdk.rcu cimport (
    RTE_QSBR_THRID_INVALID, rte_rcu_qsbr, rte_rcu_qsbr_get_memsize, rte_rcu_qsbr_init,
    rte_rcu_qsbr_synchronize, rte_rcu_qsbr_thread_register,
)


cdef extern from "sys/eventfd.h" nogil:
    int eventfd_write(int fd, uint64_t value)

cdef extern from "sys/mman.h" nogil:
    enum:
        PROT_READ
        PROT_WRITE
        MAP_PRIVATE
        MAP_ANONYMOUS
    void *MAP_FAILED
    void *mmap(void *address, size_t bytes, int protection, int flags, int fd, long offset)

cdef extern from "unistd.h" nogil:
    int close(int fd)

cdef extern from * nogil:
    """
    #ifdef __SANITIZE_ADDRESS__
    #include <sanitizer/lsan_interface.h>
    #define shim_holds_pointers __lsan_register_root_region
    #else
    #define shim_holds_pointers(memory, bytes) ((void)0)
    #endif

    #ifdef __SANITIZE_THREAD__
    #include <rte_rcu_qsbr.h>
    /* As in the library, which is not compiled for the sanitizer: it has to see who waits for whom. */
    static void
    shim_synchronize(struct rte_rcu_qsbr *v, unsigned int thread_id)
    {
        uint64_t token = rte_rcu_qsbr_start(v);

        if (thread_id != RTE_QSBR_THRID_INVALID)
            rte_rcu_qsbr_quiescent(v, thread_id);
        rte_rcu_qsbr_check(v, token, true);
    }
    #define rte_rcu_qsbr_synchronize shim_synchronize
    #endif
    """
    # For a leak checker (make asan), which does not look into what mmap gave.
    void shim_holds_pointers(const void *memory, size_t bytes)

cdef dataplane *_dp = NULL


cdef dataplane *dataplane_get() noexcept nogil:
    return _dp


cdef void *zeroed(size_t bytes) noexcept nogil:
    cdef void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                             -1, 0)
    if memory == MAP_FAILED:
        return NULL
    shim_holds_pointers(memory, bytes)
    return memory


cdef int dataplane_init(int wake_fd) noexcept nogil:
    """Allocates the instance; returns 0 or -errno. Once per process, before any thread."""
    global _dp
    cdef dataplane *dp
    cdef size_t qsbr_bytes = rte_rcu_qsbr_get_memsize(HOST_READER + 1)
    cdef int i
    if (sizeof(ring) != RING_BYTES
            or sizeof(port_counters) != PORT_COUNTERS * sizeof(uint64_t)
            or sizeof(pmd_counters) != PMD_COUNTERS * sizeof(uint64_t)):
        return -EINVAL
    # zeros are right for most of it, free locks among them: tens of megabytes stay untouched
    dp = <dataplane *>zeroed(sizeof(dataplane))
    if dp == NULL:
        return -ENOMEM
    dp.rings = <ring *>zeroed(<size_t>MAX_SLOTS * MAX_VRINGS * sizeof(ring))
    if dp.rings == NULL:
        return -ENOMEM
    if posix_memalign(<void **>&dp.qsbr, 64, qsbr_bytes) != 0:
        return -ENOMEM
    rte_rcu_qsbr_init(dp.qsbr, HOST_READER + 1)
    rte_rcu_qsbr_thread_register(dp.qsbr, MAIN_READER)
    dp.fwd = <forwarding *>calloc(1, sizeof(forwarding))
    if dp.fwd == NULL:
        return -ENOMEM
    dp.wake_fd = wake_fd
    dp.tsc_hz = rte_get_tsc_hz()
    dp.tsc_start = rte_rdtsc()
    for i in range(MAX_PMDS):
        dp.pmds[i].dp = dp
        dp.pmds[i].index = i
        dp.pmds[i].wake_fd = dp.pmds[i].epoll_fd = -1
    dp.host.dp = dp
    dp.host.index = HOST_READER
    dp.host.core = -1
    dp.host.wake_fd = dp.host.epoll_fd = -1
    # above that of every PMD, however many there are: own_txq()
    dp.host.tx_id = MAX_PMDS
    for i in range(MAX_SLOTS):
        dp.host_ports[i].fd = -1
    for i in range(MAX_VIDS):
        dp.vid_slot[i] = -1
    _dp = dp
    return 0


cdef void synchronize() noexcept nogil:
    rte_rcu_qsbr_synchronize(_dp.qsbr, RTE_QSBR_THRID_INVALID)


cdef void pmd_wake(pmd *p) noexcept nogil:
    # The PMD stores 'waiting', then looks for changes; here it is the other way round.
    fence_full()
    if load_relaxed_u32(&p.waiting):
        eventfd_write(p.wake_fd, 1)


cdef void queues_changed() noexcept nogil:
    cdef int i
    add_release_u32(&_dp.queue_changes, 1)
    for i in range(MAX_PMDS):
        if load_acquire_i32(&_dp.pmds[i].wake_fd) >= 0:
            pmd_wake(&_dp.pmds[i])


cdef void slot_changed(slot *s) noexcept nogil:
    add_release_u32(&_dp.generations[s - _dp.slots], 1)
    eventfd_write(_dp.wake_fd, 1)
    queues_changed()


cdef void close_kicks(slot *s) noexcept nogil:
    cdef ring *r
    cdef uint16_t q
    for q in range(s.n_kicks):
        r = ring_of(_dp, s - _dp.slots, rxq_vring(q))
        if r.kick:
            close(abs(r.kick) - 1)
            r.kick = 0
    s.n_kicks = 0


cdef void slot_disconnected(slot *s) noexcept nogil:
    cdef int q
    close_kicks(s)
    s.vid = -1
    s.connection = -1
    store_release_u16(&s.n_pairs, 0)
    s.n_vrings = 0
    s.n_counted = 0
    s.guest_mtu = 0
    s.features = 0
    s.numa = -1
    for q in range(MAX_QUEUE_PAIRS):
        store_relaxed_u8(&s.rx_enabled[q], 0)
        s.tx_enabled[q] = 0
        s.tx_map[q] = TXQ_NONE
