"""Lines about guests, so many of each port and no more: pure.

A front end that hangs up whenever the switch has called comes and goes two thousand times a second.
"""
from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from agent import loglines
from agent.model import PortState

BURST = 60                      # looks that may each say what changed, without a pause
REFILL_MS = 6000                # until there may be one more


@dataclass
class _Told:
    """Of one port."""

    left: float
    at_ms: int                  # when 'left' was so many
    withheld: int = 0           # looks since the last one that was told


class GuestLog:
    """What guests did between two looks, in the order of the looks."""

    def __init__(self) -> None:
        self._ports: dict[str, _Told] = {}

    def lines(self, before: PortState, now: PortState, now_ms: int) -> list[loglines.Line]:
        """The lines to log about a port now; 'now_ms' never goes back."""
        found = list(loglines.guest_lines(before, now))
        if not found:
            return found
        told = self._ports.setdefault(now.name, _Told(BURST, now_ms))
        told.left = min(BURST, told.left + (now_ms - told.at_ms) / REFILL_MS)
        told.at_ms = now_ms
        if told.left < 1:
            told.withheld += 1
            return []
        told.left -= 1
        if told.withheld:
            found.insert(0, ("warn", f"{now.name}: its guest comes and goes so often that "
                                     f"{told.withheld} changes were not logged"))
            told.withheld = 0
        return found

    def keep(self, ports: Collection[str]) -> None:
        """Forgets all but these ports."""
        for name in self._ports.keys() - ports:
            del self._ports[name]
