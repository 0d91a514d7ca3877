"""Blocks of a pcapng file (draft-ietf-opsawg-pcapng) with one Ethernet interface.

Four kinds are all that a capture needs. DPDK's librte_pcapng (experimental) knows interfaces by the
numbers of DPDK's Ethernet devices, and a vhost-user port is none. Of the Python libraries
python-pcapng has had no release since 2022, and scapy is a large one under another licence.
"""
from __future__ import annotations

import struct

SECTION_HEADER = 0x0A0D0D0A
INTERFACE_DESCRIPTION = 1
INTERFACE_STATISTICS = 5
ENHANCED_PACKET = 6

BYTE_ORDER_MAGIC = 0x1A2B3C4D
LENGTH_UNKNOWN = 0xFFFF_FFFF_FFFF_FFFF      # of the section: it is written as it goes
LINKTYPE_ETHERNET = 1
SNAPLEN_MAX = 262144                        # tcpdump's: no packet is longer
NANOSECONDS = 9                             # a power of ten

SHB_USERAPPL, IF_NAME, IF_TSRESOL = 4, 2, 9
ISB_STARTTIME, ISB_ENDTIME, ISB_IFRECV, ISB_IFDROP = 2, 3, 4, 5
EPB_FLAGS, EPB_QUEUE = 2, 6
INBOUND, OUTBOUND = 1, 2                    # in EPB_FLAGS

_PACKET_HEAD = struct.Struct("<IIIIIII")    # type, bytes, interface, time, time, kept, length
_PACKET_TAIL = struct.Struct("<HHIHHIII")   # flags, queue, end of options, bytes


def section_header(application: str) -> bytes:
    return _block(SECTION_HEADER, struct.pack("<IHHQ", BYTE_ORDER_MAGIC, 1, 0, LENGTH_UNKNOWN)
                  + _options({SHB_USERAPPL: application.encode()}))


def interface(name: str, snaplen: int) -> bytes:
    """The interface that packets and statistics are of; times are in nanoseconds."""
    return _block(INTERFACE_DESCRIPTION, struct.pack("<HHI", LINKTYPE_ETHERNET, 0, snaplen)
                  + _options({IF_NAME: name.encode(), IF_TSRESOL: bytes([NANOSECONDS])}))


def packet(time_ns: int, frame: bytes, length: int, direction: int, queue: int) -> bytes:
    """One packet of 'length' bytes, of which 'frame' was kept; times since 1970."""
    kept = len(frame)
    padding = -kept % 4
    size = _PACKET_HEAD.size + kept + padding + _PACKET_TAIL.size
    return b"".join((
        _PACKET_HEAD.pack(ENHANCED_PACKET, size, 0, time_ns >> 32, time_ns & 0xFFFFFFFF, kept,
                          length),
        frame, bytes(padding),
        _PACKET_TAIL.pack(EPB_FLAGS, 4, direction, EPB_QUEUE, 4, queue, 0, size)))


def statistics(start_ns: int, end_ns: int, received: int, dropped: int) -> bytes:
    """What the whole capture saw; 'dropped' of the 'received' are not in the file."""
    return _block(INTERFACE_STATISTICS, struct.pack("<I", 0) + _time(end_ns) + _options({
        ISB_STARTTIME: _time(start_ns), ISB_ENDTIME: _time(end_ns),
        ISB_IFRECV: struct.pack("<Q", received), ISB_IFDROP: struct.pack("<Q", dropped)}))


def _time(ns: int) -> bytes:
    return struct.pack("<II", ns >> 32, ns & 0xFFFFFFFF)


def _options(values: dict[int, bytes]) -> bytes:
    return b"".join(struct.pack("<HH", code, len(value)) + value + bytes(-len(value) % 4)
                    for code, value in values.items()) + bytes(4)


def _block(kind: int, body: bytes) -> bytes:
    size = len(body) + 12
    return struct.pack("<II", kind, size) + body + struct.pack("<I", size)
