# All bridges: their ports and MAC tables, and their publication to the PMDs. Main.
from pmd_ext.fdb cimport Table
from pmd_ext.slotsets cimport slot_set


cdef class Bridges:
    cdef dict tables            # bridge name -> Table
    cdef dict groups            # bridge name -> Groups, of those with multicast snooping
    cdef dict members           # bridge name -> {slot: its entry in 'members'}, as published
    cdef dict settings          # bridge name -> the rest, as published
    cdef dict mirrors           # name of a mirror -> its MirrorCounts

    # See Runtime.set_bridges(). MemoryError.
    cdef int set(self, list bridges) except -1
    cdef dict tables_for(self, list bridges)
    cdef dict groups_of(self, list bridges)
    cdef forget(self, dict ports, dict settings)
    cdef forget_elsewhere(self, str name, Table table, slot_set *left)
