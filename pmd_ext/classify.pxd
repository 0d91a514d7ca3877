# A burst on its way through a bridge, and its first stage: reading headers.
from libc.stdint cimport uint16_t

from pmd_ext.dpdk.mbuf cimport rte_mbuf
from pmd_ext.meters cimport limits
from pmd_ext.slotsets cimport slot_set
from pmd_ext.state cimport BURST, forwarding, member, pmd, port_counters
from pmd_ext.tally cimport tally
from pmd_ext.vlan cimport frame


# Frames of one port on their way through its bridge.
cdef struct burst:
    pmd *me
    const forwarding *fwd
    const member *source
    port_counters *counts       # of the port they came from
    const limits *limited       # the same; NULL: no limits
    const tally *sum            # of what came in, while all of it goes on unchanged; else NULL
    uint16_t now_s
    uint16_t n
    bint alike                  # frames[0] tells of all, there are no others
    bint together               # all have the output of the first
    frame frames[BURST]
    rte_mbuf *pkts[BURST]
    slot_set sets[BURST]        # what OUT_SLOTS + i stands for

# PMDs. Reads the headers of up to BURST frames into an empty burst; leaves out, and counts, what has
# no whole header.
cdef void classify(burst *b, rte_mbuf **pkts, uint16_t n) noexcept nogil
