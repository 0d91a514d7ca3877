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
    """A line for each kind of fault that was done: the longest gap and the sum of lost packets of
    each stream, the latest time of agreeing. 'kinds' says what each may cost."""
    streams = list(events[0].streams) if events else []
    heads = [f"{what}, {stream}" for what in ("gap", "lost") for stream in streams]
    lines = ["  ".join([f"{'fault':<28} times", *heads, "agrees after", "may cost"])]
    for kind, may_cost in kinds.items():
        done = [event for event in events if event.fault == kind]
        if not done:
            continue
        of = [[event.streams[stream] for event in done] for stream in streams]
        cells = [f"{max(was.longest_gap_ms for was in stream):.0f} ms" for stream in of]
        cells += [str(sum(was.lost for was in stream)) for stream in of]
        agreed = [event.agreed_s for event in done]
        cells.append("never" if None in agreed
                     else f"{max(s for s in agreed if s is not None):.1f} s")
        lines.append("  ".join([
            f"{kind:<28} {len(done):5}", *(f"{cell:>{len(head)}}" for cell, head in zip(
                cells, [*heads, "agrees after"], strict=True)), may_cost]))
    return lines


def verdict(events: Sequence[Event], kinds: Sequence[str], seconds: float) -> str:
    """The last line."""
    done = {event.fault for event in events}
    left = [kind for kind in kinds if kind not in done]
    text = f"{len(events)} faults of {len(done)} of {len(kinds)} kinds in {seconds:.0f} s"
    if left:
        text += f" (not done: {', '.join(left)})"
    wrong = sum(bool(event.wrong) for event in events)
    return f"{text}; " + (f"{wrong} went wrong" if wrong else "all recovered, nothing was lost "
                          "that was to be spared, nothing leaked")


def record(events: Sequence[Event], kinds: Sequence[str], seed: int, seconds: float
           ) -> dict[str, Any]:
    """What build/chaos.json holds."""
    return {"seed": seed, "seconds": round(seconds, 1), "kinds": list(kinds),
            "wrong": sum(bool(event.wrong) for event in events),
            "events": [asdict(event) for event in events]}
