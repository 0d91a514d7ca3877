"""Ethernet devices: receiving and sending.

Drivers of hardware never wait. Those of virtual devices may make a system call that does, so PMDs
do not call them to send: a thread of the port does, which takes part in no quiescence.
"""
from libc.stdint cimport uint16_t, uint32_t, uint64_t

from pmd_ext.atomics cimport fence_full, load_acquire_u32, load_relaxed_u32, store_relaxed_u32
from pmd_ext.dpdk.ethdev cimport (
    rte_eth_rx_burst, rte_eth_tx_burst, rte_ring_empty, rte_ring_mp_enqueue_burst,
    rte_ring_sc_dequeue_burst,
)
from pmd_ext.dpdk.mbuf cimport rte_mbuf, rte_pktmbuf_copy, rte_pktmbuf_free_bulk
from pmd_ext.state cimport BURST, eth_port, slot


cdef extern from "sys/eventfd.h" nogil:
    int eventfd_write(int fd, uint64_t value)
    int eventfd_read(int fd, uint64_t *value)

cdef enum:
    WHOLE_FRAME = 0xffffffff


cdef uint16_t eth_receive(slot *s, uint16_t queue, rte_mbuf **pkts) noexcept nogil:
    return rte_eth_rx_burst(s.eth.port_id, queue, pkts, BURST)


cdef inline uint16_t hand_over(eth_port *eth, rte_mbuf **pkts, uint16_t n) noexcept nogil:
    """Gives frames to the port's thread."""
    cdef uint16_t taken = rte_ring_mp_enqueue_burst(eth.queue, <void **>pkts, n, NULL)
    # The thread stores 'waiting', then looks at the ring; here it is the other way round.
    fence_full()
    if load_relaxed_u32(&eth.waiting):
        eventfd_write(eth.wake_fd, 1)
    return taken


cdef uint16_t eth_send(slot *s, uint16_t queue, rte_mbuf **pkts, uint16_t n, uint64_t *no_buffers
                       ) noexcept nogil:
    cdef rte_mbuf *copies[BURST]
    cdef uint16_t made = 0, sent
    # The caller may change its frames afterwards, for the next port, while a device still reads.
    while made < n:
        copies[made] = rte_pktmbuf_copy(pkts[made], s.pool, 0, <uint32_t>WHOLE_FRAME)
        if copies[made] == NULL:
            break
        made += 1
    no_buffers[0] += n - made
    if s.eth.queue != NULL:
        sent = hand_over(s.eth, copies, made)
    else:
        sent = rte_eth_tx_burst(s.eth.port_id, queue, copies, made)
    if sent < made:
        rte_pktmbuf_free_bulk(copies + sent, made - sent)
    return sent


cdef void wait_for_frames(eth_port *eth) noexcept nogil:
    cdef uint64_t value = 0
    store_relaxed_u32(&eth.waiting, 1)
    fence_full()
    if rte_ring_empty(eth.queue) and not load_acquire_u32(&eth.stop):
        eventfd_read(eth.wake_fd, &value)
    store_relaxed_u32(&eth.waiting, 0)


cdef void *eth_sender(void *arg) noexcept nogil:
    cdef eth_port *eth = <eth_port *>arg
    cdef rte_mbuf *pkts[BURST]
    cdef uint16_t n, sent
    while True:
        n = rte_ring_sc_dequeue_burst(eth.queue, <void **>pkts, BURST, NULL)
        # Main's signal ends a wait inside the driver; what is left is not sent then.
        sent = 0
        if load_acquire_u32(&eth.stop):
            if n == 0:
                return NULL
        elif n == 0:
            wait_for_frames(eth)
            continue
        else:
            sent = rte_eth_tx_burst(eth.port_id, 0, pkts, n)
        if sent < n:
            rte_pktmbuf_free_bulk(pkts + sent, n - sent)
            eth.drops += n - sent
