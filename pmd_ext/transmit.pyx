"""Sending to a guest: choice of the txq, MTU check, retries as ovs-vswitchd does them, counters."""
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

from pmd_ext.atomics cimport (
    load_acquire_i32, load_relaxed_i16, load_relaxed_u32, store_relaxed_u32,
)
from pmd_ext.dpdk.eal cimport rte_spinlock_lock, rte_spinlock_unlock
from pmd_ext.dpdk.mbuf cimport rte_mbuf
from pmd_ext.dpdk.vhost cimport rte_vhost_enqueue_burst
from pmd_ext.state cimport (
    BURST, TXQ_NONE, pmd, port_counters, ring, ring_counters, ring_of, slot, txq_vring,
)


cdef extern from "shim.h" nogil:
    uint8_t *shim_mbuf_data(rte_mbuf *m)
    uint64_t shim_load_u64(const uint8_t *p)
    int shim_bit_width(uint32_t v)

cdef enum:
    ETHER_BYTES = 14
    BROADCAST = 0xffffffffffff


cdef inline int size_bin(uint32_t bytes) noexcept nogil:
    """Index into the sizes of a ring."""
    if bytes <= 64:
        return bytes == 64
    if bytes < 1024:
        return shim_bit_width(bytes) - 5
    return 6 if bytes <= 1518 else 7


cdef void count(ring_counters *c, rte_mbuf **pkts, uint16_t n) noexcept nogil:
    cdef uint64_t address, bytes = 0
    cdef uint16_t i
    for i in range(n):
        bytes += pkts[i].pkt_len
        c.sizes[size_bin(pkts[i].pkt_len)] += 1
        if pkts[i].data_len < ETHER_BYTES:
            continue                # what stands there is of an older frame
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
    cdef uint32_t most = load_relaxed_u32(&s.max_frame_bytes)
    cdef uint16_t i, kept = 0
    for i in range(n):
        if pkts[i].pkt_len <= most:
            fitting[kept] = pkts[i]
            kept += 1
        else:
            store_relaxed_u32(&s.tx_oversize_bytes, pkts[i].pkt_len)
    return kept


cdef inline uint16_t enqueue(pmd *me, slot *s, ring *r, int32_t vid, uint16_t vring,
                             rte_mbuf **pkts, uint16_t n, uint64_t *retries) noexcept nogil:
    """Sends what the ring takes; retries only while each try moves something."""
    cdef uint16_t sent = 0, moved
    cdef uint32_t tries = 0, limit = 0
    rte_spinlock_lock(&r.lock)
    me.calling = &r.counts
    while True:
        moved = rte_vhost_enqueue_burst(vid, vring, pkts + sent, n - sent)
        sent += moved
        if moved == 0 or sent == n:
            break
        if tries == 0:
            limit = load_relaxed_u32(&s.tx_retries_max)
        if tries == limit:
            break
        tries += 1
    count(&r.counts, pkts, sent)
    rte_spinlock_unlock(&r.lock)
    retries[0] += tries
    return sent


cdef void transmit(pmd *me, uint16_t slot_id, rte_mbuf **pkts, uint16_t n) noexcept nogil:
    cdef slot *s = &me.dp.slots[slot_id]
    cdef port_counters *c = &me.counters[slot_id]
    cdef rte_mbuf *fitting[BURST]
    cdef uint16_t kept, vring
    cdef int txq
    cdef int32_t vid = load_acquire_i32(&s.vid)
    if vid < 0:
        c.tx_disconnected_drops += n
        return
    txq = load_relaxed_i16(&s.tx_map[me.index % s.n_pairs])
    if txq == TXQ_NONE:
        c.tx_disabled_drops += n
        return
    kept = keep_fitting(s, pkts, n, fitting)
    c.tx_mtu_drops += n - kept
    vring = txq_vring(txq)
    c.tx_failure_drops += kept - enqueue(me, s, ring_of(me.dp, slot_id, vring), vid, vring,
                                         fitting, kept, &c.tx_retries)
