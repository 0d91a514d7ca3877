"""PMD threads. Each is pinned to one core and polls its list; the GIL is unknown here."""
from libc.errno cimport EBUSY, ENOMEM, errno
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport calloc, free
from libc.string cimport memset
from posix.types cimport pid_t

from pmd_ext.atomics cimport (
    load_acquire_ptr, load_acquire_u32, load_relaxed_u32, store_relaxed_i32, store_relaxed_u32,
    store_release_i32, store_release_ptr, store_release_u32,
)
from pmd_ext.dpdk.eal cimport (
    LCORE_ID_ANY, rte_lcore_id, rte_rdtsc, rte_thread_register, rte_thread_unregister,
)
from pmd_ext.dpdk.mbuf cimport rte_mempool_cache_flush, rte_mempool_default_cache
from pmd_ext.dpdk.rcu cimport (
    rte_rcu_qsbr_quiescent, rte_rcu_qsbr_thread_offline, rte_rcu_qsbr_thread_online,
    rte_rcu_qsbr_thread_register, rte_rcu_qsbr_thread_unregister,
)
from pmd_ext.idle cimport idle_arm, idle_disarm, idle_sleep, idle_wait
from pmd_ext.iotlb cimport iotlb_forget
from pmd_ext.poll cimport CHECK_ROUNDS, find_active, found, poll_once
from pmd_ext.state cimport (
    BURST, MAX_POOLS, MAX_SLOTS, dataplane, forwarding, pmd, pmd_counters, pmd_wake, pmd_work,
    poll_list, port_counters, pthread_t, rxq, zeroed,
)
from pmd_ext.transmit cimport release_txqs, send_waiting
from pmd_ext.vhost cimport vhost_thread_of


cdef extern from * nogil:
    """
    #include <pthread.h>
    #include <sched.h>
    #include <signal.h>
    #include <sys/eventfd.h>
    #include <sys/prctl.h>
    #include <unistd.h>

    /* CPU_ZERO and CPU_SET are macros; a core that cannot be had is known before the thread is. */
    static int
    shim_thread_create(pthread_t *thread, int core, void *(*start)(void *), void *arg)
    {
        pthread_attr_t attributes;
        cpu_set_t cpus;
        int error;

        CPU_ZERO(&cpus);
        CPU_SET(core, &cpus);
        pthread_attr_init(&attributes);
        pthread_attr_setaffinity_np(&attributes, sizeof cpus, &cpus);
        error = pthread_create(thread, &attributes, start, arg);
        pthread_attr_destroy(&attributes);
        return error;
    }

    /* Signals are for the agent's main thread alone; sleeps are meant to be short. */
    static void
    shim_thread_settle(const char *name)
    {
        sigset_t all;

        sigfillset(&all);
        pthread_sigmask(SIG_BLOCK, &all, NULL);
        pthread_setname_np(pthread_self(), name);
        prctl(PR_SET_TIMERSLACK, 1000);
    }
    """
    enum:
        EFD_NONBLOCK
        EFD_CLOEXEC
    int shim_thread_create(pthread_t *thread, int core, void *(*start)(void *) noexcept nogil,
                           void *arg)
    void shim_thread_settle(const char *name)
    int pthread_join(pthread_t thread, void **result)
    int eventfd(unsigned value, int flags)
    pid_t gettid()
    int usleep(unsigned microseconds)

cdef enum:
    CLOCK_ROUNDS = 0xff         # in one round of so many, plus one, what is slow is looked at
    BUSY_BURST = BURST // 2     # a queue that gives so many keeps its PMD from sleeping
    START_POLL_US = 20          # how often main looks whether a thread has come up
    TXQ_HOLDS_PER_S = 2         # a txq is let go when it was not used for 1 s over this
    SILENCES_PER_S = 2000       # a PMD that may block does after 1 s over this without a packet


cdef inline void learn_idle_cost(pmd *me, uint32_t n, uint64_t cycles) noexcept nogil:
    """From a round of 'n' polls in vain. One in which the thread was interrupted counts little."""
    cdef uint64_t cost = cycles // n
    cdef uint64_t known = me.work.idle_poll_cycles
    if known == 0 or cost < known:
        me.work.idle_poll_cycles = cost
    else:
        me.work.idle_poll_cycles = known + (min(cost - known, known) >> 3)


cdef void flush_caches(dataplane *dp) noexcept nogil:
    """The lcore id goes back to DPDK; mbufs in its caches must not go with it."""
    cdef int i
    for i in range(MAX_POOLS):
        if dp.pools[i] != NULL:
            rte_mempool_cache_flush(rte_mempool_default_cache(dp.pools[i], rte_lcore_id()),
                                    dp.pools[i])


cdef void pmd_come_up(pmd *me, const char *name) noexcept nogil:
    shim_thread_settle(name)
    memset(&me.work.counts, 0, sizeof(pmd_counters))
    me.work.counts.started = rte_rdtsc()
    store_relaxed_i32(&me.work.tid, gettid())
    # An lcore id gives this thread its own mempool cache; without one it only is slower.
    rte_thread_register()
    me.work.lcore = -1 if rte_lcore_id() == LCORE_ID_ANY else <int>rte_lcore_id()
    vhost_thread_of(me)
    rte_rcu_qsbr_thread_register(me.dp.qsbr, me.index)
    rte_rcu_qsbr_thread_online(me.dp.qsbr, me.index)
    store_release_u32(&me.ready, 1)


cdef void pmd_go_down(pmd *me) noexcept nogil:
    release_txqs(me, rte_rdtsc())
    iotlb_forget(me)
    rte_rcu_qsbr_thread_offline(me.dp.qsbr, me.index)
    rte_rcu_qsbr_thread_unregister(me.dp.qsbr, me.index)
    flush_caches(me.dp)
    rte_thread_unregister()


cdef inline void account(pmd *me, poll_list *polls, const found *f, bint check) noexcept nogil:
    """Books the round that is over, and begins the next."""
    cdef pmd_counters *c = &me.work.counts
    cdef uint64_t end = f.end if f.end else rte_rdtsc()
    c.iterations += 1
    if f.packets:
        c.busy_iterations += 1
        c.busy_cycles += end - me.work.now
        c.rx_packets += f.packets
    elif check and polls.n_active:
        learn_idle_cost(me, polls.n_active, end - me.work.now)
    me.work.now = end


cdef inline uint32_t rest(pmd *me, const found *f, uint32_t sleep_us) noexcept nogil:
    """Sleeps as pmd-sleep-max has it; returns how long the next round with little to do may."""
    cdef uint32_t most_us = load_relaxed_u32(&me.sleep_max_us)
    if most_us == 0 or f.most >= BUSY_BURST:
        return 0
    if sleep_us:
        idle_sleep(me, sleep_us)
        me.work.now = rte_rdtsc()
    return min(sleep_us + 1, most_us)


cdef inline void settle(pmd *me, poll_list *polls, const found *f, uint64_t *last_packet,
                        bint *woken) noexcept nogil:
    """What follows from what the round found, for a PMD that may wait in the kernel.

    Before it does, guests are asked to kick, and one more round has to find nothing: what they
    sent before they knew would wait for ever. Without a queue to poll there is nobody to ask.
    """
    if f.packets or me.work.n_waits:
        last_packet[0] = me.work.now
        if polls.armed:
            idle_disarm(me, polls)
    elif polls.armed or polls.n_active == 0:
        idle_wait(me, polls)
        me.work.now = rte_rdtsc()
        woken[0] = True
    elif (load_relaxed_u32(&me.block)
            and me.work.now - last_packet[0] > me.dp.tsc_hz // SILENCES_PER_S
            and not idle_arm(me, polls)):
        last_packet[0] = me.work.now    # a guest that cannot kick has to be polled


cdef void *pmd_main(void *arg) noexcept nogil:
    """The polling loop. Between two quiescent calls it may hold tables and vids, after one none."""
    cdef pmd *me = <pmd *>arg
    cdef dataplane *dp = me.dp
    cdef poll_list *polls
    cdef found f
    cdef uint16_t now_s = 0
    cdef uint32_t rounds = 0, sleep_us = 0
    cdef uint64_t last_packet = 0, released = 0, unused = dp.tsc_hz // TXQ_HOLDS_PER_S
    cdef bint woken = False, slow, check
    cdef char name[16]
    snprintf(name, sizeof(name), b"pmd-c%02d", me.core)
    pmd_come_up(me, name)
    me.work.now = rte_rdtsc()
    while not load_acquire_u32(&me.stop):
        slow = rounds & CLOCK_ROUNDS == 0 or woken
        check = rounds & CHECK_ROUNDS == 0
        rounds += 1
        if slow:
            now_s = <uint16_t>((me.work.now - dp.tsc_start) / dp.tsc_hz)
            if me.work.now - released > unused:
                release_txqs(me, me.work.now - unused)
                released = me.work.now
        polls = <poll_list *>load_acquire_ptr(<void **>&me.polls)
        # rounds take long when they end with a sleep
        if ((slow or sleep_us or polls.n_active == 0)
                and load_acquire_u32(&dp.queue_changes) != polls.seen):
            find_active(me, polls)
        if woken and polls.armed:
            idle_disarm(me, polls)
        woken = False
        f = poll_once(me, polls, <forwarding *>load_acquire_ptr(<void **>&dp.fwd), check, now_s)
        account(me, polls, &f, check)
        if me.work.n_waits:
            send_waiting(me)
        settle(me, polls, &f, &last_packet, &woken)
        rte_rcu_qsbr_quiescent(dp.qsbr, me.index)
        sleep_us = rest(me, &f, sleep_us)
    pmd_go_down(me)
    return NULL


cdef poll_list *poll_list_new(dataplane *dp, unsigned n) noexcept nogil:
    cdef poll_list *polls = <poll_list *>calloc(1, sizeof(poll_list))
    if polls == NULL:
        return NULL
    polls.n = n
    polls.seen = load_relaxed_u32(&dp.queue_changes) - 1
    polls.rxqs = <rxq *>calloc(n + 1, sizeof(rxq))
    polls.active = <rxq **>calloc(n + 1, sizeof(rxq *))
    if polls.rxqs == NULL or polls.active == NULL:
        poll_list_free(polls)
        return NULL
    return polls


cdef void poll_list_free(poll_list *polls) noexcept nogil:
    if polls != NULL:
        free(polls.active)
        free(polls.rxqs)
        free(polls)


cdef poll_list *pmd_publish(pmd *me, poll_list *polls) noexcept nogil:
    cdef poll_list *old = me.polls
    store_release_ptr(<void **>&me.polls, polls)
    pmd_wake(me)
    return old


cdef int pmd_allocate(pmd *me) noexcept nogil:
    if me.wake_fd < 0:
        store_release_i32(&me.wake_fd, eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC))
        if me.wake_fd < 0:
            return -errno
    if me.counters == NULL:
        me.counters = <port_counters *>zeroed(MAX_SLOTS * sizeof(port_counters))
    if me.work == NULL:
        # shield.pyx's thread looks at it from now on
        store_release_ptr(<void **>&me.work, zeroed(sizeof(pmd_work)))
    if me.polls == NULL:
        me.polls = poll_list_new(me.dp, 0)
    return -ENOMEM if me.counters == NULL or me.work == NULL or me.polls == NULL else 0


cdef int pmd_start(pmd *me, int core) noexcept nogil:
    cdef int error = pmd_allocate(me)
    if error != 0:
        return error
    me.core = core
    store_relaxed_u32(&me.ready, 0)
    store_release_u32(&me.stop, 0)
    error = shim_thread_create(&me.thread, core, pmd_main, me)
    if error != 0:
        return -error
    me.running = True
    while not load_acquire_u32(&me.ready):
        usleep(START_POLL_US)
    return 0


cdef int pmd_stop(pmd *me) noexcept nogil:
    if me.polls.n:
        return -EBUSY
    store_release_u32(&me.stop, 1)
    pmd_wake(me)
    pthread_join(me.thread, NULL)
    me.running = False
    return 0


cdef void pmd_rest(pmd *me, uint32_t sleep_max_us, bint block) noexcept nogil:
    store_relaxed_u32(&me.sleep_max_us, sleep_max_us)
    store_relaxed_u32(&me.block, block)
    pmd_wake(me)
