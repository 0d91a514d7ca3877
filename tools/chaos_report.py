"""What `make chaos` found: pure."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tools.chaos_check import Stretch


@dataclass(frozen=True, kw_only=True)
class Event:
    """One fault that was done."""

    fault: str
    at_s: float                         # since the first began
    agreed_s: float | None              # from its end until all agreed again; None: it did not
    streams: Mapping[str, Stretch]
    spared: tuple[str, ...]
    wrong: tuple[str, ...]              # sentences


def losses(streams: Mapping[str, Stretch], spared: Sequence[str]) -> list[str]:
    """What the streams that a fault may cost nothing have lost."""
    said = []
    for stream in spared:
        was = streams[stream]
        if was.lost or was.duplicated:
            said.append(f"{stream}: {was.lost} packets lost, {was.duplicated} twice, though it "
                        "has no part in the fault")
    return said


def table(events: Sequence[Event], kinds: Mapping[str, str]) -> list[str]:
    """A line for each kind of fault that was done. 'kinds' says what each may cost."""
    lines = [f"{'fault':<28} times  gap, spared  gap, others  lost, spared  lost, others"
             "  agrees after  may cost"]
    for kind, may_cost in kinds.items():
        done = [event for event in events if event.fault == kind]
        if not done:
            continue
        spared = [was for event in done for name, was in event.streams.items()
                  if name in event.spared]
        others = [was for event in done for name, was in event.streams.items()
                  if name not in event.spared]
        agreed = [event.agreed_s for event in done]
        after = ("never" if None in agreed
                 else f"{max(s for s in agreed if s is not None):.1f} s")
        lines.append(f"{kind:<28} {len(done):5}  {gap(spared):>11}  {gap(others):>11}  "
                     f"{lost(spared):>12}  {lost(others):>12}  {after:>12}  {may_cost}")
    return lines


def gap(streams: Sequence[Stretch]) -> str:
    return f"{max(s.longest_gap_ms for s in streams):.0f} ms" if streams else "-"


def lost(streams: Sequence[Stretch]) -> str:
    return str(sum(s.lost for s in streams)) if streams else "-"


def verdict(events: Sequence[Event], kinds: Sequence[str], seconds: float) -> str:
    """The last line."""
    done = {event.fault for event in events}
    left = [kind for kind in kinds if kind not in done]
    text = f"{len(events)} faults of {len(done)} of {len(kinds)} kinds in {seconds:.0f} s"
    if left:
        text += f" (no time for: {', '.join(left)})"
    wrong = sum(bool(event.wrong) for event in events)
    return f"{text}; " + (f"{wrong} went wrong" if wrong else "all recovered, nothing was lost "
                          "that was to be spared, nothing leaked")


def record(events: Sequence[Event], kinds: Sequence[str], seed: int, seconds: float
           ) -> dict[str, Any]:
    """What build/chaos.json holds."""
    return {"seed": seed, "seconds": round(seconds, 1), "kinds": list(kinds),
            "wrong": sum(bool(event.wrong) for event in events),
            "events": [asdict(event) for event in events]}
