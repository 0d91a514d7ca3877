# The switching pipeline.
from libc.stdint cimport uint16_t

from pmd_ext.dpdk.mbuf cimport rte_mbuf
from pmd_ext.state cimport forwarding, lesson, pmd


# PMDs. Switches and frees up to BURST packets that came in by the port of 'slot_id'; 'learned' is
# the caller's memory of that port.
cdef void forward(pmd *me, const forwarding *fwd, uint16_t slot_id, lesson *learned,
                  rte_mbuf **pkts, uint16_t n, uint16_t now_s) noexcept nogil
