# VLANs of frames: what a bridge's ports admit, carry and put on the wire (OVS: the NORMAL action).
from libc.stdint cimport uint16_t, uint32_t, uint64_t

from pmd_ext.dpdk.mbuf cimport rte_mbuf
from pmd_ext.state cimport bridge_view, member, vlan_set


# What a frame's output can be besides a slot.
cdef enum:
    OUT_SLOTS = 0xff00          # and the BURST - 1 that follow: one of the burst's sets of slots
    OUT_VLAN = 0xfffc           # dropped: its VLAN is not one of the port it came from
    OUT_FLOOD = 0xfffd
    OUT_SAME_PORT = 0xfffe      # dropped: it would go back where it came from
    OUT_RESERVED = 0xffff       # dropped: bridges keep these addresses to themselves

# Parts of a tag.
cdef enum:
    VID = 0x0fff
    PCP = 0xe000

cdef enum:
    INNER = 0x1000              # in frame.inner: there is such a tag

# One frame on its way through a bridge.
cdef struct frame:
    uint64_t source             # mac_key(), 0: not to be learned
    uint64_t destination        # mac_key(), 0: no lookup, 'out' says it all
    uint32_t source_hash        # mac_hash() of these
    uint32_t destination_hash
    # inside the bridge
    uint16_t vlan
    uint16_t pcp                # in its place in a tag, as in all that follow
    uint16_t tpid               # of the tag that VLAN and PCP are of; 0: not known
    uint16_t inner              # VLAN of the tag below that one, with INNER; 0: none
    # as received, but that a tag without VLAN and PCP is none
    uint16_t rx_pcp
    # now in the packet, in front of the tag below
    uint16_t wire_tpid          # 0: no tag
    uint16_t wire_tci
    uint16_t out                # a slot, or OUT_...
    # on a bridge with mirrors
    uint32_t mirrored           # bits of those that had it, or whose output had it
    uint32_t rx_bytes           # its length as received

cdef inline bint vlan_in(const vlan_set *s, uint16_t vlan) noexcept nogil:
    return s.bits[vlan >> 6] >> (vlan & 63) & 1

# PMDs. Puts a burst from 'source' into the VLANs of the bridge, or gives it OUT_VLAN.
cdef void vlan_receive(const member *source, frame *frames, rte_mbuf **pkts,
                       uint16_t n) noexcept nogil
# PMDs. Whether 'out' is among the ports that a frame is flooded to.
cdef bint vlan_carries(const member *out, const frame *f) noexcept nogil
# PMDs. Gives the packet the tag that it leaves 'out' with.
cdef void vlan_write(const member *out, frame *f, rte_mbuf *m) noexcept nogil
# PMDs. Takes the outermost tag out of the packet.
cdef void vlan_strip(frame *f, rte_mbuf *m) noexcept nogil
