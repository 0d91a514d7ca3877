"""Interface rows that several ports have, or one port of several bridges: pure.

The database allows it; a device can be one port alone. So it is the first's, by the names of bridge
and port, and the others go without.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from agent.model import BridgeRow, InterfaceRow

# {bridge: (what it was made of, what it lost)} and the result
Memo = dict[int, tuple[BridgeRow, tuple[str, ...], BridgeRow]]


def each_once(bridges: Sequence[BridgeRow], memo: Memo) -> tuple[BridgeRow, ...]:
    """Bridges in order of their names, without interfaces that a former port has already; 'memo' is
    this function's own memory from call to call."""
    uuids = [row.uuid.int for bridge in bridges for row in bridge.interfaces]
    if len(set(uuids)) == len(uuids):
        memo.clear()
        return tuple(bridges)
    before = dict(memo)
    memo.clear()
    first: dict[int, str] = {}
    found: list[BridgeRow] = []
    for bridge in bridges:
        kept: list[InterfaceRow] = []
        lost: list[str] = []
        for row in bridge.interfaces:
            if (owner := first.get(row.uuid.int)) is not None:
                lost.append(f"port {row.port.name} names interface {row.name}, which is that of "
                            f"{owner}: it is served there alone")
            else:
                first[row.uuid.int] = f"port {row.port.name} of bridge {bridge.name}"
                kept.append(row)
        made = before.get(bridge.uuid.int)
        if not lost:
            found.append(bridge)
        elif made is not None and made[0] is bridge and made[1] == tuple(lost):
            memo[bridge.uuid.int] = made
            found.append(made[2])
        else:
            result = replace(bridge, interfaces=tuple(kept), shared=tuple(lost))
            memo[bridge.uuid.int] = (bridge, tuple(lost), result)
            found.append(result)
    return tuple(found)
