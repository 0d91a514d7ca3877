"""Port numbers of a bridge: pure."""
from __future__ import annotations

from collections.abc import Collection

from agent.model import OFPORT_LOCAL, OFPORT_NONE, BridgeRow, InterfaceRow
from agent.validate import is_local

OFPORT_MAX = 65279
AUTOMATIC_MAX = 32767


def ofports(bridge: BridgeRow, failed: Collection[str]) -> dict[str, int]:
    """{interface: ofport}: the requested number, else the one it had, else the lowest free one.

    A contested number goes to who requested it, then to who had it, then to the first by name.
    Interfaces in 'failed' get -1, the bridge's own port 65534.
    """
    numbers: dict[str, int] = {}
    served: list[InterfaceRow] = []
    for row in sorted(bridge.interfaces, key=lambda r: r.name):
        if row.name in failed:
            numbers[row.name] = OFPORT_NONE
        elif is_local(bridge, row):
            numbers[row.name] = OFPORT_LOCAL
        else:
            served.append(row)
    taken: set[int] = set()

    def settle(row: InterfaceRow, number: int | None) -> bool:
        if number is None or not 1 <= number <= OFPORT_MAX or number in taken:
            return False
        taken.add(number)
        numbers[row.name] = number
        return True

    # of two that request a number the one that has it keeps it
    served.sort(key=lambda row: row.ofport != row.ofport_request)
    rest = [row for row in served if not settle(row, row.ofport_request)]
    rest = [row for row in rest if not settle(row, row.ofport)]
    for row in rest:
        free = (n for n in range(1, AUTOMATIC_MAX + 1) if n not in taken)
        settle(row, next(free, None))
    return numbers
