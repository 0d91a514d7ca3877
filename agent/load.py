"""What PMDs and rxqs were busy with in the last minute: pure.

Samples are kept as they come, one every 5 s. An interval is what lies between two of them, however
long it was in fact. All figures are differences of the cycle counters.
"""
from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, pairwise

from agent.model import PmdCounters, PollLists, Readings, Rxq

INTERVAL_S = 5          # between two samples
INTERVALS = 12          # that are remembered: a minute


@dataclass(frozen=True, slots=True)
class Sample:
    readings: Readings
    polls: PollLists
    lists: dict[int, tuple[Rxq, ...]]       # polls, by core
    core_of: dict[Rxq, int]                 # polls, by rxq


class Loads:
    """The samples of the last minute and what they tell.

    A PMD's history begins anew when its counters go back, as those of a new thread on the same
    core do; an rxq's when its port was added again. Who was missing from a sample begins anew too,
    and who is missing from the newest has no history.
    """

    def __init__(self) -> None:
        self._samples: deque[Sample] = deque(maxlen=INTERVALS + 1)
        self._cycles: dict[Rxq, int] = {}       # answers of cycles() since the last sample

    def sample(self, readings: Readings, polls: PollLists) -> None:
        """To be called every 5 s, with the poll lists in force."""
        self._cycles = {}
        if self._samples and self._samples[-1].polls == polls:
            last = self._samples[-1]
            self._samples.append(Sample(readings, last.polls, last.lists, last.core_of))
        else:
            self._samples.append(Sample(readings, polls, dict(polls), {
                rxq: core for core, rxqs in polls for rxq in rxqs}))

    def cycles(self, rxq: Rxq) -> int:
        """That 'rxq' was processed for in the last 12 intervals, whichever PMD did."""
        known = self._cycles.get(rxq)
        if known is None:
            known = self._cycles[rxq] = gained(
                sample.readings.rxq_cycles.get(rxq) for sample in reversed(self._samples))
        return known

    def usage(self, core: int, rxq: Rxq, secs: int) -> float | None:
        """Percent of the PMD's time that went to 'rxq' in the last 'secs' seconds.

        'secs' is a multiple of 5, at most 60. What was before the PMD began is left out; time in
        which it did not poll 'rxq' counts as zero. None: not known yet.
        """
        run = self._run(core, secs)
        elapsed = newest(run, core).cycles - oldest(run, core).cycles if run else 0
        if not elapsed:
            return None
        used = gained(sample.readings.rxq_cycles.get(rxq) if sample.core_of.get(rxq) == core
                      else None for sample in run)
        return 100 * used / elapsed

    def overhead(self, core: int, secs: int) -> float | None:
        """Percent of the PMD's time in which it was busy with something else than its rxqs.

        Intervals in which its poll list changed do not tell and are left out. None: not known.
        """
        elapsed = overhead = 0
        for later, earlier in pairwise(self._run(core, secs)):
            used = polled_cycles(core, earlier, later)
            if used is not None:
                after, before = later.readings.pmds[core], earlier.readings.pmds[core]
                elapsed += after.cycles - before.cycles
                overhead += after.busy_cycles - before.busy_cycles - used
        return 100 * max(0, overhead) / elapsed if elapsed else None

    def pmd_load(self, core: int) -> tuple[int, ...]:
        """Whole percent that the PMD was busy for in each known interval, newest first."""
        return tuple(
            100 * (after.busy_cycles - before.busy_cycles) // max(1, after.cycles - before.cycles)
            for after, before in pairwise(sample.readings.pmds[core] for sample in self._run(core)))

    def minute(self, core: int) -> int:
        """Cycles that the PMD has in 12 intervals, judging by those that are known."""
        run = self._run(core)
        if len(run) < 2:
            return 0
        elapsed = newest(run, core).cycles - oldest(run, core).cycles
        return elapsed * INTERVALS // (len(run) - 1)

    def _run(self, core: int, secs: int = INTERVALS * INTERVAL_S) -> list[Sample]:
        """Samples of the same PMD thread over at most 'secs', newest first."""
        run: list[Sample] = []
        for sample in islice(reversed(self._samples), secs // INTERVAL_S + 1):
            counters = sample.readings.pmds.get(core)
            if counters is None or (run and not continues(counters, oldest(run, core))):
                break
            run.append(sample)
        return run


def newest(run: list[Sample], core: int) -> PmdCounters:
    return run[0].readings.pmds[core]


def oldest(run: list[Sample], core: int) -> PmdCounters:
    return run[-1].readings.pmds[core]


def continues(before: PmdCounters, after: PmdCounters) -> bool:
    """Whether both can be of one thread."""
    return (before.thread == after.thread and before.cycles <= after.cycles
            and before.busy_cycles <= after.busy_cycles)


def gained(counts: Iterator[int | None]) -> int:
    """What a counter gained since it was last missing or went back; 'counts' are newest first."""
    now = since = next(counts, None)
    if now is None or since is None:
        return 0
    for count in counts:
        if count is None or count > since:
            break
        since = count
    return now - since


def polled_cycles(core: int, before: Sample, after: Sample) -> int | None:
    """Cycles of all rxqs of a PMD between two samples; None if they were not the same rxqs."""
    rxqs = after.lists.get(core, ())
    if before.lists.get(core, ()) != rxqs:
        return None
    total = 0
    for rxq in rxqs:
        start, end = before.readings.rxq_cycles.get(rxq), after.readings.rxq_cycles.get(rxq)
        if start is None or end is None or start > end:
            return None
        total += end - start
    return total
