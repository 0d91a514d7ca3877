"""Port numbers of a bridge: pure (OVS: ofproto's alloc_ofp_port and bridge.c's
iface_pick_ofport)."""
from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from agent.model import OFPORT_LOCAL, OFPORT_NONE, BridgeRow, InterfaceRow
from agent.validate import is_local

OFPORT_MAX = 65279
AUTOMATIC_MAX = 32767
REST_MS = 3_600_000             # a deleted port's number is not given to another for an hour


@dataclass(frozen=True, slots=True)
class Numbers:
    """The numbers of a bridge's interfaces, and what the next automatic one depends on."""

    ofports: Mapping[str, int] = field(default_factory=dict)    # interface -> number
    last: int = 0                                               # automatic number given last
    freed_at_ms: Mapping[int, int] = field(default_factory=dict)    # number -> when its port went
    kept: Mapping[str, int] = field(default_factory=dict)       # of interfaces that fail now


def numbers(bridge: BridgeRow, failed: Collection[str], before: Numbers, now_ms: int) -> Numbers:
    """The requested number, else the one it had, else an automatic one: the next after the last
    that is free and has rested; when none has, the one that has rested the longest.

    A contested number goes to who requested it, then to who had it, then to the first by name.
    Interfaces in 'failed' get -1, and the number they had once they are mended, unless somebody
    requested it meanwhile; the bridge's own port gets 65534.
    """
    found: dict[str, int] = {}
    kept: dict[str, int] = {}
    asking: list[InterfaceRow] = []
    rest: list[InterfaceRow] = []
    for row in bridge.interfaces:
        if row.name in failed:
            found[row.name] = OFPORT_NONE
            number = had(row, before)
            if number is not None and 1 <= number <= OFPORT_MAX:
                kept[row.name] = number
        elif is_local(bridge, row):
            found[row.name] = OFPORT_LOCAL
        else:
            (rest if row.ofport_request is None else asking).append(row)
    taken: set[int] = set()

    def settle(row: InterfaceRow, number: int | None) -> bool:
        if number is None or not 1 <= number <= OFPORT_MAX or number in taken:
            return False
        taken.add(number)
        found[row.name] = number
        return True

    # of two that request a number the one that has it keeps it
    asking.sort(key=lambda row: had(row, before) != row.ofport_request)
    if refused := [row for row in asking if not settle(row, row.ofport_request)]:
        rest = sorted((*rest, *refused), key=lambda row: row.name)
    rest = [row for row in rest if not settle(row, had(row, before))]

    freed = {number: at_ms for number, at_ms in before.freed_at_ms.items()
             if number not in taken and now_ms - at_ms < REST_MS}
    freed |= dict.fromkeys(
        set(before.ofports.values()) - taken - {OFPORT_NONE, OFPORT_LOCAL}, now_ms)
    last = before.last
    for row in rest:
        number = automatic(last, taken.union(kept.values()), freed)
        if number is not None:
            settle(row, number)
            freed.pop(number, None)
            last = number
    return Numbers(found, last, freed, kept)


def had(row: InterfaceRow, before: Numbers) -> int | None:
    """The number the interface has: what it was given last, else what the database says."""
    number = before.ofports.get(row.name)
    if number is None or number == OFPORT_NONE:
        return before.kept.get(row.name, row.ofport)
    return number


def automatic(last: int, taken: Collection[int], freed: Mapping[int, int]) -> int | None:
    """None when all numbers are taken."""
    for step in range(1, AUTOMATIC_MAX + 1):
        number = (last + step - 1) % AUTOMATIC_MAX + 1
        if number not in taken and number not in freed:
            return number
    free = [number for number in freed if number not in taken and number <= AUTOMATIC_MAX]
    return min(free, key=lambda number: freed[number], default=None)
