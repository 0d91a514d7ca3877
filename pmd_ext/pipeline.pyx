"""The switching pipeline: classify, put into a VLAN, learn, look up, group by output, transmit."""
from libc.stdint cimport uint16_t, uint32_t, uint64_t

from pmd_ext.atomics cimport load_acquire_ptr
from pmd_ext.classify cimport burst, classify
from pmd_ext.dpdk.mbuf cimport RTE_MBUF_F_RX_LRO, rte_mbuf, rte_pktmbuf_free_bulk
from pmd_ext.maclearn cimport mac_learn
from pmd_ext.mactable cimport mac_changes, mac_is_fresh, mac_lookup, mac_prefetch, mac_table
from pmd_ext.meters cimport limits, police_flood, police_rx
from pmd_ext.mirror cimport mirror_copy, mirror_received
from pmd_ext.offload cimport offload_begin, offload_next, outgoing
from pmd_ext.patch cimport frame_room, patch_cross
from pmd_ext.slotsets cimport SLOT_WORDS, slot_set
from pmd_ext.snoop cimport snoop
from pmd_ext.state cimport BURST, bridge_view, forwarding, lesson, member, pmd
from pmd_ext.tally cimport tally, tally_up
from pmd_ext.transmit cimport transmit
from pmd_ext.vlan cimport (
    OUT_FLOOD, OUT_RESERVED, OUT_SAME_PORT, OUT_SLOTS, OUT_VLAN, frame, vlan_carries, vlan_in,
    vlan_receive, vlan_write,
)


# Frames of a burst with the same output.
cdef struct group:
    uint16_t n
    const tally *sum            # NULL: not known
    frame *frames[BURST]
    rte_mbuf *pkts[BURST]


cdef inline uint16_t n_frames(const burst *b) noexcept nogil:
    return 1 if b.alike else b.n


cdef inline void fetch_ahead(burst *b) noexcept nogil:
    """Has the lines of the table that will be looked at come into the cache meanwhile."""
    cdef mac_table *macs = b.source.bridge.macs
    cdef frame *f
    cdef uint16_t i
    for i in range(n_frames(b)):
        f = &b.frames[i]
        f.source_hash = mac_prefetch(macs, f.source)
        f.destination_hash = mac_prefetch(macs, f.destination)


cdef inline void learn(burst *b, lesson *learned) noexcept nogil:
    cdef bridge_view *bridge = b.source.bridge
    cdef uint64_t when = <uint64_t>mac_changes(bridge.macs, b.source.slot) << 16 | b.now_s
    cdef frame *f
    cdef uint16_t i
    for i in range(n_frames(b)):
        f = &b.frames[i]
        if f.source == 0 or (f.source == learned.source and when == learned.when):
            continue
        if bridge.flood_vlans != NULL and vlan_in(bridge.flood_vlans, f.vlan):
            continue
        if (mac_is_fresh(bridge.macs, f.source, f.source_hash, b.source.slot, b.now_s)
                or mac_learn(bridge.macs, f.source, b.source.slot, b.now_s)):
            learned.source = f.source
            learned.when = when


cdef inline uint16_t output_of(burst *b, const frame *f) noexcept nogil:
    cdef bridge_view *bridge = b.source.bridge
    cdef int found
    if bridge.flood_vlans != NULL and vlan_in(bridge.flood_vlans, f.vlan):
        return OUT_FLOOD
    found = mac_lookup(bridge.macs, f.destination, f.destination_hash, b.now_s)
    if found < 0 or b.fwd.member_of[found] == NULL or b.fwd.member_of[found].bridge != bridge:
        return OUT_FLOOD
    return OUT_SAME_PORT if found == b.source.slot else found


cdef inline void look_up(burst *b) noexcept nogil:
    cdef uint64_t previous = 0
    cdef uint16_t i, different = 0, previous_out = OUT_SAME_PORT
    cdef frame *f
    for i in range(n_frames(b)):
        f = &b.frames[i]
        if f.destination != 0:
            if f.destination != previous:
                previous = f.destination
                previous_out = output_of(b, f)
            f.out = previous_out
        different |= f.out ^ b.frames[0].out
    b.together = different == 0


cdef inline bint both_protected(const burst *b, const member *out) noexcept nogil:
    return b.source.protected and out.protected


cdef void cross(burst *b, const member *out, rte_mbuf **pkts, uint16_t n) noexcept nogil:
    """Sends to a patch port: the frames come in at its peer."""
    cdef rte_mbuf *copies[BURST]
    cdef lesson nothing
    cdef uint16_t peer = 0
    n = patch_cross(b.me, b.fwd, out.slot, pkts, n, copies, &peer)
    if n == 0:
        return
    nothing.source = nothing.when = 0
    b.me.work.depth += 1
    forward(b.me, b.fwd, peer, &nothing, copies, n, NULL, b.now_s)
    b.me.work.depth -= 1


cdef void cross_cut(burst *b, const member *out, group *g) noexcept nogil:
    """What is to be cut into segments is longer than the buffers that copies are made in."""
    cdef outgoing o
    offload_begin(&o, g.pkts, g.n, 0, frame_room(g.pkts[0]))
    while offload_next(&o):
        cross(b, out, o.frames, o.n)
    b.me.counters[out.slot].tx_offload_drops += o.invalid
    b.me.counters[out.slot].tx_no_buffer_drops += o.failed


cdef void send_tagged(burst *b, const member *out, group *g) noexcept nogil:
    cdef uint64_t ol_flags = 0
    cdef uint16_t i
    for i in range(g.n):
        vlan_write(out, g.frames[i], g.pkts[i])
        ol_flags |= g.pkts[i].ol_flags
    if out.patch and ol_flags & RTE_MBUF_F_RX_LRO:
        cross_cut(b, out, g)
    elif out.patch:
        cross(b, out, g.pkts, g.n)
    else:
        transmit(b.me, out.slot, g.pkts, g.n, NULL)
    if out.dst_mirrors:
        mirror_copy(b.me, b.source, out.dst_mirrors, g.frames, g.pkts, g.n)


cdef inline uint32_t send_by_vlan(burst *b, const member *out, group *g) noexcept nogil:
    """Sends the frames that the port may get; which of them that were, as bits."""
    cdef group some
    cdef uint32_t reached = 0
    cdef uint16_t k
    if out == b.source or out.mirror_output or both_protected(b, out):
        return 0
    some.n = 0
    for k in range(g.n):
        if vlan_carries(out, g.frames[k]):
            some.frames[some.n] = g.frames[k]
            some.pkts[some.n] = g.pkts[k]
            some.n += 1
            reached |= <uint32_t>1 << k
    if some.n:
        send_tagged(b, out, &some)
    return reached


cdef inline void count_unreached(burst *b, const group *g, uint32_t reached) noexcept nogil:
    cdef uint16_t k
    for k in range(g.n):
        b.counts.rx_no_output_drops += not reached >> k & 1


cdef void flood_by_vlan(burst *b, group *g) noexcept nogil:
    cdef uint32_t i, reached = 0
    for i in range(b.source.bridge.n_members):
        reached |= send_by_vlan(b, &b.source.bridge.members[i], g)
    count_unreached(b, g, reached)


cdef void multicast(burst *b, const slot_set *slots, group *g) noexcept nogil:
    """To those of the slots that are on the bridge still."""
    cdef const member *out
    cdef uint64_t left
    cdef uint32_t reached = 0
    cdef uint16_t i, slot
    for i in range(SLOT_WORDS):
        left, slot = slots.bits[i], 64 * i
        while left:
            if left & 1:
                out = b.fwd.member_of[slot]
                if out != NULL and out.bridge == b.source.bridge:
                    reached |= send_by_vlan(b, out, g)
            left >>= 1
            slot += 1
    count_unreached(b, g, reached)


cdef inline void flood(burst *b, group *g) noexcept nogil:
    cdef bridge_view *bridge = b.source.bridge
    cdef const tally *sum = g.sum
    cdef tally own
    cdef uint32_t i
    if not bridge.plain:
        flood_by_vlan(b, g)
        return
    if bridge.n_members == 1:
        b.counts.rx_no_output_drops += g.n
    if sum == NULL:
        tally_up(&own, g.pkts, g.n)
        sum = &own
    for i in range(bridge.n_members):
        if &bridge.members[i] != b.source:
            transmit(b.me, bridge.members[i].slot, g.pkts, g.n, sum)


cdef inline void unicast(burst *b, const member *out, group *g) noexcept nogil:
    if b.source.bridge.plain:
        transmit(b.me, out.slot, g.pkts, g.n, g.sum)
    elif out.mirror_output:
        b.counts.rx_mirror_drops += g.n
    elif both_protected(b, out):
        b.counts.rx_protected_drops += g.n
    else:
        send_tagged(b, out, g)


cdef void keep_from_storm(burst *b, group *g) noexcept nogil:
    """Leaves in the group what the port may flood."""
    cdef uint32_t passed = police_flood(b.limited, g.pkts, g.n)
    cdef uint16_t i, kept = 0
    for i in range(g.n):
        if passed >> i & 1:
            g.frames[kept], g.pkts[kept] = g.frames[i], g.pkts[i]
            kept += 1
    if kept < g.n:
        b.counts.rx_storm_drops += g.n - kept
        g.n, g.sum = kept, NULL


cdef inline void output(burst *b, uint16_t out, group *g) noexcept nogil:
    if out == OUT_FLOOD:
        if b.limited != NULL:
            keep_from_storm(b, g)
        if g.n:
            flood(b, g)
    elif out == OUT_SAME_PORT:
        b.counts.rx_same_port_drops += g.n
    elif out == OUT_RESERVED:
        b.counts.rx_reserved_drops += g.n
    elif out == OUT_VLAN:
        b.counts.rx_vlan_drops += g.n
    elif OUT_SLOTS <= out < OUT_SLOTS + BURST:
        multicast(b, &b.sets[out - OUT_SLOTS], g)
    else:
        unicast(b, b.fwd.member_of[out], g)


cdef inline void output_together(burst *b) noexcept nogil:
    cdef group g
    cdef uint16_t i
    g.n, g.sum = b.n, b.sum
    for i in range(b.n):
        g.frames[i] = &b.frames[i]
        g.pkts[i] = b.pkts[i]
    output(b, b.frames[0].out, &g)


cdef void output_grouped(burst *b) noexcept nogil:
    """One transmit burst per output port, the frames of a port in the order they came."""
    cdef group g
    cdef uint32_t waiting = <uint32_t>((<uint64_t>1 << b.n) - 1)
    cdef uint16_t i, first = 0, out
    while waiting:
        while not waiting >> first & 1:
            first += 1
        out = b.frames[first].out
        g.n, g.sum = 0, NULL
        for i in range(first, b.n):
            if waiting >> i & 1 and b.frames[i].out == out:
                g.frames[g.n] = &b.frames[i]
                g.pkts[g.n] = b.pkts[i]
                g.n += 1
                waiting &= ~(<uint32_t>1 << i)
        output(b, out, &g)


cdef inline void switch_burst(burst *b, lesson *learned) noexcept nogil:
    """What is left of the burst, on the bridge of its port."""
    cdef const member *source = b.source
    if not source.bridge.plain:
        vlan_receive(source, b.frames, b.pkts, b.n)
        if source.bridge.n_mirrors:
            mirror_received(b.me, source, b.frames, b.pkts, b.n)
    if source.bridge.snoop != NULL:
        snoop(source, b.frames, b.pkts, b.n, b.sets, b.now_s)
    fetch_ahead(b)
    learn(b, learned)
    look_up(b)
    if b.together:
        output_together(b)
    else:
        output_grouped(b)


cdef void forward(pmd *me, const forwarding *fwd, uint16_t slot_id, lesson *learned,
                  rte_mbuf **pkts, uint16_t n, const tally *sum, uint16_t now_s) noexcept nogil:
    cdef burst b
    cdef const member *source = fwd.member_of[slot_id]
    cdef uint16_t passed = n
    b.me, b.fwd, b.source, b.counts, b.now_s = me, fwd, source, &me.counters[slot_id], now_s
    b.sum = sum
    b.limited = <const limits *>load_acquire_ptr(<void **>&me.dp.slots[slot_id].limits)
    if b.limited != NULL:
        passed = police_rx(b.limited, pkts, n)
        b.counts.rx_qos_drops += n - passed
        if passed < n:
            b.sum = NULL
    classify(&b, pkts, passed)
    if source == NULL:
        b.counts.rx_no_bridge_drops += b.n
    elif source.mirror_output:
        b.counts.rx_mirror_drops += b.n
    elif b.n:
        switch_burst(&b, learned)
    rte_pktmbuf_free_bulk(pkts, n)
