"""The switching pipeline: classify, learn, look up, group by output, transmit.

Frames are VLAN-aware as on OVS trunk ports: the VLAN id is part of the MAC table's key.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from pmd_ext.atomics cimport load_relaxed_u32
from pmd_ext.dpdk.mbuf cimport rte_mbuf, rte_pktmbuf_free_bulk
from pmd_ext.mactable cimport mac_key, mac_learn, mac_lookup, mac_prefetch, mac_table
from pmd_ext.state cimport BURST, bridge_view, forwarding, pmd, port_counters, rxq
from pmd_ext.transmit cimport transmit


cdef extern from "shim.h" nogil:
    uint8_t *shim_mbuf_data(rte_mbuf *m)
    uint64_t shim_load_u64(const uint8_t *p)

cdef enum:
    ETHER_BYTES = 14
    VLAN_BYTES = 4
    MULTICAST = 1               # first bit on the wire; addresses are little-endian loads here
    # what a frame's output can be besides a slot
    FLOOD = 0xfffd
    SAME_PORT = 0xfffe          # dropped: it would go back where it came from
    RESERVED = 0xffff           # dropped: bridges keep these addresses to themselves

cdef enum:
    ADDRESS = 0xffffffffffff

# One frame after classification.
cdef struct parsed:
    uint64_t source             # mac_key(), 0: not to be learned
    uint64_t destination        # mac_key(), 0: no lookup, 'out' says it all
    uint16_t out


cdef inline bint is_reserved(uint64_t address) noexcept nogil:
    """Addresses a bridge never forwards (OVS: eth_addr_is_reserved)."""
    cdef uint64_t head = address & 0xffffff
    cdef uint64_t tail = address >> 24
    if head == 0xc28001:                        # 01:80:c2:00:00:00..0f
        return tail & 0xffff == 0 and tail >> 16 < 0x10
    if head == 0x2be000:                        # 00:e0:2b:00:00:00, :04, :06
        return tail & 0xffff == 0 and (tail >> 16) in (0x00, 0x04, 0x06)
    if head != 0x0c0001:
        return False
    return (tail == 0                           # 01:00:0c:00:00:00
            or tail & 0xffff == 0xcccc and (tail >> 16 in (0xcc, 0xcd)
                                            or 0xc0 <= tail >> 16 <= 0xc7)
            or tail == 0xcdcdcd)


cdef inline bint classify(rte_mbuf *m, parsed *p) noexcept nogil:
    """Reads the frame's header; False when it is too short to have one."""
    cdef uint8_t *data = shim_mbuf_data(m)
    cdef uint64_t destination, source, vlan = 0
    if m.data_len < ETHER_BYTES:
        return False
    destination = shim_load_u64(data) & <uint64_t>ADDRESS
    source = shim_load_u64(data + 6) & <uint64_t>ADDRESS
    if data[12] == 0x81 and data[13] == 0x00:
        if m.data_len < ETHER_BYTES + VLAN_BYTES:
            return False
        vlan = <uint64_t>(data[14] & 0x0f) << 8 | data[15]
    p.source = 0 if source & MULTICAST else mac_key(source, vlan)
    p.destination = 0
    if is_reserved(destination):
        p.source = 0
        p.out = RESERVED
    elif destination & MULTICAST:
        p.out = FLOOD
    else:
        p.destination = mac_key(destination, vlan)
    return True


cdef inline void learn(mac_table *macs, rxq *q, parsed *frames, uint16_t n,
                       uint16_t now_s) noexcept nogil:
    cdef uint64_t learned = <uint64_t>load_relaxed_u32(&macs.changes) << 16 | now_s
    cdef uint16_t i
    for i in range(n):
        if frames[i].source == 0:
            continue
        if frames[i].source == q.last_source and learned == q.last_learned:
            continue
        mac_learn(macs, frames[i].source, q.slot, now_s)
        q.last_source = frames[i].source
        q.last_learned = learned


cdef inline void look_up(const forwarding *fwd, bridge_view *bridge, uint16_t in_slot,
                         parsed *frames, uint16_t n, uint16_t now_s) noexcept nogil:
    cdef uint64_t previous = 0
    cdef uint16_t previous_out = SAME_PORT
    cdef uint16_t i
    cdef int found
    for i in range(n):
        if frames[i].destination == 0:
            continue
        if frames[i].destination != previous:
            previous = frames[i].destination
            found = mac_lookup(bridge.macs, previous, now_s)
            if found < 0 or fwd.bridge_of[found] != bridge:
                previous_out = FLOOD
            elif found == in_slot:
                previous_out = SAME_PORT
            else:
                previous_out = found
        frames[i].out = previous_out


cdef inline void output(pmd *me, bridge_view *bridge, uint16_t in_slot, uint16_t out,
                        rte_mbuf **pkts, uint16_t n) noexcept nogil:
    cdef port_counters *c = &me.counters[in_slot]
    cdef uint32_t i
    if out == FLOOD:
        if bridge.n_members == 1:
            c.rx_no_output_drops += n
        for i in range(bridge.n_members):
            if bridge.members[i] != in_slot:
                transmit(me, bridge.members[i], pkts, n)
    elif out == SAME_PORT:
        c.rx_same_port_drops += n
    elif out == RESERVED:
        c.rx_reserved_drops += n
    else:
        transmit(me, out, pkts, n)


cdef void output_grouped(pmd *me, bridge_view *bridge, uint16_t in_slot, parsed *frames,
                         rte_mbuf **pkts, uint16_t n) noexcept nogil:
    """One transmit burst per output port, the frames of a port in the order they came."""
    cdef rte_mbuf *group[BURST]
    cdef uint32_t waiting = <uint32_t>((<uint64_t>1 << n) - 1)
    cdef uint16_t i, first = 0, out, size
    while waiting:
        while not waiting >> first & 1:
            first += 1
        out = frames[first].out
        size = 0
        for i in range(first, n):
            if waiting >> i & 1 and frames[i].out == out:
                group[size] = pkts[i]
                size += 1
                waiting &= ~(<uint32_t>1 << i)
        output(me, bridge, in_slot, out, group, size)


cdef void forward(pmd *me, rxq *q, const forwarding *fwd, rte_mbuf **pkts, uint16_t n,
                  uint16_t now_s) noexcept nogil:
    cdef bridge_view *bridge = fwd.bridge_of[q.slot]
    cdef port_counters *c = &me.counters[q.slot]
    cdef parsed frames[BURST]
    cdef rte_mbuf *valid[BURST]
    cdef uint16_t i, kept = 0
    for i in range(n):
        if classify(pkts[i], &frames[kept]):
            if bridge != NULL and frames[kept].destination != 0:
                mac_prefetch(bridge.macs, frames[kept].destination)
            valid[kept] = pkts[i]
            kept += 1
    c.rx_malformed_drops += n - kept
    if bridge != NULL:
        learn(bridge.macs, q, frames, kept, now_s)
        look_up(fwd, bridge, q.slot, frames, kept, now_s)
        output_grouped(me, bridge, q.slot, frames, valid, kept)
    else:
        c.rx_no_bridge_drops += kept
    rte_pktmbuf_free_bulk(pkts, n)
