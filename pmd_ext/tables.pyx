"""Tables that main builds aside and publishes: memory only, no publication."""
from libc.stdint cimport uint16_t, uint32_t
from libc.stdlib cimport calloc, free

from pmd_ext.mactable cimport mac_table_free, mac_table_new
from pmd_ext.state cimport bridge_view, forwarding

cdef enum:
    MAC_TABLE_ENTRIES = 8192    # OVS's default mac-table-size
    MAC_AGING_S = 300           # OVS's default mac-aging-time


cdef class Table:
    def __cinit__(self) -> None:
        self.macs = mac_table_new(MAC_TABLE_ENTRIES, MAC_AGING_S)
        if self.macs == NULL:
            raise MemoryError

    def __dealloc__(self) -> None:
        if self.macs != NULL:
            mac_table_free(self.macs)


cdef forwarding *forwarding_new(unsigned n_bridges) except NULL:
    cdef forwarding *fwd = <forwarding *>calloc(1, sizeof(forwarding))
    if fwd != NULL:
        fwd.bridges = <bridge_view *>calloc(n_bridges + 1, sizeof(bridge_view))
    if fwd == NULL or fwd.bridges == NULL:
        free(fwd)
        raise MemoryError
    fwd.n_bridges = n_bridges
    return fwd


cdef int forwarding_set(forwarding *fwd, unsigned i, Table table, list members) except -1:
    cdef bridge_view *view = &fwd.bridges[i]
    cdef uint16_t index
    view.macs = table.macs
    view.members = <uint16_t *>calloc(len(members) + 1, sizeof(uint16_t))
    if view.members == NULL:
        raise MemoryError
    for index in sorted(members):
        view.members[view.n_members] = index
        view.n_members += 1
        fwd.bridge_of[index] = view
    return 0


cdef void forwarding_free(forwarding *fwd) noexcept nogil:
    cdef uint32_t i
    for i in range(fwd.n_bridges):
        free(fwd.bridges[i].members)
    free(fwd.bridges)
    free(fwd)
