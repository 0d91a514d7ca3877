# What DPDK says about itself, as text, and how much it logs. Main.
from pmd_ext.dpdk.mbuf cimport rte_mempool


# Description of one packet pool and how many of its buffers are in use; of all pools with NULL.
cdef str mempool_text(rte_mempool *pool)
# DPDK's threads.
cdef str lcores_text()
# What each of DPDK's modules logs.
cdef str log_levels_text()
# Sets the level of modules whose names match a pattern; False: it is no pattern.
cdef bint set_log_level(str pattern, int level) except -1
