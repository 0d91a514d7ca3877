"""Sending to a guest: choice of the txq, MTU check, retries as ovs-vswitchd does them, counters."""
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

from pmd_ext.atomics cimport load_acquire_i32, load_relaxed_i16, load_relaxed_u32
from pmd_ext.dpdk.eal cimport rte_spinlock_lock, rte_spinlock_unlock
from pmd_ext.dpdk.mbuf cimport rte_mbuf
from pmd_ext.dpdk.vhost cimport rte_vhost_enqueue_burst
from pmd_ext.state cimport BURST, TXQ_NONE, direction_counters, pmd, port_counters, slot, txq_vring


cdef extern from "shim.h" nogil:
    uint8_t *shim_mbuf_data(rte_mbuf *m)
    uint64_t shim_load_u64(const uint8_t *p)

cdef enum:
    BROADCAST = 0xffffffffffff


cdef inline int size_class(uint32_t bytes) noexcept nogil:
    """Index into the histogram; OVS calls the last two _1024_to_1522 and _1523_to_max."""
    if bytes < 256:
        return 0 if bytes <= 64 else 1 if bytes < 128 else 2
    if bytes < 1024:
        return 3 if bytes < 512 else 4
    return 5 if bytes <= 1518 else 6


cdef void count(direction_counters *c, rte_mbuf **pkts, uint16_t n) noexcept nogil:
    cdef uint64_t address, bytes = 0
    cdef uint16_t i
    for i in range(n):
        bytes += pkts[i].pkt_len
        c.histogram[size_class(pkts[i].pkt_len)] += 1
        address = shim_load_u64(shim_mbuf_data(pkts[i])) & <uint64_t>BROADCAST
        if address & 1:
            if address == <uint64_t>BROADCAST:
                c.broadcast += 1
            else:
                c.multicast += 1
    c.packets += n
    c.bytes += bytes


cdef inline uint16_t keep_fitting(slot *s, rte_mbuf **pkts, uint16_t n,
                                  rte_mbuf **fitting) noexcept nogil:
    cdef uint16_t i, kept = 0
    for i in range(n):
        if pkts[i].pkt_len <= s.max_frame_bytes:
            fitting[kept] = pkts[i]
            kept += 1
    return kept


cdef inline uint16_t enqueue(slot *s, int32_t vid, int txq, rte_mbuf **pkts, uint16_t n,
                             uint64_t *retries) noexcept nogil:
    """Sends what the ring takes; retries only while each try moves something."""
    cdef uint16_t sent = 0, moved
    cdef uint32_t tries = 0, limit = 0
    rte_spinlock_lock(&s.tx_lock[txq])
    while True:
        moved = rte_vhost_enqueue_burst(vid, txq_vring(txq), pkts + sent, n - sent)
        sent += moved
        if moved == 0 or sent == n:
            break
        if tries == 0:
            limit = load_relaxed_u32(&s.tx_retries_max)
        if tries == limit:
            break
        tries += 1
    rte_spinlock_unlock(&s.tx_lock[txq])
    retries[0] += tries
    return sent


cdef void transmit(pmd *me, uint16_t slot_id, rte_mbuf **pkts, uint16_t n) noexcept nogil:
    cdef slot *s = &me.dp.slots[slot_id]
    cdef port_counters *c = &me.counters[slot_id]
    cdef rte_mbuf *fitting[BURST]
    cdef uint16_t kept, sent
    cdef int txq
    cdef int32_t vid = load_acquire_i32(&s.vid)
    if vid < 0:
        c.tx_early_drops += n
        return
    txq = load_relaxed_i16(&s.tx_map[me.index % s.n_pairs])
    if txq == TXQ_NONE:
        c.tx_early_drops += n
        return
    kept = keep_fitting(s, pkts, n, fitting)
    c.tx_mtu_drops += n - kept
    sent = enqueue(s, vid, txq, fitting, kept, &c.tx_retries)
    c.tx_failure_drops += kept - sent
    count(&c.tx, fitting, sent)
