"""What crosses to the data plane and back in other words: pure."""
from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from agent.mcast import ROUTER_AGING_S
from agent.model import BridgeSpec

# Of an entry of mdb(), by its number (OVS: mcast_snooping_group_protocol_str).
PROTOCOLS = ("UNKNOWN", "IGMPv1", "IGMPv2", "IGMPv3", "MLDv1", "MLDv2")
MAPPED = 0xffff                 # an IPv4 address in IPv6's: ::ffff:0:0/96


def mac_text(mac: int) -> str:
    return mac.to_bytes(6, "big").hex(":")


def mac_number(mac: str) -> int:
    return int(mac.replace(":", ""), 16)


def group(address: int, protocol: int) -> tuple[str, str]:
    """Group and protocol of an entry of mdb(); no group of one that leads to a router."""
    if protocol == 0:
        return "", PROTOCOLS[0]
    return str(ipaddress.IPv4Address(address & 0xffffffff) if address >> 32 == MAPPED
               else ipaddress.IPv6Address(address)), PROTOCOLS[protocol]


def bridge(spec: BridgeSpec, slots: Mapping[str, int]) -> dict[str, Any]:
    """One of the dicts of Runtime.set_bridges()."""
    snooping = None
    if spec.snooping is not None:
        snooping = {
            "aging_s": spec.snooping.aging_s, "router_aging_s": ROUTER_AGING_S,
            "table_size": spec.snooping.table_size,
            "flood_unregistered": spec.snooping.flood_unregistered,
            "flood": [slots[port] for port, m in spec.members if m.mcast_flood],
            "reports": [slots[port] for port, m in spec.members if m.mcast_flood_reports]}
    return {"name": spec.name, "flood_vlans": spec.flood_vlans,
            "forward_bpdu": spec.forward_bpdu, "vlan_limit": spec.vlan_limit,
            "mac_aging_s": spec.mac_aging_s, "mac_table_size": spec.mac_table_size,
            "snooping": snooping,
            "members": [(slots[port], m.vlan_mode, m.vlan, m.trunks, m.cvlans, m.tpid,
                         m.priority_tags, m.protected) for port, m in spec.members],
            "patches": [(slots[port], None if peer is None else slots[peer])
                        for port, peer in spec.patches],
            "mirrors": [(str(m.uuid), [slots[port] for port in m.sources],
                         [slots[port] for port in m.destinations], m.vlans,
                         None if m.output_port is None else slots[m.output_port],
                         m.output_vlan, m.snaplen) for m in spec.mirrors]}
