"""A PMD's time in the kernel: sleeping between rounds, and waiting for a guest's kick.

Meanwhile the thread is offline for QSBR: nobody waits for it, and it holds nothing that could be
freed. What changes under it wakes it (pmd_wake); its table is read anew afterwards.

Kicks are watched edge-triggered and never read: a front end that takes its own kicks back could
block a reader. A watch that outlives its queue costs a wake-up for nothing, no more: what is woken
looks at the queues, not at the event.
"""
from libc.stdint cimport int32_t, uint16_t, uint32_t, uint64_t

from pmd_ext.atomics cimport (
    fence_full, load_acquire_i32, load_acquire_ptr, load_acquire_u32, load_relaxed_i32,
    store_relaxed_u32,
)
from pmd_ext.dpdk.eal cimport rte_rdtsc
from pmd_ext.dpdk.rcu cimport rte_rcu_qsbr_thread_offline, rte_rcu_qsbr_thread_online
from pmd_ext.dpdk.vhost cimport rte_vhost_enable_guest_notification
from pmd_ext.shield cimport serve_begin, serve_end
from pmd_ext.state cimport SLOT_ETH, pmd, poll_list, ring_of, rxq, rxq_vring


cdef extern from * nogil:
    """
    #include <errno.h>
    #include <sys/epoll.h>
    #include <sys/eventfd.h>
    #include <time.h>
    #include <unistd.h>

    static int
    shim_watch(int epoll_fd, int fd, int edges)
    {
        struct epoll_event e = { .events = EPOLLIN | (edges ? EPOLLET : 0) };

        return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &e) == 0 || errno == EEXIST;
    }

    static void
    shim_wait_event(int epoll_fd)
    {
        struct epoll_event e;

        epoll_wait(epoll_fd, &e, 1, -1);
    }

    static void
    shim_sleep_us(unsigned us)
    {
        struct timespec t = { .tv_nsec = us * 1000L };

        nanosleep(&t, NULL);
    }
    """
    enum:
        EPOLL_CLOEXEC
    int epoll_create1(int flags)
    int eventfd_read(int fd, uint64_t *value)
    int close(int fd)
    bint shim_watch(int epoll_fd, int fd, bint edges)
    void shim_wait_event(int epoll_fd)
    void shim_sleep_us(unsigned us)


cdef enum:
    CANNOT_WAIT_US = 1000       # when there is no descriptor left to wait with


cdef void begin(pmd *me) noexcept nogil:
    me.work.sleeps_since = rte_rdtsc()
    rte_rcu_qsbr_thread_offline(me.dp.qsbr, me.index)


cdef void end(pmd *me) noexcept nogil:
    rte_rcu_qsbr_thread_online(me.dp.qsbr, me.index)
    me.work.counts.sleep_iterations += 1
    me.work.counts.sleep_cycles += rte_rdtsc() - me.work.sleeps_since
    me.work.sleeps_since = 0


cdef void idle_sleep(pmd *me, uint32_t us) noexcept nogil:
    begin(me)
    shim_sleep_us(us)
    end(me)


cdef void notify(pmd *me, poll_list *polls, bint enable) noexcept nogil:
    cdef rxq *q
    cdef uint32_t i
    cdef int32_t vid
    for i in range(polls.n_active):
        q = polls.active[i]
        vid = load_acquire_i32(&me.dp.slots[q.slot].vid)
        if vid >= 0:
            serve_begin(me, q.slot)
            rte_vhost_enable_guest_notification(vid, rxq_vring(q.queue), enable)
            serve_end(me)


cdef bint watch(pmd *me, poll_list *polls) noexcept nogil:
    """A new epoll instance for what is active now: it knows nothing of what was."""
    cdef rxq *q
    cdef uint32_t i
    cdef int32_t kick
    if polls.watched:
        return True
    for i in range(polls.n_active):
        if me.dp.slots[polls.active[i].slot].kind == SLOT_ETH:
            return False        # it has nobody who kicks
    if me.epoll_fd >= 0:
        close(me.epoll_fd)
    me.epoll_fd = epoll_create1(EPOLL_CLOEXEC)
    if me.epoll_fd < 0 or not shim_watch(me.epoll_fd, me.wake_fd, False):
        return False
    for i in range(polls.n_active):
        q = polls.active[i]
        # Of a guest that has gone since the list was made the descriptor may be another file's.
        if load_acquire_i32(&me.dp.slots[q.slot].vid) < 0:
            continue
        kick = load_relaxed_i32(&ring_of(me.dp, q.slot, rxq_vring(q.queue)).kick)
        if kick <= 0 or not shim_watch(me.epoll_fd, kick - 1, True):
            return False
    polls.watched = True
    return True


cdef bint idle_arm(pmd *me, poll_list *polls) noexcept nogil:
    if not watch(me, polls):
        return False
    notify(me, polls, True)
    polls.armed = True
    # Guests see it before the rings are looked at once more.
    fence_full()
    return True


cdef void idle_disarm(pmd *me, poll_list *polls) noexcept nogil:
    notify(me, polls, False)
    polls.armed = False


cdef void idle_wait(pmd *me, poll_list *polls) noexcept nogil:
    cdef uint64_t value = 0
    if not watch(me, polls):
        idle_sleep(me, CANNOT_WAIT_US)
        return
    store_relaxed_u32(&me.waiting, 1)
    # Who changes something does it first and then looks at 'waiting'.
    fence_full()
    if (not load_acquire_u32(&me.stop)
            and load_acquire_u32(&me.dp.queue_changes) == polls.seen
            and load_acquire_ptr(<void **>&me.polls) == polls):
        begin(me)
        shim_wait_event(me.epoll_fd)
        end(me)
    store_relaxed_u32(&me.waiting, 0)
    eventfd_read(me.wake_fd, &value)    # it is non-blocking
