"""IP packets that a guest may leave unfinished, and what is right about finished ones."""
from __future__ import annotations

import struct
from dataclasses import dataclass

SRC, DST = "02:00:00:00:00:01", "02:00:00:00:00:02"
TCP, UDP, SCTP = 6, 17, 132
HOP_BY_HOP, ROUTING, FRAGMENT = 0, 43, 44
FIN, PSH, ACK, CWR = 0x01, 0x08, 0x10, 0x80
NET_F_CSUM, NET_F_GUEST_CSUM = 1 << 0, 1 << 1
NET_F_GUEST_TSO4, NET_F_GUEST_TSO6 = 1 << 7, 1 << 8
NET_F_HOST_TSO4, NET_F_HOST_TSO6 = 1 << 11, 1 << 12
NET_F_HOST_ECN, NET_F_HOST_UFO = 1 << 13, 1 << 14
HOST_TSO = NET_F_CSUM | NET_F_HOST_TSO4 | NET_F_HOST_TSO6
GUEST_TSO = NET_F_GUEST_CSUM | NET_F_GUEST_TSO4 | NET_F_GUEST_TSO6
HEADER = struct.Struct("<BBHHHHH")
NEEDS_CSUM = 1
GSO_TCPV4, GSO_UDP, GSO_TCPV6, GSO_ECN = 1, 3, 4, 0x80
CHECKSUM_AT = {TCP: 16, UDP: 6, SCTP: 8}
FIRST, LAST = bytes(range(16)), bytes(range(16, 32))    # addresses of IPv6; of IPv4 their ends


def ones_sum(data: bytes, start: int = 0) -> int:
    """The Internet checksum's sum, not complemented."""
    total = start + sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return total


def crc32c(data: bytes) -> bytes:
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return struct.pack("<I", crc ^ 0xffffffff)


def ethernet(kind: int, payload: bytes, *tags: int) -> bytes:
    vlans = b"".join(struct.pack("!HH", 0x8100, tag) for tag in tags)
    return (bytes.fromhex((DST + SRC).replace(":", "")) + vlans + struct.pack("!H", kind)
            + payload)


def pseudo(protocol: int, size: int, addresses: bytes) -> int:
    return ones_sum(addresses + struct.pack("!HH", protocol, size))


def addresses(six: bool, last: bytes = LAST) -> bytes:
    return FIRST + last if six else FIRST[12:] + last[12:]


def ipv4(protocol: int, l4: bytes, *, options: bytes = b"", fragment: int = 0x4000,
         length: int | None = None, ident: int = 0xfffe, tags: tuple[int, ...] = ()) -> bytes:
    size = 20 + len(options) + len(l4) if length is None else length
    head = struct.pack("!BBHHHBBH4s4s", 0x45 + len(options) // 4, 0, size, ident, fragment, 64,
                       protocol, 0, FIRST[12:], LAST[12:]) + options
    head = head[:10] + struct.pack("!H", ~ones_sum(head) & 0xffff) + head[12:]
    return ethernet(0x0800, head + l4, *tags)


def ipv6(protocol: int, l4: bytes, *, extensions: tuple[tuple[int, bytes], ...] = (),
         length: int | None = None, tags: tuple[int, ...] = ()) -> bytes:
    """'extensions' are (type, all of it but the first byte)."""
    kinds = [kind for kind, _ in extensions] + [protocol]
    chain = b"".join(bytes([after]) + rest
                     for (_, rest), after in zip(extensions, kinds[1:], strict=True))
    size = len(chain) + len(l4) if length is None else length
    head = struct.pack("!IHBB", 6 << 28, size, kinds[0], 64) + FIRST + LAST
    return ethernet(0x86dd, head + chain + l4, *tags)


def tcp(payload: bytes, *, six: bool = False, sequence: int = 0xfffffff0, flags: int = ACK,
        options: bytes = b"", offset: int | None = None, last: bytes = LAST) -> bytes:
    """With the sum of the pseudo-header in the checksum's place, as guests leave it."""
    head = struct.pack("!HHIIBBHHH", 1234, 80, sequence, 7,
                       (5 + len(options) // 4 if offset is None else offset) << 4, flags, 4096, 0,
                       0) + options
    partial = pseudo(TCP, len(head) + len(payload), addresses(six, last))
    return head[:16] + struct.pack("!H", partial) + head[18:] + payload


def udp(payload: bytes, *, six: bool = False) -> bytes:
    size = 8 + len(payload)
    return struct.pack("!HHHH", 1234, 53, size, pseudo(UDP, size, addresses(six))) + payload


def sctp(payload: bytes) -> bytes:
    return struct.pack("!HHII", 1234, 99, 5, 0) + payload


class Packet:
    """A frame that came out of the switch, taken apart; what must hold of any is asserted."""

    def __init__(self, frame: bytes) -> None:
        at = 12
        self.tags: list[int] = []
        while frame[at:at + 2] == b"\x81\x00":
            self.tags.append(int.from_bytes(frame[at + 2:at + 4], "big"))
            at += 4
        self.frame, self.l3 = frame, at + 2
        ip = frame[self.l3:]
        self.six = ip[0] >> 4 == 6
        if self.six:
            self.protocol, head, end = ip[6], 40, 40 + int.from_bytes(ip[4:6], "big")
            while self.protocol in (HOP_BY_HOP, ROUTING):
                self.protocol, head = ip[head], head + 8 * (ip[head + 1] + 1)
        else:
            self.protocol, head = ip[9], 4 * (ip[0] & 15)
            end = int.from_bytes(ip[2:4], "big")
            self.ident = int.from_bytes(ip[4:6], "big")
            assert ones_sum(ip[:head]) == 0xffff, "checksum of the IPv4 header"
        assert end <= len(ip)
        self.l4 = self.l3 + head
        self.addresses = ip[8:40] if self.six else ip[12:20]
        self.segment = ip[head:end]

    @property
    def sequence(self) -> int:
        return int.from_bytes(self.segment[4:8], "big")

    @property
    def flags(self) -> int:
        return self.segment[13]

    @property
    def payload(self) -> bytes:
        return self.segment[4 * (self.segment[12] >> 4):]

    def complete(self, last: bytes | None = None) -> bool:
        """Whether the checksum of TCP, UDP or SCTP is right; 'last' is a destination that the IP
        header does not have. 0 is a checksum like any other, but for UDP, where it means none."""
        at = CHECKSUM_AT[self.protocol]
        if self.protocol == SCTP:
            return self.segment[at:at + 4] == crc32c(
                self.segment[:at] + bytes(4) + self.segment[at + 4:])
        ends = self.addresses if last is None else self.addresses[:len(last)] + last
        start = pseudo(self.protocol, len(self.segment), ends)
        return (ones_sum(self.segment, start) == 0xffff
                and (self.protocol != UDP or any(self.segment[at:at + 2])))

    def partial(self) -> bool:
        """Whether what is in the checksum's place is the sum of the pseudo-header."""
        at = CHECKSUM_AT[self.protocol]
        return int.from_bytes(self.segment[at:at + 2], "big") == pseudo(
            self.protocol, len(self.segment), self.addresses)


@dataclass(frozen=True, slots=True)
class Header:
    """virtio-net's, in front of each frame."""

    flags: int = 0
    gso_type: int = 0
    hdr_len: int = 0
    gso_size: int = 0
    csum_start: int = 0
    csum_offset: int = 0

    def bytes(self) -> bytes:
        return HEADER.pack(self.flags, self.gso_type, self.hdr_len, self.gso_size,
                           self.csum_start, self.csum_offset, 0)

    @classmethod
    def of(cls, whole: bytes) -> Header:
        return cls(*HEADER.unpack_from(whole)[:6])


NOTHING = Header()


def header(frame: bytes, **fields: int) -> Header:
    """That of a guest which leaves the checksum to the switch."""
    packet = Packet(frame)
    return Header(**{"flags": NEEDS_CSUM, "csum_start": packet.l4,
                     "csum_offset": CHECKSUM_AT[packet.protocol], **fields})


def cut_header(frame: bytes, **fields: int) -> Header:
    """That of a guest which leaves segmentation to the switch, too."""
    gso_type = GSO_TCPV6 if Packet(frame).six else GSO_TCPV4
    return header(frame, **{"gso_type": gso_type, "gso_size": 1400, **fields})
