"""Who is on which bridge: tables that main builds aside, publishes, and frees after quiescence."""
from libc.stdint cimport int16_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from pmd_ext.atomics cimport store_release_ptr
from pmd_ext.dpdk.eal cimport rte_rdtsc
from pmd_ext.mactable cimport (
    BUCKET_ENTRIES, mac_bucket, mac_expire, mac_flush, mac_table, mac_table_free, mac_table_new,
)
from pmd_ext.mirrors cimport MirrorCounts, free_mirrors, set_mirrors
from pmd_ext.state cimport (
    PRIORITY_ALWAYS, PRIORITY_IF_NONZERO, PRIORITY_NEVER, VLAN_ACCESS, VLAN_NATIVE_TAGGED,
    VLAN_NATIVE_UNTAGGED, VLAN_TRUNK, VLAN_TUNNEL, bridge_view, dataplane, dataplane_get,
    forwarding, member, synchronize,
)
from pmd_ext.vlansets cimport vlan_set_new

cdef enum:
    MAC_TABLE_ENTRIES = 8192    # OVS's default mac-table-size
    MAC_AGING_S = 300           # OVS's default mac-aging-time

# As other_config:priority-tags and vlan_mode name them.
cdef dict PRIORITY_TAGS = {"never": PRIORITY_NEVER, "if-nonzero": PRIORITY_IF_NONZERO,
                           "always": PRIORITY_ALWAYS}
cdef dict MODES = {"trunk": VLAN_TRUNK, "access": VLAN_ACCESS, "native-tagged": VLAN_NATIVE_TAGGED,
                   "native-untagged": VLAN_NATIVE_UNTAGGED, "dot1q-tunnel": VLAN_TUNNEL}


cdef class Table:
    def __cinit__(self) -> None:
        self.macs = mac_table_new(MAC_TABLE_ENTRIES, MAC_AGING_S)
        if self.macs == NULL:
            raise MemoryError

    def __dealloc__(self) -> None:
        if self.macs != NULL:
            mac_table_free(self.macs)


cdef void *zeros(size_t n, size_t size) except NULL:
    cdef void *memory = calloc(n, size)
    if memory == NULL:
        raise MemoryError
    return memory


cdef int set_member(member *m, bridge_view *view, tuple entry) except -1:
    slot, mode, vlan, trunks, cvlans, tpid, priority_tags, protected = entry
    m.bridge = view
    m.slot, m.mode, m.vlan, m.tpid = slot, MODES[mode], vlan, tpid
    m.priority_tags, m.protected = PRIORITY_TAGS[priority_tags], protected
    m.trunks, m.cvlans = vlan_set_new(trunks), vlan_set_new(cvlans)
    if (m.mode != VLAN_TRUNK or m.trunks != NULL or m.priority_tags != PRIORITY_NEVER
            or m.protected):
        view.plain = False
    return 0


cdef int set_bridge(forwarding *fwd, bridge_view *view, Table table, dict bridge, dict counts
                    ) except -1:
    cdef list entries = sorted(bridge["members"])
    cdef member *m
    view.macs = table.macs
    view.forward_bpdu, view.tags = bridge["forward_bpdu"], bridge["vlan_limit"]
    view.flood_vlans = vlan_set_new(bridge["flood_vlans"])
    view.plain = True
    view.members = <member *>zeros(len(entries) + 1, sizeof(member))
    for entry in entries:
        m = &view.members[view.n_members]
        view.n_members += 1
        set_member(m, view, entry)
        fwd.member_of[m.slot] = m
    for slot, peer in bridge["patches"]:
        fwd.member_of[<int>slot].patch = True
        fwd.peer_of[<int>slot] = 0 if peer is None else peer + 1
        view.plain = False
    set_mirrors(fwd, view, bridge["mirrors"], counts)
    return 0


cdef forwarding *forwarding_new(list bridges, dict tables, dict counts) except NULL:
    cdef forwarding *fwd = <forwarding *>zeros(1, sizeof(forwarding))
    try:
        fwd.bridges = <bridge_view *>zeros(len(bridges) + 1, sizeof(bridge_view))
        for bridge in bridges:
            fwd.n_bridges += 1
            set_bridge(fwd, &fwd.bridges[fwd.n_bridges - 1], tables[bridge["name"]], bridge,
                       counts)
    except BaseException:
        forwarding_free(fwd)
        raise
    return fwd


cdef void forwarding_free(forwarding *fwd) noexcept nogil:
    cdef bridge_view *view
    cdef uint32_t i, k
    for i in range(fwd.n_bridges):
        view = &fwd.bridges[i]
        for k in range(view.n_members):
            free(view.members[k].trunks)
            free(view.members[k].cvlans)
        free(view.members)
        free(view.flood_vlans)
        free_mirrors(view)
    free(fwd.bridges)
    free(fwd)


cdef uint16_t now_s() noexcept nogil:
    cdef dataplane *dp = dataplane_get()
    return <uint16_t>((rte_rdtsc() - dp.tsc_start) / dp.tsc_hz)


cdef class Bridges:
    def __cinit__(self) -> None:
        self.tables, self.members, self.settings, self.mirrors = {}, {}, {}, {}

    cdef int set(self, list bridges) except -1:
        cdef dataplane *dp = dataplane_get()
        cdef forwarding *old = dp.fwd
        cdef forwarding *fwd
        tables = {bridge["name"]: self.tables.get(bridge["name"]) or Table() for bridge in bridges}
        mirrors = {name: self.mirrors.get(name) or MirrorCounts()
                   for bridge in bridges for name, *_ in bridge["mirrors"]}
        fwd = forwarding_new(bridges, tables, mirrors)
        for bridge in bridges:
            for entry in bridge["members"]:
                dp.slots[<int>entry[0]].detached = False
        with nogil:
            store_release_ptr(<void **>&dp.fwd, fwd)
            synchronize()
            forwarding_free(old)
        self.tables, self.mirrors = tables, mirrors
        ports = {bridge["name"]: {entry[0]: entry for entry in bridge["members"]}
                 for bridge in bridges}
        settings = {bridge["name"]: {key: value for key, value in bridge.items()
                                     if key != "members"} for bridge in bridges}
        self.forget(ports, settings)
        self.members, self.settings = ports, settings
        return 0

    cdef forget(self, dict ports, dict settings):
        """What was learned behind ports that left, or whose VLANs are others now."""
        cdef Table table
        for name, before in self.members.items():
            if name not in ports:
                continue
            table = self.tables[name]
            if settings[name]["flood_vlans"] != self.settings[name]["flood_vlans"]:
                mac_flush(table.macs, -1)
                continue
            for slot, entry in before.items():
                if ports[name].get(slot) != entry:
                    mac_flush(table.macs, slot)

    def fdb(self, str bridge):
        """MAC table of one bridge: a list of (slot, VLAN id, address as int, age in s)."""
        cdef mac_table *t = (<Table>self.tables[bridge]).macs
        cdef mac_bucket *b
        cdef uint16_t now = now_s()
        cdef uint64_t key
        cdef uint32_t n, value
        cdef int i
        entries = []
        for n in range(t.mask + 1):
            b = &t.buckets[n]
            for i in range(BUCKET_ENTRIES):
                key, value = b.keys[i], b.values[i]
                if key == 0:
                    continue
                address = int.from_bytes((key & <uint64_t>0xffffffffffff).to_bytes(6, "little"),
                                         "big")
                entries.append((value >> 16, key >> 48 & 0xfff, address,
                                max(0, <int>(<int16_t>(now - <uint16_t>value)))))
        return entries

    def flush_fdb(self, str bridge):
        """Forgets every learned address of the bridge."""
        mac_flush((<Table>self.tables[bridge]).macs, -1)

    def expire_fdb(self):
        """Removes aged entries of all tables; call about once a second."""
        for table in self.tables.values():
            mac_expire((<Table>table).macs, now_s())

    def mirror_counters(self):
        """What mirrors selected since they were published first: a tuple of (name, packets, bytes
        as received)."""
        return tuple([(name, *(<MirrorCounts>counts).sums())
                      for name, counts in self.mirrors.items()])
