"""Which PMD polls which rxq, and how evenly that loads the PMDs: pure.

The rules and the log lines are ovs-vswitchd's (lib/dpif-netdev.c). Where its order is that of a
hash table, here it is ascending numbers: the same input always gives the same lists.
"""
from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle
from operator import attrgetter

from agent.loglines import Line
from agent.model import (
    ASSIGN_GROUP,
    ASSIGN_ROUNDROBIN,
    Placing,
    PmdSpec,
    PollLists,
    Rxq,
    RxqLoad,
)

# What the log says of an rxq, put into words when it does; None: the heading of what follows.
Note = tuple[Rxq | None, Callable[[], Line]]


@dataclass(frozen=True, slots=True)
class Placement:
    """The poll list of each PMD, its rxqs in order of (port number, queue), and what led there."""

    lists: PollLists = ()
    isolated: frozenset[int] = frozenset()  # cores of PMDs that poll pinned rxqs alone
    unpolled: tuple[Rxq, ...] = ()          # rxqs that no PMD may poll
    notes: tuple[Note, ...] = field(default=(), compare=False)
    crossing: bool = False      # an rxq that no pin put there is polled from another NUMA node

    @property
    def cores(self) -> dict[Rxq, int | None]:
        """{rxq: the core whose PMD polls it, None where none does}"""
        cores: dict[Rxq, int | None] = dict.fromkeys(self.unpolled)
        cores |= {rxq: core for core, rxqs in self.lists for rxq in rxqs}
        return cores

    @property
    def lines(self) -> tuple[Line, ...]:
        """What the log can say of every rxq."""
        return tuple(line() for _, line in self.notes)

    def news(self, before: Mapping[Rxq, int | None]) -> tuple[Line, ...]:
        """What the log should say after a placement that had rxqs on these cores: of the others
        there is nothing new."""
        now = self.cores
        notes = [(rxq, line) for rxq, line in self.notes
                 if rxq is None or rxq not in before or now.get(rxq) != before[rxq]]
        if notes and notes[-1][0] is None:
            notes.pop()
        return tuple(line() for _, line in notes)


@dataclass(slots=True)
class PollList:
    """The poll list of one PMD while it grows."""

    core: int
    node: int
    rxqs: list[RxqLoad] = field(default_factory=list)
    cycles: int = 0             # of all its rxqs

    def add(self, rxq: RxqLoad) -> None:
        self.rxqs.append(rxq)
        self.cycles += rxq.cycles


Choice = Callable[[RxqLoad], PollList]      # where the next rxq of a NUMA node goes


def place(rxqs: Collection[RxqLoad], pmds: Collection[PmdSpec], placing: Placing) -> Placement:
    """Every rxq on the PMD it is pinned to, else on one of its NUMA node, else on any other.

    A PMD that an rxq is pinned to is isolated: it polls no others. Only the algorithm 'group' can
    do without that.
    """
    lists = {pmd.core: PollList(pmd.core, pmd.node)
             for pmd in sorted(pmds, key=lambda pmd: pmd.core)}
    unpinned, notes = pin(rxqs, lists, placing)
    isolates = placing.isolate or placing.algorithm != ASSIGN_GROUP
    isolated = frozenset(core for core, polled in lists.items() if isolates and polled.rxqs)
    free = [polled for core, polled in lists.items() if core not in isolated]
    if unpinned:
        notes.append((None, lambda: ("info", heading(placing))))
    if free:
        notes += spread(unpinned, free, placing)
    else:
        notes += ((rxq.rxq, partial(not_polled, rxq, placing)) for rxq in unpinned)
    nodes = {polled.node for polled in free}
    return Placement(
        lists=tuple((core, tuple(rxq.rxq for rxq in sorted(polled.rxqs, key=by_number)))
                    for core, polled in lists.items()),
        isolated=isolated,
        unpolled=() if free else tuple(rxq.rxq for rxq in unpinned),
        notes=tuple(notes),
        crossing=bool(free) and any(rxq.node not in nodes for rxq in unpinned))


def pin(rxqs: Collection[RxqLoad], lists: Mapping[int, PollList], placing: Placing
        ) -> tuple[list[RxqLoad], list[Note]]:
    """Put pinned rxqs on their PMDs. The others, in the order of their turn, and the notes."""
    unpinned: list[RxqLoad] = []
    notes: list[Note] = []
    for rxq in sorted(rxqs, key=by_number):
        if rxq.pin is None:
            unpinned.append(rxq)
        elif rxq.pin not in lists:
            unpinned.append(rxq)
            notes.append((rxq.rxq, partial(not_pinned, rxq)))
        else:
            lists[rxq.pin].add(rxq)
            notes.append((rxq.rxq, partial(pinned, rxq, lists[rxq.pin], placing)))
    if placing.algorithm != ASSIGN_ROUNDROBIN:
        # busiest first; rxqs alike stay in order of number
        unpinned.sort(key=attrgetter("cycles"), reverse=True)
    return unpinned, notes


def spread(rxqs: Collection[RxqLoad], lists: Collection[PollList], placing: Placing
           ) -> Iterator[Note]:
    """Put each rxq on one of 'lists', of its own NUMA node if there are any."""
    nodes: dict[int, list[PollList]] = {}
    for polled in lists:
        nodes.setdefault(polled.node, []).append(polled)
    choices = {node: choice(nodes[node], placing) for node in nodes}
    others = cycle(sorted(nodes))       # rxqs of nodes without a list go to these in turn
    for rxq in rxqs:
        node = rxq.node
        if node not in nodes:
            node = next(others)
            yield rxq.rxq, partial(crossing, rxq, node)
        polled = choices[node](rxq)
        polled.add(rxq)
        yield (rxq.port, rxq.queue), partial(assigned, rxq, polled, placing)


def choice(lists: list[PollList], placing: Placing) -> Choice:
    """How PMDs of one NUMA node, cores ascending, take their turns.

    With 'group' it is the one with the least cycles, for an rxq without any the one with the
    fewest rxqs. With 'cycles' they go up and down: 1 2 3 3 2 1 1 2.
    """
    if placing.algorithm == ASSIGN_GROUP:
        return lambda rxq: min(
            lists, key=lambda polled: polled.cycles if rxq.cycles else len(polled.rxqs))
    up_and_down = placing.algorithm != ASSIGN_ROUNDROBIN
    turns = cycle([*lists, *reversed(lists)] if up_and_down else lists)
    return lambda rxq: next(turns)


by_number = attrgetter("number", "port", "queue")


# --- texts ----------------------------------------------------------------------------------------

def heading(placing: Placing) -> str:
    return f"Performing pmd to rx queue assignment using {placing.algorithm} algorithm."


def assigned(rxq: RxqLoad, polled: PollList, placing: Placing) -> Line:
    return "info", f"{where(polled)} assigned {named(rxq)}{measured(rxq, placing)}."


def pinned(rxq: RxqLoad, polled: PollList, placing: Placing) -> Line:
    return "info", f"{where(polled)} is pinned with {named(rxq)}{measured(rxq, placing)}"


def not_pinned(rxq: RxqLoad) -> Line:
    return "warn", (f"Core {rxq.pin:2} cannot be pinned with {named(rxq)}. Use pmd-cpu-mask to "
                    f"enable a pmd on core {rxq.pin}. An alternative core will be assigned.")


def not_polled(rxq: RxqLoad, placing: Placing) -> Line:
    return "warn", (f"No non-isolated pmd on any numa available for {named(rxq)}"
                    f"{measured(rxq, placing)}. This rx queue will not be polled.")


def crossing(rxq: RxqLoad, node: int) -> Line:
    return "info", (f"There's no available (non-isolated) pmd thread on numa node {rxq.node}. "
                    f"{named(rxq, 'Port')} will be assigned to a pmd on numa node {node}. This may "
                    "lead to reduced performance.")


def where(polled: PollList) -> str:
    return f"Core {polled.core:2} on numa node {polled.node}"


def named(rxq: RxqLoad, port: str = "port") -> str:
    return f"{port} '{rxq.port}' rx queue {rxq.queue}"


def measured(rxq: RxqLoad, placing: Placing) -> str:
    if placing.algorithm == ASSIGN_ROUNDROBIN:
        return ""
    return f" (measured processing cycles {rxq.cycles})"


# --- how even a placement is ----------------------------------------------------------------------

def unevenness(placement: Placement, cores: Collection[int], rxq_cycles: Mapping[Rxq, int],
               core_cycles: Mapping[int, int]) -> int:
    """Variance of the loads, in whole percent, of those of 'cores' that are not isolated.

    A core's load are the cycles of its rxqs of the cycles that it has, over the same time.
    """
    loads = list(percents(placement, cores, rxq_cycles, core_cycles))
    if not loads:
        return 0
    mean = sum(loads) // len(loads)
    return sum((load - mean) ** 2 for load in loads) // len(loads)


def percents(placement: Placement, cores: Collection[int], rxq_cycles: Mapping[Rxq, int],
             core_cycles: Mapping[int, int]) -> Iterator[int]:
    for core, polled in placement.lists:
        if core in cores and core not in placement.isolated:
            has = core_cycles.get(core, 0)
            used = sum(rxq_cycles.get(rxq, 0) for rxq in polled)
            yield used * 100 // has if has else 0


def improvement(now: int, then: int) -> int:
    """By how many percent of 'now' an unevenness would fall; 0 if it would not."""
    return (now - then) * 100 // now if then < now else 0
