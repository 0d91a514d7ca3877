"""VLANs: a frame is put into one when it comes in, and given the tag of the port when it goes out.

What is below the tag that the bridge looks at is never changed. The packet's tag changes only right
before it is sent, from whatever it was for the port before: sending copies.
"""
from libc.stdint cimport uint8_t, uint16_t
from libc.string cimport memmove

from pmd_ext.dpdk.mbuf cimport rte_mbuf
from pmd_ext.mactable cimport mac_key_in
from pmd_ext.state cimport (
    PRIORITY_ALWAYS, PRIORITY_NEVER, VLAN_ACCESS, VLAN_NATIVE_UNTAGGED, VLAN_TRUNK, VLAN_TUNNEL,
    member,
)


cdef extern from "shim.h" nogil:
    uint8_t *shim_mbuf_data(rte_mbuf *m)
    uint16_t shim_load_be16(const uint8_t *p)
    void shim_store_be16(uint8_t *p, uint16_t v)
    enum:
        RTE_ETHER_TYPE_VLAN
        RTE_ETHER_TYPE_QINQ

cdef enum:
    ADDRESSES = 12              # bytes in front of the first tag
    TAG = 4


cdef inline bint admits(const member *source, uint16_t vlan) noexcept nogil:
    """Whether a frame of that VLAN, 0 for one without, may come in."""
    if source.mode == VLAN_ACCESS:
        return vlan == 0
    if source.mode == VLAN_TUNNEL:
        return source.cvlans == NULL or vlan_in(source.cvlans, vlan)
    if source.mode != VLAN_TRUNK and vlan == 0:
        return True             # a native port always carries its own
    return source.trunks == NULL or vlan_in(source.trunks, vlan)


cdef inline uint16_t tag_below(const frame *f, rte_mbuf *m) noexcept nogil:
    """frame.inner of a packet that has a tag on the wire."""
    cdef uint8_t *at = shim_mbuf_data(m) + ADDRESSES + TAG
    cdef uint16_t tpid
    if f.wire_tpid == 0 or m.data_len < ADDRESSES + 2 * TAG:
        return 0
    tpid = shim_load_be16(at)
    if tpid != RTE_ETHER_TYPE_VLAN and tpid != RTE_ETHER_TYPE_QINQ:
        return 0
    return shim_load_be16(at + 2) & VID | INNER


cdef inline void into_vlan(const member *source, frame *f) noexcept nogil:
    if source.mode == VLAN_TUNNEL:
        f.inner = f.vlan | INNER if f.wire_tpid else 0
        f.vlan, f.pcp, f.tpid = source.vlan, 0, source.tpid
        f.wire_tpid = f.wire_tci = 0        # the received tag is below now
    elif f.vlan == 0 and source.mode != VLAN_TRUNK:
        f.vlan = source.vlan
        if f.tpid == 0:
            f.tpid = RTE_ETHER_TYPE_VLAN
        if source.mode == VLAN_ACCESS:
            f.inner = 0         # such a port knows of no tags


cdef void vlan_receive(const member *source, frame *frames, rte_mbuf **pkts,
                       uint16_t n) noexcept nogil:
    cdef frame *f
    cdef uint16_t i
    for i in range(n):
        f = &frames[i]
        if not admits(source, f.vlan):
            f.source = f.destination = 0
            f.out = OUT_VLAN
            continue
        if source.bridge.tags > 1:
            f.inner = tag_below(f, pkts[i])
        into_vlan(source, f)
        if f.source:
            f.source = mac_key_in(f.source, f.vlan)
        if f.destination:
            f.destination = mac_key_in(f.destination, f.vlan)


cdef bint vlan_carries(const member *out, const frame *f) noexcept nogil:
    if out.mode == VLAN_ACCESS:
        return f.vlan == out.vlan and f.inner & VID == 0
    if out.mode == VLAN_TUNNEL:
        return f.vlan == out.vlan and (out.cvlans == NULL or vlan_in(out.cvlans, f.inner & VID))
    if out.mode != VLAN_TRUNK and f.vlan == 0:
        return False            # what has no VLAN there is of the port's own
    return out.trunks == NULL or vlan_in(out.trunks, f.vlan)


cdef void vlan_strip(frame *f, rte_mbuf *m) noexcept nogil:
    cdef uint8_t *data = shim_mbuf_data(m)
    memmove(data + TAG, data, ADDRESSES)
    m.data_off += TAG
    m.data_len -= TAG
    m.pkt_len -= TAG
    f.wire_tpid = f.wire_tci = 0


cdef inline void put_tag(frame *f, rte_mbuf *m, uint16_t tpid, uint16_t tci) noexcept nogil:
    """Adds the tag, or changes the one that is there."""
    cdef uint8_t *data
    if f.wire_tpid == 0:
        m.data_off -= TAG       # of the headroom that every packet has
        m.data_len += TAG
        m.pkt_len += TAG
        data = shim_mbuf_data(m)
        memmove(data, data + TAG, ADDRESSES)
    elif f.wire_tpid == tpid and f.wire_tci & (VID | PCP) == tci:
        return
    data = shim_mbuf_data(m)
    shim_store_be16(data + ADDRESSES, tpid)
    shim_store_be16(data + ADDRESSES + 2, tci)
    f.wire_tpid, f.wire_tci = tpid, tci


cdef void vlan_write(const member *out, frame *f, rte_mbuf *m) noexcept nogil:
    cdef uint16_t tpid = f.tpid, tci = f.vlan | f.pcp
    cdef bint below = False     # the frame leaves with the tag below, as it is
    if out.mode == VLAN_ACCESS:
        tpid = tci = 0
    elif out.mode == VLAN_TUNNEL or (out.mode == VLAN_NATIVE_UNTAGGED and f.vlan == out.vlan):
        tpid = tci = 0
        below = f.inner != 0
    if out.priority_tags != PRIORITY_NEVER and not below:
        tci = tci & VID | f.rx_pcp
    if tci or (out.priority_tags == PRIORITY_ALWAYS and tpid):
        put_tag(f, m, tpid if tpid else RTE_ETHER_TYPE_VLAN, tci)
    elif f.wire_tpid:
        vlan_strip(f, m)
