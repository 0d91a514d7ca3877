# Tables that main builds aside and publishes: memory only, no publication.
from pmd_ext.mactable cimport mac_table
from pmd_ext.state cimport forwarding


# Owner of one bridge's MAC table.
cdef class Table:
    cdef mac_table *macs

# Main. Room for 'n_bridges' bridges; MemoryError.
cdef forwarding *forwarding_new(unsigned n_bridges) except NULL
# Main. Gives bridge 'i' its MAC table and its members (slots); MemoryError.
cdef int forwarding_set(forwarding *fwd, unsigned i, Table table, list members) except -1
# Main. After quiescence; the MAC tables are not touched.
cdef void forwarding_free(forwarding *fwd) noexcept nogil
