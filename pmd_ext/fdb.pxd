# MAC tables as main has them: their owners, and what their entries are in Python. Main.
from libc.stdint cimport uint16_t, uint32_t, uint64_t

from pmd_ext.mactable cimport mac_table
from pmd_ext.slotsets cimport slot_set


# Owner of one bridge's MAC table.
cdef class Table:
    cdef mac_table *macs
    cdef tuple cleared          # its counters when fdb/stats-clear was last asked for

# The coarse time: seconds since the data plane started, which wrap.
cdef uint16_t now_s() noexcept nogil
cdef set_slots_end(mac_table *t, members)
cdef follow(Table old, Table new)
cdef slot_set *all_slots(slot_set *s) noexcept nogil
cdef uint64_t address_key(uint64_t address, uint16_t vlan)
cdef uint64_t key_address(uint64_t key)
cdef tuple entry_tuple(uint64_t key, uint32_t value, uint16_t now)
