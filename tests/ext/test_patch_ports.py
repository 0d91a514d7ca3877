"""Patch ports: two bridges that forward as one, and loops that end."""
from __future__ import annotations

import pytest

from tests.ext.conftest import BRIDGE, MEMBER, Switch
from tools.frontend import ethernet

A, B = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
ALL = "ff:ff:ff:ff:ff:ff"

Bridges = dict[str, dict[str, dict[str, object]]]


def patched(switch: Switch, bridges: Bridges, peers: dict[str, str | None]) -> None:
    """Bridges with patch ports, which are added where they do not exist."""
    for name in peers:
        if name not in switch.slots:
            switch.slots[name] = switch.runtime.ports.add_patch(name)
    slots = switch.slots
    switch.runtime.set_bridges([
        {**BRIDGE, "name": name,
         "members": [(slots[port], *{**MEMBER, **how}.values()) for port, how in members.items()],
         "patches": [(slots[port], None if (peer := peers[port]) is None else slots[peer])
                     for port in members if port in peers]}
        for name, members in bridges.items()])


def test_what_is_sent_to_one_comes_in_at_the_other(switch: Switch) -> None:
    switch.add("a", "b")
    patched(switch, {"br0": {"a": {}, "p": {}}, "br1": {"b": {}, "q": {}}}, {"p": "q", "q": "p"})
    a, b = switch.attach("a"), switch.attach("b")
    a.send([ethernet(ALL, A)])
    assert b.recv_wait(1) == [ethernet(ALL, A)]
    b.send([ethernet(A, B, bytes(86))])
    assert a.recv_wait(1) == [ethernet(A, B, bytes(86))]
    ports = {name: {port for port, *_ in switch.runtime.bridges.fdb(name)}
             for name in ("br0", "br1")}
    assert ports == {"br0": {switch.slots["a"], switch.slots["p"]},
                     "br1": {switch.slots["b"], switch.slots["q"]}}
    for port in ("p", "q"):
        counted = switch.counters(port)
        assert (counted["rx_packets"], counted["tx_packets"]) == (1, 1)
        assert counted["rx_bytes"] + counted["tx_bytes"] == 60 + 100


def test_each_port_leads_to_its_own_peer(switch: Switch) -> None:
    switch.add("a", "b", "c")
    patched(switch, {"br0": {"a": {}, "p": {}, "r": {}}, "br1": {"b": {}, "q": {}},
                     "br2": {"c": {}, "s": {}}}, {"p": "q", "q": "p", "r": "s", "s": "r"})
    a, b, c = (switch.attach(name) for name in "abc")
    a.send([ethernet(ALL, A)])
    assert b.recv_wait(1) == c.recv_wait(1) == [ethernet(ALL, A)]
    assert [switch.counters(port)["rx_packets"] for port in "qs"] == [1, 1]


def test_each_end_has_its_own_vlans(switch: Switch) -> None:
    switch.add("a", "b", "c")
    patched(switch, {"br0": {"a": {"vlan_mode": "access", "vlan": 10}, "c": {}, "p": {}},
                     "br1": {"b": {}, "q": {"vlan_mode": "native-untagged", "vlan": 20}}},
            {"p": "q", "q": "p"})
    a, b, c = (switch.attach(name) for name in "abc")
    a.send([ethernet(ALL, A)])
    tagged = ethernet(ALL, A, bytes(46), vlan=10)
    assert b.recv_wait(1) == c.recv_wait(1) == [tagged]
    both = [ethernet(ALL, B, bytes(46), vlan=vlan) for vlan in (10, 20)]
    b.send(both)
    assert a.recv_wait(1) == [ethernet(ALL, B)]
    assert c.recv_wait(2) == [both[0], ethernet(ALL, B)]


@pytest.mark.parametrize("peer", [None, "q"])
def test_without_a_peer_or_a_bridge_for_it_frames_are_dropped_and_counted(
        switch: Switch, peer: str | None) -> None:
    switch.add("a")
    patched(switch, {"br0": {"a": {}, "p": {}}}, {"p": peer, "q": None})
    a = switch.attach("a")
    a.send([ethernet(ALL, A)] * 3)
    port, counter = ("p", "tx_disconnected_drops") if peer is None else ("q", "rx_no_bridge_drops")
    switch.wait_counter(port, counter, 3)


def test_qos_of_a_patch_port_limits_what_is_sent_to_it_and_nothing_else(switch: Switch) -> None:
    switch.add("a", "b", "c")
    patched(switch, {"br0": {"a": {}, "c": {}, "p": {}}, "br1": {"b": {}, "q": {}}},
            {"p": "q", "q": "p"})
    a, b, c = (switch.attach(name) for name in "abc")
    switch.runtime.ports.set_limits(switch.slots["p"], {"tx_bytes": (1, 1_000)})
    sent = [ethernet(ALL, A, bytes([i] * 486)) for i in range(4)]
    a.send(sent)
    assert c.recv_wait(4) == sent
    assert b.recv_wait(2) == sent[:2]
    counted = switch.counters("p")
    assert (counted["tx_packets"], counted["tx_qos_drops"]) == (2, 2)
    assert switch.counters("q")["rx_packets"] == 2
    b.send([ethernet(ALL, B)] * 4)                  # the other direction
    assert a.recv_wait(4) == [ethernet(ALL, B)] * 4
    switch.runtime.ports.set_limits(switch.slots["p"], {})
    b.recv()
    a.send(sent)
    assert b.recv_wait(4) == sent


def test_policing_of_a_patch_port_limits_what_comes_in_by_it(switch: Switch) -> None:
    switch.add("a", "b")
    patched(switch, {"br0": {"a": {}, "p": {}}, "br1": {"b": {}, "q": {}}}, {"p": "q", "q": "p"})
    a, b = switch.attach("a"), switch.attach("b")
    switch.runtime.ports.set_limits(switch.slots["q"], {"rx_packets": (1, 2)})
    a.send([ethernet(ALL, A)] * 4)
    switch.wait_counter("q", "rx_qos_drops", 2)
    assert b.recv_wait(2) == [ethernet(ALL, A)] * 2


def test_loop_of_patch_ports_ends(switch: Switch) -> None:
    switch.add("a", "b")
    peers: dict[str, str | None] = {}
    for i in range(6):
        peers |= {f"p{i}": f"q{i}", f"q{i}": f"p{i}"}
    patched(switch, {"br0": {"a": {}, **{f"p{i}": {} for i in range(6)}},
                     "br1": {"b": {}, **{f"q{i}": {} for i in range(6)}}}, peers)
    a, b = switch.attach("a"), switch.attach("b")
    a.send([ethernet(ALL, A)])
    assert b.recv_wait(6)
    crossings = sum(switch.counters(port)["tx_packets"] for port in peers)
    assert 6 < crossings <= 6 * 128
    assert sum(switch.counters(port)["tx_loop_drops"] for port in peers)
    b.recv()
    b.send([ethernet(ALL, B)])                      # and the switch goes on
    assert a.recv_wait(1)


def test_patch_port_goes_while_frames_cross(switch: Switch) -> None:
    switch.add("a", "b")
    both: Bridges = {"br0": {"a": {}, "p": {}}, "br1": {"b": {}, "q": {}}}
    a, b = switch.attach("a"), switch.attach("b")
    patched(switch, both, {"p": "q", "q": "p"})
    for _ in range(20):
        a.send([ethernet(ALL, A)] * 8)
        patched(switch, {"br0": {"a": {}}, "br1": {"b": {}}}, {})
        for name in "pq":
            switch.runtime.ports.remove(switch.slots.pop(name))
        patched(switch, both, {"p": "q", "q": "p"})
        b.recv()
    a.send([ethernet(ALL, A, bytes(63))])
    while ethernet(ALL, A, bytes(63)) not in b.recv_wait(1):
        pass
