"""Which PMD polls which rxq: pure, deterministic, moves nothing that need not move."""
from __future__ import annotations

from collections.abc import Iterable

from agent.model import PollLists, Rxq


def schedule(rxqs: Iterable[Rxq], cores: Iterable[int], current: PollLists) -> PollLists:
    """Every rxq on exactly one of 'cores'.

    An rxq whose core stays keeps it; a new one goes to the core with the fewest, the lowest of
    these. Without cores nothing is polled.
    """
    lists: dict[int, list[Rxq]] = {core: [] for core in sorted(cores)}
    if not lists:
        return ()
    wanted = set(rxqs)
    for core, polled in current:
        if core in lists:
            lists[core] = [rxq for rxq in polled if rxq in wanted]
            wanted.difference_update(lists[core])
    for rxq in sorted(wanted):
        min(lists.values(), key=len).append(rxq)
    return tuple((core, tuple(polled)) for core, polled in lists.items())
