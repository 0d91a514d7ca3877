"""VLAN modes, frame by frame: what each port admits, carries and puts on the wire."""
from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import pytest

from tests.ext.conftest import Switch
from tools.frontend import FrontEnd, ethernet

A, B, C = (f"02:00:00:00:00:0{x}" for x in "abc")
ALL = "ff:ff:ff:ff:ff:ff"
QINQ = 0x88a8
Q = 0x8100

# Those of Open vSwitch's own table (tests/ofproto-dpif.at, "VLAN handling"), and one of each mode
# and setting that it has not.
PORTS: dict[str, dict[str, Any]] = {
    "p1": {"trunks": (10, 12)},
    "p2": {"vlan_mode": "access", "vlan": 10},
    "p3": {"vlan_mode": "access", "vlan": 12, "priority_tags": "if-nonzero"},
    "p4": {"vlan_mode": "access", "vlan": 12},
    "p5": {"vlan_mode": "native-tagged", "vlan": 10},
    "p6": {"vlan_mode": "native-tagged", "vlan": 10, "trunks": (10, 12)},
    "p7": {"vlan_mode": "native-untagged", "vlan": 12},
    "p8": {"vlan_mode": "native-untagged", "vlan": 12, "trunks": (10, 12),
           "priority_tags": "if-nonzero"},
    "p9": {"vlan_mode": "dot1q-tunnel", "vlan": 10, "tpid": Q},
    "p10": {"vlan_mode": "dot1q-tunnel", "vlan": 10, "tpid": Q, "cvlans": (10, 12)},
    "p11": {"vlan_mode": "dot1q-tunnel", "vlan": 12, "tpid": Q},
    "p12": {"vlan_mode": "dot1q-tunnel", "vlan": 12, "tpid": Q, "priority_tags": "if-nonzero"},
    "p100": {},
}
# (port, VID or None, PCP, who gets it: 'same' as it came, 'none' without its tag, or with a tag
# 'vid.pcp' in front of what is below)
TABLE = (
    (100, None, 0, {}),
    (100, 0, 0, {}),
    (100, 0, 1, {}),
    (100, 10, 0, {"same": (1, 5, 6, 7, 8), "none": (2, 9)}),
    (100, 10, 1, {"same": (1, 5, 6, 7, 8), "none": (2, 9)}),
    (100, 11, 0, {"same": (5, 7)}),
    (100, 11, 1, {"same": (5, 7)}),
    (100, 12, 0, {"same": (1, 5, 6), "none": (3, 4, 7, 8, 11, 12)}),
    (100, 12, 1, {"same": (1, 5, 6), "none": (4, 7, 11), "0.1": (3, 8, 12)}),
    (1, None, 0, {}),
    (1, 0, 0, {}),
    (1, 0, 1, {}),
    (1, 10, 0, {"same": (5, 6, 7, 8, 100), "none": (2, 9)}),
    (1, 10, 1, {"same": (5, 6, 7, 8, 100), "none": (2, 9)}),
    (1, 11, 0, {}),
    (1, 11, 1, {}),
    (1, 12, 0, {"same": (5, 6, 100), "none": (3, 4, 7, 8, 11, 12)}),
    (1, 12, 1, {"same": (5, 6, 100), "none": (4, 7, 11), "0.1": (3, 8, 12)}),
    (2, None, 0, {"same": (9,), "10.0": (1, 5, 6, 7, 8, 100)}),
    (2, 0, 0, {"none": (9,), "10.0": (1, 5, 6, 7, 8, 100)}),
    (2, 0, 1, {"none": (9,), "10.1": (1, 5, 6, 7, 8, 100)}),
    (2, 10, 0, {}),
    (2, 10, 1, {}),
    (2, 11, 0, {}),
    (2, 11, 1, {}),
    (2, 12, 0, {}),
    (2, 12, 1, {}),
    (3, None, 0, {"same": (4, 7, 8, 11, 12), "12.0": (1, 5, 6, 100)}),
    (3, 0, 0, {"none": (4, 7, 8, 11, 12), "12.0": (1, 5, 6, 100)}),
    (3, 0, 1, {"same": (8, 12), "none": (4, 7, 11), "12.1": (1, 5, 6, 100)}),
    (3, 10, 0, {}),
    (3, 10, 1, {}),
    (3, 11, 0, {}),
    (3, 11, 1, {}),
    (3, 12, 0, {}),
    (3, 12, 1, {}),
    (4, None, 0, {"same": (3, 7, 8, 11, 12), "12.0": (1, 5, 6, 100)}),
    (4, 0, 0, {"none": (3, 7, 8, 11, 12), "12.0": (1, 5, 6, 100)}),
    (4, 0, 1, {"same": (3, 8, 12), "none": (7, 11), "12.1": (1, 5, 6, 100)}),
    (4, 10, 0, {}),
    (4, 10, 1, {}),
    (4, 11, 0, {}),
    (4, 11, 1, {}),
    (4, 12, 0, {}),
    (4, 12, 1, {}),
    (5, None, 0, {"same": (2, 9), "10.0": (1, 6, 7, 8, 100)}),
    (5, 0, 0, {"none": (2, 9), "10.0": (1, 6, 7, 8, 100)}),
    (5, 0, 1, {"none": (2, 9), "10.1": (1, 6, 7, 8, 100)}),
    (5, 10, 0, {"same": (1, 6, 7, 8, 100), "none": (2, 9)}),
    (5, 10, 1, {"same": (1, 6, 7, 8, 100), "none": (2, 9)}),
    (5, 11, 0, {"same": (7, 100)}),
    (5, 11, 1, {"same": (7, 100)}),
    (5, 12, 0, {"same": (1, 6, 100), "none": (3, 4, 7, 8, 11, 12)}),
    (5, 12, 1, {"same": (1, 6, 100), "none": (4, 7, 11), "0.1": (3, 8, 12)}),
    (6, None, 0, {"same": (2, 9), "10.0": (1, 5, 7, 8, 100)}),
    (6, 0, 0, {"none": (2, 9), "10.0": (1, 5, 7, 8, 100)}),
    (6, 0, 1, {"none": (2, 9), "10.1": (1, 5, 7, 8, 100)}),
    (6, 10, 0, {"same": (1, 5, 7, 8, 100), "none": (2, 9)}),
    (6, 10, 1, {"same": (1, 5, 7, 8, 100), "none": (2, 9)}),
    (6, 11, 0, {}),
    (6, 11, 1, {}),
    (6, 12, 0, {"same": (1, 5, 100), "none": (3, 4, 7, 8, 11, 12)}),
    (6, 12, 1, {"same": (1, 5, 100), "none": (4, 7, 11), "0.1": (3, 8, 12)}),
    (7, None, 0, {"same": (3, 4, 8, 11, 12), "12.0": (1, 5, 6, 100)}),
    (7, 0, 0, {"none": (3, 4, 8, 11, 12), "12.0": (1, 5, 6, 100)}),
    (7, 0, 1, {"same": (3, 8, 12), "none": (4, 11), "12.1": (1, 5, 6, 100)}),
    (7, 10, 0, {"same": (1, 5, 6, 8, 100), "none": (2, 9)}),
    (7, 10, 1, {"same": (1, 5, 6, 8, 100), "none": (2, 9)}),
    (7, 11, 0, {"same": (5, 100)}),
    (7, 11, 1, {"same": (5, 100)}),
    (7, 12, 0, {"same": (1, 5, 6, 100), "none": (3, 4, 8, 11, 12)}),
    (7, 12, 1, {"same": (1, 5, 6, 100), "none": (4, 11), "0.1": (3, 8, 12)}),
    (8, None, 0, {"same": (3, 4, 7, 11, 12), "12.0": (1, 5, 6, 100)}),
    (8, 0, 0, {"none": (3, 4, 7, 11, 12), "12.0": (1, 5, 6, 100)}),
    (8, 0, 1, {"same": (3, 12), "none": (4, 7, 11), "12.1": (1, 5, 6, 100)}),
    (8, 10, 0, {"same": (1, 5, 6, 7, 100), "none": (2, 9)}),
    (8, 10, 1, {"same": (1, 5, 6, 7, 100), "none": (2, 9)}),
    (8, 11, 0, {}),
    (8, 11, 1, {}),
    (8, 12, 0, {"same": (1, 5, 6, 100), "none": (3, 4, 7, 11, 12)}),
    (8, 12, 1, {"same": (1, 5, 6, 100), "none": (4, 7, 11), "0.1": (3, 12)}),
    (9, None, 0, {"same": (2,), "10.0": (1, 5, 6, 7, 8, 100)}),
    (9, 10, 0, {"same": (10,), "10.0+": (1, 5, 6, 7, 8, 100)}),
    (9, 11, 0, {"10.0+": (1, 5, 6, 7, 8, 100)}),
    (10, None, 0, {}),
    (10, 0, 0, {}),
    (10, 11, 0, {}),
    (10, 12, 0, {"same": (9,), "10.0+": (1, 5, 6, 7, 8, 100)}),
    (11, 10, 0, {"same": (7, 8, 12), "12.0+": (1, 5, 6, 100)}),
    (11, 10, 1, {"same": (7, 8, 12), "12.0+": (1, 5, 6, 100)}),
)


def frame(*tags: tuple[int, int, int], dst: str = ALL, src: str = A) -> bytes:
    """With tags of (TPID, VID, PCP), the outermost first."""
    addresses = bytes.fromhex((dst + src).replace(":", ""))
    raw = b"".join(struct.pack("!HH", tpid, pcp << 13 | vid) for tpid, vid, pcp in tags)
    return addresses + raw + struct.pack("!H", 0x88b5) + bytes(60)


def wire(kind: str, vid: int | None, pcp: int) -> bytes:
    """The frame of a row of the table as a port of that kind sends it."""
    received = [] if vid is None else [(Q, vid, pcp)]
    if kind == "same":
        return frame(*received)
    if kind == "none":
        return frame()
    new_vid, new_pcp = kind.rstrip("+").split(".")
    below = received if kind.endswith("+") else []
    return frame((Q, int(new_vid), int(new_pcp)), *below)


@pytest.fixture
def guests(switch: Switch) -> Mapping[str, FrontEnd]:
    switch.add(*PORTS)
    found = {name: switch.attach(name) for name in PORTS}
    switch.bridges({"br0": PORTS})
    return found


def test_every_row_of_the_truth_table(switch: Switch, guests: Mapping[str, FrontEnd]) -> None:
    for number, vid, pcp, outputs in TABLE:
        source = f"p{number}"
        before = switch.counters(source)
        guests[source].send([wire("same", vid, pcp)])
        wanted = {f"p{port}": wire(kind, vid, pcp)
                  for kind, ports in outputs.items() for port in ports}
        for port, sent in wanted.items():
            assert guests[port].recv_wait(1) == [sent], (number, vid, pcp, port)
        switch.wait_counter(source, "rx_packets", before["rx_packets"] + 1)
        for port in guests.keys() - wanted.keys():
            assert guests[port].recv() == [], (number, vid, pcp, port)
        dropped = {key for key, value in switch.counters(source).items()
                   if key.endswith("_drops") and value != before[key]}
        assert bool(dropped) == (not wanted), (number, vid, pcp, dropped)


def pair(switch: Switch, a: dict[str, Any], b: dict[str, Any], **settings: Any
         ) -> tuple[FrontEnd, FrontEnd]:
    switch.add("a", "b")
    found = switch.attach("a"), switch.attach("b")
    switch.bridges({"br0": {"a": a, "b": b}}, **settings)
    return found


ACCESS = {"vlan_mode": "access", "vlan": 10}
TUNNEL = {"vlan_mode": "dot1q-tunnel", "vlan": 10}


@pytest.mark.parametrize(("a", "b", "sent", "got"), [
    # the tag a tunnel adds, and takes away; the priority stays inside
    (TUNNEL, {}, frame((Q, 5, 3)), frame((QINQ, 10, 0), (Q, 5, 3))),
    (TUNNEL, {}, frame(), frame((QINQ, 10, 0))),
    (TUNNEL, {}, frame((Q, 5, 0), (Q, 6, 1)), frame((QINQ, 10, 0), (Q, 5, 0), (Q, 6, 1))),
    ({}, TUNNEL, frame((QINQ, 10, 0), (Q, 5, 3)), frame((Q, 5, 3))),
    # a received tag's type is kept
    ({}, {**ACCESS, "priority_tags": "always"}, frame((QINQ, 10, 4)), frame((Q, 0, 4))),
    ({"vlan_mode": "native-tagged", "vlan": 10}, {}, frame((QINQ, 0, 4)), frame((QINQ, 10, 4))),
    ({"vlan_mode": "native-untagged", "vlan": 10}, {}, frame((QINQ, 11, 4)),
     frame((QINQ, 11, 4))),
    # a tag that says nothing is none, but a port that always tags says VLAN 0
    ({}, {}, frame((Q, 0, 0)), frame()),
    ({}, {}, frame((Q, 0, 7)), frame((Q, 0, 7))),
    ({}, {"priority_tags": "always"}, frame((Q, 0, 0)), frame((Q, 0, 0))),
    ({}, {"priority_tags": "always"}, frame(), frame()),
    (ACCESS, {"vlan_mode": "native-untagged", "vlan": 10, "priority_tags": "always"},
     frame((Q, 0, 0)), frame()),
    (ACCESS, ACCESS, frame((Q, 0, 5)), frame()),
    (ACCESS, ACCESS, frame(), frame()),
    # trunks of VLAN 0 carry what has no tag
    ({"trunks": (0, 7)}, {}, frame(), frame()),
    ({"trunks": (4095,)}, {"trunks": (4095,)}, frame((Q, 4095, 1)), frame((Q, 4095, 1))),
])
def test_tag_on_the_wire(switch: Switch, a: dict[str, Any], b: dict[str, Any], sent: bytes,
                         got: bytes) -> None:
    one, other = pair(switch, a, b)
    one.send([sent])
    assert other.recv_wait(1) == [got]


@pytest.mark.parametrize(("limit", "passing"), [(1, ()), (2, (5,))])
def test_vlan_limit_says_whether_the_inner_tag_of_a_trunk_counts(
        switch: Switch, limit: int, passing: tuple[int, ...]) -> None:
    one, other = pair(switch, {}, {**TUNNEL, "cvlans": (5,)}, vlan_limit=limit)
    one.send([frame((QINQ, 10, 0), (Q, vid, 0)) for vid in (7, 5)])
    assert other.recv_wait(len(passing)) == [frame((Q, vid, 0)) for vid in passing]
    switch.wait_counter("a", "rx_no_output_drops", 2 - len(passing))
    assert other.recv() == []


def test_inner_tag_of_a_trunk_keeps_a_frame_from_access_ports(switch: Switch) -> None:
    one, other = pair(switch, {}, ACCESS, vlan_limit=2)
    one.send([frame((Q, 10, 0), (Q, 5, 0)), frame((Q, 10, 0))])
    assert other.recv_wait(1) == [frame()]


def test_inner_tag_from_an_access_port_is_not_looked_at(switch: Switch) -> None:
    one, other = pair(switch, ACCESS, ACCESS, vlan_limit=2)
    one.send([frame((Q, 0, 3), (Q, 5, 0))])
    assert other.recv_wait(1) == [frame((Q, 5, 0))]


def test_same_address_in_two_vlans_is_behind_two_ports(switch: Switch) -> None:
    switch.add("t", "x", "y")
    trunk, x, y = (switch.attach(n) for n in "txy")
    switch.bridges({"br0": {"t": {}, "x": {"vlan_mode": "access", "vlan": 1},
                            "y": {"vlan_mode": "access", "vlan": 2}}})
    x.send([ethernet(ALL, A)])
    y.send([ethernet(ALL, A)])
    assert sorted(trunk.recv_wait(2)) == sorted(
        ethernet(ALL, A)[:12] + struct.pack("!HH", Q, vlan) + ethernet(ALL, A)[12:]
        for vlan in (1, 2))
    trunk.send([frame((Q, 2, 0), dst=A, src=B), frame((Q, 1, 0), dst=A, src=C)])
    assert y.recv_wait(1) == [frame(dst=A, src=B)]
    assert x.recv_wait(1) == [frame(dst=A, src=C)]


def test_port_whose_membership_changed_is_learned_anew(switch: Switch) -> None:
    one, other = pair(switch, {}, {})
    other.send([frame((Q, 10, 0), src=B)])
    assert one.recv_wait(1)
    switch.bridges({"br0": {"a": {}, "b": {"trunks": (11,)}}})
    assert switch.runtime.bridges.fdb("br0") == []
    one.send([frame((Q, 10, 0), dst=B), frame((Q, 11, 0), dst=B)])
    assert other.recv_wait(1) == [frame((Q, 11, 0), dst=B)]


def test_protected_ports_do_not_reach_each_other(switch: Switch) -> None:
    switch.add("a", "b", "c")
    a, b, c = (switch.attach(n) for n in "abc")
    guarded = {"protected": True}
    switch.bridges({"br0": {"a": guarded, "b": guarded, "c": {}}})
    b.send([frame(src=B)])
    assert c.recv_wait(1) == [frame(src=B)]
    a.send([frame(dst=B), frame(), frame(dst=C)])
    assert c.recv_wait(2) == [frame(), frame(dst=C)]
    assert switch.counters("a")["rx_protected_drops"] == 1
    assert b.recv() == []
    c.send([frame(dst=B, src=C)])
    assert b.recv_wait(1) == [frame(dst=B, src=C)]


def test_flood_vlans_learn_nothing(switch: Switch) -> None:
    switch.add("a", "b", "c")
    a, b, c = (switch.attach(n) for n in "abc")
    ports: dict[str, dict[str, Any]] = {"a": {}, "b": {}, "c": {}}
    b.send([frame((Q, 5, 0), src=B)])
    assert a.recv_wait(1)
    assert c.recv_wait(1)
    switch.bridges({"br0": ports}, flood_vlans=(5,))
    a.send([frame((Q, 5, 0), dst=B)])
    assert b.recv_wait(1) == c.recv_wait(1) == [frame((Q, 5, 0), dst=B)]
    assert switch.runtime.bridges.fdb("br0") == []


def test_reserved_addresses_are_forwarded_where_that_is_asked_for(switch: Switch) -> None:
    one, other = pair(switch, {}, {}, forward_bpdu=True)
    sent = [frame(dst=mac) for mac in ("01:80:c2:00:00:00", "00:e0:2b:00:00:04",
                                       "01:00:0c:cc:cc:cc")]
    one.send(sent)
    assert other.recv_wait(3) == sent


@pytest.mark.parametrize("length", range(12, 18))
def test_truncated_tags_are_dropped(switch: Switch, length: int) -> None:
    one, other = pair(switch, ACCESS, {})
    one.send([frame((Q, 0, 0))[:length], frame((Q, 0, 3), (QINQ, 1, 1))[:18], frame()])
    assert other.recv_wait(2) == [
        frame((Q, 10, 3), (QINQ, 1, 1))[:18], frame((Q, 10, 0))]
    assert switch.counters("a")["rx_malformed_drops"] == 1


def test_every_packet_buffer_comes_back(switch: Switch, guests: Mapping[str, FrontEnd]) -> None:
    """The fixture looks for them at the end."""
    sent = 0
    while sent < 600:
        sent += guests["p100"].send([frame((Q, vid, 1)) for vid in (10, 11, 12)] * 10)
        for guest in guests.values():
            guest.recv()
    switch.wait_counter("p100", "rx_packets", sent)
