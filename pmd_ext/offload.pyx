"""Checksums and segmentation that guests leave to the switch: passed on to who takes them, done here
for all others.

Requests are looked at right before a frame is sent, in the frame as it is then: VLAN tags come and
go before that. Nothing of what a guest says of its frame is used but that it asks, and the size
of segments; where headers are and how long, the frame itself tells.

TCP is cut here and not by librte_gso: that of DPDK 22.11 knows no IPv6, leaves checksums open, and
makes chains of buffers, which not every output takes.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from pmd_ext.dpdk.mbuf cimport (
    RTE_MBUF_F_RX_L4_CKSUM_MASK, RTE_MBUF_F_RX_L4_CKSUM_NONE, RTE_MBUF_F_RX_LRO,
    RTE_MBUF_F_TX_IPV4, RTE_MBUF_F_TX_IPV6, RTE_MBUF_F_TX_L4_MASK, RTE_MBUF_F_TX_TCP_CKSUM,
    RTE_MBUF_F_TX_TCP_SEG, RTE_MBUF_F_TX_UDP_CKSUM, RTE_PKTMBUF_HEADROOM, rte_mbuf,
    rte_pktmbuf_alloc_bulk, rte_pktmbuf_data_room_size, rte_pktmbuf_free_bulk,
)
from pmd_ext.dpdk.net cimport rte_hash_crc, rte_ipv4_cksum, rte_ipv4_hdr, rte_raw_cksum
from pmd_ext.state cimport BURST


cdef extern from "shim.h" nogil:
    uint8_t *shim_mbuf_data(rte_mbuf *m)
    uint16_t shim_load_be16(const uint8_t *p)
    void shim_store_be16(uint8_t *p, uint16_t v)
    enum:
        RTE_ETHER_TYPE_IPV4
        RTE_ETHER_TYPE_IPV6
        RTE_ETHER_TYPE_VLAN
        RTE_ETHER_TYPE_QINQ

cdef extern from "netinet/in.h" nogil:
    enum:
        IPPROTO_HOPOPTS
        IPPROTO_TCP
        IPPROTO_UDP
        IPPROTO_ROUTING
        IPPROTO_DSTOPTS
        IPPROTO_SCTP

cdef enum:
    ADDRESSES = 12              # bytes in front of the first tag
    TAG = 4
    TAGS_MOST = 4
    IPV4_LEAST = 20
    IPV6 = 40
    EXTENSION_LEAST = 8
    EXTENSIONS_MOST = 8
    FRAGMENT = 0x3fff           # offset, and more fragments
    TCP_LEAST = 20
    UDP = 8
    SCTP_LEAST = 12
    SCTP_CHECKSUM = 8
    FIN = 0x01
    PSH = 0x08
    CWR = 0x80
    # What one frame can cost: 64 KiB in segments of 256 bytes. With the smallest ones, a single
    # burst would keep a PMD busy for a fifth of a second.
    SEGMENTS_MOST = 256

# What to do with a frame.
cdef enum:
    SEND
    CUT
    INVALID


# --- where the headers are ------------------------------------------------------------------------

cdef inline bint find_ipv4(const uint8_t *data, uint32_t end, headers *at) noexcept nogil:
    cdef uint32_t header, total
    if at.l3 + IPV4_LEAST > end or data[at.l3] >> 4 != 4:
        return False
    header = (data[at.l3] & 15) * 4
    total = shim_load_be16(data + at.l3 + 2)
    if header < IPV4_LEAST or total < header or shim_load_be16(data + at.l3 + 6) & FRAGMENT:
        return False
    at.protocol = data[at.l3 + 9]
    at.l4 = at.l3 + header
    at.l4_bytes = total - header
    return True


cdef inline bint find_ipv6(const uint8_t *data, uint32_t end, headers *at) noexcept nogil:
    cdef uint32_t stop
    cdef int left = EXTENSIONS_MOST
    if at.l3 + IPV6 > end or data[at.l3] >> 4 != 6:
        return False
    at.ipv6 = True
    at.protocol = data[at.l3 + 6]
    at.l4 = at.l3 + IPV6
    stop = at.l4 + shim_load_be16(data + at.l3 + 4)
    while at.protocol in (IPPROTO_HOPOPTS, IPPROTO_ROUTING, IPPROTO_DSTOPTS):
        if at.l4 + EXTENSION_LEAST > end or left == 0:
            return False
        left -= 1
        at.extended = True
        at.routed |= at.protocol == IPPROTO_ROUTING and data[at.l4 + 3] != 0
        at.protocol = data[at.l4]
        at.l4 += (data[at.l4 + 1] + 1) * EXTENSION_LEAST
    if at.l4 > stop:
        return False
    at.l4_bytes = stop - at.l4
    return True


cdef inline uint32_t least_l4(uint8_t protocol) noexcept nogil:
    if protocol == IPPROTO_TCP:
        return TCP_LEAST
    if protocol == IPPROTO_UDP:
        return UDP
    return SCTP_LEAST if protocol == IPPROTO_SCTP else 0


cdef bint find_headers(rte_mbuf *m, headers *at) noexcept nogil:
    """False when the frame is no whole TCP, UDP or SCTP packet."""
    cdef const uint8_t *data = shim_mbuf_data(m)
    cdef uint32_t end = m.data_len, least
    cdef uint16_t kind = RTE_ETHER_TYPE_VLAN
    at.l3 = ADDRESSES - TAG
    at.ipv6 = at.extended = at.routed = False
    while kind == RTE_ETHER_TYPE_VLAN or kind == RTE_ETHER_TYPE_QINQ:
        at.l3 += TAG
        if at.l3 + 2 > end or at.l3 > ADDRESSES + TAGS_MOST * TAG:
            return False
        kind = shim_load_be16(data + at.l3)
    at.l3 += 2
    if kind == RTE_ETHER_TYPE_IPV4:
        if not find_ipv4(data, end, at):
            return False
    elif kind != RTE_ETHER_TYPE_IPV6 or not find_ipv6(data, end, at):
        return False
    least = least_l4(at.protocol)
    return least != 0 and at.l4_bytes >= least and at.l4 + at.l4_bytes <= end


cdef bint find_payload(rte_mbuf *m, headers *at) noexcept nogil:
    """Of a frame to be cut; False when it cannot be."""
    cdef uint32_t header
    # a frame to be cut has no padding; with a routing header the checksum needs more than that frame says
    if (at.protocol != IPPROTO_TCP or at.routed or m.tso_segsz == 0
            or at.l4 + at.l4_bytes != m.pkt_len):
        return False
    header = (shim_mbuf_data(m)[at.l4 + 12] >> 4) * 4
    if header < TCP_LEAST or header > at.l4_bytes:
        return False
    at.payload = at.l4 + header
    return m.pkt_len - at.payload <= <uint32_t>SEGMENTS_MOST * m.tso_segsz


# --- checksums ------------------------------------------------------------------------------------

cdef inline uint32_t pseudo_header(const uint8_t *data, const headers *at) noexcept nogil:
    cdef uint8_t rest[4]
    rest[0], rest[1] = 0, at.protocol
    shim_store_be16(rest + 2, at.l4_bytes)
    return (rte_raw_cksum(data + at.l3 + 8, 32) if at.ipv6 else rte_raw_cksum(
            data + at.l3 + IPV4_LEAST - 8, 8)) + <uint32_t>rte_raw_cksum(rest, sizeof(rest))


cdef inline void complete_crc(uint8_t *l4, uint32_t bytes) noexcept nogil:
    cdef uint32_t crc = 0
    memcpy(l4 + SCTP_CHECKSUM, &crc, sizeof(crc))
    crc = ~rte_hash_crc(l4, bytes, 0xffffffff)
    memcpy(l4 + SCTP_CHECKSUM, &crc, sizeof(crc))


cdef void complete(rte_mbuf *m, const headers *at) noexcept nogil:
    """Writes the checksum."""
    cdef uint8_t *data = shim_mbuf_data(m)
    cdef uint8_t *field = data + at.l4
    cdef uint32_t total = 0
    cdef uint16_t checksum = 0
    if at.protocol == IPPROTO_SCTP:
        complete_crc(data + at.l4, at.l4_bytes)
        return
    field += TCP_CHECKSUM if at.protocol == IPPROTO_TCP else UDP_CHECKSUM
    # The sum of a pseudo-header whose destination a routing header keeps is what the guest left there.
    if not at.routed:
        memcpy(field, &checksum, sizeof(checksum))
        total = pseudo_header(data, at)
    total += rte_raw_cksum(data + at.l4, at.l4_bytes)
    total = (total >> 16) + (total & 0xffff)
    checksum = ~((total >> 16) + total)
    if checksum == 0 and at.protocol == IPPROTO_UDP:
        checksum = 0xffff       # 0 would mean that there is none
    memcpy(field, &checksum, sizeof(checksum))


cdef inline void pass_on(rte_mbuf *m, const headers *at, uint64_t request) noexcept nogil:
    m.l2_len = at.l3
    m.l3_len = at.l4 - at.l3
    m.ol_flags |= request | (RTE_MBUF_F_TX_IPV6 if at.ipv6 else RTE_MBUF_F_TX_IPV4)


cdef void finish(rte_mbuf *m, const headers *at, unsigned takes) noexcept nogil:
    """Lets the output complete the checksum, or does it. What pseudo-header goes with extension
    headers DPDK does not know, and nobody takes SCTP's."""
    if takes & TAKES_CHECKSUMS and not at.extended and at.protocol != IPPROTO_SCTP:
        pass_on(m, at, RTE_MBUF_F_TX_TCP_CKSUM if at.protocol == IPPROTO_TCP
                else RTE_MBUF_F_TX_UDP_CKSUM)
    else:
        complete(m, at)
        m.ol_flags &= ~(RTE_MBUF_F_RX_L4_CKSUM_MASK | RTE_MBUF_F_RX_LRO)


# --- segments -------------------------------------------------------------------------------------

cdef void write_segment(rte_mbuf *to, rte_mbuf *m, headers *at, uint32_t done) noexcept nogil:
    """The segment of a frame that comes after 'done' bytes of its payload."""
    cdef uint32_t bytes = min(<uint32_t>m.tso_segsz, m.pkt_len - at.payload - done)
    cdef const uint8_t *whole = shim_mbuf_data(m)
    cdef uint8_t *data = shim_mbuf_data(to)
    cdef uint8_t *ip = data + at.l3
    cdef uint8_t *tcp = data + at.l4
    cdef uint32_t sequence
    cdef uint16_t checksum
    memcpy(data, whole, at.payload)
    memcpy(data + at.payload, whole + at.payload + done, bytes)
    to.pkt_len = at.payload + bytes
    to.data_len = to.pkt_len
    at.l4_bytes = to.pkt_len - at.l4
    if at.ipv6:
        shim_store_be16(ip + 4, to.pkt_len - at.l3 - IPV6)
    else:
        shim_store_be16(ip + 2, to.pkt_len - at.l3)
        shim_store_be16(ip + 4, shim_load_be16(ip + 4) + done // m.tso_segsz)
        shim_store_be16(ip + 10, 0)
        checksum = rte_ipv4_cksum(<rte_ipv4_hdr *>ip)
        memcpy(ip + 10, &checksum, sizeof(checksum))
    sequence = (<uint32_t>shim_load_be16(tcp + 4) << 16 | shim_load_be16(tcp + 6)) + done
    shim_store_be16(tcp + 4, sequence >> 16)
    shim_store_be16(tcp + 6, sequence)
    if done:
        tcp[13] &= <uint8_t>~CWR
    if at.payload + done + bytes < m.pkt_len:
        tcp[13] &= <uint8_t>~(FIN | PSH)


cdef bint cut(outgoing *o, rte_mbuf *m) noexcept nogil:
    """Makes as many segments as the step has room for; False when there are no buffers."""
    cdef uint32_t left = m.pkt_len - o.at.payload - o.done
    cdef uint16_t n = min(<uint32_t>(BURST - o.n), (left + m.tso_segsz - 1) // m.tso_segsz)
    cdef rte_mbuf *segment
    cdef uint16_t i
    if rte_pktmbuf_alloc_bulk(m.pool, o.segments + o.n_segments, n) != 0:
        return False
    for i in range(n):
        segment = o.segments[o.n_segments + i]
        write_segment(segment, m, &o.at, o.done)
        finish(segment, &o.at, o.takes)
        o.frames[o.n] = segment
        o.n += 1
        o.done += m.tso_segsz
    o.n_segments += n
    return True


# --- a burst --------------------------------------------------------------------------------------

cdef inline bint takes_whole(const outgoing *o) noexcept nogil:
    cdef unsigned needed = TAKES_CHECKSUMS | (TAKES_TSO6 if o.at.ipv6 else TAKES_TSO4)
    return o.takes & needed == needed and not o.at.extended


cdef int prepare(outgoing *o, rte_mbuf *m) noexcept nogil:
    """What to do with a frame that has a request."""
    cdef uint32_t longest
    m.ol_flags &= ~(RTE_MBUF_F_TX_L4_MASK | RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_IPV4
                    | RTE_MBUF_F_TX_IPV6)
    if not find_headers(m, &o.at):
        return INVALID
    if m.ol_flags & RTE_MBUF_F_RX_LRO:
        if not find_payload(m, &o.at):
            return INVALID
        longest = min(m.pkt_len, o.at.payload + m.tso_segsz)
        if longest > o.max_frame_bytes:
            return INVALID
        if longest < m.pkt_len:
            if takes_whole(o):
                m.l4_len = o.at.payload - o.at.l4
                pass_on(m, &o.at, RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_TCP_CKSUM)
                return SEND
            return CUT if longest + RTE_PKTMBUF_HEADROOM <= rte_pktmbuf_data_room_size(
                m.pool) else INVALID
    finish(m, &o.at, o.takes)
    return SEND


cdef void offload_begin(outgoing *o, rte_mbuf **pkts, uint16_t n, unsigned takes,
                        uint32_t max_frame_bytes) noexcept nogil:
    o.pkts, o.n_pkts, o.takes, o.max_frame_bytes = pkts, n, takes, max_frame_bytes
    o.n = o.next = o.n_segments = o.invalid = o.failed = 0
    o.cutting = False


cdef bint offload_next(outgoing *o) noexcept nogil:
    cdef rte_mbuf *m
    cdef int what
    rte_pktmbuf_free_bulk(o.segments, o.n_segments)
    o.n = o.n_segments = 0
    while o.next < o.n_pkts and o.n < BURST:
        m = o.pkts[o.next]
        if not o.cutting:
            what = SEND
            if (m.ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK == RTE_MBUF_F_RX_L4_CKSUM_NONE
                    or m.ol_flags & RTE_MBUF_F_RX_LRO):
                what = prepare(o, m)
            if what == CUT:
                o.cutting, o.done = True, 0
            elif what == SEND:
                o.frames[o.n] = m
                o.n += 1
            else:
                o.invalid += 1
        if o.cutting:
            if not cut(o, m):
                o.failed += 1
                o.cutting = False
            elif o.at.payload + o.done >= m.pkt_len:
                o.cutting = False
        if not o.cutting:
            o.next += 1
    return o.n != 0
