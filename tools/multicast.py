"""Frames of IGMP, MLD and IP multicast, as guests send them."""
from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable

from tools.frontend import ethernet

IGMP_QUERY, IGMP_V1, IGMP_V2, IGMP_LEAVE, IGMP_V3 = 0x11, 0x12, 0x16, 0x17, 0x22
MLD_QUERY, MLD_V1, MLD_DONE, MLD_V2 = 130, 131, 132, 143
IS_INCLUDE, IS_EXCLUDE, TO_INCLUDE, TO_EXCLUDE, ALLOW_NEW, BLOCK_OLD = range(1, 7)
IGMP, UDP, ICMPV6 = 2, 17, 58
ROUTER_ALERT_4 = b"\x94\x04\x00\x00"
ROUTER_ALERT_6 = b"\x05\x02\x00\x00\x01\x00"

# (type, group, sources, auxiliary words)
Record = tuple[int, str, tuple[str, ...], int]


def packed(address: str) -> bytes:
    return ipaddress.ip_address(address).packed


def number(address: str) -> int:
    """A group as the data plane names it: IPv4 mapped into IPv6."""
    ip = ipaddress.ip_address(address)
    return int(ip) | (0xffff << 32 if ip.version == 4 else 0)


def multicast_mac(group: str) -> str:
    raw = packed(group)
    octets = (b"\x01\x00\x5e" + bytes([raw[1] & 0x7f]) + raw[2:] if len(raw) == 4
              else b"\x33\x33" + raw[12:])
    return octets.hex(":")


def checksum(data: bytes) -> int:
    words = struct.unpack(f"!{(len(data) + 1) // 2}H", data + bytes(len(data) % 2))
    total = sum(words)
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return int(~total & 0xffff)


def with_checksum(message: bytes, pseudo: bytes = b"") -> bytes:
    """The message with its checksum at bytes 2 and 3."""
    return message[:2] + struct.pack("!H", checksum(pseudo + message)) + message[4:]


def ipv4(group: str, protocol: int, payload: bytes, *, src: str = "10.0.0.1", options: bytes = b"",
         fragment: int = 0) -> bytes:
    length = 20 + len(options)
    head = struct.pack("!BBHHHBBH", 0x40 | length // 4, 0, length + len(payload), 0, fragment, 1,
                       protocol, 0) + packed(src) + packed(group) + options
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def ipv6(group: str, protocol: int, payload: bytes, *, src: str = "fe80::1",
         hop_by_hop: bytes = b"") -> bytes:
    behind = payload
    if hop_by_hop:
        behind = struct.pack("!BB", protocol, (len(hop_by_hop) + 2) // 8 - 1) + hop_by_hop + payload
    return struct.pack("!IHBB", 6 << 28, len(behind), 0 if hop_by_hop else protocol, 1) + packed(
        src) + packed(group) + behind


def frame(src: str, packet: bytes, vlan: int | None = None) -> bytes:
    """A frame of the packet, to the address that its destination has in Ethernet."""
    v4 = packet[0] >> 4 == 4
    group = str(ipaddress.ip_address(packet[16:20] if v4 else packet[24:40]))
    return ethernet(multicast_mac(group), src, packet, vlan, 0x0800 if v4 else 0x86dd)


def data(src: str, group: str, vlan: int | None = None, payload: bytes = bytes(40)) -> bytes:
    """What a sender sends to a group."""
    build = ipv6 if ":" in group else ipv4
    return frame(src, build(group, UDP, payload), vlan)


def igmp_message(kind: int, group: str = "0.0.0.0", behind: bytes = b"") -> bytes:
    return with_checksum(struct.pack("!BBH", kind, 0, 0) + packed(group) + behind)


def records(entries: Iterable[Record]) -> bytes:
    return b"".join(struct.pack("!BBH", kind, words, len(sources)) + packed(group)
                    + b"".join(map(packed, sources)) + bytes(4 * words)
                    for kind, group, sources, words in entries)


def igmp_v3_message(entries: list[Record]) -> bytes:
    return with_checksum(struct.pack("!BBHHH", IGMP_V3, 0, 0, 0, len(entries)) + records(entries))


def igmp(src: str, kind: int, group: str = "0.0.0.0", *, ip: str = "10.0.0.1",
         vlan: int | None = None, entries: list[Record] | None = None) -> bytes:
    """A query, report or leave of IGMP; of version 3 with its entries."""
    message = igmp_message(kind, group) if entries is None else igmp_v3_message(entries)
    to = {IGMP_QUERY: "224.0.0.1", IGMP_LEAVE: "224.0.0.2", IGMP_V3: "224.0.0.22"}.get(kind, group)
    return frame(src, ipv4(to, IGMP, message, src=ip, options=ROUTER_ALERT_4), vlan)


def mld_message(kind: int, group: str, ip: str, to: str, entries: list[Record] | None = None
                ) -> bytes:
    body = (struct.pack("!BBHHH", kind, 0, 0, 0, 0) + packed(group) if entries is None
            else struct.pack("!BBHHH", kind, 0, 0, 0, len(entries)) + records(entries))
    return with_checksum(body, packed(ip) + packed(to) + struct.pack("!II", len(body), ICMPV6))


def mld(src: str, kind: int, group: str = "::", *, ip: str = "fe80::1", vlan: int | None = None,
        entries: list[Record] | None = None) -> bytes:
    """A query, report or done of MLD; of version 2 with its entries."""
    to = {MLD_QUERY: "ff02::1", MLD_DONE: "ff02::2", MLD_V2: "ff02::16"}.get(kind, group)
    message = mld_message(kind, group, ip, to, entries)
    return frame(src, ipv6(to, ICMPV6, message, src=ip, hop_by_hop=ROUTER_ALERT_6), vlan)
