# What guests leave to the switch: checksums to complete, TCP frames to cut into segments.
#
# A frame carries its request in its mbuf as librte_vhost and DPDK's drivers say it on receipt:
# RX_L4_CKSUM_NONE in ol_flags (the checksum of TCP, UDP or SCTP is not there yet) and RX_LRO with
# tso_segsz (a TCP frame to be cut). Other sources of frames do the same. A request that was fulfilled is
# gone; TX flags stand in a frame only for the output it is sent to next.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from pmd_ext.dpdk.mbuf cimport RTE_MBUF_F_RX_L4_CKSUM_NONE, RTE_MBUF_F_RX_LRO, rte_mbuf
from pmd_ext.state cimport BURST


# What an output takes as it is, with TX flags and header lengths in the mbuf.
cdef enum:
    TAKES_CHECKSUMS = 1         # of TCP and UDP, with the pseudo-header's sum in the field or without
    TAKES_TSO4 = 2              # segmentation of TCP over IPv4, and over IPv6
    TAKES_TSO6 = 4

# Where the checksum is in a header.
cdef enum:
    TCP_CHECKSUM = 16
    UDP_CHECKSUM = 6

# Where the headers of a frame are, in bytes from its beginning.
cdef struct headers:
    uint32_t l3
    uint32_t l4
    uint32_t l4_bytes           # with all that follows the header
    uint32_t payload            # of a TCP frame to be cut
    uint8_t protocol
    bint ipv6
    bint extended               # there are IPv6 extension headers
    bint routed                 # one of them keeps the final destination

# A burst on its way to one output.
cdef struct outgoing:
    # what is to be sent next
    uint16_t n
    rte_mbuf *frames[BURST]
    # what came to nothing so far
    uint16_t invalid            # frames whose request makes no sense
    uint16_t failed             # frames that there were no buffers for
    # offload.pyx alone
    rte_mbuf **pkts
    uint16_t n_pkts
    uint16_t next
    unsigned takes
    uint32_t max_frame_bytes
    bint cutting                # pkts[next], whose headers these are
    headers at
    uint32_t done               # bytes of its payload
    uint16_t n_segments
    rte_mbuf *segments[BURST]

# Of the ol_flags of a burst, or-ed: whether one of the frames may have a request.
cdef inline bint offload_asked(uint64_t ol_flags) noexcept nogil:
    return ol_flags & (RTE_MBUF_F_RX_L4_CKSUM_NONE | RTE_MBUF_F_RX_LRO) != 0

# Threads that may allocate mbufs. Begins to send up to BURST frames, each in one piece of memory,
# to an output that takes frames up to 'max_frame_bytes' and leaves 'takes' to who is behind it. The
# mbufs stay the caller's; checksums are completed in them.
cdef void offload_begin(outgoing *o, rte_mbuf **pkts, uint16_t n, unsigned takes,
                        uint32_t max_frame_bytes) noexcept nogil
# As above. Frees the segments of the last step and makes the next: o.frames, up to BURST of them, in
# order, to be copied before the next call. False: there are no more.
cdef bint offload_next(outgoing *o) noexcept nogil
