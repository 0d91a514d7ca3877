"""Multicast snooping, frame by frame: who joins, who leaves, and who gets what."""
from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import pytest

from tests.ext.conftest import Switch
from tools import multicast as m
from tools.frontend import FrontEnd, ethernet

A, B, C, D = (f"02:00:00:00:00:0{x}" for x in "abcd")
ALL = "ff:ff:ff:ff:ff:ff"
FOUR, OTHER_FOUR, SIX = "239.1.2.3", "239.1.2.4", "ff0e::1:3"
ROUTER, V1, V2, V3, MLD1, MLD2 = range(6)
SNOOPING = {"aging_s": 300, "router_aging_s": 180, "table_size": 2048, "flood_unregistered": True,
            "flood": (), "reports": ()}
Guests = Mapping[str, FrontEnd]


def set_up(switch: Switch, *names: str, members: Mapping[str, Any] | None = None,
           **settings: Any) -> Guests:
    """Ports of one bridge with snooping, and their guests. Ports are named in 'settings'."""
    switch.add(*names)
    guests = {name: switch.attach(name) for name in names}
    set_bridge(switch, members, **settings)
    return guests


def set_bridge(switch: Switch, members: Mapping[str, Any] | None = None, **settings: Any) -> None:
    slots = {key: tuple(switch.slots[name] for name in settings.pop(key, ()))
             for key in ("flood", "reports")}
    switch.bridges({"br0": {name: (members or {}).get(name, {}) for name in switch.slots}},
                   snooping={**SNOOPING, **settings, **slots})


def untagged(frame: bytes) -> bytes:
    return frame[:12] + frame[16:] if frame[12:14] == b"\x81\x00" else frame


def reached(guests: Guests, source: str, *frames: bytes, vlan: int | None = None) -> str:
    """The names of the guests that the last of the frames reaches, tagged or not; a marker to all
    tells the end."""
    marker = ethernet(ALL, A, bytes(50), vlan)
    guests[source].send([*frames, marker])
    sent = [untagged(frame) for frame in (*frames, marker)]
    found = ""
    for name in sorted(guests.keys() - {source}):
        got: list[bytes] = []
        while sent[-1] not in got:
            got += map(untagged, guests[name].recv_wait(1))
        assert set(got) <= set(sent)
        assert all(got.count(frame) <= sent.count(frame) for frame in got)      # none comes twice
        if sent[-2] in got:
            found += name
    return found


def groups(switch: Switch) -> set[tuple[str, int, int, int]]:
    """{(port, VLAN, address, protocol)}"""
    names = {slot: name for name, slot in switch.slots.items()}
    return {(names[slot], vlan, address, protocol)
            for slot, vlan, address, protocol, _ in switch.runtime.bridges.mdb("br0")}


JOINS = {
    V1: lambda mac, group: m.igmp(mac, m.IGMP_V1, group),
    V2: lambda mac, group: m.igmp(mac, m.IGMP_V2, group),
    V3: lambda mac, group: m.igmp(mac, m.IGMP_V3, entries=[(m.TO_EXCLUDE, group, (), 0)]),
    MLD1: lambda mac, group: m.mld(mac, m.MLD_V1, group),
    MLD2: lambda mac, group: m.mld(mac, m.MLD_V2, entries=[(m.TO_EXCLUDE, group, (), 0)]),
}
LEAVES = {
    V2: lambda mac, group: m.igmp(mac, m.IGMP_LEAVE, group),
    V3: lambda mac, group: m.igmp(mac, m.IGMP_V3, entries=[(m.TO_INCLUDE, group, (), 0)]),
    MLD1: lambda mac, group: m.mld(mac, m.MLD_DONE, group),
    MLD2: lambda mac, group: m.mld(mac, m.MLD_V2, entries=[(m.IS_INCLUDE, group, (), 0)]),
}


def group_of(protocol: int) -> str:
    return SIX if protocol in (MLD1, MLD2) else FOUR


@pytest.mark.parametrize("protocol", JOINS)
def test_group_goes_to_those_who_joined_it_and_no_report_to_hosts(
        switch: Switch, protocol: int) -> None:
    guests = set_up(switch, "a", "b", "c")
    group = group_of(protocol)
    assert reached(guests, "a", m.data(A, group)) == "bc"
    assert reached(guests, "b", JOINS[protocol](B, group)) == ""
    assert groups(switch) == {("b", 0, m.number(group), protocol)}
    assert reached(guests, "a", m.data(A, group)) == "b"
    assert reached(guests, "b", m.data(B, group)) == ""
    assert reached(guests, "c", JOINS[protocol](C, group)) == ""
    assert reached(guests, "a", m.data(A, group)) == "bc"


@pytest.mark.parametrize("protocol", LEAVES)
def test_who_leaves_gets_nothing_more_at_once(switch: Switch, protocol: int) -> None:
    guests = set_up(switch, "a", "b", "c")
    group = group_of(protocol)
    reached(guests, "b", JOINS[protocol](B, group))
    reached(guests, "c", JOINS[protocol](C, group))
    assert reached(guests, "b", LEAVES[protocol](B, group)) == ""
    assert groups(switch) == {("c", 0, m.number(group), protocol)}
    assert reached(guests, "a", m.data(A, group)) == "c"
    reached(guests, "c", LEAVES[protocol](C, group))
    assert groups(switch) == set()
    assert reached(guests, "a", m.data(A, group)) == "bc"


QUERIES = {4: lambda ip: m.igmp(A, m.IGMP_QUERY, ip=ip), 6: lambda ip: m.mld(A, m.MLD_QUERY, ip=ip)}


@pytest.mark.parametrize(("version", "ip", "nobody"), [(4, "10.0.0.9", "0.0.0.0"),
                                                       (6, "fe80::9", "::")])
def test_query_goes_to_all_and_tells_where_a_router_is(switch: Switch, version: int, ip: str,
                                                       nobody: str) -> None:
    guests = set_up(switch, "a", "b", "c", flood_unregistered=False)
    group = FOUR if version == 4 else SIX
    join = JOINS[V2 if version == 4 else MLD1](B, group)
    assert reached(guests, "a", QUERIES[version](nobody)) == "bc"
    assert groups(switch) == set()
    assert reached(guests, "a", QUERIES[version](ip)) == "bc"
    assert {entry[::3] for entry in groups(switch)} == {("a", ROUTER)}
    assert reached(guests, "b", join) == "a"                # a report goes to the router
    assert reached(guests, "c", m.data(C, group)) == "ab"   # so does the group
    assert reached(guests, "c", m.data(C, OTHER_FOUR)) == "a"
    # a router's port joins nothing: it gets everything
    before = groups(switch)
    assert reached(guests, "a", join) == ""
    assert groups(switch) == before


def test_unregistered_goes_to_all_unless_that_is_off(switch: Switch) -> None:
    guests = set_up(switch, "a", "b", "c", "d", flood_unregistered=False, flood=("c",))
    assert reached(guests, "a", m.data(A, FOUR)) == "c"
    assert reached(guests, "a", m.data(A, SIX)) == "c"
    reached(guests, "b", JOINS[V2](B, FOUR))
    assert reached(guests, "a", m.data(A, FOUR)) == "bc"
    set_bridge(switch, flood=("c",))
    assert reached(guests, "a", m.data(A, FOUR)) == "bc"    # what was learned stays
    assert reached(guests, "a", m.data(A, SIX)) == "bcd"


@pytest.mark.parametrize("group", ["224.0.0.1", "224.0.0.251", "ff02::1"])
def test_link_local_groups_go_to_all(switch: Switch, group: str) -> None:
    guests = set_up(switch, "a", "b", "c", flood_unregistered=False)
    reached(guests, "b", JOINS[MLD1 if ":" in group else V2](B, group))
    assert reached(guests, "a", m.data(A, group)) == "bc"
    assert reached(guests, "a", m.data(A, "ff02::2" if ":" in group else "224.0.1.1")) == ""


def test_what_is_no_ip_goes_to_all(switch: Switch) -> None:
    guests = set_up(switch, "a", "b", "c", flood_unregistered=False)
    for mac in (ALL, m.multicast_mac(FOUR), m.multicast_mac(SIX)):
        assert reached(guests, "a", ethernet(mac, A, bytes(range(46)))) == "bc"
    # to all stations, whatever the packet inside says
    packet = m.data(A, FOUR)
    assert reached(guests, "a", b"\xff" * 6 + packet[6:]) == "bc"


def test_ports_that_get_all_multicast_or_all_reports(switch: Switch) -> None:
    guests = set_up(switch, "a", "b", "c", "d", flood=("c",), reports=("d",))
    assert reached(guests, "b", JOINS[V2](B, FOUR)) == "d"
    assert reached(guests, "a", m.data(A, FOUR)) == "bc"
    # nothing is learned from a port that gets everything
    reached(guests, "c", JOINS[V2](C, OTHER_FOUR))
    reached(guests, "c", QUERIES[4]("10.0.0.9"))
    assert groups(switch) == {("b", 0, m.number(FOUR), V2)}
    # behind a port that gets reports there may be others in the group
    reached(guests, "d", JOINS[V2](D, FOUR))
    reached(guests, "d", LEAVES[V2](D, FOUR))
    assert reached(guests, "a", m.data(A, FOUR)) == "bcd"


def test_vlans_know_nothing_of_each_other(switch: Switch) -> None:
    access = {"vlan_mode": "access", "vlan": 10}
    guests = set_up(switch, "a", "b", "c", members={"b": access}, flood_unregistered=False,
                    flood=("b",), reports=("b",))
    assert reached(guests, "c", m.igmp(C, m.IGMP_V2, FOUR, vlan=10), vlan=10) == "b"
    assert groups(switch) == {("c", 10, m.number(FOUR), V2)}
    inside = {name: guests[name] for name in "ac"}
    assert reached(inside, "a", m.data(A, FOUR, 10)) == "c"
    # 'b' gets all multicast, but only of its VLAN
    assert reached(inside, "a", m.data(A, FOUR, 11)) == ""
    assert reached(inside, "a", m.igmp(A, m.IGMP_QUERY, vlan=10), vlan=11) == "c"
    guests["b"].recv()
    assert reached(inside, "c", m.igmp(C, m.IGMP_V2, FOUR, vlan=11), vlan=11) == ""
    assert guests["b"].recv() == []
    assert reached(inside, "c", m.igmp(C, m.IGMP_V2, FOUR, vlan=10), vlan=10) == "a"


def test_protected_ports_send_each_other_no_multicast(switch: Switch) -> None:
    apart = {"protected": True}
    guests = set_up(switch, "a", "b", "c", members={"a": apart, "b": apart})
    for name, mac in (("b", B), ("c", C)):
        guests[name].send([JOINS[V2](mac, FOUR), ethernet(ALL, mac)])
        (guests["a"] if name == "c" else guests["c"]).recv_wait(1)
    guests["a"].send([m.data(A, FOUR)])
    assert guests["c"].recv_wait(1) == [m.data(A, FOUR)]
    assert m.data(A, FOUR) not in guests["b"].recv()


def test_groups_and_routers_age_and_are_flushed(switch: Switch) -> None:
    guests = set_up(switch, "a", "b", "c", router_aging_s=0)
    reached(guests, "a", QUERIES[4]("10.0.0.9"))
    reached(guests, "b", JOINS[V2](B, FOUR))
    switch.runtime.bridges.expire_mdb()
    assert groups(switch) == {("b", 0, m.number(FOUR), V2)}
    set_bridge(switch, aging_s=0)
    reached(guests, "a", QUERIES[4]("10.0.0.9"))
    switch.runtime.bridges.expire_mdb()
    assert {entry[::3] for entry in groups(switch)} == {("a", ROUTER)}
    assert reached(guests, "c", m.data(C, FOUR)) == "ab"
    reached(guests, "b", JOINS[V2](B, FOUR))
    switch.runtime.bridges.flush_mdb("br0")
    assert groups(switch) == set()


def test_what_changes_a_port_empties_its_groups_and_no_others(switch: Switch) -> None:
    guests = set_up(switch, "a", "b", "c")
    for name, mac in (("b", B), ("c", C)):
        reached(guests, name, JOINS[V2](mac, FOUR), m.mld(mac, m.MLD_QUERY))
    assert len(groups(switch)) == 4
    set_bridge(switch, {"b": {"trunks": (0, 7)}})
    assert {entry[0] for entry in groups(switch)} == {"c"}
    switch.bridges({"br0": {"a": {}, "b": {"trunks": (0, 7)}}}, snooping=SNOOPING)
    assert groups(switch) == set()
    # a table of another size begins empty; without snooping there is none
    set_bridge(switch)
    reached(guests, "b", JOINS[V2](B, FOUR))
    set_bridge(switch, table_size=10)
    assert groups(switch) == set()
    switch.bridge("a", "b", "c")
    assert reached(guests, "b", JOINS[V2](B, FOUR)) == "ac"
    with pytest.raises(KeyError):
        switch.runtime.bridges.mdb("br0")


def test_report_of_many_records(switch: Switch) -> None:
    """Sources and auxiliary data between them are skipped, unknown types are nobody's business."""
    guests = set_up(switch, "a", "b")
    sources = ("10.1.1.1", "10.1.1.2")
    reached(guests, "b", JOINS[V2](B, "239.0.0.6"))
    reached(guests, "b", m.igmp(B, m.IGMP_V3, entries=[
        (m.IS_EXCLUDE, "239.0.0.1", sources, 3), (m.ALLOW_NEW, "239.0.0.2", sources, 0),
        (9, "239.0.0.3", sources, 1), (m.IS_INCLUDE, "239.0.0.4", sources, 0),
        (m.BLOCK_OLD, "239.0.0.5", sources, 0), (m.TO_INCLUDE, "239.0.0.6", (), 0),
        (m.TO_EXCLUDE, "10.0.0.7", (), 0)]))
    reached(guests, "b", m.mld(B, m.MLD_V2, entries=[
        (m.TO_EXCLUDE, "ff0e::1", ("2001:db8::1",), 1), (m.TO_EXCLUDE, "ff0e::2", (), 0),
        (m.TO_EXCLUDE, "2001:db8::3", (), 0)]))
    assert groups(switch) == {("b", 0, m.number(group), V3) for group in (
        "239.0.0.1", "239.0.0.2", "239.0.0.4", "239.0.0.5")} | {
        ("b", 0, m.number(group), MLD2) for group in ("ff0e::1", "ff0e::2")}


def many(first: int, count: int) -> list[m.Record]:
    return [(m.TO_EXCLUDE, f"239.9.{i >> 8}.{i & 255}", (), 0) for i in range(first, first + count)]


def test_full_table_takes_from_who_has_most(switch: Switch) -> None:
    guests = set_up(switch, "a", "b", "c", table_size=10)
    for i in range(3):
        reached(guests, "b", JOINS[V2](B, f"239.1.1.{i}"))
    reached(guests, "c", m.igmp(C, m.IGMP_V3, entries=many(0, 180)))
    found = groups(switch)
    assert {entry for entry in found if entry[0] == "b"} == {
        ("b", 0, m.number(f"239.1.1.{i}"), V2) for i in range(3)}
    assert sorted(entry[2] for entry in found if entry[0] == "c") == [
        m.number(f"239.9.0.{i}") for i in range(173, 180)]      # its last ones
    reached(guests, "b", JOINS[V2](B, "239.1.1.3"))
    assert [sum(entry[0] == name for entry in groups(switch)) for name in "bc"] == [4, 6]


def test_groups_of_others_stay_however_a_guest_joins(switch: Switch) -> None:
    """Other groups in each frame, the same as its neighbour's, and routers in all VLANs."""
    guests = set_up(switch, "a", "b", "c", table_size=10)
    reached(guests, "b", JOINS[V2](B, FOUR), m.mld(B, m.MLD_V1, SIX))
    mine = groups(switch)
    for round_ in range(8):
        reached(guests, "c", JOINS[V2](C, FOUR), *(
            m.igmp(C, m.IGMP_V3, entries=many(100 * round_ + 20 * i, 20)) for i in range(5)))
        reached(guests, "c", JOINS[MLD1](C, SIX), *(
            m.igmp(C, m.IGMP_QUERY, vlan=100 * round_ + i + 1) for i in range(50)))
    assert mine <= groups(switch)


# --- what does not add up -------------------------------------------------------------------------

MESSAGES = {
    "IGMPv2": m.igmp(B, m.IGMP_V2, FOUR),
    "IGMPv3": m.igmp(B, m.IGMP_V3, entries=[(m.TO_EXCLUDE, FOUR, ("10.1.1.1",), 1)]),
    "query": m.igmp(B, m.IGMP_QUERY),
    "MLDv1": m.mld(B, m.MLD_V1, SIX),
    "MLDv2": m.mld(B, m.MLD_V2, entries=[(m.TO_EXCLUDE, SIX, ("2001:db8::1",), 1)]),
    "MLD query": m.mld(B, m.MLD_QUERY),
}


def size(frame: bytes) -> int:
    """What of a frame is not padding."""
    v4 = frame[12:14] == b"\x08\x00"
    return 14 + (struct.unpack("!H", frame[16:18])[0] if v4
                 else 40 + struct.unpack("!H", frame[18:20])[0])


@pytest.mark.parametrize("kind", MESSAGES)
def test_nothing_is_learned_from_a_frame_that_was_cut(switch: Switch, kind: str) -> None:
    guests = set_up(switch, "a", "b")
    whole = MESSAGES[kind]
    for length in range(14, size(whole)):
        guests["b"].send([whole[:length]])
    switch.wait_counter("b", "rx_packets", size(whole) - 14)
    assert groups(switch) == set()
    reached({"b": guests["b"]}, "b", whole)
    switch.wait_counter("b", "rx_packets", size(whole) - 14 + 2)
    assert len(groups(switch)) == 1


@pytest.mark.parametrize("kind", MESSAGES)
def test_nothing_is_learned_from_a_message_that_is_shorter_than_it_says(
        switch: Switch, kind: str) -> None:
    """The IP headers agree with the frame, and the checksum is right."""
    guests = set_up(switch, "a", "b")
    whole = MESSAGES[kind]
    sent = []
    if "MLD" in kind:
        message = whole[14 + 40 + 8:size(whole)]
        group = str(m.ipaddress.ip_address(whole[38:54]))
        for length in range(len(message)):
            pseudo = whole[22:54] + struct.pack("!II", length, m.ICMPV6)
            cut = m.with_checksum(bytes(message[:2] + b"\0\0" + message[4:])[:length].ljust(4, b"\0"),
                                  pseudo)[:length]
            sent.append(m.frame(B, m.ipv6(group, m.ICMPV6, cut, hop_by_hop=m.ROUTER_ALERT_6)))
    else:
        message = whole[14 + 24:size(whole)]
        for length in range(len(message)):
            cut = m.with_checksum(bytes(message[:2] + b"\0\0" + message[4:])[:length].ljust(4, b"\0")
                                  )[:length]
            sent.append(m.frame(B, m.ipv4(FOUR, m.IGMP, cut, options=m.ROUTER_ALERT_4)))
    for frame in sent:
        guests["b"].send([frame])
    switch.wait_counter("b", "rx_packets", len(sent))
    # a query of MLD is whole without the group it asks for
    assert {entry[3] for entry in groups(switch)} <= ({ROUTER} if kind == "MLD query" else set())


@pytest.mark.parametrize("kind", MESSAGES)
def test_nothing_is_learned_from_a_wrong_checksum_or_another_protocol(
        switch: Switch, kind: str) -> None:
    guests = set_up(switch, "a", "b")
    whole = MESSAGES[kind]
    at = 14 + (40 + 8 if "MLD" in kind else 24) + 2
    wrong = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1:]
    other = whole[:14] + bytes([whole[14] ^ 0x30]) + whole[15:]      # another version of IP
    for frame in (wrong, other):
        guests["b"].send([frame])
    switch.wait_counter("b", "rx_packets", 2)
    assert groups(switch) == set()


def test_records_that_say_more_than_there_is(switch: Switch) -> None:
    """The record that does not fit is not learned, nor what would come behind it."""
    guests = set_up(switch, "a", "b")
    good = m.records([(m.TO_EXCLUDE, FOUR, (), 0)])
    for count, behind in ((0, good), (0xffff, good), (2, good + good[:7]),
                          (2, good + b"\4\0\xff\xff" + m.packed(OTHER_FOUR)),
                          (2, good + b"\4\xff\0\0" + m.packed(OTHER_FOUR)),
                          (2, b"\4\0\0\1" + m.packed(OTHER_FOUR) + good[:3])):
        switch.runtime.bridges.flush_mdb("br0")
        message = m.with_checksum(struct.pack("!BBHHH", m.IGMP_V3, 0, 0, 0, count) + behind)
        reached(guests, "b", m.frame(B, m.ipv4("224.0.0.22", m.IGMP, message)))
        wanted = set() if count == 0 or behind[:4] == b"\4\0\0\1" else {
            ("b", 0, m.number(FOUR), V3)}
        assert groups(switch) == wanted, (count, behind)


def test_later_fragments_and_odd_headers(switch: Switch) -> None:
    guests = set_up(switch, "a", "b", "c", flood_unregistered=False)
    report = m.igmp_message(m.IGMP_V2, FOUR)
    # a later fragment is of IGMP, but no report
    assert reached(guests, "b", m.frame(B, m.ipv4(FOUR, m.IGMP, report, fragment=1))) == "ac"
    # IGMP that is neither query nor report
    assert reached(guests, "b", m.frame(B, m.ipv4(FOUR, m.IGMP, m.igmp_message(0x13)))) == "ac"
    # a chain of headers without an end, and IPv6 without any
    message = m.mld_message(m.MLD_V1, SIX, "fe80::1", SIX)
    endless = bytearray(m.ipv6(SIX, 0, message, hop_by_hop=m.ROUTER_ALERT_6))
    endless[48:50] = b"\0\xff"
    assert reached(guests, "b", m.frame(B, bytes(endless))) == ""
    assert groups(switch) == set()
    assert reached(guests, "b", m.frame(B, m.ipv6(SIX, m.ICMPV6, message))) == ""
    assert groups(switch) == {("b", 0, m.number(SIX), MLD1)}


def test_tags_in_front_of_ip(switch: Switch) -> None:
    guests = set_up(switch, "a", "b")
    inner = m.igmp(B, m.IGMP_V2, FOUR, vlan=5)
    double = inner[:12] + struct.pack("!HH", 0x88a8, 7) + inner[12:]
    reached(guests, "b", double, vlan=7)
    assert groups(switch) == set()          # only one tag is looked at
    switch.bridges({"br0": {"a": {}, "b": {}}}, snooping=SNOOPING, vlan_limit=2)
    reached(guests, "b", double, vlan=7)
    assert groups(switch) == {("b", 7, m.number(FOUR), V2)}


def test_one_burst_of_many_groups(switch: Switch) -> None:
    """Frames of different groups in turn: each finds its way, and a port's stay in order."""
    guests = set_up(switch, "a", "b", "c", flood_unregistered=False)
    reached(guests, "b", JOINS[V2](B, FOUR))
    reached(guests, "c", JOINS[V2](C, OTHER_FOUR))
    frames = [m.data(A, (FOUR, OTHER_FOUR, SIX)[i % 3], payload=struct.pack("!I", i) * 10)
              for i in range(96)]
    guests["a"].send(frames)
    assert guests["b"].recv_wait(32) == frames[0::3]
    assert guests["c"].recv_wait(32) == frames[1::3]
    switch.wait_counter("a", "rx_no_output_drops", 32)
