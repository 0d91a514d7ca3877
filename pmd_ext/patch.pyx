"""Patch ports. Frames cross as copies: the bridge that sends may have others yet to send them to,
tagged otherwise, and the bridge that receives tags them as it needs."""
from libc.stdint cimport uint16_t, uint32_t

from pmd_ext.atomics cimport load_acquire_ptr
from pmd_ext.capture cimport CAPTURE_INBOUND, CAPTURE_OUTBOUND, capture, capture_frames
from pmd_ext.dpdk.eal cimport rte_spinlock_lock, rte_spinlock_unlock
from pmd_ext.dpdk.mbuf cimport rte_mbuf, rte_pktmbuf_copy
from pmd_ext.meters cimport limits, police_tx
from pmd_ext.state cimport BURST, forwarding, pmd, port_counters, ring, ring_of, rxq_vring, txq_vring
from pmd_ext.transmit cimport count_frames


cdef inline void count_locked(pmd *me, uint16_t slot_id, uint16_t vring, rte_mbuf **pkts, uint16_t n,
                              uint16_t direction) noexcept nogil:
    """Any PMD may send to a patch port."""
    cdef ring *r = ring_of(me.dp, slot_id, vring)
    cdef capture *copies = <capture *>load_acquire_ptr(<void **>&me.dp.slots[slot_id].capture)
    rte_spinlock_lock(&r.lock)
    count_frames(&r.counts, pkts, n)
    rte_spinlock_unlock(&r.lock)
    if copies != NULL:
        capture_frames(copies, pkts, n, 0, direction)


cdef inline uint16_t admit(pmd *me, uint16_t slot_id, rte_mbuf **pkts, uint16_t n,
                           rte_mbuf **admitted) noexcept nogil:
    """Takes those that a copy can be made of, within the port's QoS."""
    cdef const limits *limited = <const limits *>load_acquire_ptr(
        <void **>&me.dp.slots[slot_id].limits)
    cdef port_counters *c = &me.counters[slot_id]
    cdef uint16_t i, kept = 0, passed
    for i in range(n):
        if pkts[i].data_len <= frame_room(pkts[i]):
            admitted[kept] = pkts[i]
            kept += 1
    c.tx_mtu_drops += n - kept
    if limited == NULL or kept == 0:
        return kept
    passed = police_tx(limited, admitted, kept)
    c.tx_qos_drops += kept - passed
    return passed


cdef uint16_t patch_cross(pmd *me, const forwarding *fwd, uint16_t slot_id, rte_mbuf **pkts,
                          uint16_t n, rte_mbuf **copies, uint16_t *peer) noexcept nogil:
    cdef port_counters *c = &me.counters[slot_id]
    cdef rte_mbuf *admitted[BURST]
    cdef uint16_t i, copied = 0
    if fwd.peer_of[slot_id] == 0:
        c.tx_disconnected_drops += n
        return 0
    if me.work.depth == 0:
        me.work.crossings = 0
    if me.work.depth == PATCH_DEPTH or me.work.crossings == PATCH_CROSSINGS:
        c.tx_loop_drops += n
        return 0
    me.work.crossings += 1
    peer[0] = fwd.peer_of[slot_id] - 1
    n = admit(me, slot_id, pkts, n, admitted)
    for i in range(n):
        copies[copied] = rte_pktmbuf_copy(admitted[i], admitted[i].pool, 0, <uint32_t>-1)
        if copies[copied] == NULL:
            c.tx_no_buffer_drops += 1
            continue
        copied += 1
    count_locked(me, slot_id, txq_vring(0), copies, copied, CAPTURE_OUTBOUND)
    count_locked(me, peer[0], rxq_vring(0), copies, copied, CAPTURE_INBOUND)
    return copied
