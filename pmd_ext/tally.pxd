# What a burst of frames adds up to: found once, used by all who count it or look for its limits.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from pmd_ext.dpdk.mbuf cimport rte_mbuf


cdef extern from "shim.h" nogil:
    uint8_t *shim_mbuf_data(rte_mbuf *m)

cdef struct tally:
    uint64_t bytes
    uint64_t ol_flags           # of all, or-ed
    uint32_t shortest           # bytes
    uint32_t longest
    uint8_t first_bytes         # of their addresses, or-ed: odd when one may be multicast

# PMDs. 'n' is at least 1; a frame without any byte is among what 'shortest' tells.
cdef inline void tally_up(tally *t, rte_mbuf **pkts, uint16_t n) noexcept nogil:
    cdef uint32_t length
    cdef uint16_t i
    t.bytes = t.ol_flags = t.longest = t.first_bytes = 0
    t.shortest = <uint32_t>-1
    for i in range(n):
        length = pkts[i].pkt_len
        t.bytes += length
        t.shortest = min(t.shortest, length)
        t.longest = max(t.longest, length)
        t.ol_flags |= pkts[i].ol_flags
        t.first_bytes |= shim_mbuf_data(pkts[i])[0]
