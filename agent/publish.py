"""From what should be and what is to the rows to write: looks again only at rows whose inputs
changed."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any
from uuid import UUID

from agent import ofport, report
from agent.model import (
    BridgeRow,
    Counters,
    Desired,
    Observed,
    Registration,
    Snapshot,
)

EMPTY: Mapping[str, str] = MappingProxyType({})
Updates = dict[tuple[str, UUID], report.Columns]        # (table, row) -> columns


class Publisher:
    """Remembers what each row's columns were made of. For the main thread only."""

    def __init__(self) -> None:
        self._made_of: dict[str, tuple[Any, ...]] = {}      # interface -> inputs
        self._numbers: dict[str, ofport.Numbers] = {}       # bridge -> its interfaces' numbers
        self._bridges: dict[str, tuple[BridgeRow, frozenset[str]]] = {}     # inputs of _numbers
        self._statistics: dict[str, tuple[bool, Counters]] = {}     # port -> inputs of its own
        self._sent: dict[str, tuple[int, int]] = {}     # guest's port -> as of sent(), when due
        self._stuck: set[str] = set()
        self._rewritten: set[str] = set()       # interfaces since the last statistics
        self._released: set[tuple[str, UUID]] = set()
        self._stats_at_ms = 0
        self._interval_ms = 0

    @property
    def stats_at_ms(self) -> int:
        """When statistics are due again."""
        return self._stats_at_ms

    def due(self, interval_ms: int, now_ms: int) -> bool:
        """Whether statistics are, and all else that is looked at with them: the interval is over,
        or another one was set, as with ovs-vswitchd."""
        if interval_ms != self._interval_ms:
            self._interval_ms, self._stats_at_ms = interval_ms, now_ms
        return now_ms >= self._stats_at_ms

    def ofports(self) -> dict[str, tuple[str, int]]:
        """{interface: (bridge, number)}"""
        return {name: (bridge, number) for bridge, numbers in self._numbers.items()
                for name, number in numbers.ofports.items()}

    def counters(self, port: str) -> Counters:
        """The port's counters as of its last statistics."""
        return self._statistics.get(port, (False, Counters()))[1]

    def stuck(self) -> set[str]:
        """Ports of guests that had frames dropped for a full ring through the whole of the last
        statistics interval, and took none."""
        return self._stuck

    def first_columns(self, snapshot: Snapshot, errors: Mapping[str, str], now_ms: int) -> Updates:
        """What is known of new rows before the data plane is touched: numbers, and errors of the
        database. columns() is to follow."""
        updates: Updates = {}
        for bridge in snapshot.bridges:
            known = self._bridges.get(bridge.name)
            if known is not None and known[0] is bridge:
                continue
            updates["Bridge", bridge.uuid] = report.bridge(bridge)
            numbers = self._number(bridge, errors, now_ms)
            for row in bridge.interfaces:
                number = numbers.get(row.name)
                if row.name not in self._made_of and number is not None:
                    updates["Interface", row.uuid] = {
                        "ofport": [number],
                        "error": [errors[row.name]] if row.name in errors else []}
        return updates

    def next_numbers(self, count: int) -> list[int]:
        """The next automatic numbers that are free on every bridge, fewer where there are not so
        many."""
        all_numbers = self._numbers.values()
        last = max((n.last for n in all_numbers), default=0)
        taken = {number for n in all_numbers for number in (*n.ofports.values(), *n.kept.values())}
        freed = {number: at_ms for n in all_numbers for number, at_ms in n.freed_at_ms.items()}
        found: list[int] = []
        while len(found) < count and (next_ := ofport.automatic(last, taken, freed)) is not None:
            found.append(next_)
            taken.add(next_)
        return found

    def columns(self, snapshot: Snapshot, desired: Desired, observed: Observed,
                errors: Mapping[str, str], problems: Mapping[str, tuple[str, ...]], now_ms: int,
                reasons: Mapping[str, str] = EMPTY) -> Updates:
        """Columns of Bridge and Interface rows that may have to change. 'errors', 'problems' (those
        of both sides) and 'reasons' name interfaces."""
        updates: Updates = {}
        made_of: dict[str, tuple[Any, ...]] = {}
        for bridge in snapshot.bridges:
            known = self._bridges.get(bridge.name)
            if known is None or known[0] is not bridge:
                updates["Bridge", bridge.uuid] = report.bridge(bridge)
            numbers = self._number(bridge, errors, now_ms)
            for row in bridge.interfaces:
                name = row.name
                spec, state = desired.ports.get(name), observed.ports.get(name)
                error, more, number = errors.get(name), problems.get(name), numbers.get(name)
                reason = reasons.get(name, "")
                before = self._made_of.get(name)
                # rows, specs and states are the same objects as long as they do not change
                if (before is not None and before[0] is row and before[1] is spec
                        and before[2] is state and before[3:] == (error, more, number, reason)):
                    made_of[name] = before
                    continue
                made_of[name] = (row, spec, state, error, more, number, reason)
                updates["Interface", row.uuid] = {
                    "ofport": [] if number is None else [number],
                    **report.interface(bridge, row, spec, state, error, more or (), reason)}
                self._rewritten.add(name)
        self._released |= {("Interface", before[0].uuid) for name, before in self._made_of.items()
                           if name not in made_of or made_of[name][0].uuid != before[0].uuid}
        self._made_of = made_of
        for gone in self._numbers.keys() - {bridge.name for bridge in snapshot.bridges}:
            was, _ = self._bridges.pop(gone)
            self._released |= {("Bridge", was.uuid), *(("Mirror", m.uuid) for m in was.mirrors)}
            del self._numbers[gone]
        return updates

    def released(self) -> set[tuple[str, UUID]]:
        """Rows that columns() has not found again since the last call: deleted, or no longer
        ours."""
        released, self._released = self._released, set()
        return released

    def _number(self, bridge: BridgeRow, errors: Mapping[str, str], now_ms: int
                ) -> Mapping[str, int]:
        failed = frozenset(row.name for row in bridge.interfaces if row.name in errors)
        before = self._bridges.get(bridge.name)
        if before is None or before[0] is not bridge or before[1] != failed:
            self._bridges[bridge.name] = (bridge, failed)
            self._numbers[bridge.name] = ofport.numbers(
                bridge, failed, self._numbers.get(bridge.name, ofport.Numbers()), now_ms)
        return self._numbers[bridge.name].ofports

    def statistics(self, desired: Desired, observed: Observed, errors: Mapping[str, str],
                   counters: Callable[[str], Counters], now_ms: int) -> Updates:
        """Statistics of all ports when they are due; otherwise of ports whose other columns were
        made again: they are new, or their guest came or went."""
        due = self.due(desired.stats_interval_ms, now_ms)
        if due:
            self._stats_at_ms = now_ms + self._interval_ms
            self._statistics = {name: known for name, known in self._statistics.items()
                                if name in desired.ports}
        updates: Updates = {}
        for name in desired.ports if due else self._rewritten:
            if name not in desired.ports or name in errors:
                continue
            state = observed.ports.get(name)
            values = (state is not None and state.connected,
                      counters(name) if state is not None else Counters())
            if name in self._rewritten or values != self._statistics.get(name):
                updates["Interface", self._made_of[name][0].uuid] = {
                    "statistics": report.statistics_of(
                        desired.ports[name], values[1], connected=values[0])}
            self._statistics[name] = values
            if not values[0]:
                self._stuck.discard(name)
        if due:
            self._look_for_stuck(desired)
        self._rewritten.clear()
        return updates

    def _look_for_stuck(self, desired: Desired) -> None:
        now = {name: sent(counters) for name, (connected, counters) in self._statistics.items()
               if connected and isinstance(desired.ports[name].device, Registration)}
        self._stuck = {
            name for name, (dropped, taken) in now.items() if name in self._sent
            and dropped > self._sent[name][0] and taken == self._sent[name][1]}
        self._sent = now


def sent(counters: Counters) -> tuple[int, int]:
    """(frames that a full ring had dropped, frames that the guest's rings took)"""
    return (counters.port.get("tx_failure_drops", 0),
            sum(queue["good_packets"] for queue in counters.tx_queues))
