"""Multicast snooping, frame by frame: who joins, who leaves, and who gets what."""
from __future__ import annotations

import struct

import pytest

from tests.ext.conftest import Switch
from tests.ext.snooping import (
    ALL,
    FOUR,
    JOINS,
    LEAVES,
    MLD1,
    MLD2,
    OTHER_FOUR,
    QUERIES,
    ROUTER,
    SIX,
    SNOOPING,
    V2,
    A,
    B,
    C,
    D,
    groups,
    reached,
    set_bridge,
    set_up,
)
from tools import multicast as m
from tools.frontend import ethernet


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
