"""Handing frames to the host thread: copied, for the caller's buffers are free after its burst."""
from libc.stdint cimport UINT32_MAX, uint16_t

from pmd_ext.atomics cimport load_acquire_ptr
from pmd_ext.dpdk.mbuf cimport (
    rte_mbuf, rte_mempool, rte_pktmbuf_copy, rte_pktmbuf_free_bulk,
)
from pmd_ext.dpdk.ring cimport rte_ring, rte_ring_enqueue_burst, rte_ring_free_count
from pmd_ext.state cimport BURST, pmd, pmd_wake, port_counters


cdef void host_enqueue(pmd *me, uint16_t slot, rte_mbuf **pkts, uint16_t n) noexcept nogil:
    cdef rte_mempool *pool = <rte_mempool *>load_acquire_ptr(<void **>&me.dp.slots[slot].pool)
    cdef rte_mbuf *copies[BURST]
    cdef rte_ring *queue = me.dp.host_ports[slot].queue
    cdef port_counters *c = &me.counters[slot]
    # what is dropped need not be copied
    cdef uint16_t fitting = min(n, <uint16_t>rte_ring_free_count(queue))
    cdef uint16_t made = 0, queued
    c.tx_busy_drops += n - fitting
    while made < fitting:
        copies[made] = rte_pktmbuf_copy(pkts[made], pool, 0, UINT32_MAX)
        if copies[made] == NULL:
            break
        made += 1
    c.tx_no_buffer_drops += fitting - made
    if made == 0:
        return
    queued = rte_ring_enqueue_burst(queue, <void **>copies, made, NULL)
    rte_pktmbuf_free_bulk(copies + queued, made - queued)
    c.tx_busy_drops += made - queued
    pmd_wake(&me.dp.host)
