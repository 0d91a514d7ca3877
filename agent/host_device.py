"""Devices of the host's kernel that ports are, of their rows: pure."""
from __future__ import annotations

import re

import schema
from agent.host_model import INTERNAL, SYSTEM, TAP, HostDevice
from agent.hostconfig import HostConfig, mtu_range
from agent.model import BridgeRow, InterfaceRow
from agent.options import in_range, shown, unknown
from agent.refusal import NO_DEVICE, PortError

NAME_BYTES = 15                 # IFNAMSIZ less its final zero
ETHERNET_ADDRESS = re.compile("[0-9a-fA-F]{1,2}(:[0-9a-fA-F]{1,2}){5}")


def ethernet_address(text: str) -> bytes | None:
    """A unicast address that is not zero, or None."""
    if not ETHERNET_ADDRESS.fullmatch(text):
        return None
    octets = bytes(int(octet, 16) for octet in text.split(":"))
    return octets if any(octets) and not octets[0] & 1 else None


def bridge_address(row: BridgeRow) -> bytes:
    """other_config:hwaddr, else the one that is made of the row's UUID.

    The UUID's first six bytes are taken as they lie in ovs-vswitchd's memory (little-endian
    32-bit words), so that the address is the one it would use.
    """
    if hwaddr := ethernet_address(row.other_config.get("hwaddr", "")):
        return hwaddr
    raw = row.uuid.bytes
    mac = bytearray([raw[3], raw[2], raw[1], raw[0], raw[7], raw[6]])
    mac[0] = mac[0] & ~0x01 | 0x02
    return bytes(mac)


def no_name(name: str) -> tuple[str, str] | None:
    """Why the kernel does not take it as the name of a device: the error, and a sentence."""
    if len(name.encode()) > NAME_BYTES:
        return ("File name too long",
                f"the name of a device of the host has {NAME_BYTES} bytes at most")
    if name in (".", "..") or any(c in "/:" or c.isspace() for c in name):
        return "Invalid argument", "the name of a device of the host has no '/', ':' and blanks"
    return None


def check_name(row: InterfaceRow, name: str) -> None:
    if wrong := no_name(name):
        error, why = wrong
        said = why if name == row.name else f"tap-name: {shown(name)}: {why}"
        raise PortError(f"{NO_DEVICE.format(row.name, error)}: {said}")


def device(kind: str, row: InterfaceRow, config: HostConfig, mac: str | None = None
           ) -> tuple[HostDevice, list[str]]:
    named = row.options.get("tap-name", "") if kind == TAP else ""
    name = named or row.name
    check_name(row, name)
    mtu = row.mtu_request
    if mtu is not None and not in_range(mtu, *mtu_range()):
        mtu = None              # port_memory() says so
    if named and mtu is None:
        mtu = schema.columns()["Interface"]["mtu_request"]["default"]       # not that of before
    known = [o.key for o in schema.options_of("Interface", "options", kind)]
    said = list(unknown(row.options, "Interface", "options", known, f"type {row.type or kind}"))
    return HostDevice(kind, name, mac, mtu, config.tso, lasts=bool(named)), said


def internal(row: InterfaceRow, config: HostConfig) -> tuple[HostDevice, list[str]]:
    """A tap of our own, and what could not be used of its row."""
    mac = ethernet_address(row.mac) if row.mac else None
    found, said = device(INTERNAL, row, config, mac.hex(":") if mac else None)
    if row.mac and mac is None:
        said.append(f"mac: {shown(row.mac)} is not a unicast Ethernet address; using an automatic "
                    "one")
    return found, said


def tap(row: InterfaceRow, config: HostConfig) -> tuple[HostDevice, list[str]]:
    return device(TAP, row, config)


def system(row: InterfaceRow, config: HostConfig) -> tuple[HostDevice, list[str]]:
    return device(SYSTEM, row, config)


def local(bridge: BridgeRow, row: InterfaceRow, config: HostConfig
          ) -> tuple[HostDevice, list[str]]:
    """The bridge's own port: internal, whatever its type says, with the bridge's address."""
    return device(INTERNAL, row, config, bridge_address(bridge).hex(":"))
