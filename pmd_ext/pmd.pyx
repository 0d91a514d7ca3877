"""PMD threads. Each is pinned to one core and polls its list; the GIL is unknown here."""
from libc.errno cimport EBUSY, ENOMEM
from libc.stdint cimport int32_t, uint16_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport calloc, free
from posix.types cimport pid_t

from pmd_ext.atomics cimport (
    load_acquire_i32, load_acquire_ptr, load_acquire_u32, store_release_ptr, store_release_u32,
)
from pmd_ext.dpdk.eal cimport rte_lcore_id, rte_rdtsc, rte_thread_register, rte_thread_unregister
from pmd_ext.dpdk.mbuf cimport (
    rte_mbuf, rte_mempool, rte_mempool_cache_flush, rte_mempool_default_cache,
)
from pmd_ext.dpdk.rcu cimport (
    rte_rcu_qsbr_quiescent, rte_rcu_qsbr_thread_offline, rte_rcu_qsbr_thread_online,
    rte_rcu_qsbr_thread_register, rte_rcu_qsbr_thread_unregister,
)
from pmd_ext.dpdk.vhost cimport (
    VIRTIO_F_RING_PACKED, rte_vhost_dequeue_burst, rte_vhost_get_vring_base,
)
from pmd_ext.pipeline cimport forward
from pmd_ext.state cimport (
    BURST, MAX_POOLS, MAX_SLOTS, dataplane, forwarding, pmd, poll_list, port_counters, pthread_t,
    ring, ring_of, rxq, rxq_vring, slot, zeroed,
)
from pmd_ext.transmit cimport count
from pmd_ext.vhost cimport vhost_thread_of


cdef extern from * nogil:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <pthread.h>
    #include <sched.h>
    #include <signal.h>
    #include <unistd.h>

    /* CPU_ZERO and CPU_SET are macros; signals are for the agent's main thread alone. */
    static int
    shim_thread_settle(int core, const char *name)
    {
        cpu_set_t cpus;
        sigset_t all;

        sigfillset(&all);
        pthread_sigmask(SIG_BLOCK, &all, NULL);
        pthread_setname_np(pthread_self(), name);
        CPU_ZERO(&cpus);
        CPU_SET(core, &cpus);
        return pthread_setaffinity_np(pthread_self(), sizeof cpus, &cpus);
    }
    """
    int shim_thread_settle(int core, const char *name)
    int pthread_create(pthread_t *thread, const void *attr,
                       void *(*start)(void *) noexcept nogil, void *arg)
    int pthread_join(pthread_t thread, void **result)
    pid_t gettid()
    int usleep(unsigned microseconds)

cdef enum:
    IDLE_SLEEP_US = 500         # of a PMD that has nothing at all to poll
    CLOCK_ROUNDS = 0xff         # the coarse clock is read once in so many rounds, plus one
    CHECK_ROUNDS = 0x3f         # and rings are checked for frames that the library dropped


cdef void begin(slot *s, rxq *q, int32_t vid) noexcept nogil:
    """What is remembered of the queue is of another connection, or nothing."""
    cdef uint16_t used = 0
    q.connects = s.connects
    q.packed = s.features >> VIRTIO_F_RING_PACKED & 1
    rte_vhost_get_vring_base(vid, rxq_vring(q.queue), &q.available, &used)


cdef void find_oversize(pmd *me, rxq *q, ring *r, int32_t vid, uint16_t n) noexcept nogil:
    """Counts frames too long for a buffer (or without any content).

    The library takes such a frame from the ring, ends the burst and says nothing, but the ring
    moved further than by what it gave. A packed ring moves by descriptors: there a frame shows
    only when it came alone, in the one burst of which 'n' is.
    """
    cdef uint16_t expected = q.available, drops, used = 0
    rte_vhost_get_vring_base(vid, rxq_vring(q.queue), &q.available, &used)
    drops = q.available - expected
    if q.packed:
        drops = n == 0 and drops != 0
    elif drops > CHECK_ROUNDS + 1:  # a burst has one at most: something else moved the ring
        drops = 0
    if drops:
        r.counts.oversize_drops += drops
        me.counters[q.slot].rx_oversize_drops += drops


cdef inline void poll_rxq(pmd *me, rxq *q, const forwarding *fwd, bint check,
                          uint16_t now_s) noexcept nogil:
    """Takes one burst and forwards it."""
    cdef slot *s = &me.dp.slots[q.slot]
    cdef ring *r = ring_of(me.dp, q.slot, rxq_vring(q.queue))
    cdef rte_mbuf *pkts[BURST]
    cdef uint16_t n
    cdef int32_t vid = load_acquire_i32(&s.vid)
    # a guest that came back with fewer queues: the next poll list does not name this one
    if vid < 0 or q.queue >= s.n_pairs:
        return
    if q.connects != s.connects:
        begin(s, q, vid)
    me.calling = &r.counts
    n = rte_vhost_dequeue_burst(vid, rxq_vring(q.queue),
                                <rte_mempool *>load_acquire_ptr(<void **>&s.pool), pkts, BURST)
    q.available += n
    if check or q.packed:
        find_oversize(me, q, r, vid, n)
    if n:
        count(&r.counts, pkts, n)
        forward(me, q, fwd, pkts, n, now_s)


cdef inline void poll_once(pmd *me, poll_list *polls, const forwarding *fwd, bint check,
                           uint16_t now_s) noexcept nogil:
    """One burst from every rxq of the list."""
    cdef uint32_t i
    for i in range(polls.n):
        poll_rxq(me, &polls.rxqs[i], fwd, check, now_s)


cdef void flush_caches(dataplane *dp) noexcept nogil:
    """The lcore id goes back to DPDK; mbufs in its caches must not go with it."""
    cdef int i
    for i in range(MAX_POOLS):
        if dp.pools[i] != NULL:
            rte_mempool_cache_flush(rte_mempool_default_cache(dp.pools[i], rte_lcore_id()),
                                    dp.pools[i])


cdef void *pmd_main(void *arg) noexcept nogil:
    """The polling loop. Between two quiescent calls it may hold tables and vids, after one none."""
    cdef pmd *me = <pmd *>arg
    cdef dataplane *dp = me.dp
    cdef poll_list *polls
    cdef uint16_t now_s = 0
    cdef uint32_t rounds = 0
    cdef char name[16]
    snprintf(name, sizeof(name), b"pmd-c%02d", me.core)
    shim_thread_settle(me.core, name)
    me.tid = gettid()
    # An lcore id gives this thread its own mempool cache; without one it only is slower.
    rte_thread_register()
    vhost_thread_of(me)
    rte_rcu_qsbr_thread_register(dp.qsbr, me.index)
    rte_rcu_qsbr_thread_online(dp.qsbr, me.index)
    while not load_acquire_u32(&me.stop):
        if rounds & CLOCK_ROUNDS == 0:
            now_s = <uint16_t>((rte_rdtsc() - dp.tsc_start) / dp.tsc_hz)
        rounds += 1
        polls = <poll_list *>load_acquire_ptr(<void **>&me.polls)
        if polls.n:
            poll_once(me, polls, <forwarding *>load_acquire_ptr(<void **>&dp.fwd),
                      rounds & CHECK_ROUNDS == 0, now_s)
            rte_rcu_qsbr_quiescent(dp.qsbr, me.index)
        else:
            rte_rcu_qsbr_thread_offline(dp.qsbr, me.index)
            usleep(IDLE_SLEEP_US)
            rte_rcu_qsbr_thread_online(dp.qsbr, me.index)
            rounds = 0
    rte_rcu_qsbr_thread_offline(dp.qsbr, me.index)
    rte_rcu_qsbr_thread_unregister(dp.qsbr, me.index)
    flush_caches(dp)
    rte_thread_unregister()
    return NULL


cdef poll_list *poll_list_new(unsigned n) noexcept nogil:
    cdef poll_list *polls = <poll_list *>calloc(1, sizeof(poll_list))
    if polls == NULL:
        return NULL
    polls.n = n
    if n:
        polls.rxqs = <rxq *>calloc(n, sizeof(rxq))
        if polls.rxqs == NULL:
            free(polls)
            return NULL
    return polls


cdef void poll_list_free(poll_list *polls) noexcept nogil:
    if polls != NULL:
        free(polls.rxqs)
        free(polls)


cdef poll_list *pmd_publish(pmd *me, poll_list *polls) noexcept nogil:
    cdef poll_list *old = me.polls
    store_release_ptr(<void **>&me.polls, polls)
    return old


cdef int pmd_start(pmd *me, int core) noexcept nogil:
    cdef int error
    if me.counters == NULL:
        me.counters = <port_counters *>zeroed(MAX_SLOTS * sizeof(port_counters))
        if me.counters == NULL:
            return -ENOMEM
    if me.polls == NULL:
        me.polls = poll_list_new(0)
        if me.polls == NULL:
            return -ENOMEM
    me.core = core
    me.tid = 0
    store_release_u32(&me.stop, 0)
    error = pthread_create(&me.thread, NULL, pmd_main, me)
    if error == 0:
        me.running = True
    return -error


cdef int pmd_stop(pmd *me) noexcept nogil:
    if me.polls.n:
        return -EBUSY
    store_release_u32(&me.stop, 1)
    pthread_join(me.thread, NULL)
    me.running = False
    return 0
