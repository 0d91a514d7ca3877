"""Mirrors of a bridge, from its Mirror rows: pure. Every rejected value gets a sentence, with
ovs-vswitchd's words at the front where it has any."""
from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from uuid import UUID

from agent.mirror_model import MirrorCounters, MirrorRow, MirrorSpec
from agent.model import PATCH_TYPE, BridgeRow, Snapshot

MOST = 32                       # mirrors of a bridge (OVS: MAX_MIRRORS)

Ports = Mapping[str, str]       # name of a Port row -> its interface


class MirrorError(Exception):
    """A mirror that cannot be in force; the text says why."""


def mirrors(bridge: BridgeRow, served: Collection[str]
            ) -> tuple[tuple[MirrorSpec, ...], tuple[str, ...]]:
    """Mirrors of a bridge that can be in force, and what is wrong with its Mirror rows. 'served'
    are those of its interfaces that it forwards between."""
    ports = {row.port.name or row.name: row.name for row in bridge.interfaces}
    specs: list[MirrorSpec] = []
    problems: list[str] = []
    in_force: list[MirrorRow] = []
    rows = sorted(bridge.mirrors, key=lambda row: (row.name, row.uuid))
    patches = {row.name for row in bridge.interfaces if row.type == PATCH_TYPE}
    for row in rows[:MOST]:
        found, said = mirror(row, ports, served, patches)
        if found is not None:
            specs.append(found)
            in_force.append(row)
        problems += (f"mirror {row.name} {problem}" for problem in said)
    problems += (f"maximum of {MOST} port mirrors reached, cannot create {row.name}: it is not in "
                 f"force, the first {MOST} by name are" for row in rows[MOST:])
    problems += outputs_selected(in_force)
    return tuple(specs), tuple(f"bridge {bridge.name}: {problem}" for problem in problems)


def mirror(row: MirrorRow, ports: Ports, served: Collection[str], patches: Collection[str] = ()
           ) -> tuple[MirrorSpec | None, tuple[str, ...]]:
    """The mirror, where it can be in force, and what is wrong with the row."""
    try:
        output = output_port(row, ports, served)
        if output in patches:
            raise MirrorError(f"outputs to patch port {row.output_port}, which takes no copies: it "
                              "is not in force")
    except MirrorError as e:
        return None, (str(e),)
    sources: Iterable[str] = ports.values()
    destinations: Iterable[str] = ports.values()
    if not row.select_all:
        sources = (ports[name] for name in row.select_src_port if name in ports)
        destinations = (ports[name] for name in row.select_dst_port if name in ports)
    spec = MirrorSpec(
        row.uuid, tuple(sorted(name for name in sources if name in served)),
        tuple(sorted(name for name in destinations if name in served)), row.select_vlan, output,
        0 if output is not None else row.output_vlan or 0, row.snaplen or 0)
    return spec, tuple(contradictions(row, ports))


def output_port(row: MirrorRow, ports: Ports, served: Collection[str]) -> str | None:
    """The interface that a mirror outputs to; None where it outputs to a VLAN."""
    if row.filter:
        raise MirrorError("has a filter: OpenFlow matches are not served, so the mirror is not in "
                          "force rather than copy more than was asked for")
    if row.output_port is None:
        if row.output_vlan is None:
            raise MirrorError("does not specify output; ignoring: neither output_port nor "
                              "output_vlan is set")
        return None
    if row.output_port not in ports:
        raise MirrorError(f"outputs to port not on bridge: output_port {row.output_port}; the "
                          "mirror is not in force")
    if ports[row.output_port] not in served:
        raise MirrorError(f"outputs to port {row.output_port}, which is not served; the mirror is "
                          "not in force until it is")
    return ports[row.output_port]


def contradictions(row: MirrorRow, ports: Ports) -> Iterator[str]:
    """What of a row in force does nothing."""
    if row.output_port is not None and row.output_vlan is not None:
        yield ("specifies both output port and output vlan; ignoring output vlan: output_vlan "
               f"{row.output_vlan} has no effect beside output_port {row.output_port}")
    for column, names in (("select_src_port", row.select_src_port),
                          ("select_dst_port", row.select_dst_port)):
        if row.select_all and names:
            yield f"selects all ports: {column} has no effect beside select_all"
            continue
        for name in names:
            if name not in ports:
                yield (f"cannot match on nonexistent port {name}: {column} names a port of another "
                       "bridge")
            elif name == row.output_port:
                yield (f"outputs to port {name} and selects it: {column} {name} has no effect, for "
                       "nothing is received there and nothing but the copies is sent")
    if not (row.select_all or row.select_src_port or row.select_dst_port):
        yield ("selects no port, so it copies nothing: set select_all, select_src_port or "
               "select_dst_port")
    if row.output_port is None and row.output_vlan in row.select_vlan:
        yield (f"outputs to VLAN {row.output_vlan} and selects it: what is in that VLAN already is "
               "counted, but not copied")


def outputs_selected(rows: Iterable[MirrorRow]) -> Iterator[str]:
    """Ports that one mirror outputs to and another names as a source."""
    outputs = {row.output_port: row.name for row in rows if row.output_port is not None}
    for row in rows:
        for name in row.select_src_port:
            if name in outputs and name != row.output_port and not row.select_all:
                yield (f"mirror {row.name} selects port {name}, which mirror {outputs[name]} "
                       f"outputs to: select_src_port {name} has no effect, for nothing is received "
                       "there")


def among(specs: tuple[MirrorSpec, ...], names: Collection[str]) -> tuple[MirrorSpec, ...]:
    """The mirrors with those of their ports alone that are in 'names'; one whose output is not
    there is not in force."""
    return tuple(
        replace(spec, sources=tuple(name for name in spec.sources if name in names),
                destinations=tuple(name for name in spec.destinations if name in names))
        for spec in specs if spec.output_port is None or spec.output_port in names)


def statistics(snapshot: Snapshot, counters: Mapping[UUID, MirrorCounters]
               ) -> dict[tuple[str, UUID], dict[str, dict[str, int]]]:
    """{row: columns} of all Mirror rows; 'counters' are of those in force."""
    return {("Mirror", row.uuid): {"statistics": counted(counters.get(row.uuid))}
            for bridge in snapshot.bridges for row in bridge.mirrors}


def counted(counters: MirrorCounters | None) -> dict[str, int]:
    """Mirror.statistics (OVS: mirror_refresh_stats); empty for a mirror that is not in force."""
    if counters is None:
        return {}
    return {"tx_packets": counters.packets, "tx_bytes": counters.bytes}
