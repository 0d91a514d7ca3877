"""Rows of the replica to the values that the control plane works on."""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

import schema
from agent.limits import QosRow, QueueRow
from agent.mirror_model import MirrorRow
from agent.model import BridgeRow, InterfaceRow, PortRow, Snapshot
from agent.role import VSWITCHD, Role
from agent.row_columns import atoms, first, numbers, pairs, values
from agent.sharing import Memo, each_once


class Rows:
    """Values of the replica's rows. A row that did not change is the same object again, which is
    what makes a change cheap on a host of a thousand ports."""

    # Rows are named by the integers of their UUIDs, which Python hashes ten times faster.

    def __init__(self, role: Role = VSWITCHD) -> None:
        self._role = role
        self._connection: tuple[Any, int] | None = None
        self._bridges: dict[int, BridgeRow] = {}
        self._ours: dict[int, bool] = {}                # bridge -> whether it was the role's
        self._ports_of: dict[int, tuple[UUID, ...]] = {}            # bridge -> its ports
        self._ports: dict[int, tuple[InterfaceRow, ...]] = {}       # port -> its interfaces
        self._ports_with: dict[int, set[int]] = {}                  # interface -> its ports
        self._qos_of: dict[int, set[int]] = {}      # port -> its QoS row and the Queue rows of that
        self._differ: set[int] = set()      # ports, in this read(): a bridge before had them, too
        self._shared: Memo = {}

    def read(self, idl: Any) -> Snapshot | None:
        """The role's view of the database, as an ovsdb.Replica has that; None while it was never
        seen or holds no Open_vSwitch row."""
        roots = idl.tables["Open_vSwitch"].rows
        root = next(iter(roots.values()), None)
        if root is None:
            return None
        if self._connection != (idl, idl.connections):
            for known in (self._bridges, self._ours, self._ports_of, self._ports, self._ports_with,
                          self._qos_of):
                known.clear()
            self._connection = (idl, idl.connections)
        changed, idl.changed = {uuid.int for uuid in idl.changed}, set()
        changed |= {port for uuid in changed & self._ports_with.keys()
                    for port in self._ports_with.pop(uuid)}
        changed |= {port for port, named in self._qos_of.items() if not changed.isdisjoint(named)}
        self._differ.clear()
        rows = idl.tables["Bridge"].rows
        bridges = [self._bridge(rows[uuid], changed) for uuid in values(root, "bridges")
                   if uuid in rows]
        self._forget({bridge.uuid.int for bridge in bridges})
        bridges.sort(key=lambda b: b.name)
        ours = each_once([b for b in bridges if self._ours[b.uuid.int]], self._shared)
        others = [b for b in bridges if not self._ours[b.uuid.int]]
        if others:
            ours = tuple(sorted((*ours, *others), key=lambda b: b.name))
        return self._role.view(Snapshot(
            next_cfg=first(root, "next_cfg"), other_config=pairs(root, "other_config"),
            bridges=ours))

    def _bridge(self, row: Any, changed: set[int]) -> BridgeRow:
        uuid = row.uuid.int
        same = (uuid not in changed and uuid in self._bridges
                and all(mirror.uuid.int not in changed for mirror in self._bridges[uuid].mirrors))
        uuids = self._ports_of[uuid] if same else tuple(values(row, "ports"))
        ours = self._role.owns(first(row, "datapath_type"))
        if self._ours.get(uuid) is not ours:        # numbers are as their daemon left them
            self._ours[uuid] = ours
            self._drop({port.int for port in self._ports_of.get(uuid, ())})
        interfaces: list[InterfaceRow] = []
        for port in uuids:
            found = self._ports.get(port.int)
            if found is None or port.int in changed:
                before, found = found, self._port(row._idl, port, found or (), ours)
                if found is not before:
                    self._differ.add(port.int)
            same = same and port.int not in self._differ
            interfaces += found
        if not same:
            if uuid in self._ports_of:
                self._drop({port.int for port in self._ports_of[uuid]}
                           - {port.int for port in uuids})
            self._ports_of[uuid] = uuids
            self._bridges[uuid] = BridgeRow(
                uuid=row.uuid, name=first(row, "name"), datapath_type=first(row, "datapath_type"),
                fail_mode=first(row, "fail_mode") or "", flood_vlans=numbers(row, "flood_vlans"),
                mcast_snooping=bool(first(row, "mcast_snooping_enable")),
                other_config=pairs(row, "other_config"),
                unserved=tuple(set_columns(row, schema.without_effect("Bridge"))),
                interfaces=tuple(sorted(interfaces, key=lambda i: (i.name, i.port.name))),
                mirrors=mirrors(row))
        return self._bridges[uuid]

    def _port(self, idl: Any, uuid: UUID, before: tuple[InterfaceRow, ...], ours: bool
              ) -> tuple[InterfaceRow, ...]:
        port = idl.tables["Port"].rows.get(uuid)
        found = () if port is None else port_interfaces(port, before if ours else ())
        self._qos_of.pop(uuid.int, None)
        if port is not None and (named := qos_uuids(port)):
            self._qos_of[uuid.int] = named
        if found == before:
            found = before
        self._ports[uuid.int] = found
        for row in found:
            self._ports_with.setdefault(row.uuid.int, set()).add(uuid.int)
        return found

    def _forget(self, bridges: set[int]) -> None:
        """What belongs to no bridge any more."""
        for gone in self._bridges.keys() - bridges:
            del self._bridges[gone], self._ours[gone]
            self._drop({port.int for port in self._ports_of.pop(gone)})

    def _drop(self, ports: set[int]) -> None:
        for port in ports:
            self._qos_of.pop(port, None)
            for row in self._ports.pop(port, ()):
                named = self._ports_with.get(row.uuid.int, set())
                named.discard(port)
                if not named:
                    self._ports_with.pop(row.uuid.int, None)


def set_columns(row: Any, names: Iterable[str]) -> Iterable[str]:
    """Those of the named columns that hold something; a number that is 0 is nothing."""
    return (name for name in names if any(values(row, name)))


def named_rows(row: Any, table: str, uuids: Iterable[UUID]) -> list[Any]:
    """Rows of another table; those that are not there, or whose table is not, are left out."""
    there = row._idl.tables.get(table)
    return [there.rows[uuid] for uuid in uuids if uuid in there.rows] if there is not None else []


def qos_uuids(port: Any) -> set[int]:
    """The rows that the qos column of a Port row leads to."""
    qos = values(port, "qos")
    queues = [queue.value for row in named_rows(port, "QoS", qos)
              for queue in atoms(row, "queues").values()]
    return {uuid.int for uuid in (*qos, *queues)}


def qos_row(port: Any) -> QosRow | None:
    """The QoS row of a Port row, with its queues."""
    for row in named_rows(port, "QoS", values(port, "qos")):
        return QosRow(
            type=first(row, "type") or "", other_config=pairs(row, "other_config"),
            queues=tuple(sorted(
                ((number.value, QueueRow(
                    other_config=pairs(queue, "other_config"),
                    unserved=tuple(set_columns(queue, schema.without_effect("Queue")))))
                 for number, uuid in atoms(row, "queues").items()
                 for queue in named_rows(port, "Queue", [uuid.value])),
                key=lambda queue: queue[0])))
    return None


def port_interfaces(port: Any, before: Sequence[InterfaceRow]) -> tuple[InterfaceRow, ...]:
    """The interfaces of a Port row; 'before' is what they were when they were last read.

    The ofport is the one that a row had when it was first seen: from then on it is ours to give.
    """
    known = {row.uuid: row for row in before}
    interfaces = port._idl.tables["Interface"].rows
    rows = [interfaces[uuid] for uuid in values(port, "interfaces") if uuid in interfaces]
    on = PortRow(
        name=first(port, "name"), interfaces=len(rows), vlan_mode=first(port, "vlan_mode") or "",
        tag=first(port, "tag"), trunks=numbers(port, "trunks"), cvlans=numbers(port, "cvlans"),
        protected=bool(first(port, "protected")), other_config=pairs(port, "other_config"),
        qos=qos_row(port))
    return tuple(
        InterfaceRow(
            uuid=row.uuid, name=first(row, "name"), type=first(row, "type"),
            options=pairs(row, "options"), other_config=pairs(row, "other_config"),
            ofport=known[row.uuid].ofport if row.uuid in known else first(row, "ofport"),
            ofport_request=first(row, "ofport_request"), mtu_request=first(row, "mtu_request"),
            mac=first(row, "mac") or "", port=on,
            ingress_policing=(
                first(row, "ingress_policing_rate") or 0, first(row, "ingress_policing_burst") or 0,
                first(row, "ingress_policing_kpkts_rate") or 0,
                first(row, "ingress_policing_kpkts_burst") or 0))
        for row in rows)


def port_names(row: Any, column: str) -> tuple[str, ...]:
    """Names of the Port rows that a column refers to, ascending."""
    ports = row._idl.tables["Port"].rows
    return tuple(sorted(first(ports[uuid], "name") for uuid in values(row, column)
                        if uuid in ports))


def mirrors(bridge: Any) -> tuple[MirrorRow, ...]:
    """The Mirror rows of a Bridge row, in order of their ids."""
    found = bridge._idl.tables["Mirror"].rows
    return tuple(
        MirrorRow(
            uuid=row.uuid, name=first(row, "name"), select_all=bool(first(row, "select_all")),
            select_src_port=port_names(row, "select_src_port"),
            select_dst_port=port_names(row, "select_dst_port"),
            select_vlan=numbers(row, "select_vlan"),
            output_port=next(iter(port_names(row, "output_port")), None),
            output_vlan=first(row, "output_vlan"), snaplen=first(row, "snaplen"),
            filter=first(row, "filter") or "")
        for row in (found[uuid] for uuid in sorted(values(bridge, "mirrors")) if uuid in found))


def bridge_of(idl: Any, interface: str) -> tuple[str, str] | None:
    """(name of the bridge, type) of an interface of any bridge; None: the database has none."""
    ports, interfaces = idl.tables["Port"].rows, idl.tables["Interface"].rows
    for bridge in idl.tables["Bridge"].rows.values():
        for port in values(bridge, "ports"):
            for uuid in values(ports[port], "interfaces") if port in ports else ():
                if uuid in interfaces and first(interfaces[uuid], "name") == interface:
                    return first(bridge, "name"), first(interfaces[uuid], "type")
    return None
