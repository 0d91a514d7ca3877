"""Frames that wait until a guest's IOMMU has said where their buffers are.

The library asks the front end for a translation that it does not have, and takes no frame
meanwhile; the answer comes a moment later. A guest that maps its buffers anew for every frame, as
Linux does with strict invalidation, would lose most of them. So copies wait, in order, with the
thread that sends: few, and not for long, for a guest may be one that never gives an answer.
"""
from libc.stdint cimport UINT32_MAX, uint16_t, uint32_t
from libc.string cimport memmove

from pmd_ext.atomics cimport load_acquire_ptr
from pmd_ext.dpdk.mbuf cimport (
    rte_mbuf, rte_mempool, rte_pktmbuf_copy, rte_pktmbuf_free_bulk,
)
from pmd_ext.state cimport pmd
from pmd_ext.waits cimport IOTLB_FRAMES, IOTLB_WAITS, iotlb_wait


cdef iotlb_wait *iotlb_waiting(pmd *me, uint16_t slot, uint16_t vring) noexcept nogil:
    cdef iotlb_wait *w
    cdef uint32_t i
    for i in range(me.work.n_waits):
        w = &me.work.waits[i]
        if w.slot == slot and w.vring == vring:
            return w
    return NULL


cdef uint16_t iotlb_keep(pmd *me, uint16_t slot, uint32_t guest, uint16_t vring, rte_mbuf **pkts,
                         uint16_t n) noexcept nogil:
    # A pool of its own: that of a port which is removed must not be in use here.
    cdef rte_mempool *pool = <rte_mempool *>load_acquire_ptr(<void **>&me.dp.waiting_pool)
    cdef iotlb_wait *w = iotlb_waiting(me, slot, vring)
    cdef uint16_t kept = 0
    if w == NULL:
        if me.work.n_waits == IOTLB_WAITS:
            return 0
        w = &me.work.waits[me.work.n_waits]
        w.slot, w.vring, w.guest, w.n, w.since = slot, vring, guest, 0, me.work.now
        me.work.n_waits += 1
    while kept < n and w.n < IOTLB_FRAMES:
        w.pkts[w.n] = rte_pktmbuf_copy(pkts[kept], pool, 0, UINT32_MAX)
        if w.pkts[w.n] == NULL:
            me.counters[slot].tx_no_buffer_drops += n - kept
            break
        w.n += 1
        kept += 1
    return kept


cdef void iotlb_release(iotlb_wait *w, uint16_t n) noexcept nogil:
    rte_pktmbuf_free_bulk(w.pkts, n)
    w.n -= n
    memmove(w.pkts, w.pkts + n, w.n * sizeof(rte_mbuf *))


cdef void iotlb_tidy(pmd *me) noexcept nogil:
    cdef uint32_t i = 0
    while i < me.work.n_waits:
        if me.work.waits[i].n:
            i += 1
        else:
            me.work.n_waits -= 1
            me.work.waits[i] = me.work.waits[me.work.n_waits]


cdef void iotlb_forget(pmd *me) noexcept nogil:
    cdef iotlb_wait *w
    cdef uint32_t i
    for i in range(me.work.n_waits):
        w = &me.work.waits[i]
        me.counters[w.slot].tx_failure_drops += w.n
        iotlb_release(w, w.n)
    me.work.n_waits = 0
