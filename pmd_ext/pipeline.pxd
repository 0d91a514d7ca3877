# The switching pipeline: what happens to the frames of one received burst.
from libc.stdint cimport uint16_t

from pmd_ext.dpdk.mbuf cimport rte_mbuf
from pmd_ext.state cimport forwarding, pmd, rxq


# PMDs. Forwards up to BURST frames received on 'q' and frees them.
cdef void forward(pmd *me, rxq *q, const forwarding *fwd, rte_mbuf **pkts, uint16_t n,
                  uint16_t now_s) noexcept nogil
