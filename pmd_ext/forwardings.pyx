"""The forwarding table: which slot is on which bridge and how; made aside, published by Bridges."""
from libc.stdint cimport uint32_t
from libc.stdlib cimport calloc, free

from pmd_ext.fdb cimport Table
from pmd_ext.mdb cimport Groups
from pmd_ext.mirrors cimport free_mirrors, set_mirrors
from pmd_ext.slotsets cimport slot_add
from pmd_ext.state cimport (
    PRIORITY_ALWAYS, PRIORITY_IF_NONZERO, PRIORITY_NEVER, VLAN_ACCESS, VLAN_NATIVE_TAGGED,
    VLAN_NATIVE_UNTAGGED, VLAN_TRUNK, VLAN_TUNNEL, bridge_view, forwarding, member, snooping,
)
from pmd_ext.vlansets cimport vlan_set_new

# As other_config:priority-tags and vlan_mode name them.
cdef dict PRIORITY_TAGS = {"never": PRIORITY_NEVER, "if-nonzero": PRIORITY_IF_NONZERO,
                           "always": PRIORITY_ALWAYS}
cdef dict MODES = {"trunk": VLAN_TRUNK, "access": VLAN_ACCESS, "native-tagged": VLAN_NATIVE_TAGGED,
                   "native-untagged": VLAN_NATIVE_UNTAGGED, "dot1q-tunnel": VLAN_TUNNEL}


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


cdef snooping *snooping_new(Groups groups, dict settings) except NULL:
    cdef snooping *s = <snooping *>zeros(1, sizeof(snooping))
    s.groups, s.flood_unregistered = groups.table, settings["flood_unregistered"]
    for slot in settings["flood"]:
        slot_add(&s.flood, slot)
    for slot in settings["reports"]:
        slot_add(&s.reports, slot)
    return s


cdef int set_bridge(forwarding *fwd, bridge_view *view, Table table, Groups groups, dict bridge,
                    dict counts) except -1:
    cdef list entries = sorted(bridge["members"])
    cdef member *m
    view.macs = table.macs
    view.forward_bpdu, view.tags = bridge["forward_bpdu"], bridge["vlan_limit"]
    view.flood_vlans = vlan_set_new(bridge["flood_vlans"])
    if groups is not None:
        view.snoop = snooping_new(groups, bridge["snooping"])
    view.plain = view.snoop == NULL
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


cdef forwarding *forwarding_new(list bridges, dict tables, dict groups, dict counts) except NULL:
    cdef forwarding *fwd = <forwarding *>zeros(1, sizeof(forwarding))
    try:
        fwd.bridges = <bridge_view *>zeros(len(bridges) + 1, sizeof(bridge_view))
        for bridge in bridges:
            fwd.n_bridges += 1
            set_bridge(fwd, &fwd.bridges[fwd.n_bridges - 1], tables[bridge["name"]],
                       groups.get(bridge["name"]), bridge, counts)
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
        free(view.snoop)
    free(fwd.bridges)
    free(fwd)
