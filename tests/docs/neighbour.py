"""What a guest says to its neighbours: answers to ARP and ping, in bytes."""
from __future__ import annotations

import struct

from tools.frontend import ethernet

ARP, IPV4 = 0x0806, 0x0800
ICMP, ECHO, ECHO_REPLY = 1, 8, 0


def octets(address: str) -> bytes:
    """Of an Ethernet address or an IPv4 address."""
    if ":" in address:
        return bytes.fromhex(address.replace(":", ""))
    return bytes(map(int, address.split(".")))


def arp_reply(sender: str, sender_ip: str, target: str, target_ip: str) -> bytes:
    """Tells the target where the sender is."""
    return ethernet(target, sender, bytes.fromhex("0001080006040002") + octets(sender)
                    + octets(sender_ip) + octets(target) + octets(target_ip), ethertype=ARP)


def answer(frame: bytes, mac: str, ip: str) -> bytes | None:
    """What who has these addresses answers; None to all but questions to him."""
    kind, body, who = int.from_bytes(frame[12:14]), frame[14:], frame[6:12].hex(":")
    if kind == ARP and body[6:8] == b"\0\1" and body[24:28] == octets(ip):
        return arp_reply(mac, ip, who, ".".join(map(str, body[14:18])))
    if kind == IPV4 and body[9] == ICMP and body[16:20] == octets(ip) and body[20] == ECHO:
        whole = body[:int.from_bytes(body[2:4])]
        reply = bytes([ECHO_REPLY, 0, 0, 0]) + whole[24:]
        reply = reply[:2] + checksum(reply) + reply[4:]
        return ethernet(who, mac, whole[:12] + whole[16:20] + whole[12:16] + reply, ethertype=IPV4)
    return None


def checksum(data: bytes) -> bytes:
    """Of the internet, over data in which its place is 0."""
    total = sum(word for word, in struct.iter_unpack("!H", data + bytes(len(data) % 2)))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return struct.pack("!H", ~total & 0xffff)
