# All bridges: their ports and MAC tables, and their publication to the PMDs. Main.
from libc.stdint cimport uint32_t

from pmd_ext.mactable cimport mac_table
from pmd_ext.slotsets cimport slot_set


# Owner of one bridge's MAC table.
cdef class Table:
    cdef mac_table *macs
    cdef tuple cleared          # its counters when fdb/stats-clear was last asked for

cdef class Bridges:
    cdef dict tables            # bridge name -> Table
    cdef dict groups            # bridge name -> Groups, of those with multicast snooping
    cdef dict members             # bridge name -> {slot: its entry in 'members'}, as published
    cdef dict settings          # bridge name -> the rest, as published
    cdef dict mirrors           # name of a mirror -> its MirrorCounts

    # See Runtime.set_bridges(). MemoryError.
    cdef int set(self, list bridges) except -1
    cdef dict tables_for(self, list bridges)

    cdef dict groups_of(self, list bridges)
    cdef forget(self, dict ports, dict settings)
    cdef forget_elsewhere(self, str name, Table table, slot_set *left)
