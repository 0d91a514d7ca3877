"""Blocks of pcapng files, read back by the rules of the format and by tcpdump."""
from __future__ import annotations

import struct
import subprocess
from collections.abc import Iterator

from agent import pcapng

FRAME = bytes.fromhex("020000000001 020000000002 88b5") + b"x" * 47


def blocks(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, body) of each; lengths at both ends agree and are multiples of four."""
    while data:
        kind, size = struct.unpack_from("<II", data)
        assert size % 4 == 0
        assert struct.unpack_from("<I", data, size - 4) == (size,)
        yield kind, data[8:size - 4]
        data = data[size:]


def options(data: bytes) -> dict[int, bytes]:
    found = {}
    while True:
        code, size = struct.unpack_from("<HH", data)
        if code == 0:
            assert (size, len(data)) == (0, 4)
            return found
        found[code] = data[4:4 + size]
        data = data[4 + size + -size % 4:]


def one(data: bytes) -> tuple[int, bytes]:
    (block,) = blocks(data)
    return block


def test_section_header_names_the_writer_and_byte_order() -> None:
    kind, body = one(pcapng.section_header("vhost-agent 1"))
    assert kind == 0x0A0D0D0A
    assert struct.unpack_from("<IHHq", body) == (0x1A2B3C4D, 1, 0, -1)
    assert options(body[16:]) == {4: b"vhost-agent 1"}


def test_interface_is_ethernet_with_nanoseconds() -> None:
    kind, body = one(pcapng.interface("p\u00e9", 96))
    assert (kind, struct.unpack_from("<HHI", body)) == (1, (1, 0, 96))
    assert options(body[8:]) == {2: "p\u00e9".encode(), 9: b"\x09"}


def test_packet_of_every_padding() -> None:
    for kept in range(9):
        time_ns = 1_700_000_000_123_456_789
        kind, body = one(pcapng.packet(time_ns, FRAME[:kept], 1514, pcapng.OUTBOUND, 3))
        interface, high, low, captured, length = struct.unpack_from("<IIIII", body)
        assert (kind, interface, captured, length) == (6, 0, kept, 1514)
        assert high << 32 | low == time_ns
        assert body[20:20 + kept] == FRAME[:kept]
        assert options(body[20 + kept + -kept % 4:]) == {2: struct.pack("<I", 2),
                                                         6: struct.pack("<I", 3)}


def test_statistics_count_what_was_lost() -> None:
    kind, body = one(pcapng.statistics(1 << 40, (1 << 40) + 5, 12, 2))
    assert (kind, struct.unpack_from("<III", body)) == (5, (0, 1 << 8, 5))
    assert options(body[12:]) == {
        2: struct.pack("<II", 1 << 8, 0), 3: struct.pack("<II", 1 << 8, 5),
        4: struct.pack("<Q", 12), 5: struct.pack("<Q", 2)}


def test_tcpdump_reads_it() -> None:
    data = b"".join((pcapng.section_header("test"), pcapng.interface("p", 262144),
                     pcapng.packet(1_700_000_000_000_000_001, FRAME, 61, pcapng.INBOUND, 0),
                     pcapng.packet(1_700_000_000_000_000_002, FRAME[:20], 61, pcapng.OUTBOUND, 0),
                     pcapng.statistics(0, 1, 2, 0)))
    done = subprocess.run(["tcpdump", "-r", "-", "-n", "-e", "-tt", "--nano"], input=data,
                          capture_output=True, check=True)
    first, second = done.stdout.decode().splitlines()[:2] if b"0x0000" not in done.stdout else [
        line for line in done.stdout.decode().splitlines() if not line.startswith("\t")]
    assert first.startswith("1700000000.000000001 02:00:00:00:00:02 > 02:00:00:00:00:01")
    assert "ethertype Unknown (0x88b5), length 61" in first
    assert second.startswith("1700000000.000000002 ")
