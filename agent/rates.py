"""What went on between two pictures of an agent: pure.

No rate is negative: a counter that went back began anew in between, with a new guest, port, thread
or agent, and what it has is what came since.
"""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agent.picture import Picture

Facts = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PortRates:
    """Of one port; packets, bits and drops a second."""

    name: str
    bridge: str
    link: str                       # up, down, error, or "-"
    rx_packets: float = 0.0
    rx_bits: float = 0.0
    tx_packets: float = 0.0
    tx_bits: float = 0.0
    drops: Mapping[str, float] = field(default_factory=dict)    # by reason, those that there were
    cores: tuple[int, ...] = ()     # whose PMDs poll it, ascending
    pmd_percent: float | None = None            # of one PMD's time; None: no PMD polls it
    cycles_per_packet: float | None = None      # None: no packets came

    @property
    def dropped(self) -> float:
        return sum(self.drops.values())


@dataclass(frozen=True, slots=True)
class PmdRates:
    """Of one PMD thread: percent of its time, packets a second."""

    core: int
    node: int
    rxqs: int
    busy: float
    sleeping: float
    rx_packets: float
    tx_packets: float


@dataclass(frozen=True, slots=True)
class Rates:
    seconds: float
    ports: tuple[PortRates, ...]
    pmds: tuple[PmdRates, ...]


def rates(before: Picture, after: Picture) -> Rates | None:
    """None: the two are no two moments of one agent."""
    seconds = (after["taken_ms"] - before["taken_ms"]) / 1000
    if seconds <= 0 or started(before) != started(after):
        return None
    known = {port["name"]: port for port in before["ports"]}
    threads = {(pmd["core"], pmd["thread"]): pmd for pmd in before["pmds"]}
    hz = after["tsc_hz"]
    return Rates(
        seconds,
        tuple(port_rates(known.get(port["name"], {}), port, seconds, hz)
              for port in after["ports"]),
        tuple(pmd_rates(threads.get((pmd["core"], pmd["thread"]), {}), pmd, seconds)
              for pmd in after["pmds"]))


def started(picture: Picture) -> tuple[int, int]:
    agent = picture["agent"]
    return agent["pid"], agent["started_ms"]


def gained(before: Facts, after: Facts, key: str) -> float:
    count, was = after.get(key, 0), before.get(key, 0)
    return float(count - was if count >= was else count)


def port_rates(before: Facts, after: Facts, seconds: float, hz: int) -> PortRates:
    was, now = before.get("traffic", {}), after.get("traffic", {})
    if after["connects"] != before.get("connects", 0):
        # another guest: what it has may be more than the last one had
        was = {**dict.fromkeys(was, 0), "drops": was.get("drops", {})}
    packets = gained(was, now, "rx_packets")
    drops = {reason: count / seconds for reason in now.get("drops", {})
             if (count := gained(was.get("drops", {}), now["drops"], reason))}
    rxqs = after.get("rxqs", ())
    cores = tuple(sorted({rxq["core"] for rxq in rxqs if rxq["core"] is not None}))
    cycles = cycles_gained(before.get("rxqs", ()), rxqs)
    return PortRates(
        after["name"], after["bridge"], link(after),
        packets / seconds, 8 * gained(was, now, "rx_bytes") / seconds,
        gained(was, now, "tx_packets") / seconds, 8 * gained(was, now, "tx_bytes") / seconds,
        drops, cores, 100 * cycles / (seconds * hz) if cores else None,
        cycles / packets if packets and cores else None)


def link(port: Facts) -> str:
    return "error" if port["error"] else port["link_state"] or "-"


def cycles_gained(before: Any, after: Any) -> float:
    was = dict(enumerate(before))
    return sum(gained(was.get(queue, {}), rxq, "cycles") for queue, rxq in enumerate(after))


def pmd_rates(before: Facts, after: Facts, seconds: float) -> PmdRates:
    cycles = gained(before, after, "cycles") or 1

    def percent(key: str) -> float:
        return min(100.0, 100 * gained(before, after, key) / cycles)

    return PmdRates(after["core"], after["node"], after["rxqs"], percent("busy_cycles"),
                    percent("sleep_cycles"), gained(before, after, "rx_packets") / seconds,
                    gained(before, after, "tx_packets") / seconds)
