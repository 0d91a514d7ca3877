"""The benchmarks' arithmetic, pure: what /proc says, spreads, ratios over pairs, the table."""
from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

PMD_NAME = "pmd-c"              # how both daemons' polling threads are called

Threads = Mapping[int, tuple[str, int]]         # thread id -> (name, clock ticks used)
Results = Mapping[str, Sequence[Sequence[float]]]       # side -> for each pair its samples


@dataclass(frozen=True, slots=True)
class Case:
    """A row of the table: one number for each side and pair."""

    key: str
    title: str
    unit: str


@dataclass(frozen=True, slots=True)
class Spread:
    """Several measurements of one thing."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        if self.low == self.high:
            return short(self.median)
        return f"{short(self.median)} ({short(self.low)}..{short(self.high)})"


def spread(values: Sequence[float]) -> Spread | None:
    return Spread(statistics.median(values), min(values), max(values)) if values else None


def short(value: float) -> str:
    """Three digits that count, none behind the point from 100 on."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


# --- /proc ----------------------------------------------------------------------------------------

def thread_time(stat: str) -> tuple[str, int]:
    """Name and clock ticks (user and system) of a /proc/PID/task/TID/stat; a name may hold
    blanks and brackets."""
    head, _, tail = stat.rpartition(")")
    fields = tail.split()
    return head.partition("(")[2], int(fields[11]) + int(fields[12])


def run_and_wait_ns(schedstat: str) -> tuple[int, int]:
    """Nanoseconds on a core, and ready but without one, of a /proc/PID/task/TID/schedstat."""
    run, wait, _ = schedstat.split()
    return int(run), int(wait)


def kib(status: str, key: str) -> int:
    """Value of a line in kB of /proc/PID/status; 0 when it has none."""
    for line in status.splitlines():
        name, _, value = line.partition(":")
        if name == key:
            return int(value.split()[0])
    return 0


def shares(before: Threads, after: Threads, main: int, ticks: float) -> tuple[float, float]:
    """Percent of one core over 'ticks': the main thread's, and of all threads but PMDs. Threads
    that ended in between are not counted."""
    used = {thread: now - before.get(thread, (name, 0))[1]
            for thread, (name, now) in after.items() if not name.startswith(PMD_NAME)}
    return 100 * used.get(main, 0) / ticks, 100 * sum(used.values()) / ticks


# --- distributions --------------------------------------------------------------------------------

def percentile(values: Sequence[float], percent: float) -> float:
    """The least of the values that so many percent of them do not exceed (nearest rank)."""
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


def weighted_percentile(values: Sequence[tuple[float, int]], percent: float) -> float:
    """The same of (value, how many) in ascending order; 0 without any."""
    left = sum(n for _, n in values) * percent / 100
    for value, n in values:
        left -= n
        if left <= 0:
            return value
    return 0.0


# --- pairs ----------------------------------------------------------------------------------------

def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Theirs by ours, pair by pair; a pair in which ours is zero has none."""
    return [b / a for a, b in zip(ours, theirs, strict=True) if a]


def against(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Ours by theirs, turn by turn; none where one side has no numbers."""
    return ratios(theirs, ours) if ours and theirs else []


def medians(pairs: Sequence[Sequence[float]]) -> list[float]:
    """The number of each pair: the median of its samples."""
    return [statistics.median(samples) for samples in pairs]


def compare(results: Results, ours: str, theirs: str, floor: str) -> list[str]:
    """Cells of a case: spread over the pairs of ours, theirs, theirs by ours, and the floor."""
    mine, others, least = (medians(results.get(side, ())) for side in (ours, theirs, floor))
    ratio = ratios(mine, others) if others else []
    return [str(spread(values) or "-") for values in (mine, others, ratio, least)]


def differences(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Theirs less ours, pair by pair."""
    return [b - a for a, b in zip(ours, theirs, strict=True)]


def beside(results: Results, sides: Sequence[str], subtract: bool) -> list[str]:
    """Cells of a case: spread over the rounds of each side, then what each but the first has more
    than the first, or how many times as much, round by round."""
    first, *others = (medians(results[side]) for side in sides)
    against = differences if subtract else ratios
    return [str(spread(values) or "-")
            for values in (first, *others, *(against(first, other) for other in others))]


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as they need to be; the first one to the left, the others to the right."""
    lines = [heads, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(heads))]
    return "\n".join("  ".join(
        [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in
                                     zip(line[1:], widths[1:], strict=True))]).rstrip()
                     for line in lines)
