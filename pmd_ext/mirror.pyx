"""Mirrors: a frame is copied when it comes in by a selected port, or has gone out by one.

Sending copies, so a mirror needs no buffer: it gives the frame the tag of its output, sends it, and
the frame goes on. What a mirror sends by a port is mirrored like all else that goes out there (OVS:
mirror_packet); a frame remembers which mirrors had it, so that comes to an end.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from pmd_ext.dpdk.mbuf cimport rte_mbuf
from pmd_ext.reserved cimport is_reserved
from pmd_ext.state cimport BURST, bridge_view, member, mirror, mirror_counts, pmd
from pmd_ext.transmit cimport transmit
from pmd_ext.vlan cimport OUT_VLAN, frame, vlan_carries, vlan_in, vlan_write


cdef extern from "shim.h" nogil:
    uint8_t *shim_mbuf_data(rte_mbuf *m)
    uint64_t shim_load_u64(const uint8_t *p)
    int shim_bit_width(uint32_t v)

cdef enum:
    ADDRESS = 0xffffffffffff


cdef void send_cut(pmd *me, uint16_t slot, uint32_t most, rte_mbuf **pkts, uint16_t n) noexcept nogil:
    """The first bytes of each frame, which is whole again afterwards. Frames are in one piece."""
    cdef uint16_t whole[BURST]
    cdef uint64_t asked[BURST]
    cdef uint16_t i
    for i in range(n):
        whole[i], asked[i] = pkts[i].data_len, pkts[i].ol_flags
        if whole[i] > most:
            pkts[i].data_len = most
            pkts[i].pkt_len = most
            pkts[i].ol_flags = 0        # a part has no checksum to complete
    transmit(me, slot, pkts, n, NULL)
    for i in range(n):
        if whole[i] > most:
            pkts[i].data_len = whole[i]
            pkts[i].pkt_len = whole[i]
            pkts[i].ol_flags = asked[i]


cdef void send_copies(pmd *me, const member *source, const mirror *m, const member *out,
                      frame **frames, rte_mbuf **pkts, uint16_t n) noexcept nogil:
    cdef uint16_t i
    if source.protected and out.protected:
        return
    for i in range(n):
        vlan_write(out, frames[i], pkts[i])
    if m.snaplen:
        send_cut(me, out.slot, m.snaplen, pkts, n)
    else:
        transmit(me, out.slot, pkts, n, NULL)
    if out.dst_mirrors:
        mirror_copy(me, source, out.dst_mirrors, frames, pkts, n)


cdef void flood_copies(pmd *me, const member *source, const mirror *m, frame **frames,
                       rte_mbuf **pkts, uint16_t n) noexcept nogil:
    """To all members of the mirror's VLAN, the port that they came from among them."""
    cdef bridge_view *bridge = source.bridge
    cdef const member *out
    cdef frame *moved[BURST]
    cdef frame *some[BURST]
    cdef rte_mbuf *moved_pkts[BURST]
    cdef rte_mbuf *some_pkts[BURST]
    cdef uint16_t vlans[BURST]
    cdef uint16_t i, k, n_moved = 0
    cdef uint32_t j
    for i in range(n):
        if (frames[i].vlan == m.out_vlan
                or is_reserved(shim_load_u64(shim_mbuf_data(pkts[i])) & <uint64_t>ADDRESS)):
            continue
        moved[n_moved], moved_pkts[n_moved] = frames[i], pkts[i]
        vlans[n_moved] = frames[i].vlan
        frames[i].vlan = m.out_vlan
        n_moved += 1
    for j in range(bridge.n_members):
        out = &bridge.members[j]
        if out.mirror_output:
            continue
        k = 0
        for i in range(n_moved):
            if vlan_carries(out, moved[i]):
                some[k], some_pkts[k] = moved[i], moved_pkts[i]
                k += 1
        if k:
            send_copies(me, source, m, out, some, some_pkts, k)
    for i in range(n_moved):
        moved[i].vlan = vlans[i]


cdef void mirror_copy(pmd *me, const member *source, uint32_t mirrors, frame **frames,
                      rte_mbuf **pkts, uint16_t n) noexcept nogil:
    # Calls itself for what a copy sets off; each time for frames that one mirror more has had, so
    # at most as often as a bridge has mirrors.
    cdef const mirror *m
    cdef mirror_counts *counts
    cdef frame *f
    cdef frame *some[BURST]
    cdef rte_mbuf *some_pkts[BURST]
    cdef uint16_t i, k
    cdef uint32_t bit
    while mirrors:
        bit = mirrors & -mirrors
        mirrors ^= bit
        m = &source.bridge.mirrors[shim_bit_width(bit) - 1]
        counts = &m.counts[me.index]
        k = 0
        for i in range(n):
            f = frames[i]
            if f.mirrored & bit or (m.vlans != NULL and not vlan_in(m.vlans, f.vlan)):
                continue
            f.mirrored |= m.same_output
            counts.bytes += f.rx_bytes
            some[k], some_pkts[k] = f, pkts[i]
            k += 1
        if k == 0:
            continue
        counts.packets += k
        if m.out != NULL:
            send_copies(me, source, m, m.out, some, some_pkts, k)
        else:
            flood_copies(me, source, m, some, some_pkts, k)


cdef void mirror_received(pmd *me, const member *source, frame *frames, rte_mbuf **pkts,
                          uint16_t n) noexcept nogil:
    cdef frame *f
    cdef frame *some[BURST]
    cdef rte_mbuf *some_pkts[BURST]
    cdef uint16_t i, k = 0
    for i in range(n):
        f = &frames[i]
        f.mirrored = 0
        f.rx_bytes = pkts[i].pkt_len
        if f.destination == 0 and f.out == OUT_VLAN:
            continue                    # its VLAN is not one of the port
        some[k], some_pkts[k] = f, pkts[i]
        k += 1
    if k and source.src_mirrors:
        mirror_copy(me, source, source.src_mirrors, some, some_pkts, k)
