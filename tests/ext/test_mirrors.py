"""Mirrors, frame by frame: what they select, what a copy looks like, and what they leave alone."""
from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import pytest

from tests.ext.conftest import Switch
from tools.frontend import FrontEnd
from tools.host import wait_until

A, B, M = (f"02:00:00:00:00:0{x}" for x in "abd")
ALL = "ff:ff:ff:ff:ff:ff"
STP = "01:80:c2:00:00:00"
QINQ = 0x88a8
Q = 0x8100
ACCESS = {"vlan_mode": "access", "vlan": 10}
PLAIN: Mapping[str, dict[str, Any]] = {"a": {}, "b": {}, "c": {}, "m": {}}


def frame(*tags: tuple[int, int, int], dst: str = ALL, src: str = A, size: int = 60) -> bytes:
    """With tags of (TPID, VID, PCP), the outermost first, and a payload of that many bytes."""
    addresses = bytes.fromhex((dst + src).replace(":", ""))
    raw = b"".join(struct.pack("!HH", tpid, pcp << 13 | vid) for tpid, vid, pcp in tags)
    return addresses + raw + struct.pack("!H", 0x88b5) + bytes(size)


class Mirrored:
    """Guests on the ports of one bridge with mirrors."""

    def __init__(self, switch: Switch, ports: Mapping[str, dict[str, Any]],
                 mirrors: Mapping[str, dict[str, Any]], **settings: Any) -> None:
        self.switch = switch
        self.ports = dict(ports)
        self.settings = settings
        switch.add(*ports)
        self.guests: dict[str, FrontEnd] = {name: switch.attach(name) for name in ports}
        self.publish(mirrors)

    def publish(self, mirrors: Mapping[str, dict[str, Any]]) -> None:
        """{mirror: what it says}; when this returns nothing is under way by the old tables."""
        self.mirrors = mirrors
        self.switch.bridges({"br0": self.ports}, mirrors=[
            self.entry(name, **said) for name, said in mirrors.items()], **self.settings)

    def entry(self, name: str, src: str = "", dst: str = "", vlans: tuple[int, ...] = (),
              out: str | None = None, out_vlan: int = 0, snaplen: int = 0) -> tuple[object, ...]:
        """Of set_bridges(); 'src' and 'dst' name ports by a letter each."""
        slots = self.switch.slots
        return (name, [slots[p] for p in src], [slots[p] for p in dst], vlans,
                None if out is None else slots[out], out_vlan, snaplen)

    def send(self, port: str, *frames: bytes) -> dict[str, list[bytes]]:
        """What the guests have when all of it is forwarded; those with nothing are left out."""
        before = self.switch.counters(port)["rx_packets"]
        self.guests[port].send(frames)
        self.switch.wait_counter(port, "rx_packets", before + len(frames))
        self.publish(self.mirrors)
        got = {name: guest.recv() for name, guest in self.guests.items()}
        return {name: frames for name, frames in got.items() if frames}

    def counted(self, name: str = "m0") -> tuple[int, int]:
        """(packets, bytes)"""
        return {key: (packets, octets) for key, packets, octets
                in self.switch.runtime.bridges.mirror_counters()}[name]

    def drops(self, port: str) -> dict[str, int]:
        return {key: n for key, n in self.switch.counters(port).items()
                if key.endswith("_drops") and n}


# --- what is selected -----------------------------------------------------------------------------

# (mirror, ports whose broadcasts it has)
SELECTIONS: tuple[tuple[dict[str, Any], str], ...] = (
    ({"src": "a"}, "a"),
    ({"src": "ab"}, "ab"),
    ({"dst": "a"}, "b"),
    ({"dst": "b"}, "a"),
    ({"dst": "c"}, "ab"),
    ({"src": "a", "dst": "a"}, "ab"),
    ({"src": "abcm", "dst": "abcm"}, "ab"),         # select_all, the output among them
    ({"src": "m", "dst": "m"}, ""),                 # to itself
    ({}, ""),
)


def test_ports_select(switch: Switch) -> None:
    at = Mirrored(switch, PLAIN, {})
    for mirror, copied in SELECTIONS:
        at.publish({})
        at.publish({"m0": {**mirror, "out": "m"}})
        for source, others in (("a", "bc"), ("b", "ac")):
            sent = frame(src=A if source == "a" else B)
            wanted = {name: [sent] for name in others}
            if source in copied:
                wanted["m"] = [sent]
            assert at.send(source, sent) == wanted, mirror
        assert at.counted() == (len(copied), 74 * len(copied)), mirror


@pytest.mark.parametrize("mirror", [{"src": "a"}, {"dst": "bc"}, {"src": "abc", "dst": "abc"}])
def test_vlans_select(switch: Switch, mirror: dict[str, Any]) -> None:
    at = Mirrored(switch, PLAIN, {"m0": {**mirror, "out": "m", "vlans": (0, 5)}})
    sent = [frame(), frame((Q, 5, 3)), frame((Q, 6, 0)), frame((Q, 0, 1))]
    assert at.send("a", *sent)["m"] == [sent[0], sent[1], sent[3]]
    assert at.counted() == (3, 74 + 78 + 78)


def test_vlan_that_selects_is_the_one_inside_the_bridge(switch: Switch) -> None:
    at = Mirrored(switch, {**PLAIN, "a": ACCESS}, {"m0": {"src": "a", "out": "m", "vlans": (10,)}})
    assert at.send("a", frame())["m"] == [frame((Q, 10, 0))]


def test_unicast_is_selected_where_it_goes(switch: Switch) -> None:
    at = Mirrored(switch, PLAIN, {"m0": {"dst": "b", "out": "m"}})
    at.send("b", frame(src=B))
    assert at.send("a", frame(dst=B)) == {"b": [frame(dst=B)], "m": [frame(dst=B)]}
    assert at.send("b", frame(src=B, dst=A)) == {"a": [frame(src=B, dst=A)]}


def test_broadcast_to_many_ports_is_copied_once(switch: Switch) -> None:
    at = Mirrored(switch, PLAIN, {"m0": {"dst": "abc", "out": "m"}})
    assert at.send("a", frame()) == {name: [frame()] for name in "bcm"}
    assert at.counted() == (1, 74)


def test_order_is_kept_in_a_burst(switch: Switch) -> None:
    at = Mirrored(switch, PLAIN, {"m0": {"src": "abc", "dst": "abc", "out": "m"}})
    sent = [frame((Q, 1 + i % 3, 0), size=60 + i) for i in range(64)]
    got = at.send("a", *sent)
    assert got["m"] == got["b"] == got["c"] == sent


@pytest.mark.parametrize(("sent", "reason"), [
    (frame(dst=STP), "rx_reserved_drops"),
    (frame(dst=A, src=B), "rx_same_port_drops"),
    (frame((Q, 99, 0)), "rx_no_output_drops"),
])
def test_source_is_copied_before_anything_is_dropped(switch: Switch, sent: bytes, reason: str
                                                     ) -> None:
    narrow = {"trunks": (0, 1)}
    at = Mirrored(switch, {"a": {}, "b": narrow, "m": {}}, {"m0": {"src": "a", "out": "m"}})
    at.send("a", frame())
    assert at.send("a", sent) == {"m": [sent]}
    assert at.drops("a") == {reason: 1}


def test_vlan_that_the_port_does_not_carry_is_not_copied(switch: Switch) -> None:
    at = Mirrored(switch, {**PLAIN, "a": {"trunks": (7,)}},
                  {"m0": {"src": "abc", "dst": "abc", "out": "m"}})
    assert at.send("a", frame(), frame((Q, 8, 0)), frame((Q, 7, 0))[:17]) == {}
    assert at.counted() == (0, 0)
    assert at.drops("a") == {"rx_vlan_drops": 2, "rx_malformed_drops": 1}


# --- what a copy looks like -----------------------------------------------------------------------

@pytest.mark.parametrize(("source", "output", "sent", "copy"), [
    (ACCESS, {}, frame(), frame((Q, 10, 0))),
    (ACCESS, {}, frame((Q, 0, 3)), frame((Q, 10, 3))),
    ({}, {}, frame(), frame()),
    ({}, {}, frame((QINQ, 5, 2), (Q, 6, 1)), frame((QINQ, 5, 2), (Q, 6, 1))),
    # whether the output carries the VLAN does not matter
    (ACCESS, {"trunks": (77,)}, frame(), frame((Q, 10, 0))),
    (ACCESS, {"vlan_mode": "access", "vlan": 77}, frame(), frame()),
    ({}, {"vlan_mode": "access", "vlan": 77}, frame((Q, 5, 2)), frame()),
    ({}, {"vlan_mode": "access", "vlan": 77, "priority_tags": "if-nonzero"}, frame((Q, 5, 2)),
     frame((Q, 0, 2))),
    (ACCESS, {"vlan_mode": "native-tagged", "vlan": 10}, frame(), frame((Q, 10, 0))),
    (ACCESS, {"vlan_mode": "native-untagged", "vlan": 10}, frame(), frame()),
    (ACCESS, {"vlan_mode": "native-untagged", "vlan": 11}, frame(), frame((Q, 10, 0))),
    ({}, {"vlan_mode": "dot1q-tunnel", "vlan": 77}, frame((Q, 5, 0), (Q, 6, 1)),
     frame((Q, 6, 1))),
    ({"vlan_mode": "dot1q-tunnel", "vlan": 20}, {}, frame((Q, 5, 3)),
     frame((QINQ, 20, 0), (Q, 5, 3))),
])
def test_copy_leaves_by_the_mode_of_the_output(
        switch: Switch, source: dict[str, Any], output: dict[str, Any], sent: bytes, copy: bytes
        ) -> None:
    at = Mirrored(switch, {"a": source, "b": source, "m": output}, {})
    forwarded = at.send("a", sent)
    at.publish({"m0": {"src": "a", "dst": "b", "out": "m"}})
    assert at.send("a", sent) == {"b": forwarded["b"], "m": [copy]}
    assert at.counted() == (1, len(sent))


def test_copy_of_what_went_out_has_the_vlan_of_the_bridge(switch: Switch) -> None:
    at = Mirrored(switch, {"a": ACCESS, "b": ACCESS, "c": {}, "m": {}},
                  {"m0": {"dst": "b", "out": "m"}})
    assert at.send("a", frame()) == {
        "b": [frame()], "c": [frame((Q, 10, 0))], "m": [frame((Q, 10, 0))]}
    assert at.counted() == (1, 74)


@pytest.mark.parametrize("mirror", [{"src": "a"}, {"dst": "b"}])
def test_snaplen_cuts_the_copy_alone(switch: Switch, mirror: dict[str, Any]) -> None:
    at = Mirrored(switch, PLAIN, {})
    sent = [frame(size=size) for size in (0, 49, 50, 51, 1486)]
    for i, snaplen in enumerate((14, 64, 1000, 65535)):
        at.publish({"m0": {**mirror, "out": "m", "snaplen": snaplen}})
        got = at.send("a", *sent)
        assert got["m"] == [f[:snaplen] for f in sent]
        assert got["b"] == got["c"] == sent
        assert at.counted() == (5 * i + 5, (i + 1) * sum(map(len, sent)))


def test_snaplen_counts_the_tag_of_the_output(switch: Switch) -> None:
    at = Mirrored(switch, {**PLAIN, "a": ACCESS}, {"m0": {"src": "a", "out": "m", "snaplen": 64}})
    assert at.send("a", frame())["m"] == [frame((Q, 10, 0))[:64]]


def test_long_frame_does_not_fit_unless_it_is_cut(switch: Switch) -> None:
    at = Mirrored(switch, {"a": ACCESS, "b": ACCESS, "m": {}}, {"m0": {"src": "a", "out": "m"}})
    sent = frame(size=1503)         # with the tag of the output it is longer than MTU 1500 allows
    assert at.send("a", sent) == {"b": [sent]}
    assert at.drops("m") == {"tx_mtu_drops": 1}
    at.publish({"m0": {"src": "a", "out": "m", "snaplen": 100}})
    assert at.send("a", sent) == {"b": [sent], "m": [frame((Q, 10, 0), size=1503)[:100]]}


# --- into a VLAN ----------------------------------------------------------------------------------

RSPAN: Mapping[str, dict[str, Any]] = {
    "a": {"trunks": (10, 20)}, "b": ACCESS, "t": {"trunks": (20,)},
    "u": {"vlan_mode": "access", "vlan": 20}, "m": {}}


def test_output_vlan_has_the_copies(switch: Switch) -> None:
    at = Mirrored(switch, RSPAN, {"m0": {"src": "ab", "out_vlan": 20}})
    copy = frame((Q, 20, 0), src=B)
    got = at.send("b", frame(src=B))
    assert got == {"a": [copy, frame((Q, 10, 0), src=B)], "t": [copy], "u": [frame(src=B)],
                   "m": [copy, frame((Q, 10, 0), src=B)]}
    # the port that it came from is one of the VLAN; the priority is kept
    got = at.send("a", frame((Q, 10, 5)))
    assert got == {"a": [frame((Q, 20, 5))], "b": [frame()], "t": [frame((Q, 20, 5))],
                   "u": [frame()], "m": [frame((Q, 20, 5)), frame((Q, 10, 5))]}
    assert at.counted() == (2, 74 + 78)


def test_output_vlan_takes_neither_its_own_packets_nor_reserved_ones(switch: Switch) -> None:
    at = Mirrored(switch, RSPAN, {"m0": {"src": "ab", "out_vlan": 20}}, forward_bpdu=True)
    sent = frame((Q, 20, 0))
    assert at.send("a", sent) == {"t": [sent], "u": [frame()], "m": [sent]}
    sent = frame((Q, 10, 0), dst=STP)
    assert at.send("a", sent) == {"b": [frame(dst=STP)], "m": [sent]}
    assert at.counted() == (2, 156)


def test_output_vlan_leaves_out_the_outputs_of_mirrors(switch: Switch) -> None:
    at = Mirrored(switch, RSPAN, {"m0": {"src": "b", "out_vlan": 20, "snaplen": 60},
                                  "m1": {"src": "b", "out": "m"}})
    sent, copy = frame(src=B), frame((Q, 20, 0), src=B)[:60]
    assert at.send("b", sent) == {
        "a": [copy, frame((Q, 10, 0), src=B)], "t": [copy], "u": [sent[:60]],
        "m": [frame((Q, 10, 0), src=B)]}


# --- several mirrors ------------------------------------------------------------------------------

def test_each_mirror_has_each_packet_once(switch: Switch) -> None:
    everything = {"src": "abcm", "dst": "abcm"}
    at = Mirrored(switch, PLAIN, {"m0": {**everything, "out": "m"},
                                  "m1": {**everything, "out": "c", "snaplen": 20}})
    assert at.send("a", frame()) == {"b": [frame()], "m": [frame()], "c": [frame()[:20]]}
    assert at.counted("m0") == at.counted("m1") == (1, 74)


def test_one_output_of_two_mirrors_has_each_packet_once(switch: Switch) -> None:
    at = Mirrored(switch, PLAIN, {"m0": {"src": "a", "out": "m"}, "m1": {"dst": "b", "out": "m"}})
    assert at.send("a", frame())["m"] == [frame()]
    assert at.send("c", frame())["m"] == [frame()]
    assert (at.counted("m0"), at.counted("m1")) == ((1, 74), (1, 74))


def test_copies_that_go_out_by_a_selected_port_are_selected(switch: Switch) -> None:
    at = Mirrored(switch, {**PLAIN, "n": {}}, {"m0": {"src": "a", "out": "m"},
                                               "m1": {"dst": "m", "out": "n"}})
    assert at.send("a", frame()) == {name: [frame()] for name in "bcmn"}
    assert at.send("b", frame(src=B)) == {name: [frame(src=B)] for name in "ac"}


def test_thirty_two_mirrors(switch: Switch) -> None:
    """Each sets the next one off."""
    chain = {f"m{i}": {"src": "" if i else "a", "dst": "c", "out_vlan": 100 + i}
             for i in range(31)}
    at = Mirrored(switch, PLAIN, {**chain, "last": {"dst": "c", "vlans": (130,), "out": "m"}})
    got = at.send("a", frame())
    assert got["m"] == [frame((Q, 130, 0))]
    assert got["b"] == [*(frame((Q, 100 + i, 0)) for i in range(31)), frame()]
    assert {at.counted(name) for name in at.mirrors} == {(1, 74)}


# --- the output port ------------------------------------------------------------------------------

def test_output_port_is_for_nothing_else(switch: Switch) -> None:
    at = Mirrored(switch, PLAIN, {})
    at.send("m", frame(src=M))
    at.publish({"m0": {"dst": "c", "out": "m"}, "m1": {"src": "m", "out_vlan": 9}})
    assert at.send("m", frame(src=M), frame(src=M, dst=A)) == {}
    assert at.drops("m") == {"rx_mirror_drops": 2}
    assert at.send("a", frame(dst=M)) == {}                 # learned there before
    assert at.drops("a") == {"rx_mirror_drops": 1}
    assert at.counted("m0") == at.counted("m1") == (0, 0)
    switch.runtime.bridges.flush_fdb("br0")
    assert at.send("m", frame(src=M)) == {}
    assert switch.runtime.bridges.fdb("br0") == []
    at.publish({})
    assert at.send("m", frame(src=M)) == {name: [frame(src=M)] for name in "abc"}


def test_protected_ports_have_no_copies_of_each_other(switch: Switch) -> None:
    guarded = {"protected": True}
    at = Mirrored(switch, {"a": guarded, "b": {}, "m": guarded},
                  {"m0": {"src": "ab", "out": "m"}})
    assert at.send("a", frame()) == {"b": [frame()]}
    assert at.send("b", frame(src=B)) == {"a": [frame(src=B)], "m": [frame(src=B)]}
    assert at.counted() == (2, 148)


def test_output_without_a_guest_counts_what_it_drops(switch: Switch) -> None:
    at = Mirrored(switch, PLAIN, {"m0": {"src": "a", "out": "m"}})
    at.guests.pop("m").close()
    wait_until(lambda: not switch.connected("m"), "the guest of m is gone")
    assert at.send("a", frame()) == {name: [frame()] for name in "bc"}
    assert at.counted() == (1, 74)
    assert at.drops("m") == {"tx_disconnected_drops": 1}


def test_output_port_goes_while_traffic_runs(switch: Switch) -> None:
    at = Mirrored(switch, {"a": {}, "b": {}, "m": {}}, {"m0": {"src": "ab", "out": "m"}})
    sent = 0
    for _ in range(3):
        for _ in range(8):
            at.guests["a"].send([frame()] * 32)
            sent += 32
            at.guests["b"].recv()
        at.guests.pop("m").close()
        switch.remove("m")
        switch.add("m")
        at.guests["m"] = switch.attach("m")
        at.publish({"m0": {"src": "ab", "out": "m"}})
    switch.wait_counter("a", "rx_packets", sent)
    at.send("a")
    assert at.send("a", frame((Q, 1, 1))) == {name: [frame((Q, 1, 1))] for name in "bm"}


# --- statistics -----------------------------------------------------------------------------------

def test_counters_stay_while_the_mirror_does(switch: Switch) -> None:
    at = Mirrored(switch, PLAIN, {"m0": {"src": "a", "out": "m"}})
    at.send("a", *[frame(size=46 + i) for i in range(100)])
    total = sum(60 + i for i in range(100))
    assert at.counted() == (100, total)
    at.publish({"other": {"out": "c"}, "m0": {"src": "b", "out": "m", "snaplen": 14}})
    assert at.counted() == (100, total)
    at.send("b", frame(src=B))
    assert at.counted() == (101, total + 74)
    assert at.counted("other") == (0, 0)
    at.publish({})
    assert switch.runtime.bridges.mirror_counters() == ()
    at.publish({"m0": {"src": "a", "out": "m"}})
    assert at.counted() == (0, 0)
