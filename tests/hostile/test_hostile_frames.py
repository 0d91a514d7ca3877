"""Frames whose headers ask for what cannot be done, and frames that are hardly any."""
from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product

import pytest

from tests.hostile.arena import Arena
from tests.hostile.front_end import Hostile
from tools.frontend import FrontEnd, ethernet
from tools.host import wait_until
from tools.vhost_user import NET_F_CSUM, NET_F_HOST_TSO4, NET_F_HOST_TSO6

Make = Callable[..., Hostile]
A, ALL = "02:00:00:00:00:0a", "ff:ff:ff:ff:ff:ff"
LAST = ethernet(ALL, A, b"the last one")
ASKS = NET_F_CSUM | NET_F_HOST_TSO4 | NET_F_HOST_TSO6
NEEDS_CSUM, GSO = 1, (0, 1, 3, 4, 5, 0x80, 0x81, 0x84, 0xff)    # none, TCPv4, UDP, TCPv6, UDP L4


def net_header(flags: int = 0, gso: int = 0, header_bytes: int = 0, gso_bytes: int = 0,
               start: int = 0, offset: int = 0, buffers: int = 0) -> bytes:
    """virtio_net_hdr, of 12 bytes"""
    return struct.pack("<BBHHHHH", flags, gso, header_bytes, gso_bytes, start, offset, buffers)


def ipv4(protocol: int, payload: bytes) -> bytes:
    return struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 0, 0, 64, protocol, 0,
                       b"\n\0\0\1", b"\n\0\0\2") + payload


TCP = ethernet(ALL, A, ipv4(6, struct.pack("!HHIIBBHHH", 1, 2, 0, 0, 0x50, 2, 100, 0, 0)
                            + b"d" * 400), ethertype=0x800)


@contextmanager
def receiver(arena: Arena, **options: object) -> Iterator[FrontEnd]:
    """Another guest, of the attacked bridge."""
    with FrontEnd(arena.port("server"), listen=False, queue_size=1024,
                  **options) as guest:      # type: ignore[arg-type]
        yield guest.connect()


def until_last(guest: FrontEnd, hostile: FrontEnd) -> list[bytes]:
    """Frames that came up to LAST, which is sent until it does; not those of the feeder."""
    found: list[bytes] = []

    def there() -> bool:
        hostile.send([LAST])
        found.extend(frame for frame in guest.recv() if frame[14:15] != b"f")
        return LAST in found
    wait_until(there, "the last frame comes")
    return found[:found.index(LAST)]


OFFSETS = (0, 1, 13, 14, 33, 34, 50, 453, 454, 455, 456, 1500, 0x7fff, 0xfffe, 0xffff)


@pytest.mark.parametrize("tso", [False, True], ids=["plain", "TSO"])
def test_checksums_beyond_the_frame(arena: Arena, hostile: Make, tso: bool) -> None:
    """CVE-2024-11614. Wherever a checksum is said to be, and for whatever kind of segments."""
    asks = ASKS if tso else NET_F_CSUM
    guest = hostile(arena.standing_port(), features=asks, queue_size=1024).connect()
    assert guest.features & ASKS == asks
    with receiver(arena) as other:
        for gso in GSO:
            for start, offset in product(OFFSETS, repeat=2):
                for frame in (TCP, TCP[:60]):
                    while not guest.send([frame], header=net_header(NEEDS_CSUM, gso, 54, 100,
                                                                    start, offset)):
                        other.recv()
            guest.recv()
            other.recv()
        until_last(other, guest)


@pytest.mark.parametrize("gso_bytes", [0, 1, 2, 0xffff])
def test_segments_of_odd_sizes(arena: Arena, hostile: Make, gso_bytes: int) -> None:
    guest = hostile(arena.standing_port(), features=ASKS).connect()
    with receiver(arena) as other:
        for gso, flags, header_bytes in product(GSO, (0, 1, 2, 4, 0xff), (0, 1, 54, 0xffff)):
            while not guest.send([TCP], header=net_header(flags, gso, header_bytes, gso_bytes,
                                                          34, 16, 0xffff)):
                other.recv()
        until_last(other, guest)


def test_header_that_changes_while_it_is_read(arena: Arena, hostile: Make) -> None:
    """What was checked is what is used: another thread writes checksum and segments anew."""
    guest = hostile(arena.standing_port(), features=ASKS).connect()
    memory, ring = guest.tx.memory, guest.tx
    stop = threading.Event()
    places = [ring.start + i * ring.buffer_bytes for i in range(256)]
    headers = [net_header(NEEDS_CSUM, 1, 54, 100, 34, 16), net_header(NEEDS_CSUM, 1, 0, 1, 0xffff,
                                                                      0xffff), net_header()]

    def flip() -> None:
        while not stop.is_set():
            for header in headers:
                for at in places[:64]:
                    memory[at:at + len(header)] = header

    thread = threading.Thread(target=flip)
    thread.start()
    try:
        with receiver(arena) as other:
            for _ in range(300):
                guest.send([TCP] * 16, header=headers[0])
                other.recv()
            until_last(other, guest)
    finally:
        stop.set()
        thread.join()


def cut_off() -> dict[str, bytes]:
    macs = bytes.fromhex((ALL + A).replace(":", ""))
    arp = struct.pack("!HHHBBH", 0x806, 1, 0x800, 6, 4, 1) + bytes(20)
    return {"nothing": b"", "addresses": macs, "VLAN": macs + struct.pack("!HHH", 0x8100, 7, 0x800),
            "VLANs": macs + struct.pack("!HHHHH", 0x88a8, 7, 0x8100, 8, 0x800),
            "ARP": macs + arp, "ARP in a VLAN": macs + struct.pack("!HH", 0x8100, 7) + arp,
            "IPv4": TCP[:54], "IPv6": macs + struct.pack("!HIHBB", 0x86dd, 0x60000000, 0, 0, 1)
            + bytes(32), "LLC": macs + b"\0\3\x42\x42\3" + bytes(10)}


@pytest.mark.parametrize("kind", cut_off())
def test_frames_that_are_cut_off(arena: Arena, hostile: Make, kind: str) -> None:
    """Each length up to the whole: no frame comes that was not sent, and the port goes on."""
    guest = hostile(arena.standing_port()).connect()
    whole = cut_off()[kind]
    sent = [whole[:length] for length in range(len(whole) + 1)]
    with receiver(arena) as other:
        assert guest.send(sent) == len(sent)
        came = until_last(other, guest)
    assert set(came) <= set(sent)
    assert len(whole) < 14 or whole in came


@pytest.mark.parametrize("bytes_", [1515, 1600, 2036])
def test_frames_that_are_too_long(arena: Arena, hostile: Make, bytes_: int) -> None:
    guest = hostile(arena.standing_port()).connect()
    with receiver(arena) as other:
        guest.send([ethernet(ALL, A).ljust(bytes_, b"l")] * 100)
        assert set(until_last(other, guest)) <= {ethernet(ALL, A).ljust(bytes_, b"l")}


def test_frame_of_64_kib_in_pieces(arena: Arena, hostile: Make) -> None:
    """Chains of all buffers there are."""
    guest = hostile(arena.standing_port()).connect()
    for i in range(256):
        guest.tx.describe(i, guest.tx.buffer(i), 2048, i < 255, i + 1)
    for _ in range(50):
        guest.tx.offer(0)
    arena.check()
