"""Checksums and segmentation that guests leave to the switch: passed on, or done."""
from __future__ import annotations

import struct
from collections.abc import Callable
from itertools import product

import pytest

from tests.ext.conftest import Switch
from tests.ext.packets import (
    ACK,
    CHECKSUM_AT,
    CWR,
    FIN,
    FIRST,
    FRAGMENT,
    GSO_ECN,
    GSO_TCPV4,
    GSO_TCPV6,
    GSO_UDP,
    GUEST_TSO,
    HOP_BY_HOP,
    HOST_TSO,
    NEEDS_CSUM,
    NET_F_CSUM,
    NET_F_GUEST_CSUM,
    NET_F_GUEST_TSO4,
    NET_F_GUEST_TSO6,
    NET_F_HOST_ECN,
    NET_F_HOST_UFO,
    NOTHING,
    PSH,
    ROUTING,
    SCTP,
    TCP,
    UDP,
    Header,
    Packet,
    cut_header,
    header,
    ipv4,
    ipv6,
    ones_sum,
    sctp,
    tcp,
    udp,
)
from tools.frontend import FrontEnd
from tools.host import wait_until
from tools.virtqueue import NET_HEADER_BYTES

HOP = (HOP_BY_HOP, bytes([0, 1, 4, 0, 0, 0, 0]))
ROUTE = (ROUTING, bytes([2, 4, 1, 0, 0, 0, 0]) + FIRST) # to LAST, then to FIRST
PAYLOAD = bytes(range(1, 200)) + b"odd"
LONG = bytes(i * 7 & 0xff for i in range(6000))


def receive(guest: FrontEnd, count: int) -> list[tuple[Header, bytes]]:
    """That many frames, each with its header."""
    frames: list[bytes] = []

    def all_there() -> bool:
        frames.extend(guest.recv_whole())
        return len(frames) >= count
    wait_until(all_there, f"{count} frames come")
    assert len(frames) == count
    return [(Header.of(whole), whole[NET_HEADER_BYTES:])
            for whole in frames]


Two = Callable[..., tuple[FrontEnd, FrontEnd]]


@pytest.fixture
def two(switch: Switch) -> Two:
    """A sender that leaves everything to the switch, and a receiver with these features."""
    def attach(features: int = 0, **options: int) -> tuple[FrontEnd, FrontEnd]:
        switch.add("a", "b", **{"tso": True, "mtu": 1500, **options})
        return (switch.attach("a", features=HOST_TSO, tx_buffer_bytes=1 << 16),
                switch.attach("b", features=features))
    return attach


# --- what is offered ------------------------------------------------------------------------------

def test_checksums_are_offered_to_all_guests_and_segmentation_where_it_was_asked_for(
        switch: Switch) -> None:
    switch.add("plain")
    switch.add("tso", tso=True)
    plain, tso = switch.attach("plain").offered, switch.attach("tso").offered
    assert plain & (HOST_TSO | NET_F_HOST_UFO) == NET_F_CSUM
    assert tso & (HOST_TSO | NET_F_HOST_UFO | NET_F_HOST_ECN) == HOST_TSO
    assert plain & tso & GUEST_TSO == GUEST_TSO


# --- checksums ------------------------------------------------------------------------------------

FRAMES = {
    "tcp4": ipv4(TCP, tcp(PAYLOAD)),
    "udp4": ipv4(UDP, udp(PAYLOAD)),
    "tcp6": ipv6(TCP, tcp(PAYLOAD, six=True)),
    "udp6": ipv6(UDP, udp(PAYLOAD, six=True)),
    "no payload": ipv4(TCP, tcp(b"")),
    "ip options": ipv4(TCP, tcp(PAYLOAD), options=b"\1" * 8),
    "tcp options": ipv4(TCP, tcp(PAYLOAD, options=b"\1" * 40)),
    "padded": ipv4(UDP, udp(b"")) + b"\xff" * 18,
    "one tag": ipv4(TCP, tcp(PAYLOAD), tags=(5,)),
}
# What is never passed on: no guest is told of it in a way that it could understand.
ODD_FRAMES = {
    "sctp": ipv4(SCTP, sctp(PAYLOAD)),
    "hop by hop": ipv6(TCP, tcp(PAYLOAD, six=True), extensions=(HOP,)),
}


def test_guest_that_takes_no_partial_checksum_gets_a_whole_one(two: Two) -> None:
    a, b = two()
    for name, frame in {**FRAMES, **ODD_FRAMES}.items():
        a.send([frame], header=header(frame).bytes())
        [(said, got)] = receive(b, 1)
        assert said == NOTHING, name
        assert Packet(got).complete(), name
        at = Packet(frame).l4 + CHECKSUM_AT[Packet(frame).protocol]
        size = 4 if Packet(frame).protocol == SCTP else 2
        assert (got[:at], got[at + size:]) == (frame[:at], frame[at + size:]), name


def test_guest_that_takes_partial_checksums_gets_those_that_can_be_passed_on(two: Two) -> None:
    a, b = two(NET_F_GUEST_CSUM)
    for name, frame in FRAMES.items():
        a.send([frame], header=header(frame).bytes())
        assert receive(b, 1) == [(header(frame), frame)], name
    for name, frame in ODD_FRAMES.items():
        a.send([frame], header=header(frame).bytes())
        [(said, got)] = receive(b, 1)
        assert said == NOTHING, name
        assert Packet(got).complete(), name


def test_destination_in_a_routing_header_is_the_one_that_the_checksum_is_for(
        two: Two) -> None:
    a, b = two()
    frame = ipv6(TCP, tcp(PAYLOAD, six=True, last=FIRST), extensions=(HOP, ROUTE))
    a.send([frame], header=header(frame).bytes())
    [(said, got)] = receive(b, 1)
    assert said == NOTHING
    assert Packet(got).complete(last=FIRST)


@pytest.mark.parametrize(("protocol", "header_of", "written"), [
    (UDP, udp, b"\xff\xff"), (TCP, tcp, b"\0\0")], ids=["udp", "tcp"])
def test_checksum_that_comes_to_nothing_is_all_ones_for_udp_alone(
        two: Two, protocol: int, header_of: Callable[[bytes], bytes], written: bytes) -> None:
    a, b = two()
    plain = Packet(ipv4(protocol, header_of(b"\0\0")))
    missing = -ones_sum(plain.segment) % 0xffff     # makes the sum 0xffff
    frame = ipv4(protocol, header_of(struct.pack("!H", missing)))
    a.send([frame], header=header(frame).bytes())
    [(_, got)] = receive(b, 1)
    at = CHECKSUM_AT[protocol]
    assert Packet(got).segment[at:at + 2] == written
    assert Packet(got).complete()


def test_checksum_that_a_guest_made_itself_is_left_alone(
        two: Two) -> None:
    a, b = two()
    frame = FRAMES["tcp4"]                      # it is wrong: that is not ours to say
    a.send([frame])
    assert receive(b, 1) == [(NOTHING, frame)]


@pytest.mark.parametrize("features", [0, NET_F_GUEST_CSUM])
def test_request_is_of_the_frame_that_leaves_with_the_tags_that_it_has_then(
        switch: Switch, features: int) -> None:
    switch.add("a", "b", "c")
    switch.bridges({"br0": {"a": {"vlan_mode": "access", "vlan": 7}, "b": {},
                            "c": {"vlan_mode": "access", "vlan": 7}}})
    a, b, c = (switch.attach(name, features=NET_F_CSUM | features) for name in "abc")
    frame = FRAMES["tcp6"]
    a.send([frame], header=header(frame).bytes())
    for guest, tags in ((b, [7]), (c, [])):
        [(said, got)] = receive(guest, 1)
        assert Packet(got).tags == tags
        assert said == (header(got) if features else NOTHING)
        assert Packet(got).partial() if features else Packet(got).complete()


# --- segments -------------------------------------------------------------------------------------

def big(six: bool, flags: int = ACK | PSH | FIN | CWR, **options: bytes) -> bytes:
    segment = tcp(LONG, six=six, flags=flags, **options)        # type: ignore[arg-type]
    return ipv6(TCP, segment) if six else ipv4(TCP, segment)


FOUR, SIX = big(six=False), big(six=True)


@pytest.mark.parametrize("features", [0, NET_F_GUEST_CSUM, NET_F_GUEST_TSO4 | NET_F_GUEST_TSO6],
                         ids=["nothing", "checksums", "TSO without checksums"])
def test_guest_that_takes_no_uncut_frames_gets_segments(two: Two, features: int) -> None:
    a, b = two(features)
    for six, options in product((False, True), (b"", b"\1" * 12)):
        check_segments(a, b, features, six, options)


def check_segments(a: FrontEnd, b: FrontEnd, features: int, six: bool, options: bytes) -> None:
    frame = big(six, options=options)
    whole = Packet(frame)
    a.send([frame], header=cut_header(frame).bytes())
    got = receive(b, 5)
    packets = [Packet(segment) for _, segment in got]
    assert [len(p.payload) for p in packets] == [1400] * 4 + [400]
    assert b"".join(p.payload for p in packets) == LONG
    assert [p.sequence for p in packets] == [
        (whole.sequence + 1400 * i) % (1 << 32) for i in range(5)]
    assert [p.flags for p in packets] == [ACK | CWR, ACK, ACK, ACK, ACK | PSH | FIN]
    if not six:
        assert [p.ident for p in packets] == [(whole.ident + i) % (1 << 16) for i in range(5)]
    if features & NET_F_GUEST_CSUM:
        assert [said for said, _ in got] == [header(segment) for _, segment in got]
        assert all(p.partial() for p in packets)
    else:
        assert {said for said, _ in got} == {NOTHING}
        assert all(p.complete() for p in packets)
    assert all(p.segment[20:20 + len(options)] == options for p in packets)


def test_guest_that_takes_uncut_frames_gets_them_as_they_were(two: Two) -> None:
    a, b = two(GUEST_TSO)
    for frame in (FOUR, SIX):
        a.send([frame], header=cut_header(frame).bytes())
        [(said, got)] = receive(b, 1)
        packet = Packet(got)
        assert said == cut_header(frame, hdr_len=packet.l4 + 20)
        at = packet.l4 + CHECKSUM_AT[TCP]       # what the library says there has no length in it
        assert (got[:at], got[at + 2:]) == (frame[:at], frame[at + 2:])


@pytest.mark.parametrize(("takes", "six"), [(NET_F_GUEST_TSO4, True), (NET_F_GUEST_TSO6, False)])
def test_segmentation_is_passed_on_for_the_protocol_that_was_negotiated(
        two: Two, takes: int, six: bool) -> None:
    a, b = two(NET_F_GUEST_CSUM | takes)
    frame = big(six)
    a.send([frame], header=cut_header(frame).bytes())
    assert {said.gso_type for said, _ in receive(b, 5)} == {0}


def test_longest_frames_and_more_segments_than_a_burst(
        two: Two) -> None:
    a, b = two()
    data = LONG * 11                            # 65,160 is what Linux makes at most of 1448
    frame = ipv4(TCP, tcp(data[:65_160 - 32], options=b"\1" * 12))
    a.send([frame] * 3, header=cut_header(frame, gso_size=1000).bytes())
    packets = [Packet(segment) for _, segment in receive(b, 3 * 66)]
    assert all(p.complete() for p in packets)
    assert b"".join(p.payload for p in packets) == Packet(frame).payload * 3


def test_frame_with_less_than_one_segment_is_not_cut(
        two: Two) -> None:
    a, b = two(GUEST_TSO)
    frame = FRAMES["tcp4"]
    a.send([frame], header=cut_header(frame).bytes())
    assert receive(b, 1) == [(header(frame), frame)]


# --- several outputs ------------------------------------------------------------------------------

@pytest.mark.parametrize("order", [(0, NET_F_GUEST_CSUM, GUEST_TSO),
                                   (GUEST_TSO, NET_F_GUEST_CSUM, 0),
                                   (NET_F_GUEST_CSUM, 0, GUEST_TSO, 0)])
def test_flood_to_guests_of_different_features(switch: Switch, order: tuple[int, ...]) -> None:
    names = [f"p{i}" for i in range(len(order))]
    switch.add("a", *names, tso=True)
    a = switch.attach("a", features=HOST_TSO)
    guests = [switch.attach(name, features=f) for name, f in zip(names, order, strict=True)]
    small, long = FRAMES["udp4"], big(six=False)
    a.send([small], header=header(small).bytes())
    a.send([long], header=cut_header(long).bytes())
    completed = False
    for guest, features in zip(guests, order, strict=True):
        first, *rest = receive(guest, 2 if features == GUEST_TSO else 6)
        # what was completed for one is complete for all that come after
        completed |= not features
        assert first[0] == (NOTHING if completed else header(small))
        assert Packet(first[1]).complete() if completed else first[1] == small
        if features == GUEST_TSO:
            assert rest[0][0].gso_size == 1400
            assert Packet(rest[0][1]).payload == LONG
        else:
            packets = [Packet(segment) for _, segment in rest]
            assert b"".join(p.payload for p in packets) == LONG
            assert all(p.partial() if features else p.complete() for p in packets)


# --- requests that make no sense ------------------------------------------------------------------

NONSENSE = {
    "UDP to be cut": (ipv4(UDP, udp(PAYLOAD)), {"gso_type": GSO_UDP, "gso_size": 100}),
    "IPv4 longer than the frame": (ipv4(TCP, tcp(PAYLOAD), length=1000), {}),
    "IPv4 shorter than its TCP header": (ipv4(TCP, tcp(PAYLOAD), length=39), {}),
    "IPv6 longer than the frame": (ipv6(TCP, tcp(PAYLOAD, six=True), length=1000), {}),
    "padding of a frame to be cut": (FOUR + b"\0", {"gso_type": GSO_TCPV4, "gso_size": 1400}),
    "TCP header longer than the packet": (ipv4(TCP, tcp(b"\0" * 10, offset=15)),
                                          {"gso_type": GSO_TCPV4, "gso_size": 1}),
    "TCP header too short": (ipv4(TCP, tcp(LONG, offset=4)),
                             {"gso_type": GSO_TCPV4, "gso_size": 1400}),
    "segments above the MTU": (FOUR, {"gso_type": GSO_TCPV4, "gso_size": 1500}),
    "too many segments": (FOUR, {"gso_type": GSO_TCPV4, "gso_size": 1}),
    "segments of a routed frame": (
        ipv6(TCP, tcp(LONG, six=True), extensions=(ROUTE,)),
        {"gso_type": GSO_TCPV6, "gso_size": 1400}),
}


@pytest.mark.parametrize("features", [0, GUEST_TSO], ids=["nothing", "all"])
def test_frame_whose_request_makes_no_sense_is_dropped_and_counted(
        two: Two, switch: Switch, features: int) -> None:
    a, b = two(features)
    for count, (frame, fields) in enumerate(NONSENSE.values(), start=1):
        said = Header(**{"flags": NEEDS_CSUM, "csum_start": 14, "csum_offset": 16, **fields})
        a.send([frame], header=said.bytes())
        switch.wait_counter("b", "tx_offload_drops", count)
    a.send([FRAMES["tcp4"]])                    # others are served on
    assert [got for _, got in receive(b, 1)] == [FRAMES["tcp4"]]
    assert switch.counters("b")["tx_offload_drops"] == len(NONSENSE)


HOSTILE_HEADERS = [
    Header(NEEDS_CSUM, csum_start=0xffff, csum_offset=0xffff),
    Header(NEEDS_CSUM, csum_start=0, csum_offset=0xffff),
    Header(NEEDS_CSUM, csum_start=60, csum_offset=0),
    Header(NEEDS_CSUM, gso_type=0x7f, gso_size=9, csum_start=34, csum_offset=16),
    Header(NEEDS_CSUM, gso_type=GSO_TCPV4, gso_size=0, csum_start=34, csum_offset=16),
    Header(0xff, gso_type=0xff, hdr_len=0xffff, gso_size=0xffff, csum_start=1, csum_offset=1),
    Header(0, gso_type=GSO_TCPV6 | GSO_ECN, gso_size=0xffff),
    Header(0, gso_type=GSO_TCPV4, gso_size=1),
]
HOSTILE_FRAMES = [
    FRAMES["tcp4"], FRAMES["udp6"], ipv4(TCP, b""), ipv4(TCP, tcp(PAYLOAD), fragment=0x2000),
    ipv4(99, PAYLOAD), ipv6(FRAGMENT, PAYLOAD), ipv6(TCP, b""), ipv6(HOP_BY_HOP, b""),
    FRAMES["tcp4"][:33], FRAMES["tcp6"][:53], FRAMES["tcp4"][:14], FRAMES["one tag"][:18],
    bytes(60), ipv4(TCP, tcp(PAYLOAD), tags=(1, 2, 3, 4, 5, 6)), FOUR[:2048], SIX,
]


@pytest.mark.parametrize("features", [0, GUEST_TSO], ids=["nothing", "all"])
def test_no_header_whatever_harms_the_switch(
        two: Two, features: int) -> None:
    a, b = two(features)
    marker = ipv4(UDP, udp(b"marker"))
    for said in HOSTILE_HEADERS:
        a.send(HOSTILE_FRAMES, header=said.bytes())
        a.send([marker], header=header(marker).bytes())
        assert until(b, marker)[-1] == (
            (header(marker), marker) if features else (NOTHING, completed(marker)))


def completed(frame: bytes) -> bytes:
    """With its UDP checksum."""
    packet = Packet(frame)
    checksum = ~ones_sum(packet.segment) & 0xffff
    return frame[:packet.l4 + 6] + struct.pack("!H", checksum) + frame[packet.l4 + 8:]


def until(guest: FrontEnd, marker: bytes) -> list[tuple[Header, bytes]]:
    """All frames up to the marker."""
    frames: list[bytes] = []

    def there() -> bool:
        frames.extend(guest.recv_whole())
        return any(whole.endswith(b"marker") for whole in frames)
    wait_until(there, "the marker comes")
    return [(Header.of(whole), whole[NET_HEADER_BYTES:])
            for whole in frames]


def test_frames_too_long_for_a_port_without_tso_are_dropped_as_before(switch: Switch) -> None:
    switch.add("a", "b")
    a, b = (switch.attach(n, features=HOST_TSO, tx_buffer_bytes=1 << 16) for n in "ab")
    a.send([FOUR, FRAMES["tcp4"]], header=cut_header(FOUR).bytes())
    assert len(receive(b, 1)) == 1
    switch.wait_counter("a", "rx_oversize_drops", 1)


def test_long_frame_that_nobody_is_to_cut_is_above_the_mtu(
        two: Two, switch: Switch) -> None:
    a, _ = two(GUEST_TSO)
    a.send([FOUR], header=header(FOUR).bytes())
    switch.wait_counter("b", "tx_mtu_drops", 1)

