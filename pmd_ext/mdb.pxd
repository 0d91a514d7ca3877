# What main does with the multicast groups of a bridge.
from libc.stdint cimport uint16_t, uint32_t

from pmd_ext.groups cimport group_table


# Owner of one bridge's groups: made before they are published, freed after quiescence. MemoryError.
cdef class Groups:
    cdef group_table *table

    cdef list rows(self, uint16_t now_s)
    cdef int flush(self, int slot) except -1
    cdef int expire(self, uint16_t aging_s, uint16_t router_aging_s, uint16_t now_s) except -1
