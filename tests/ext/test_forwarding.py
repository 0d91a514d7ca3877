"""The switching pipeline, frame by frame."""
from __future__ import annotations

import struct

import pytest

from tests.ext.conftest import Switch
from tools.frontend import ethernet

A, B, C = (f"02:00:00:00:00:0{x}" for x in "abc")
ALL = "ff:ff:ff:ff:ff:ff"


def learned(switch: Switch) -> dict[tuple[int, int], int]:
    """{(address, VLAN): slot}"""
    return {(mac, vlan): slot for slot, vlan, mac, _ in switch.runtime.bridges.fdb("br0")}


def number(mac: str) -> int:
    return int(mac.replace(":", ""), 16)


def test_unknown_is_flooded_and_known_goes_to_one_port(switch: Switch) -> None:
    switch.add("a", "b", "c")
    a, b, c = (switch.attach(n) for n in "abc")
    a.send([ethernet(B, A)])
    assert b.recv_wait(1) == c.recv_wait(1) == [ethernet(B, A)]
    b.send([ethernet(A, B)])
    assert a.recv_wait(1) == [ethernet(A, B)]
    a.send([ethernet(B, A)])
    assert b.recv_wait(1) == [ethernet(B, A)]
    switch.wait_counter("a", "rx_packets", 2)
    assert c.recv() == []
    assert learned(switch) == {(number(A), 0): switch.slots["a"],
                               (number(B), 0): switch.slots["b"]}


def test_frame_never_goes_back_where_it_came_from(switch: Switch) -> None:
    switch.add("a", "b")
    a, b = switch.attach("a"), switch.attach("b")
    a.send([ethernet(ALL, A)])
    assert b.recv_wait(1)
    a.send([ethernet(A, C), ethernet(ALL, A)])      # the first is for a's own address
    assert b.recv_wait(1) == [ethernet(ALL, A)]
    assert a.recv() == []


def test_address_that_moves_is_followed_at_once(switch: Switch) -> None:
    switch.add("a", "b", "c")
    a, b, c = (switch.attach(n) for n in "abc")
    for mover, other in ((a, b), (b, a), (a, b)):
        mover.send([ethernet(ALL, A)])
        other.recv_wait(1)
        c.recv_wait(1)
        c.send([ethernet(A, C)])
        assert mover.recv_wait(1) == [ethernet(A, C)]
        assert other.recv() == []


def test_vlans_are_learned_apart(switch: Switch) -> None:
    switch.add("a", "b", "c")
    a, b, c = (switch.attach(n) for n in "abc")
    a.send([ethernet(ALL, A, vlan=10)])
    b.recv_wait(1)
    c.recv_wait(1)
    c.send([ethernet(A, C, vlan=20)])               # not known there: flooded
    assert a.recv_wait(1)
    assert b.recv_wait(1)
    c.send([ethernet(A, C, vlan=10)])
    assert a.recv_wait(1) == [ethernet(A, C, vlan=10)]
    assert b.recv() == []
    assert (number(A), 10) in learned(switch)


@pytest.mark.parametrize("reserved", [
    "01:80:c2:00:00:00", "01:80:c2:00:00:0e", "01:80:c2:00:00:0f", "00:e0:2b:00:00:04",
    "01:00:0c:00:00:00", "01:00:0c:cc:cc:cc", "01:00:0c:cd:cd:cd", "01:00:0c:cc:cc:c7"])
def test_reserved_addresses_are_not_forwarded(switch: Switch, reserved: str) -> None:
    switch.add("a", "b")
    a, b = switch.attach("a"), switch.attach("b")
    a.send([ethernet(reserved, A), ethernet(ALL, A)])
    assert b.recv_wait(1) == [ethernet(ALL, A)]


@pytest.mark.parametrize("ordinary", ["01:80:c2:00:00:10", "01:00:5e:00:00:01",
                                      "01:00:0c:cc:cc:c8", "00:e0:2b:00:00:05"])
def test_their_neighbours_are(switch: Switch, ordinary: str) -> None:
    switch.add("a", "b")
    a, b = switch.attach("a"), switch.attach("b")
    a.send([ethernet(ordinary, A)])
    assert b.recv_wait(1) == [ethernet(ordinary, A)]


def test_multicast_source_is_not_learned(switch: Switch) -> None:
    switch.add("a", "b")
    a, b = switch.attach("a"), switch.attach("b")
    a.send([ethernet(ALL, "03:00:00:00:00:01")])
    assert b.recv_wait(1)
    assert learned(switch) == {}


@pytest.mark.parametrize("runt", [b"", b"\x02", b"\x02" * 13, b"\x02" * 12 + b"\x81\x00\x00"])
def test_runts_are_dropped_and_counted(switch: Switch, runt: bytes) -> None:
    switch.add("a", "b")
    a, b = switch.attach("a"), switch.attach("b")
    if runt:
        a.send([runt])
    a.send([ethernet(ALL, A)])
    assert b.recv_wait(1) == [ethernet(ALL, A)]
    switch.wait_counter("a", "rx_packets", 1)
    assert switch.counters("a")["rx_malformed_drops"] == bool(runt)


def test_bursts_keep_their_order_whatever_they_mix(switch: Switch) -> None:
    switch.add("a", "b", "c")
    a, b, c = (switch.attach(n) for n in "abc")
    b.send([ethernet(ALL, B)])
    c.send([ethernet(ALL, C)])
    a.recv_wait(2)
    b.recv_wait(1)
    c.recv_wait(1)
    to = [B, C, ALL, B, B, C, ALL, C] * 25
    a.send([ethernet(mac, A, struct.pack("!I", i)) for i, mac in enumerate(to)])
    for guest, mac in ((b, B), (c, C)):
        wanted = [i for i, m in enumerate(to) if m in (mac, ALL)]
        got = [struct.unpack_from("!I", f, 14)[0] for f in guest.recv_wait(len(wanted))]
        for dst in (mac, ALL):                      # order holds among frames of one destination
            assert [i for i in got if to[i] == dst] == [i for i in wanted if to[i] == dst]
        assert sorted(got) == wanted


def test_frames_over_the_mtu_are_not_sent_and_counted(switch: Switch) -> None:
    switch.add("a", "b")
    a, b = switch.attach("a"), switch.attach("b")
    longest = ethernet(ALL, A, b"x" * 1504)         # MTU 1500 + 18, as a tagged full frame
    a.send([ethernet(ALL, A, b"x" * 1505), longest])
    assert b.recv_wait(1) == [longest]
    assert switch.counters("b")["tx_mtu_drops"] == 1


def test_bridges_are_apart(switch: Switch) -> None:
    switch.add("a", "b", "c")
    a, b, c = (switch.attach(n) for n in "abc")
    switch.bridges({"br0": {"a": {}, "b": {}}, "br1": {"c": {}}})
    a.send([ethernet(ALL, A)])
    c.send([ethernet(ALL, C)])
    assert b.recv_wait(1) == [ethernet(ALL, A)]
    switch.wait_counter("c", "rx_packets", 1)
    assert a.recv() == c.recv() == []
    assert [mac for _, _, mac, _ in switch.runtime.bridges.fdb("br1")] == [number(C)]


def test_port_on_no_bridge_forwards_nothing(switch: Switch) -> None:
    switch.add("a", "b")
    a, b = switch.attach("a"), switch.attach("b")
    switch.bridge("b")
    a.send([ethernet(ALL, A)])
    switch.wait_counter("a", "rx_packets", 1)
    assert b.recv() == []


def test_more_addresses_than_the_table_holds_flood_but_never_stray(switch: Switch) -> None:
    switch.add("a", "b", "c")
    a, b, c = (switch.attach(n, queue_size=1024) for n in "abc")
    macs = [f"02:00:00:01:{i >> 8:02x}:{i & 255:02x}" for i in range(20_000)]
    for start in range(0, len(macs), 500):
        frames = [ethernet(A, mac) for mac in macs[start:start + 500]]
        while frames:
            frames = frames[b.send(frames):]
            a.recv()
            c.recv()
    switch.wait_counter("b", "rx_packets", len(macs))
    table = switch.runtime.bridges.fdb("br0")
    assert 4096 < len(table) <= 8192
    a.recv()
    c.recv()
    a.send([ethernet(mac, A) for mac in macs[-200:]])
    assert len(b.recv_wait(200)) == 200


def test_flush_forgets_everything(switch: Switch) -> None:
    switch.add("a", "b")
    a, b = switch.attach("a"), switch.attach("b")
    a.send([ethernet(ALL, A)])
    b.recv_wait(1)
    switch.runtime.bridges.flush_fdb("br0")
    assert learned(switch) == {}
    a.send([ethernet(ALL, A)])                      # learned anew within the same second
    b.recv_wait(1)
    assert (number(A), 0) in learned(switch)
