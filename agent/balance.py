"""When rxqs are placed anew because PMDs are loaded unevenly: pure.

Conditions, sums and log lines are those of ovs-vswitchd's PMD auto load balance.
"""
from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from agent.load import INTERVALS, Loads
from agent.loglines import Line
from agent.model import ASSIGN_ROUNDROBIN, AutoBalance, Placing, PmdSpec, RxqLoad
from agent.schedule import Placement, heading, improvement, place, unevenness

NOTHING_TO_DO = "PMD auto load balance nothing to do, "


class AutoBalancer:
    """Looks once an interval whether rxqs should be placed anew."""

    def __init__(self) -> None:
        self._config: AutoBalance | None = None
        self._looked_ms = 0         # when it looked last, or was switched on

    def run(self, now_ms: int, config: AutoBalance | None, placing: Placing,
            pmds: Collection[PmdSpec], current: Placement,
            rxqs: Callable[[], Collection[RxqLoad]], loads: Loads
            ) -> tuple[bool, tuple[Line, ...]]:
        """Whether to place anew, and the lines to log. Costs next to nothing between two looks.

        'current' is the placement in force; 'rxqs' is called only when it comes to a dry run.
        """
        lines: list[Line] = []
        if self._config is None:
            self._looked_ms = now_ms
        self._config = config
        if config is None or now_ms - self._looked_ms < config.interval_ms:
            return False, ()
        self._looked_ms = now_ms
        free = [pmd.core for pmd in pmds if pmd.core not in current.isolated]
        if not any(overloaded(loads.pmd_load(core), config) for core in free):
            return False, tuple(lines)
        hindrance = why_not(placing, free, current)
        if hindrance:
            lines.append(("dbg", NOTHING_TO_DO + hindrance))
            return False, tuple(lines)
        found, details = dry_run(config, placing, pmds, current, rxqs(), loads)
        lines += (("dbg", text) for text in details)
        if found:
            lines.append(("info", "PMD auto load balance dry run. Requesting datapath "
                          "reconfigure."))
        return found, tuple(lines)


def overloaded(percents: Collection[int], config: AutoBalance) -> bool:
    """Whether a PMD with these loads was at the threshold or above for the whole last minute."""
    return len(percents) >= INTERVALS and min(percents) >= config.load_percent


def why_not(placing: Placing, free: Collection[int], current: Placement) -> str:
    """Why moving rxqs between the PMDs on the 'free' cores cannot help; empty if it might."""
    if placing.algorithm == ASSIGN_ROUNDROBIN:
        return "pmd-rxq-assign=roundrobin assignment type configured."
    if len(free) < 2 or all(len(rxqs) < 2 for core, rxqs in current.lists if core in free):
        return "not enough non-isolated PMDs or RxQs."
    return ""


def dry_run(config: AutoBalance, placing: Placing, pmds: Collection[PmdSpec], current: Placement,
            rxqs: Collection[RxqLoad], loads: Loads) -> tuple[bool, tuple[str, ...]]:
    """Whether the PMDs of some NUMA node would be loaded evenly enough, and the details.

    Where rxqs are polled from another node than theirs, nobody knows what they will cost.
    """
    estimate = place(rxqs, pmds, placing)
    nodes = sorted({pmd.node for pmd in pmds})
    lines = ["PMD auto load balance performing dry run.",
             *(text for _, text in estimate.lines if text != heading(placing))]
    if estimate.crossing and len(nodes) > 1:
        return False, (*lines, "PMD auto load balance detected cross-numa polling with multiple "
                       "numa nodes. Unable to accurately estimate.")
    met = False
    for node in nodes:
        cores = [pmd.core for pmd in pmds if pmd.node == node]
        now, then = variances(cores, (current, estimate), rxqs, loads)
        percent = improvement(now, then)
        met = met or percent >= config.improvement_percent
        lines.append(f"Numa node {node}. Current variance {now} Estimated variance {then}. "
                     f"Variance improvement {percent}%.")
    lines.append("PMD load variance improvement threshold "
                 f"{config.improvement_percent}% is {'met' if met else 'not met'}.")
    return met, tuple(lines)


def variances(cores: Collection[int], placements: Collection[Placement],
              rxqs: Collection[RxqLoad], loads: Loads) -> Iterator[int]:
    """Of the loads of 'cores', with each placement."""
    rxq_cycles = {rxq.rxq: rxq.cycles for rxq in rxqs}
    core_cycles = {core: loads.minute(core) for core in cores}
    return (unevenness(placement, cores, rxq_cycles, core_cycles) for placement in placements)
