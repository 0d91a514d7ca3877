# Telling flows apart.
from libc.stdint cimport uint32_t

from pmd_ext.dpdk.mbuf cimport rte_mbuf


# PMDs. The same for all frames of one flow: of its addresses, protocol and ports where it has them.
cdef uint32_t flow_hash(rte_mbuf *m) noexcept nogil
