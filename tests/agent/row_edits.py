"""Edits of a database as data, each of which its schema allows, and what they do."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from agent.role import ROLES, Role
from tests.agent.row_values import MARKED

OURS_AND_THEIRS = ("netdev", "vhost")      # datapath types, of the role vswitchd
Operation = dict[str, Any]
Rows = Mapping[str, Mapping[str, Mapping[str, Any]]]    # table -> uuid -> column -> value
EDITED = ("Open_vSwitch", "Bridge", "Port", "Interface", "QoS", "Queue", "Mirror")


class Transaction:
    """One transaction in the making, on rows as they were before it."""

    def __init__(self, rows: Rows, directory: str, role: Role) -> None:
        """'directory' and 'role' are those of the host: edits name neither."""
        self._rows = rows
        self._role = role
        self._directory = directory
        self._numbers = count()
        self.operations: list[Operation] = []
        # the rows that there are, those of this transaction last
        self._refs: dict[str, list[Any]] = {
            table: [["uuid", uuid] for uuid in sorted(rows.get(table, {}))] for table in EDITED}
        self._named: dict[tuple[str, str], Any] = {
            (table, row["name"]): ["uuid", uuid] for table in ("Bridge", "Port", "Interface")
            for uuid, row in rows.get(table, {}).items()}

    def prefix(self, table: str) -> str:
        """That keys of the table's other_config have."""
        return self._role.prefix if table == "Open_vSwitch" else ""

    def pick(self, table: str, index: int) -> Any:
        """A row by any number; None when there is none."""
        refs = self._refs[table]
        return refs[index % len(refs)] if refs else None

    def named(self, table: str, name: str) -> Any:
        return self._named.get((table, name))

    def here(self, value: Any) -> Any:
        """The value with what is the host's own in it."""
        if isinstance(value, str):
            if value in OURS_AND_THEIRS:
                return (self._role.datapath_type if value == OURS_AND_THEIRS[0]
                        else next(role.datapath_type for role in ROLES.values()
                                  if role is not self._role))
            return value.replace(MARKED, self._directory)
        return [self.here(member) for member in value] if isinstance(value, list) else value

    def insert(self, table: str, **row: Any) -> Any:
        ref = ["named-uuid", f"row{next(self._numbers)}"]
        self.operations.append({"op": "insert", "table": table, "uuid-name": ref[1],
                                "row": {name: self.here(value) for name, value in row.items()}})
        if table in self._refs:
            self._refs[table].append(ref)
        if "name" in row:
            self._named[table, row["name"]] = ref
        return ref

    def update(self, table: str, ref: Any, **row: Any) -> None:
        self._on(table, ref, op="update", row={k: self.here(value) for k, value in row.items()})

    def mutate(self, table: str, ref: Any, *mutations: Sequence[Any]) -> None:
        self._on(table, ref, op="mutate", mutations=[self.here(list(m)) for m in mutations])

    def _on(self, table: str, ref: Any, **operation: Any) -> None:
        self.operations.append({"table": table, "where": [["_uuid", "==", ref]], **operation})

    def root(self) -> Any:
        return self._refs["Open_vSwitch"][-1]

    def replace_root(self) -> None:
        """Another Open_vSwitch row, which says the same."""
        old = self.root()
        if old[0] != "uuid":
            return
        self.insert("Open_vSwitch", **{
            name: self._rows["Open_vSwitch"][old[1]][name]
            for name in ("bridges", "other_config", "next_cfg")})
        self._on("Open_vSwitch", old, op="delete")

    def everywhere(self, table: str, column: str, ref: Any) -> None:
        """Takes a reference out of every row of a table."""
        self.operations.append({"op": "mutate", "table": table, "where": [],
                                "mutations": [[column, "delete", ["set", [ref]]]]})


@dataclass(frozen=True)
class Edit:
    """Something that a person, or a program that is none too careful, does to the database."""

    def apply(self, to: Transaction) -> None:
        raise NotImplementedError


@dataclass(frozen=True)
class PutBridge(Edit):
    name: str
    columns: dict[str, Any]
    local: bool

    def apply(self, to: Transaction) -> None:
        bridge = to.named("Bridge", self.name) or to.insert("Bridge", name=self.name)
        to.update("Bridge", bridge, **self.columns)
        to.mutate("Open_vSwitch", to.root(), ["bridges", "insert", bridge])
        if self.local:
            put_port(to, bridge, self.name, (self.name,), {"type": "internal"})


@dataclass(frozen=True)
class PutPort(Edit):
    """A port on a bridge. A port or an interface that is there already is shared."""

    bridge: int
    name: str
    interfaces: tuple[str, ...]
    columns: dict[str, Any]

    def apply(self, to: Transaction) -> None:
        if (bridge := to.pick("Bridge", self.bridge)) is not None:
            put_port(to, bridge, self.name, self.interfaces, self.columns)


def put_port(to: Transaction, bridge: Any, name: str, interfaces: Sequence[str],
             columns: Mapping[str, Any]) -> None:
    found = []
    for interface in interfaces:
        ref = to.named("Interface", interface)
        if ref is None:
            ref = to.insert("Interface", name=interface, **columns)
        found.append(ref)
    port = to.named("Port", name)
    if port is None:
        port = to.insert("Port", name=name, interfaces=["set", found])
    else:
        to.mutate("Port", port, ["interfaces", "insert", ["set", found]])
    to.mutate("Bridge", bridge, ["ports", "insert", port])


@dataclass(frozen=True)
class ReplacePort(Edit):
    """Deletes a port and adds one of that name, all in one transaction."""

    bridge: int
    name: str
    columns: dict[str, Any]

    def apply(self, to: Transaction) -> None:
        bridge = to.pick("Bridge", self.bridge)
        if bridge is None:
            return
        if (old := to.named("Port", self.name)) is not None:
            to.everywhere("Bridge", "ports", old)
        interface = to.insert("Interface", name=self.name, **self.columns)
        port = to.insert("Port", name=self.name, interfaces=interface)
        to.mutate("Bridge", bridge, ["ports", "insert", port])


@dataclass(frozen=True)
class DropPort(Edit):
    bridge: int
    port: int

    def apply(self, to: Transaction) -> None:
        bridge, port = to.pick("Bridge", self.bridge), to.pick("Port", self.port)
        if bridge is not None and port is not None:
            to.mutate("Bridge", bridge, ["ports", "delete", port])


@dataclass(frozen=True)
class SharePort(Edit):
    bridge: int
    port: int

    def apply(self, to: Transaction) -> None:
        bridge, port = to.pick("Bridge", self.bridge), to.pick("Port", self.port)
        if bridge is not None and port is not None:
            to.mutate("Bridge", bridge, ["ports", "insert", port])


@dataclass(frozen=True)
class ShareInterface(Edit):
    """An interface for another port, which may give up those that it had."""

    port: int
    interface: int
    alone: bool

    def apply(self, to: Transaction) -> None:
        port, interface = to.pick("Port", self.port), to.pick("Interface", self.interface)
        if port is None or interface is None:
            return
        if self.alone:
            to.update("Port", port, interfaces=interface)
        else:
            to.mutate("Port", port, ["interfaces", "insert", interface])


@dataclass(frozen=True)
class DropBridge(Edit):
    bridge: int

    def apply(self, to: Transaction) -> None:
        if (bridge := to.pick("Bridge", self.bridge)) is not None:
            to.mutate("Open_vSwitch", to.root(), ["bridges", "delete", bridge])


@dataclass(frozen=True)
class SetColumn(Edit):
    table: str
    row: int
    column: str
    value: Any

    def apply(self, to: Transaction) -> None:
        if (ref := to.pick(self.table, self.row)) is not None:
            to.update(self.table, ref, **{self.column: self.value})


@dataclass(frozen=True)
class SetOptions(Edit):
    """Sets some keys of a map, or takes all others away."""

    table: str
    row: int
    column: str
    pairs: dict[str, str]
    alone: bool

    def apply(self, to: Transaction) -> None:
        ref = to.pick(self.table, self.row)
        if ref is None:
            return
        prefix = to.prefix(self.table)
        pairs = ["map", [[f"{prefix}{key}", value] for key, value in self.pairs.items()]]
        if self.alone and self.table != "Open_vSwitch":
            to.update(self.table, ref, **{self.column: pairs})
        else:
            to.mutate(self.table, ref,
                      [self.column, "delete", ["set", [key for key, _ in pairs[1]]]],
                      [self.column, "insert", pairs])


@dataclass(frozen=True)
class PutMirror(Edit):
    """A mirror; the ports it names may be those of other bridges, or gone a moment later."""

    bridge: int
    name: str
    columns: dict[str, Any]
    ports: dict[str, list[int]]

    def apply(self, to: Transaction) -> None:
        bridge = to.pick("Bridge", self.bridge)
        if bridge is None:
            return
        refs = {column: ["set", unique([to.pick("Port", port) for port in ports])]
                for column, ports in self.ports.items() if to.pick("Port", 0) is not None}
        mirror = to.insert("Mirror", name=self.name, **self.columns, **refs)
        to.mutate("Bridge", bridge, ["mirrors", "insert", mirror])


def unique(refs: Sequence[Any]) -> list[Any]:
    return [ref for at, ref in enumerate(refs) if ref not in refs[:at]]


@dataclass(frozen=True)
class ShareMirror(Edit):
    bridge: int
    mirror: int
    take: bool

    def apply(self, to: Transaction) -> None:
        bridge, mirror = to.pick("Bridge", self.bridge), to.pick("Mirror", self.mirror)
        if bridge is not None and mirror is not None:
            to.mutate("Bridge", bridge, ["mirrors", "delete" if self.take else "insert", mirror])


@dataclass(frozen=True)
class PutQos(Edit):
    """A QoS row for a port: a new one, or one that is there."""

    port: int
    type: str
    other_config: dict[str, str]
    shared: int | None

    def apply(self, to: Transaction) -> None:
        port = to.pick("Port", self.port)
        if port is None:
            return
        qos = to.pick("QoS", self.shared) if self.shared is not None else None
        to.update("Port", port, qos=qos or to.insert(
            "QoS", type=self.type,
            other_config=["map", [[k, v] for k, v in self.other_config.items()]]))


@dataclass(frozen=True)
class PutQueue(Edit):
    qos: int
    number: int
    other_config: dict[str, str]
    shared: int | None

    def apply(self, to: Transaction) -> None:
        qos = to.pick("QoS", self.qos)
        if qos is None:
            return
        queue = to.pick("Queue", self.shared) if self.shared is not None else None
        queue = queue or to.insert("Queue", other_config=["map", [
            [k, v] for k, v in self.other_config.items()]])
        to.mutate("QoS", qos, ["queues", "delete", ["set", [self.number]]],
                  ["queues", "insert", ["map", [[self.number, queue]]]])


@dataclass(frozen=True)
class PutController(Edit):
    bridge: int
    there: bool

    def apply(self, to: Transaction) -> None:
        if (bridge := to.pick("Bridge", self.bridge)) is not None:
            to.update("Bridge", bridge, controller=(
                to.insert("Controller", target="tcp:127.0.0.1:6653") if self.there
                else ["set", []]))


@dataclass(frozen=True)
class Wipe(Edit):
    """All bridges go."""

    def apply(self, to: Transaction) -> None:
        to.update("Open_vSwitch", to.root(), bridges=["set", []])


@dataclass(frozen=True)
class ReplaceRoot(Edit):
    """As a database that was restored from a copy."""

    def apply(self, to: Transaction) -> None:
        to.replace_root()


@dataclass(frozen=True)
class Renumber(Edit):
    next_cfg: int

    def apply(self, to: Transaction) -> None:
        to.update("Open_vSwitch", to.root(), next_cfg=self.next_cfg)
