"""The process-wide state of the data plane and the wait for quiescence."""
from libc.errno cimport ENOMEM
from libc.stdint cimport uint64_t
from libc.stdlib cimport calloc
from libc.string cimport memset
from posix.stdlib cimport posix_memalign

from pmd_ext.atomics cimport add_release_u32
from pmd_ext.dpdk.eal cimport rte_get_tsc_hz, rte_rdtsc, rte_spinlock_init
from pmd_ext.dpdk.rcu cimport (
    RTE_QSBR_THRID_INVALID, rte_rcu_qsbr, rte_rcu_qsbr_get_memsize, rte_rcu_qsbr_init,
    rte_rcu_qsbr_synchronize,
)


cdef extern from "sys/eventfd.h" nogil:
    int eventfd_write(int fd, uint64_t value)

cdef dataplane *_dp = NULL


cdef dataplane *dataplane_get() noexcept nogil:
    return _dp


cdef int dataplane_init(rte_mempool *pool, int wake_fd) noexcept nogil:
    """Allocates the instance; returns 0 or -ENOMEM. Once per process, before any thread."""
    global _dp
    cdef dataplane *dp = NULL
    cdef size_t qsbr_bytes = rte_rcu_qsbr_get_memsize(MAX_PMDS)
    cdef int i, q
    if posix_memalign(<void **>&dp, 64, sizeof(dataplane)) != 0:
        return -ENOMEM
    memset(dp, 0, sizeof(dataplane))
    if posix_memalign(<void **>&dp.qsbr, 64, qsbr_bytes) != 0:
        return -ENOMEM
    rte_rcu_qsbr_init(dp.qsbr, MAX_PMDS)
    dp.fwd = <forwarding *>calloc(1, sizeof(forwarding))
    if dp.fwd == NULL:
        return -ENOMEM
    dp.pool = pool
    dp.wake_fd = wake_fd
    dp.tsc_hz = rte_get_tsc_hz()
    dp.tsc_start = rte_rdtsc()
    for i in range(MAX_SLOTS):
        slot_disconnected(&dp.slots[i])
        for q in range(MAX_QUEUE_PAIRS):
            rte_spinlock_init(&dp.slots[i].tx_lock[q])
    for i in range(MAX_PMDS):
        dp.pmds[i].dp = dp
        dp.pmds[i].index = i
    for i in range(MAX_VIDS):
        dp.vid_slot[i] = -1
    _dp = dp
    return 0


cdef void synchronize() noexcept nogil:
    rte_rcu_qsbr_synchronize(_dp.qsbr, RTE_QSBR_THRID_INVALID)


cdef void slot_changed(slot *s) noexcept nogil:
    add_release_u32(&s.generation, 1)
    eventfd_write(_dp.wake_fd, 1)


cdef void slot_disconnected(slot *s) noexcept nogil:
    cdef int q
    s.vid = -1
    s.connection = -1
    s.n_pairs = 0
    s.n_vrings = 0
    s.features = 0
    s.numa = -1
    for q in range(MAX_QUEUE_PAIRS):
        s.rx_enabled[q] = 0
        s.tx_enabled[q] = 0
        s.tx_map[q] = TXQ_NONE
