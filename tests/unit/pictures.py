"""Pictures of an agent as tests want them."""
from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

from agent.model import (
    CLIENT_TYPE,
    BridgeRow,
    BridgeSpec,
    Counters,
    Desired,
    InterfaceRow,
    Memory,
    Observed,
    PmdCounters,
    PmdSpec,
    PortSpec,
    PortState,
    Readings,
    Registration,
    Snapshot,
)
from agent.picture import LOCK_HELD, AgentFacts, DatabaseFacts, Hugepages, Picture, Seen, picture
from agent.picture import Memory as DpdkMemory
from agent.role import VSWITCHD

HZ = 1_000_000_000
MEMORY = Memory(1500, 2048)
QUEUE = {"good_packets": 0, "good_bytes": 0}


def queue(packets: int, octets: int) -> dict[str, int]:
    return {"good_packets": packets, "good_bytes": octets}


def seen(*names: str, guests: bool = True, now_ms: int = 10_000) -> Seen:
    """An agent with client ports of these names on bridge br0, polled by a PMD on core 3."""
    specs, states, rows = {}, {}, []
    for number, name in enumerate(names, 1):
        device = Registration(f"/tmp/{name}", True)
        specs[name] = PortSpec(name, "br0", CLIENT_TYPE, device, 8, MEMORY)
        state = PortState(name, device, 8, MEMORY, number=number)
        states[name] = state if not guests else replace(
            state, attached=True, connected=True, connections=1, connects=1,
            vring_sizes=(256, 256), enabled_rxqs=(0,), enabled_txqs=(0,))
        rows.append(InterfaceRow(UUID(int=number), name, CLIENT_TYPE))
    polls = ((3, tuple((name, 0) for name in names)),)
    return Seen(
        now_ms=now_ms, agent=AgentFacts("vhost-agent", "1.2", "DPDK 22.11", 77, 1000,
                                        VSWITCHD),
        database=DatabaseFacts("unix:/db.sock", True, LOCK_HELD, 5),
        snapshot=Snapshot(bridges=(BridgeRow(UUID(int=99), "br0", "netdev",
                                             interfaces=tuple(rows)),)),
        desired=Desired(ports=specs, bridges=(BridgeSpec("br0"),)),
        observed=Observed(states, polls=polls, pmds=(PmdSpec(3, 1),)),
        ofports={name: ("br0", number) for number, name in enumerate(names, 1)},
        dpdk_initialized=True,
        counters={name: Counters({}, *((({**QUEUE},),) * 2 if guests else ((), ())))
                  for name in names},
        readings=Readings(HZ, {3: PmdCounters(thread=7)}, {(name, 0): 0 for name in names}),
        loads={3: (50, 10)}, memory=DpdkMemory(4 << 20, 3 << 20, 2 << 20, 9),
        hugepages=(Hugepages(2048, 10, 4),), steps=3, actions=2, refusals=1)


def count(seen: Seen, name: str, *, rx: tuple[int, int] = (0, 0), tx: tuple[int, int] = (0, 0),
          cycles: int = 0, **drops: int) -> Seen:
    """The same with these counters of a port: (packets, bytes), and its rxq's cycles."""
    return replace(
        seen, counters={**seen.counters, name: Counters(drops, (queue(*rx),), (queue(*tx),))},
        readings=replace(seen.readings, rxq_cycles={**seen.readings.rxq_cycles,
                                                    (name, 0): cycles}))


def guest(seen: Seen, name: str, **changes: Any) -> Seen:
    """The same with another state of a port."""
    ports = seen.observed.ports
    return replace(seen, observed=replace(seen.observed, ports={
        **ports, name: replace(ports[name], **changes)}))


def pmd(seen: Seen, **counters: int) -> Seen:
    """The same with these counters of the PMD."""
    return replace(seen, readings=replace(seen.readings, pmds={
        3: PmdCounters(**{"thread": 7, **counters})}))


def port(shown: Picture, name: str) -> dict[str, Any]:
    return next(port for port in shown["ports"] if port["name"] == name)


def taken(seen: Seen) -> Picture:
    return picture(seen)
