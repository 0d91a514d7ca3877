"""The whole picture of a running agent at one moment, as plain data: pure.

What 'vhost-agent show', 'vhost-agent top' and the metrics are made of, and the answer of the
command vhost/state. Counters of a port count from when it was added, those of its queues from when
its guest connected, those of a PMD from when its thread started.
"""
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agent import report, report_eth
from agent.drops import blame, dropped, happened
from agent.eth_values import EthDevice
from agent.host_model import HostDevice
from agent.model import (
    BridgeRow,
    Counters,
    Desired,
    InterfaceRow,
    Observed,
    PatchDevice,
    PmdCounters,
    PortState,
    Readings,
    Registration,
    Rxq,
    Snapshot,
)
from agent.role import Role
from agent.validate import is_local

FORMAT = 1                      # moves when a key changes its meaning or goes; not for new ones
PMD_COUNTERS = tuple(PmdCounters.__dataclass_fields__)

Picture = dict[str, Any]        # what json.dumps() takes
LOCK_HELD, LOCK_TAKEN, LOCK_NONE = "held", "held by another process", "not held"


@dataclass(frozen=True, slots=True)
class AgentFacts:
    """Of the process."""

    name: str
    version: str
    dpdk: str
    pid: int
    started_ms: int                 # on the monotonic clock of the host, as all times here
    role: Role


@dataclass(frozen=True, slots=True)
class DatabaseFacts:
    """Of the connection to the database."""

    remote: str
    connected: bool
    lock: str                       # LOCK_...
    commits: int                    # transactions that the server has taken, or needed none


@dataclass(frozen=True, slots=True)
class Hugepages:
    """Hugepages of one size on the whole host."""

    kib: int
    total: int
    free: int


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of DPDK's memory, and packet buffers that are on their way."""

    reserved: int = 0
    used: int = 0                   # of the reserved ones
    packets: int = 0                # of the used ones: pools of packet buffers
    buffers_in_use: int = 0


@dataclass(frozen=True, slots=True)
class Seen:
    """What a picture is made of."""

    now_ms: int
    agent: AgentFacts
    database: DatabaseFacts
    snapshot: Snapshot | None
    desired: Desired = field(default_factory=Desired)
    observed: Observed = field(default_factory=Observed)
    errors: Mapping[str, str] = field(default_factory=dict)
    problems: Mapping[str, Sequence[str]] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)     # why ports are down
    ofports: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    dpdk_initialized: bool = False
    counters: Mapping[str, Counters] = field(default_factory=dict)
    readings: Readings = field(default_factory=Readings)
    loads: Mapping[int, Sequence[int]] = field(default_factory=dict)     # by core, newest first
    memory: Memory = Memory()
    hugepages: Sequence[Hugepages] = ()
    steps: int = 0                  # of the reconciler
    actions: int = 0                # that the data plane was told to do
    refusals: int = 0               # of these, what it refused


def picture(seen: Seen) -> Picture:
    """All of it. Ports and bridges in order of their names."""
    cores = {rxq: core for core, rxqs in seen.observed.polls for rxq in rxqs}
    served = {bridge.name for bridge in seen.desired.bridges}
    bridges = seen.snapshot.bridges if seen.snapshot is not None else ()
    agent, database, memory = seen.agent, seen.database, seen.memory
    return {
        "format": FORMAT,
        "taken_ms": seen.now_ms,
        "agent": {
            "name": agent.name, "version": agent.version, "dpdk": agent.dpdk,
            "role": agent.role.name, "pid": agent.pid, "started_ms": agent.started_ms,
            "dpdk_initialized": seen.dpdk_initialized},
        "database": {
            "remote": database.remote, "connected": database.connected, "lock": database.lock,
            "seen": seen.snapshot is not None, "commits": database.commits},
        "reconciler": {
            "steps": seen.steps, "actions": seen.actions, "refusals": seen.refusals},
        "memory": {
            "reserved_bytes": memory.reserved, "used_bytes": memory.used,
            "packet_pool_bytes": memory.packets, "packet_buffers_in_use": memory.buffers_in_use,
            "hugepages": [{"kib": pool.kib, "total": pool.total, "free": pool.free}
                          for pool in seen.hugepages]},
        "problems": list(seen.desired.problems),
        "tsc_hz": seen.readings.tsc_hz,
        "pmds": list(pmds(seen)),
        "bridges": [
            {"name": row.name, "datapath_type": row.datapath_type, "served": row.name in served,
             "datapath_id": report.datapath_id(row)} for row in bridges],
        "ports": [port(seen, bridge, row, cores) for bridge in bridges
                  for row in bridge.interfaces],
    }


def pmds(seen: Seen) -> Iterator[dict[str, Any]]:
    lists = dict(seen.observed.polls)
    for spec in seen.observed.pmds:
        counters = seen.readings.pmds.get(spec.core, PmdCounters())
        yield {"core": spec.core, "node": spec.node, "sleep_max_us": spec.sleep_max_us,
               "block": spec.block, "rxqs": len(lists.get(spec.core, ())),
               "loads_percent": list(seen.loads.get(spec.core, ())),
               **{name: getattr(counters, name) for name in PMD_COUNTERS}}


def port(seen: Seen, bridge: BridgeRow, row: InterfaceRow, cores: Mapping[Rxq, int]
         ) -> dict[str, Any]:
    name = row.name
    spec, state = seen.desired.ports.get(name), seen.observed.ports.get(name)
    error = seen.errors.get(name)
    columns: dict[str, Any] = {}
    if spec is not None or error is not None or is_local(bridge, row):
        columns = report.interface(bridge, row, spec, state, error, seen.problems.get(name, ()),
                                   seen.reasons.get(name, ""))
    shown = {
        "name": name, "bridge": bridge.name, "type": row.type,
        "ofport": seen.ofports.get(name, ("", None))[1],
        "number": state.number if state is not None else None,
        "device": where(state),
        **{key: next(iter(columns.get(key, ())), None)
           for key in ("error", "admin_state", "link_state", "mtu")},
        # without what is not, which is most of it and the same for all ports
        "status": {key: said for key, said in columns.get("status", {}).items()
                   if said != "false"},
        "guest": isinstance(state.device, Registration) if state is not None else False,
        "attached": state.attached if state is not None else False,
        "connected": state.connected if state is not None else False,
        "connections": state.connections if state is not None else 0,
        "connects": state.connects if state is not None else 0,
    }
    if state is not None and (counters := seen.counters.get(name)) is not None:
        shown |= {"traffic": traffic(state, counters), "rxqs": rxqs(seen, state, counters, cores),
                  "txqs": txqs(state, counters)}
    return shown


def where(state: PortState | None) -> str:
    """What a port stands for outside: path of a socket, device, peer."""
    match state.device if state is not None else None:
        case Registration(path):
            return path
        case EthDevice(devargs):
            return devargs
        case HostDevice(_, name):
            return name
        case PatchDevice(peer):
            return peer
    return ""


def traffic(state: PortState, counters: Counters) -> dict[str, Any]:
    """Of a port, in the words of Interface.statistics; drops are those that there were."""
    if state.eth is not None:
        values = report_eth.statistics(counters)
        sums = {key: values[key] for key in report_eth.STATISTICS}
        drops = {key: count for key, count in values.items() if count and blame(key)}
        totals = {key: values[key] for key in ("rx_dropped", "tx_dropped")}
    else:
        sums = {f"{direction}_{key}": sum(queue[f"good_{key}"] for queue in queues)
                for direction, queues in (("rx", counters.rx_queues), ("tx", counters.tx_queues))
                for key in ("packets", "bytes")}
        drops, totals = happened(counters.port), dropped(counters.port)
        if missed := counters.device.get("missed"):
            drops["rx_missed_errors"] = missed
            totals["rx_dropped"] += missed
    return {**sums, **totals, "tx_retries": counters.port.get("tx_retries", 0), "drops": drops}


def rxqs(seen: Seen, state: PortState, counters: Counters, cores: Mapping[Rxq, int]
         ) -> list[dict[str, Any]]:
    """Queues that a PMD polls, or that there are counters of."""
    found = []
    for q in range(max(len(counters.rx_queues), state.n_rxqs)):
        rxq = (state.name, q)
        count = counters.rx_queues[q] if q < len(counters.rx_queues) else {}
        found.append({
            "core": cores.get(rxq), "cycles": seen.readings.rxq_cycles.get(rxq, 0),
            "enabled": q in state.enabled_rxqs or state.eth is not None,
            "size": ring_size(state, 2 * q + 1),
            "packets": count.get("good_packets", 0), "bytes": count.get("good_bytes", 0)})
    return found


def txqs(state: PortState, counters: Counters) -> list[dict[str, Any]]:
    return [{"enabled": q in state.enabled_txqs, "size": ring_size(state, 2 * q),
             "packets": queue["good_packets"], "bytes": queue["good_bytes"]}
            for q, queue in enumerate(counters.tx_queues)]


def ring_size(state: PortState, ring: int) -> int:
    """Descriptors of a guest's ring; 0 without a guest."""
    return state.vring_sizes[ring] if ring < len(state.vring_sizes) else 0
