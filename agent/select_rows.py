"""Rows as select (RFC 7047, 5.2.2) gives them, to the values that decisions are made of: pure."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from agent.database_values import Told
from agent.model import BridgeRow, InterfaceRow, PortRow, Snapshot

Row = Mapping[str, Any]

# Of each table what a look from outside needs: what ports are made of, and what is said of them.
COLUMNS = {
    "Open_vSwitch": ("bridges", "next_cfg", "other_config"),
    "Bridge": ("_uuid", "name", "datapath_type", "fail_mode", "other_config", "ports"),
    "Port": ("_uuid", "name", "interfaces", "vlan_mode", "tag", "other_config"),
    "Interface": ("_uuid", "name", "type", "options", "other_config", "mtu_request", "mac",
                  "ofport", "error", "link_state", "status"),
}


def plain(value: Any) -> Any:
    """OVSDB's notation (RFC 7047, 5.1) of an UUID, a map, or a value that may be missing."""
    match value:
        case ["uuid", text]:
            return UUID(text)
        case ["map", pairs]:
            return dict(pairs)
        case ["set", []]:
            return None
    return value


def uuids(value: Any) -> tuple[UUID, ...]:
    """A set of references."""
    match value:
        case ["uuid", text]:
            return (UUID(text),)
        case ["set", members]:
            return tuple(UUID(text) for _, text in members)
    return ()


def keyed(rows: Sequence[Row]) -> dict[UUID, Row]:
    return {plain(row["_uuid"]): row for row in rows}


def snapshot(tables: Mapping[str, Sequence[Row]]) -> Snapshot | None:
    """The database, without mirrors, QoS and what else is of no concern to the host; None when it
    is empty."""
    root = next(iter(tables["Open_vSwitch"]), None)
    if root is None:
        return None
    bridges, ports, interfaces = (keyed(tables[name]) for name in ("Bridge", "Port", "Interface"))
    found = []
    for uuid in uuids(root["bridges"]):
        row = bridges.get(uuid)
        if row is not None:
            on = [interface(interfaces[i], ports[p]) for p in uuids(row["ports"]) if p in ports
                  for i in uuids(ports[p]["interfaces"]) if i in interfaces]
            found.append(BridgeRow(
                uuid, row["name"], row["datapath_type"], plain(row["fail_mode"]) or "",
                other_config=plain(row["other_config"]),
                interfaces=tuple(sorted(on, key=lambda i: i.name))))
    return Snapshot(root["next_cfg"], plain(root["other_config"]),
                    tuple(sorted(found, key=lambda b: b.name)))


def interface(row: Row, port: Row) -> InterfaceRow:
    on = PortRow(port["name"], len(uuids(port["interfaces"])), plain(port["vlan_mode"]) or "",
                 plain(port["tag"]), other_config=plain(port["other_config"]))
    return InterfaceRow(plain(row["_uuid"]), row["name"], row["type"], plain(row["options"]),
                        plain(row["other_config"]), plain(row["ofport"]),
                        mtu_request=plain(row["mtu_request"]), mac=plain(row["mac"]) or "", port=on)


def told(rows: Sequence[Row]) -> tuple[Told, ...]:
    """What Interface rows say, in order of their names."""
    found = []
    for row in rows:
        status = plain(row["status"])
        found.append(Told(row["name"], plain(row["error"]) or "", plain(row["link_state"]) or "",
                          status.get("problems", ""), status.get("reason", "")))
    return tuple(sorted(found, key=lambda one: one.name))
