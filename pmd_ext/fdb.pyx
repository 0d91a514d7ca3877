"""MAC tables as main has them."""
import os

from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.string cimport memset

from pmd_ext.atomics cimport store_relaxed_u32
from pmd_ext.dpdk.eal cimport rte_rdtsc
from pmd_ext.mactable cimport (
    MAC_STATIC, age, mac_key, mac_table, mac_table_free, mac_table_new, slot_of,
)
from pmd_ext.macwalk cimport mac_add_counters, mac_copy
from pmd_ext.slotsets cimport slot_set
from pmd_ext.state cimport dataplane, dataplane_get


cdef class Table:
    def __cinit__(self, uint32_t entries, uint32_t aging_s) -> None:
        cdef uint64_t secret = int.from_bytes(os.urandom(8), "little")
        self.cleared = ()
        with nogil:
            self.macs = mac_table_new(entries, aging_s, secret)
        if self.macs == NULL:
            raise MemoryError

    def __dealloc__(self) -> None:
        if self.macs != NULL:
            mac_table_free(self.macs)


cdef uint16_t now_s() noexcept nogil:
    cdef dataplane *dp = dataplane_get()
    return <uint16_t>((rte_rdtsc() - dp.tsc_start) / dp.tsc_hz)


cdef set_slots_end(mac_table *t, members):
    store_relaxed_u32(&t.slots_end, 1 + max([entry[0] for entry in members], default=-1))


cdef follow(Table old, Table new):
    """What PMDs wrote into the old table while the new one took its place."""
    cdef uint16_t now = now_s()
    with nogil:
        mac_copy(old.macs, new.macs, False, now)
        mac_add_counters(old.macs, new.macs)


cdef slot_set *all_slots(slot_set *s) noexcept nogil:
    memset(s, 0xff, sizeof(slot_set))
    return s


cdef uint64_t address_key(uint64_t address, uint16_t vlan):
    return mac_key(int.from_bytes(address.to_bytes(6, "big"), "little"), vlan)


cdef uint64_t key_address(uint64_t key):
    return int.from_bytes((key & <uint64_t>0xffffffffffff).to_bytes(6, "little"), "big")


cdef tuple entry_tuple(uint64_t key, uint32_t value, uint16_t now):
    """(slot, VLAN id, address as int, age in s; -1: set by hand)"""
    return (slot_of(value), key >> 48 & 0xfff, key_address(key),
            -1 if value & MAC_STATIC else max(0, <int>age(value, now)))
