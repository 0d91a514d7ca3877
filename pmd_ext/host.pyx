"""The host thread: frames from and to devices of the host's kernel.

It forwards like a PMD, and has what a PMD has, but waits in epoll for its descriptors, is not
pinned, and is no PMD to anybody who counts them. All system calls on these devices are its own;
none of them waits. A port gets a bounded number of frames in each round, so that none starves the
others. While the thread waits it is offline for QSBR, as a PMD is.
"""
from libc.errno cimport errno
from libc.stdint cimport uint16_t, uint32_t, uint64_t

from pmd_ext.atomics cimport (
    fence_full, load_acquire_ptr, load_acquire_u32, load_relaxed_i32, load_relaxed_u32,
    store_relaxed_u32, store_release_u32,
)
from pmd_ext.capture cimport CAPTURE_INBOUND, capture, capture_frames
from pmd_ext.dpdk.eal cimport rte_rdtsc
from pmd_ext.dpdk.mbuf cimport (
    rte_mbuf, rte_mempool, rte_pktmbuf_alloc, rte_pktmbuf_free, rte_pktmbuf_free_bulk,
)
from pmd_ext.dpdk.rcu cimport (
    rte_rcu_qsbr_quiescent, rte_rcu_qsbr_thread_offline, rte_rcu_qsbr_thread_online,
)
from pmd_ext.dpdk.ring cimport rte_ring_count, rte_ring_dequeue_burst
from pmd_ext.host_io cimport (
    IO_FRAME, IO_GONE, IO_NOTHING, IO_OVERSIZE, IO_SEGMENTABLE, host_receive,
)
from pmd_ext.pipeline cimport forward
from pmd_ext.pmd cimport pmd_allocate, pmd_come_up, pmd_go_down
from pmd_ext.state cimport (
    BURST, forwarding, host_port, pmd, pmd_wake, poll_list, port_counters, pthread_t, ring_of,
    rxq_vring, slot_changed,
)
from pmd_ext.tally cimport tally, tally_up
from pmd_ext.transmit cimport count, release_txqs, send_to_device, send_waiting


cdef extern from * nogil:
    """
    #include <errno.h>
    #include <pthread.h>
    #include <sys/epoll.h>
    #include <sys/eventfd.h>
    #include <unistd.h>

    static int
    shim_epoll_add(int epoll_fd, int fd, uint32_t number)
    {
        struct epoll_event e = { .events = EPOLLIN, .data.u32 = number };

        return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &e) == 0 ? 0 : -errno;
    }

    static int
    shim_epoll_wait(int epoll_fd, uint32_t *numbers, int most, int timeout_ms)
    {
        struct epoll_event e[64];
        int i, n = epoll_wait(epoll_fd, e, most < 64 ? most : 64, timeout_ms);

        for (i = 0; i < n; i++)
            numbers[i] = e[i].data.u32;
        return n < 0 ? 0 : n;
    }

    #define shim_epoll_delete(epoll_fd, fd) epoll_ctl((epoll_fd), EPOLL_CTL_DEL, (fd), NULL)
    """
    enum:
        EPOLL_CLOEXEC
    int epoll_create1(int flags)
    int eventfd_read(int fd, uint64_t *value)
    int usleep(unsigned microseconds)
    int pthread_create(pthread_t *thread, void *attributes, void *(*start)(void *) noexcept nogil,
                       void *arg)
    int pthread_join(pthread_t thread, void **result)
    int shim_epoll_add(int epoll_fd, int fd, uint32_t number)
    int shim_epoll_wait(int epoll_fd, uint32_t *numbers, int most, int timeout_ms)
    int shim_epoll_delete(int epoll_fd, int fd)

cdef enum:
    EVENTS = 64                 # descriptors that are looked at in a round
    WAKE = 0xffffffff           # number of the thread's own eventfd among them
    START_POLL_US = 20          # how often main looks whether the thread has come up
    TXQ_HOLD_MS = 500           # a txq that was not used for as long is let go


cdef uint16_t receive(pmd *me, uint16_t slot, host_port *port, rte_mbuf **pkts) noexcept nogil:
    """Takes up to BURST frames from the port's device."""
    cdef port_counters *c = &me.counters[slot]
    cdef rte_mempool *pool = <rte_mempool *>load_acquire_ptr(<void **>&me.dp.slots[slot].pool)
    cdef uint16_t n = 0, tries = BURST
    cdef int came
    while tries:
        tries -= 1
        pkts[n] = rte_pktmbuf_alloc(pool)
        if pkts[n] == NULL:
            break               # frames wait in the kernel meanwhile
        came = host_receive(port, pkts[n])
        if came == IO_FRAME:
            n += 1
            continue
        rte_pktmbuf_free(pkts[n])
        if came == IO_NOTHING:
            break
        if came == IO_GONE:     # the descriptor would be ready for ever
            shim_epoll_delete(me.epoll_fd, port.fd)
            slot_changed(&me.dp.slots[slot])
            break
        if came == IO_SEGMENTABLE and not port.segmentable:
            store_relaxed_u32(&port.segmentable, 1)
            slot_changed(&me.dp.slots[slot])
        if came == IO_OVERSIZE or came == IO_SEGMENTABLE:
            c.rx_oversize_drops += 1
        else:
            c.rx_malformed_drops += 1
    return n


cdef void serve(pmd *me, uint16_t slot) noexcept nogil:
    """Forwards what came in by one port."""
    cdef host_port *port = &me.dp.host_ports[slot]
    cdef rte_mbuf *pkts[BURST]
    cdef capture *copies
    cdef tally sum
    cdef uint16_t n
    if load_relaxed_i32(&port.fd) < 0:
        return                  # it was removed since its descriptor was ready
    n = receive(me, slot, port, pkts)
    if n == 0:
        return
    me.work.now = rte_rdtsc()
    tally_up(&sum, pkts, n)
    count(&ring_of(me.dp, slot, rxq_vring(0)).counts, pkts, n, &sum)
    copies = <capture *>load_acquire_ptr(<void **>&me.dp.slots[slot].capture)
    if copies != NULL:
        capture_frames(copies, pkts, n, 0, CAPTURE_INBOUND)
    forward(me, <forwarding *>load_acquire_ptr(<void **>&me.dp.fwd), slot, &port.learned, pkts, n,
            &sum, <uint16_t>((me.work.now - me.dp.tsc_start) / me.dp.tsc_hz))


cdef void send_queued(pmd *me, uint16_t slot) noexcept nogil:
    """Sends up to BURST frames of one port's queue; what the kernel does not take is dropped."""
    cdef host_port *port = &me.dp.host_ports[slot]
    cdef rte_mbuf *pkts[BURST]
    cdef uint16_t n = rte_ring_dequeue_burst(port.queue, <void **>pkts, BURST, NULL)
    send_to_device(me, slot, pkts, n)
    rte_pktmbuf_free_bulk(pkts, n)
    store_release_u32(&port.taken, port.taken + n)


cdef bint send_all(pmd *me, const poll_list *ports) noexcept nogil:
    """One burst of each port; whether some have more."""
    cdef bint more = False
    cdef uint32_t i
    for i in range(ports.n):
        if rte_ring_count(me.dp.host_ports[ports.rxqs[i].slot].queue):
            send_queued(me, ports.rxqs[i].slot)
            more = more or rte_ring_count(me.dp.host_ports[ports.rxqs[i].slot].queue)
    return more


cdef bint is_idle(pmd *me, const poll_list *ports) noexcept nogil:
    """Whether there is nothing to do before a descriptor is ready."""
    cdef uint32_t i
    for i in range(ports.n):
        if rte_ring_count(me.dp.host_ports[ports.rxqs[i].slot].queue):
            return False
    return (not load_acquire_u32(&me.stop)
            and load_acquire_ptr(<void **>&me.polls) == ports)


cdef int wait(pmd *me, const poll_list *ports, uint32_t *ready) noexcept nogil:
    cdef uint64_t value = 0
    cdef int n = 0
    store_relaxed_u32(&me.waiting, 1)
    # Who queues or changes something does it first and then looks at 'waiting'.
    fence_full()
    if is_idle(me, ports):
        rte_rcu_qsbr_thread_offline(me.dp.qsbr, me.index)
        n = shim_epoll_wait(me.epoll_fd, ready, EVENTS, 1 if me.work.n_waits else TXQ_HOLD_MS
                            if me.work.n_held else -1)
        rte_rcu_qsbr_thread_online(me.dp.qsbr, me.index)
    store_relaxed_u32(&me.waiting, 0)
    eventfd_read(me.wake_fd, &value)    # it is non-blocking
    return n


cdef void *host_main(void *arg) noexcept nogil:
    """Between two quiescent calls the thread may hold tables, pools and descriptors."""
    cdef pmd *me = <pmd *>arg
    cdef uint32_t ready[EVENTS]
    cdef poll_list *ports
    cdef uint64_t released = 0, unused = me.dp.tsc_hz * TXQ_HOLD_MS // 1000
    cdef int i, n = 0
    cdef bint more
    pmd_come_up(me, b"host")
    while not load_acquire_u32(&me.stop):
        for i in range(n):
            if ready[i] != <uint32_t>WAKE:
                serve(me, <uint16_t>ready[i])
                rte_rcu_qsbr_quiescent(me.dp.qsbr, me.index)
        ports = <poll_list *>load_acquire_ptr(<void **>&me.polls)
        more = send_all(me, ports)
        me.work.now = rte_rdtsc()
        if me.work.n_waits:
            send_waiting(me)
        if me.work.now - released > unused:
            release_txqs(me, me.work.now - unused)
            released = me.work.now
        if more:
            n = shim_epoll_wait(me.epoll_fd, ready, EVENTS, 0)
        else:
            n = wait(me, ports, ready)
        rte_rcu_qsbr_quiescent(me.dp.qsbr, me.index)
    pmd_go_down(me)
    return NULL


cdef int host_start(pmd *me) noexcept nogil:
    cdef int error = pmd_allocate(me)
    if error != 0:
        return error
    if me.epoll_fd < 0:
        me.epoll_fd = epoll_create1(EPOLL_CLOEXEC)
        if me.epoll_fd < 0:
            return -errno
        error = shim_epoll_add(me.epoll_fd, me.wake_fd, WAKE)
        if error != 0:
            return error
    store_relaxed_u32(&me.ready, 0)
    store_release_u32(&me.stop, 0)
    error = pthread_create(&me.thread, NULL, host_main, me)
    if error != 0:
        return -error
    me.running = True
    while not load_acquire_u32(&me.ready):
        usleep(START_POLL_US)
    return 0


cdef void host_stop(pmd *me) noexcept nogil:
    store_release_u32(&me.stop, 1)
    pmd_wake(me)
    pthread_join(me.thread, NULL)
    me.running = False


cdef int host_watch(pmd *me, uint16_t slot, const host_port *port) noexcept nogil:
    return shim_epoll_add(me.epoll_fd, port.fd, slot)


cdef void host_unwatch(pmd *me, const host_port *port) noexcept nogil:
    shim_epoll_delete(me.epoll_fd, port.fd)
