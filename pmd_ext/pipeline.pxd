# The switching pipeline.
from libc.stdint cimport uint16_t

from pmd_ext.dpdk.mbuf cimport rte_mbuf
from pmd_ext.state cimport forwarding, lesson, pmd
from pmd_ext.tally cimport tally


# PMDs. Switches and frees up to BURST packets that came in by the port of 'slot_id'; 'learned' is
# the caller's memory of that port, 'sum' what the packets add up to; NULL: not known.
cdef void forward(pmd *me, const forwarding *fwd, uint16_t slot_id, lesson *learned,
                  rte_mbuf **pkts, uint16_t n, const tally *sum, uint16_t now_s) noexcept nogil
