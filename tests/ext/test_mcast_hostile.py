"""Multicast snooping and hostile guests: tables that are full, messages that do not add up."""
from __future__ import annotations

import ipaddress
import os
import struct
from collections.abc import Iterator

import pytest

from tests.ext.conftest import Switch
from tests.ext.snooping import (
    FOUR,
    JOINS,
    MLD1,
    MLD2,
    OTHER_FOUR,
    ROUTER,
    SIX,
    V2,
    V3,
    A,
    B,
    C,
    groups,
    reached,
    set_up,
)
from tools import multicast as m
from tools.host import wait_until


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


def test_main_reads_and_flushes_while_two_pmds_learn(switch: Switch) -> None:
    """The table is full all the time; what is read is what a guest said."""
    guests = set_up(switch, "a", "b", "c", table_size=10)
    cores = sorted(os.sched_getaffinity(0))
    switch.poll((cores[0], cores[-1]))
    sent = dict.fromkeys(guests, 0)
    said = {m.number(group) for _, group, _, _ in many(0, 600)}
    for i in range(60):
        for name, mac in (("a", A), ("b", B), ("c", C)):
            sent[name] += guests[name].send(
                [m.igmp(mac, m.IGMP_V3, entries=many(i + 5 * k, 60)) for k in range(20)]
                + [m.data(mac, f"239.9.0.{i & 255}")])
        found = switch.runtime.bridges.mdb("br0")
        assert {(entry[1], entry[3]) for entry in found} <= {(0, V3)}
        assert {entry[2] for entry in found} <= said
        if i % 20 == 0:
            switch.runtime.bridges.flush_mdb("br0")
    for name, count in sent.items():
        switch.wait_counter(name, "rx_packets", count)
    switch.poll((cores[0],))            # who counted a frame has sent it, too, when this returns
    for guest in guests.values():
        guest.recv()
    assert reached(guests, "b", JOINS[V2](B, FOUR)) == ""
    assert ("b", 0, m.number(FOUR), V2) in groups(switch)
    assert len({entry[2] for entry in groups(switch)}) <= 10


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
    wait_until(lambda: len(groups(switch)) == 1, "the whole one is listened to")


def shortened(whole: bytes) -> Iterator[bytes]:
    """Frames of the same message with its end missing, and right headers and checksums."""
    v4 = whole[12:14] == b"\x08\x00"
    message = whole[14 + (24 if v4 else 48):size(whole)]
    message = message[:2] + bytes(2) + message[4:]
    group = str(ipaddress.ip_address(whole[30:34] if v4 else whole[38:54]))
    for length in range(len(message)):
        pseudo = b"" if v4 else whole[22:54] + struct.pack("!II", length, m.ICMPV6)
        cut = m.with_checksum(message[:length].ljust(4, b"\0"), pseudo)[:length]
        yield m.frame(B, m.ipv4(group, m.IGMP, cut, options=m.ROUTER_ALERT_4) if v4 else
                      m.ipv6(group, m.ICMPV6, cut, hop_by_hop=m.ROUTER_ALERT_6))


@pytest.mark.parametrize("kind", MESSAGES)
def test_nothing_is_learned_from_a_message_that_is_shorter_than_it_says(
        switch: Switch, kind: str) -> None:
    guests = set_up(switch, "a", "b")
    sent = list(shortened(MESSAGES[kind]))
    guests["b"].send(sent)
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
