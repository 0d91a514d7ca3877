"""What the charts of `make bench` show, pure: from its JSON to charts of panels of bars."""
from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tools.bench_numbers import Spread, short, spread

SIDES = ("agent", "testpmd", "OVS")
TITLES = {"sizes": "Packet sizes", "tables": "Flows and addresses", "ports": "Ports",
          "rings": "Rings", "latency": "Latency", "neighbours": "Neighbours", "tcp": "TCP"}
CAPTION_CHARACTERS = 140        # of a line below the chart


@dataclass(frozen=True, slots=True)
class Bars:
    """A case: its bars stand side by side. A side that was not measured has none."""

    title: str
    bars: Mapping[str, Spread]


@dataclass(frozen=True, slots=True)
class Panel:
    """What has one axis."""

    unit: str
    better: str                 # "more" or "less"
    cases: tuple[Bars, ...]

    @property
    def most(self) -> float:
        """The highest end of a whisker."""
        return max((bar.high for case in self.cases for bar in case.bars.values()), default=0)

    @property
    def digits(self) -> int:
        """Characters of the longest number above a bar."""
        return max((len(short(bar.median)) for case in self.cases for bar in case.bars.values()),
                   default=1)


@dataclass(frozen=True, slots=True)
class Chart:
    """A file. Its panels differ in what they count."""

    name: str
    title: str
    sides: tuple[str, ...]      # those that any of its cases has
    panels: tuple[Panel, ...]
    caption: str


def charts(document: Mapping[str, Any]) -> list[Chart]:
    """A chart for each group that has numbers, in the order of the document. Raises ValueError
    (and KeyError, TypeError) about a document that is none of `make bench`."""
    below = caption(document["about"])
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for case in document["cases"]:
        groups.setdefault(case["group"], []).append(case)
    found = [chart(name, cases, below) for name, cases in groups.items()]
    return [each for each in found if each.sides]


def chart(name: str, cases: Sequence[Mapping[str, Any]], below: str) -> Chart:
    if not re.fullmatch(r"[a-z][a-z0-9_-]*", name):
        raise ValueError(f"a file cannot be named after group {name!r}")
    panels: dict[tuple[str, str], list[Bars]] = {}
    for case in cases:
        if case["better"] not in ("more", "less"):
            raise ValueError(f"case {case['key']}: {case['better']} is neither more nor less")
        panels.setdefault((case["unit"], case["better"]), []).append(bars(case))
    there = {side for members in panels.values() for each in members for side in each.bars}
    return Chart(name, TITLES.get(name, name.capitalize()),
                 tuple(side for side in SIDES if side in there),
                 tuple(Panel(*key, tuple(members)) for key, members in panels.items()), below)


def bars(case: Mapping[str, Any]) -> Bars:
    unknown = case["values"].keys() - set(SIDES)
    if unknown:
        raise ValueError(f"case {case['key']}: no colour for {', '.join(sorted(unknown))}")
    found = {side: spread(case["values"].get(side, ())) for side in SIDES}
    return Bars(case["title"], {side: bar for side, bar in found.items() if bar is not None})


def caption(about: Mapping[str, Any]) -> str:
    """How to read the bars, and where they were measured."""
    turns = about["turns"]
    read = f"Median of {turns} turns, with the least and the most." if turns > 1 else "One turn."
    versions = ", ".join(f"{side} {about['versions'][side]}" for side in SIDES
                         if side in about["versions"])
    return textwrap.fill(f"{read} {about['machine']}; {versions}.", CAPTION_CHARACTERS)


def rows(panel: Panel, most: int) -> list[tuple[Bars, ...]]:
    """Its cases on as few rows as there must be, about as many on each, at most so many."""
    count = math.ceil(len(panel.cases) / most)
    length = math.ceil(len(panel.cases) / count)
    return [panel.cases[at:at + length] for at in range(0, len(panel.cases), length)]
