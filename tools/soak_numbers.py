"""The arithmetic of `make soak`, pure: what a sample holds, whether it grows, what is said."""
from __future__ import annotations

import math
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

WARM_UP = 0.2                   # of the samples are not judged: caches fill, pools are made
FEWEST_SAMPLES = 5              # that can be judged
MANY = 20                       # of what differs from round to round, as changes do
SIGMAS = 3                      # beyond which a slope is no chance
MOST_POINTS = 400               # that a slope is made of; of more every n-th
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Quantity:
    """Something that is to be as much at the end as after the warm-up. It is judged from so many
    samples after it on: 'fewest'.

    'tolerance' is the growth over the judged part that is taken for none, in 'unit'; where
    'of_median' of the median is more, that is.
    """

    key: str
    title: str
    unit: str
    tolerance: float
    of_median: float = 0.0
    fewest: int = FEWEST_SAMPLES


# A leak of a descriptor in a hundred changes is a hundred in an hour. What is measured by the
# kilobyte and the millisecond moves by itself: glibc's arenas, and a machine that does other work.
# The agent's own history (coverage/show) fills for an hour, with 1 MiB.
# PSS is not among them: it falls and rises with other processes that have the same libraries.
QUANTITIES = (
    Quantity("descriptors", "descriptors", "", 1),
    Quantity("threads", "threads", "", 1),
    Quantity("packet_buffers", "packet buffers in use", "", 32),
    Quantity("ports", "ports", "", 0),
    Quantity("devices", "devices of the host", "", 0),
    Quantity("files", "files in the run directory", "", 1),
    Quantity("own_mib", "memory of its own", "MiB", 6, 0.02),
    Quantity("rss_mib", "all memory but hugepages (RSS)", "MiB", 8, 0.02),
    Quantity("hugepages_mib", "hugepages", "MiB", 2),
    Quantity("heap_mib", "DPDK's heap in use", "MiB", 0.25),
    Quantity("log_per_step", "log for each change", "bytes", 200, 0.2, MANY),
    Quantity("main_ms_per_step", "main thread's time for each change", "ms", 1, 0.5, MANY),
)


@dataclass(frozen=True, slots=True)
class Sample:
    """What was seen when only the steady neighbours were left."""

    at_s: float                 # since the start
    steps: int                  # done until then
    received: int               # numbered frames
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Traffic:
    """Numbered frames between the steady neighbours, both ways together."""

    sent: int = 0
    received: int = 0           # different ones
    duplicated: int = 0
    reordered: int = 0
    longest_wait_ms: float = 0.0        # that the switch kept a frame, at least: see soak_traffic

    @property
    def lost(self) -> int:
        return self.sent - self.received


@dataclass(frozen=True, slots=True)
class Soak:
    """What a run brought."""

    about: Mapping[str, Any]
    seconds: float
    steps: Mapping[str, int]    # kind of change -> how many
    slowest: tuple[float, str]  # seconds, kind of the change
    samples: Sequence[Sample]
    traffic: Traffic
    broken: Sequence[str] = field(default_factory=tuple)        # what ended it before its time


# --- what /proc says ------------------------------------------------------------------------------

def rollup_mib(smaps_rollup: str, *keys: str) -> float:
    """Sum of these lines of a /proc/PID/smaps_rollup, in MiB."""
    found = dict(re.findall(r"^(\w+):\s+(\d+) kB$", smaps_rollup, re.M))
    return sum(int(found[key]) for key in keys) / 1024


# --- flat or not ----------------------------------------------------------------------------------

def slope(points: Sequence[tuple[float, float]]) -> float:
    """Theil and Sen's: the median of the slopes of all pairs. A third of the points may be
    anything. 'points' have ascending, different x; less than two have no slope: 0."""
    step = -(-len(points) // MOST_POINTS) or 1
    few = points[::step]
    slopes = [(y2 - y1) / (x2 - x1) for i, (x1, y1) in enumerate(few) for x2, y2 in few[i + 1:]]
    return statistics.median(slopes) if slopes else 0.0


def judged(samples: Sequence[Sample]) -> Sequence[Sample]:
    """Those after the warm-up."""
    return samples[int(len(samples) * WARM_UP):]


@dataclass(frozen=True, slots=True)
class Trend:
    """A quantity over the judged part."""

    quantity: Quantity
    median: float
    first: float
    last: float
    growth: float               # by the slope, over the whole judged part
    noise: float                # that a slope of so few points has by chance alone, likewise

    @property
    def tolerance(self) -> float:
        allowed = max(self.quantity.tolerance, self.quantity.of_median * abs(self.median))
        return allowed + self.noise

    @property
    def grows(self) -> bool:
        return self.growth > self.tolerance


def trend(quantity: Quantity, samples: Sequence[Sample]) -> Trend | None:
    """None where there are too few samples to judge."""
    part = judged(samples)
    if len(part) < quantity.fewest:
        return None
    points = [(sample.at_s, sample.values[quantity.key]) for sample in part]
    values, span = [value for _, value in points], points[-1][0] - points[0][0]
    rise = slope(points)
    return Trend(quantity, statistics.median(values), values[0], values[-1], rise * span,
                 SIGMAS * scatter(points, rise) * math.sqrt(12 / len(points)))


def scatter(points: Sequence[tuple[float, float]], rise: float) -> float:
    """Standard deviation of points around a line of this slope, robustly: of their median
    absolute deviation."""
    rests = [y - rise * x for x, y in points]
    middle = statistics.median(rests)
    return 1.4826 * statistics.median(abs(rest - middle) for rest in rests)


def trends(samples: Sequence[Sample]) -> list[Trend]:
    return [found for quantity in QUANTITIES if (found := trend(quantity, samples)) is not None]


def faults(soak: Soak) -> list[str]:
    """A sentence for each thing that is not as it should be; none when the run was good."""
    found = list(soak.broken)
    traffic = soak.traffic
    if traffic.lost:
        found.append(f"Of {traffic.sent:,} numbered frames between the steady neighbours "
                     f"{traffic.lost:,} were lost.")
    if traffic.duplicated:
        found.append(f"{traffic.duplicated:,} of the numbered frames came twice.")
    if not traffic.received:
        found.append("No numbered frame came through at all.")
    if len(judged(soak.samples)) < FEWEST_SAMPLES:
        found.append(f"{len(soak.samples)} samples are too few to judge what grows.")
    for each in trends(soak.samples):
        if each.grows:
            quantity = each.quantity
            found.append(
                f"{quantity.title} grew: from {with_unit(each.first, quantity)} to "
                f"{with_unit(each.last, quantity)}, a trend of {with_unit(each.growth, quantity)} "
                f"where {with_unit(each.tolerance, quantity)} are allowed.")
    return found


def with_unit(value: float, quantity: Quantity) -> str:
    text = f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
    return f"{text} {quantity.unit}".rstrip()


def document(soak: Soak) -> dict[str, Any]:
    """As build/soak.json has it."""
    return {
        "about": dict(soak.about), "seconds": round(soak.seconds, 1), "steps": dict(soak.steps),
        "slowest_step": {"seconds": round(soak.slowest[0], 2), "kind": soak.slowest[1]},
        "traffic": {name: getattr(soak.traffic, name) for name in (
            "sent", "received", "lost", "duplicated", "reordered", "longest_wait_ms")},
        "quantities": [{
            "key": each.quantity.key, "title": each.quantity.title, "unit": each.quantity.unit,
            "median": each.median, "first": each.first, "last": each.last,
            "growth": each.growth, "tolerance": each.tolerance, "grows": each.grows,
        } for each in trends(soak.samples)],
        "samples": [{"at_s": round(each.at_s, 2), "steps": each.steps,
                     "received": each.received, **each.values} for each in soak.samples],
        "faults": faults(soak)}
