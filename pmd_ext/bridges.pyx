"""Who is on which bridge: tables that main builds aside, publishes, and frees after quiescence."""
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from pmd_ext.atomics cimport load_relaxed_u32, store_relaxed_u32, store_release_i32, store_release_ptr
from pmd_ext.fdb cimport (
    Table, address_key, all_slots, entry_tuple, follow, key_address, now_s, set_slots_end,
)
from pmd_ext.forwardings cimport forwarding_free, forwarding_new
from pmd_ext.macflaps cimport FLAPS, flaps_look, mac_flap
from pmd_ext.mactable cimport mac_table
from pmd_ext.macwalk cimport (
    mac_copy, mac_entry, mac_expire, mac_find, mac_flush, mac_has, mac_list, mac_remove,
    mac_set_static, mac_sum, mac_totals,
)
from pmd_ext.mdb cimport Groups
from pmd_ext.mirrors cimport MirrorCounts
from pmd_ext.slotsets cimport slot_add, slot_set
from pmd_ext.state cimport dataplane, dataplane_get, forwarding, synchronize

# As in mac_totals, see mac_owner.
FDB_COUNTER_NAMES = ("learned", "expired", "evicted", "moved", "static_none_move", "refused",
                     "held")

cdef enum:
    # Buckets that one look for aged entries reads, of all tables in turn: 8 MiB, some 2 ms. What
    # has aged is not looked up, shown or in the way meanwhile.
    EXPIRE_BUCKETS = 1 << 17
    # Addresses of ports that left which are looked for on the other bridges; the rest age there.
    KEYS_ELSEWHERE = 1 << 14

cdef class Bridges:
    def __cinit__(self) -> None:
        self.tables, self.groups, self.mirrors = {}, {}, {}
        self.members, self.settings = {}, {}

    cdef int set(self, list bridges) except -1:
        cdef dataplane *dp = dataplane_get()
        cdef forwarding *old = dp.fwd
        cdef forwarding *fwd
        tables, groups = self.tables_for(bridges), self.groups_of(bridges)
        mirrors = {name: self.mirrors.get(name) or MirrorCounts()
                   for bridge in bridges for name, *_ in bridge["mirrors"]}
        fwd = forwarding_new(bridges, tables, groups, mirrors)
        for bridge in bridges:
            for entry in bridge["members"]:
                store_release_i32(&dp.slots[<int>entry[0]].detached, False)
        with nogil:
            store_release_ptr(<void **>&dp.fwd, fwd)
            synchronize()
            forwarding_free(old)
        for name, table in tables.items():
            if name in self.tables and self.tables[name] is not table:
                follow(self.tables[name], table)
        self.tables, self.groups, self.mirrors = tables, groups, mirrors
        ports = {bridge["name"]: {entry[0]: entry for entry in bridge["members"]}
                 for bridge in bridges}
        settings = {bridge["name"]: {key: value for key, value in bridge.items()
                                     if key != "members"} for bridge in bridges}
        self.forget(ports, settings)
        self.members, self.settings = ports, settings
        return 0

    cdef dict tables_for(self, list bridges):
        """{bridge: its table}: the one it has, or a new one with what was in the old."""
        cdef Table table, new
        cdef uint16_t now = now_s()
        tables = {}
        for bridge in bridges:
            table = self.tables.get(bridge["name"])
            if table is None:
                table = Table(bridge["mac_table_size"], bridge["mac_aging_s"])
            elif table.macs.max_entries != bridge["mac_table_size"]:
                new = Table(bridge["mac_table_size"], bridge["mac_aging_s"])
                new.cleared = table.cleared
                set_slots_end(new.macs, bridge["members"])
                with nogil:
                    mac_copy(table.macs, new.macs, True, now)
                table = new
            set_slots_end(table.macs, bridge["members"])
            store_relaxed_u32(&table.macs.aging_s, bridge["mac_aging_s"])
            tables[bridge["name"]] = table
        return tables

    cdef dict groups_of(self, list bridges):
        """{bridge: its groups} of those with snooping: those that it has, unless it is to have room
        for another number."""
        cdef Groups groups
        found = {}
        for bridge in bridges:
            if bridge["snooping"] is None:
                continue
            groups = self.groups.get(bridge["name"])
            if groups is None or groups.table.max_groups != bridge["snooping"]["table_size"]:
                groups = Groups(bridge["snooping"]["table_size"])
            found[bridge["name"]] = groups
        return found

    cdef forget(self, dict ports, dict settings):
        """What was learned behind ports that left, or whose VLANs are others now."""
        cdef Table table
        cdef Groups groups
        cdef slot_set left, others
        cdef mac_flap flaps[FLAPS]
        cdef uint16_t now = now_s()
        for name, before in self.members.items():
            if name not in ports:
                continue            # its table is gone
            table = self.tables[name]
            memset(&left, 0, sizeof(left))
            memset(&others, 0, sizeof(others))
            groups = self.groups.get(name)
            for slot, entry in before.items():
                if ports[name].get(slot) == entry:
                    continue
                slot_add(&others if slot in ports[name] else &left, slot)
                if groups is not None:
                    groups.flush(slot)
            if settings[name]["flood_vlans"] != self.settings[name]["flood_vlans"]:
                all_slots(&others)
            with nogil:
                if mac_has(table.macs, &others):
                    mac_flush(table.macs, &others, False, NULL, 0)
                flaps_look(table.macs.flaps, left.bits, flaps, now)
            self.forget_elsewhere(name, table, &left)

    cdef forget_elsewhere(self, str name, Table table, slot_set *left):
        """All of ports that left; their addresses on the other bridges, too: they may be reached
        another way now."""
        cdef uint64_t *keys = NULL
        cdef uint32_t i, n
        if not mac_has(table.macs, left):
            return
        keys = <uint64_t *>malloc(KEYS_ELSEWHERE * sizeof(uint64_t))
        if keys == NULL:
            raise MemoryError
        with nogil:
            n = mac_flush(table.macs, left, True, keys, KEYS_ELSEWHERE)
        for other, another in self.tables.items():
            if other != name and load_relaxed_u32(&(<Table>another).macs.entries):
                table = another
                with nogil:
                    for i in range(n):
                        mac_remove(table.macs, keys[i], False)
        free(keys)

    def fdb(self, str bridge):
        """MAC table of one bridge: a list of (slot, VLAN id, address as int, age in s, which is -1
        for what was set by hand)."""
        cdef mac_table *t = (<Table>self.tables[bridge]).macs
        cdef uint32_t n = load_relaxed_u32(&t.entries) + 1
        cdef uint16_t now = now_s()
        cdef mac_entry *found = <mac_entry *>malloc(n * sizeof(mac_entry))
        if found == NULL:
            raise MemoryError
        with nogil:
            n = mac_list(t, found, n, now)
        try:
            return [entry_tuple(found[i].key, found[i].value, now) for i in range(n)]
        finally:
            free(found)

    def fdb_entry(self, str bridge, int vlan, uint64_t address):
        """The entry of one address as in fdb(), or None."""
        cdef uint64_t key = address_key(address, vlan)
        cdef uint16_t now = now_s()
        cdef uint32_t value = 0
        if not mac_find((<Table>self.tables[bridge]).macs, key, &value, now):
            return None
        return entry_tuple(key, value, now)

    def set_fdb(self, str bridge, int index, int vlan, uint64_t address):
        """Sets an entry by hand, in place of any of that address. It does not age, move or make
        way, and goes when its port leaves the bridge. False: there is no room."""
        return mac_set_static((<Table>self.tables[bridge]).macs, address_key(address, vlan), index,
                              now_s())

    def delete_fdb(self, str bridge, int vlan, uint64_t address):
        """Removes an entry that was set by hand; False: there is none."""
        return mac_remove((<Table>self.tables[bridge]).macs, address_key(address, vlan), True)

    def flush_fdb(self, str bridge):
        """Forgets every learned address of the bridge."""
        cdef mac_table *t = (<Table>self.tables[bridge]).macs
        cdef slot_set slots
        with nogil:
            mac_flush(t, all_slots(&slots), False, NULL, 0)

    def flush_ports(self, indexes):
        """Forgets every address that was learned behind the ports, and every multicast group they
        joined, on any bridge."""
        cdef slot_set slots
        cdef mac_table *t
        memset(&slots, 0, sizeof(slots))
        for index in indexes:
            slot_add(&slots, index)
        for table in self.tables.values():
            t = (<Table>table).macs
            with nogil:
                if mac_has(t, &slots):
                    mac_flush(t, &slots, False, NULL, 0)
        for groups in self.groups.values():
            for index in indexes:
                (<Groups>groups).flush(index)

    def expire_fdb(self):
        """Removes aged entries of all tables, of many or large ones in turn; call about once a
        second."""
        cdef uint32_t left = EXPIRE_BUCKETS, seen
        cdef uint16_t now = now_s()
        cdef mac_table *t
        for name in list(self.tables):
            table = self.tables.pop(name)
            self.tables[name] = table           # it is last now
            t = (<Table>table).macs
            with nogil:
                seen = mac_expire(t, now, left)
            if seen >= left:
                break
            left -= seen

    def fdb_flaps(self):
        """Addresses that move between two ports all the time, and are held for that: a list of
        (bridge, VLAN id, address as int, slot, slot)."""
        cdef mac_flap flaps[FLAPS]
        cdef uint16_t now = now_s()
        cdef uint32_t i
        found = []
        for name, table in self.tables.items():
            for i in range(flaps_look((<Table>table).macs.flaps, NULL, flaps, now)):
                found.append((name, flaps[i].key >> 48 & 0xfff, key_address(flaps[i].key),
                              flaps[i].slots[0], flaps[i].slots[1]))
        return found

    def fdb_counters(self, str bridge):
        """(entries, of these set by hand, values in the order of FDB_COUNTER_NAMES since the
        bridge was made, what they were when they were cleared last)"""
        cdef mac_table *t = (<Table>self.tables[bridge]).macs
        cdef mac_totals sums
        memset(&sums, 0, sizeof(sums))
        with nogil:
            mac_sum(t, &sums)
        values = (sums.learned, sums.expired, sums.evicted, sums.moved, sums.kept, sums.refused,
                  sums.held)
        return (load_relaxed_u32(&t.entries), t.statics, values,
                (<Table>self.tables[bridge]).cleared or (0,) * len(values))

    def clear_fdb_counters(self, str bridge):
        """Makes fdb_counters() say from when on they are to be counted."""
        (<Table>self.tables[bridge]).cleared = self.fdb_counters(bridge)[2]

    def mirror_counters(self):
        """What mirrors selected since they were published first: a tuple of (name, packets, bytes
        as received)."""
        return tuple([(name, *(<MirrorCounts>counts).sums())
                      for name, counts in self.mirrors.items()])
    def mdb(self, str bridge):
        """Multicast groups of one bridge with snooping: a list of (slot, VLAN id, address as int,
        protocol, age in s), the oldest first. An IPv4 address is mapped into IPv6's. Protocols: 1
        to 3 are versions of IGMP, 4 and 5 those of MLD; 0: the port leads to a router, and the
        address says nothing."""
        return (<Groups>self.groups[bridge]).rows(now_s())

    def flush_mdb(self, str bridge):
        """Forgets the bridge's multicast groups and routers."""
        (<Groups>self.groups[bridge]).flush(-1)

    def expire_mdb(self):
        """Removes aged groups and routers of all bridges; call about once a second."""
        for name, groups in self.groups.items():
            snooping = self.settings[name]["snooping"]
            (<Groups>groups).expire(snooping["aging_s"], snooping["router_aging_s"], now_s())
