"""Joining a bridge of a companion with one of ovs-vswitchd by a tap, in the database: pure.

The tap is a port of both: of the one by its name, of the other as an Interface of type tap that
names it in options:tap-name.
"""
from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from agent.host_device import NAME_BYTES, no_name
from agent.options import shown
from agent.role import COMPANION
from agent.shell import argument, quoted

MARK = "vhost-agent-link"           # key of external_ids of both ports: the other bridge
OUR_END = "-vhost"                  # after the tap's name, of our Interface
HASH_CHARACTERS = 8
PLAIN = re.compile(r"[A-Za-z0-9_.]+")
OVS_TYPES = ("", "system", "netdev")

Operation = Mapping[str, Any]


class LinkError(Exception):
    """Why two bridges are not joined, or not parted; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Port:
    """A Port row."""

    uuid: UUID
    name: str
    linked_to: str | None = None        # the bridge that its mark names


@dataclass(frozen=True, slots=True)
class Bridge:
    """A Bridge row."""

    uuid: UUID
    name: str
    datapath_type: str
    ports: tuple[Port, ...] = ()


@dataclass(frozen=True, slots=True)
class HostName:
    """What the host has of a name."""

    taken: bool = False             # by a device
    tap: bool = False               # which is a tap
    open: bool = False              # that some program has open


@dataclass(frozen=True, slots=True)
class Bridges:
    """Two bridges to be joined or parted, and the names that Ports and Interfaces have."""

    ours: Bridge
    theirs: Bridge
    names: frozenset[str] = frozenset()


def default_name(ours: str, theirs: str) -> str:
    """The tap's name: of both bridges' when that fits and can be of no other pair's, else a part of
    one and a hash."""
    name = f"{ours}-{theirs}"
    if len(name) <= NAME_BYTES and PLAIN.fullmatch(ours) and PLAIN.fullmatch(theirs):
        return name
    digest = hashlib.sha256(f"{ours}\0{theirs}".encode()).hexdigest()[:HASH_CHARACTERS]
    head = ours if PLAIN.fullmatch(ours.replace("-", "")) else "link"
    return f"{head[:NAME_BYTES - HASH_CHARACTERS - 1]}-{digest}"


def find(bridges: Mapping[str, Bridge], ours: str, theirs: str, names: frozenset[str]) -> Bridges:
    """Raises LinkError when there is no such bridge."""
    for name in (ours, theirs):
        if name not in bridges:
            raise LinkError(f"no bridge {name} is in the database: 'ovs-vsctl show' lists bridges")
    return Bridges(bridges[ours], bridges[theirs], names)


def check(found: Bridges, name: str) -> None:
    """Raises LinkError when these bridges cannot be joined by a tap of that name."""
    ours, theirs = found.ours, found.theirs
    vhost = COMPANION.datapath_type
    if ours.name == theirs.name:
        raise LinkError(f"{ours.name} is named twice: a link has two bridges")
    if ours.datapath_type != vhost and theirs.datapath_type == vhost:
        raise LinkError(f"{theirs.name} is the companion's bridge, and comes first: vhost-agent "
                        f"link {argument(theirs.name, ours.name)}")
    if ours.datapath_type != vhost:
        raise LinkError(f"bridge {ours.name} has datapath_type "
                        f"{shown(ours.datapath_type or 'system')}, a bridge of the companion has "
                        f"{vhost} (ovs-vsctl set Bridge {quoted(ours.name)} datapath_type={vhost})")
    if theirs.datapath_type not in OVS_TYPES:
        why = ("two bridges of the companion are joined by patch ports"
               if theirs.datapath_type == vhost
               else "its bridges are of type system or netdev")
        raise LinkError(f"bridge {theirs.name} has datapath_type {shown(theirs.datapath_type)}, "
                        f"which is not ovs-vswitchd's: {why}")
    if ends := [port.name for port in parts(found)]:
        raise LinkError(f"{ours.name} and {theirs.name} are linked already, by "
                        f"{' and '.join(ends)}: a second link would be a loop (vhost-agent unlink "
                        f"{argument(ours.name, theirs.name)} takes it away)")
    if wrong := no_name(name):
        raise LinkError(f"{shown(name)}: {wrong[1]}")
    if not name:
        raise LinkError("the name of the tap is empty")
    for taken in (name, name + OUR_END):
        if taken in found.names:
            raise LinkError(f"the name {taken} is taken by another port: choose the tap's with "
                            "--name")


def check_host(name: str, host: HostName) -> None:
    """Raises LinkError when the host has given the name away: ovs-vswitchd would take whatever
    has it into its bridge. A tap that nobody has open is one that an agent left, and is used."""
    if host.taken and not host.tap:
        raise LinkError(f"the name {name} is taken by a device of this host that is no tap: choose "
                        "the tap's with --name")
    if host.open:
        raise LinkError(f"the name {name} is taken by a tap of this host that a program has open: "
                        "choose another with --name")


def parts(found: Bridges) -> Iterator[Port]:
    """The ports of the link between them: none, both, or the one that somebody left."""
    for bridge, other in ((found.ours, found.theirs), (found.theirs, found.ours)):
        yield from (port for port in bridge.ports if port.linked_to == other.name)


def join(found: Bridges, name: str) -> list[Operation]:
    """The transaction that joins them, while nothing that check() looked at has changed."""
    ends: tuple[tuple[Bridge, Bridge, str, dict[str, Any]], ...] = (
        (found.ours, found.theirs, name + OUR_END,
         {"type": "tap", "options": ["map", [["tap-name", name]]]}),
        (found.theirs, found.ours, name, {"type": ""}))
    operations = [*unchanged(found)]
    for table in ("Port", "Interface"):
        operations += [{"op": "wait", "table": table, "timeout": 0, "until": "==", "rows": [],
                        "columns": ["name"], "where": [["name", "==", end[2]]]} for end in ends]
    for number, (bridge, other, port, columns) in enumerate(ends):
        marked = {"name": port, "external_ids": ["map", [[MARK, other.name]]]}
        operations += [
            {"op": "insert", "table": "Interface", "uuid-name": f"interface{number}",
             "row": {**marked, **columns}},
            {"op": "insert", "table": "Port", "uuid-name": f"port{number}",
             "row": {**marked, "interfaces": ["named-uuid", f"interface{number}"]}},
            of_bridge(bridge, "insert", ["named-uuid", f"port{number}"])]
    return [*operations, *configured(f"link {found.ours.name} {found.theirs.name}")]


def part(found: Bridges) -> list[Operation]:
    """The transaction that removes the ports of parts()."""
    gone = {port.uuid for port in parts(found)}
    operations = [*unchanged(found)]
    operations += [of_bridge(bridge, "delete", ["uuid", str(port.uuid)])
                   for bridge in (found.ours, found.theirs) for port in bridge.ports
                   if port.uuid in gone]
    return [*operations, *configured(f"unlink {found.ours.name} {found.theirs.name}")]


def unchanged(found: Bridges) -> Iterator[Operation]:
    """That both bridges are as they were found."""
    for bridge in (found.ours, found.theirs):
        yield {"op": "wait", "table": "Bridge", "timeout": 0, "until": "==",
               "where": [["_uuid", "==", ["uuid", str(bridge.uuid)]]],
               "columns": ["datapath_type", "ports"],
               "rows": [{"datapath_type": bridge.datapath_type,
                         "ports": ["set", [["uuid", str(port.uuid)] for port in bridge.ports]]}]}


def of_bridge(bridge: Bridge, how: str, port: Sequence[str]) -> Operation:
    return {"op": "mutate", "table": "Bridge",
            "where": [["_uuid", "==", ["uuid", str(bridge.uuid)]]],
            "mutations": [["ports", how, ["set", [port]]]]}


def configured(what: str) -> Iterator[Operation]:
    """As ovs-vsctl ends a transaction: ovs-vswitchd is to look."""
    yield {"op": "mutate", "table": "Open_vSwitch", "where": [],
           "mutations": [["next_cfg", "+=", 1]]}
    yield {"op": "comment", "comment": f"vhost-agent: {what}"}
