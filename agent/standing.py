"""What the database's server is told beforehand: to number a port as it appears. Pure.

ovs-vsctl waits for ovs-vswitchd alone. That has nothing to do for a bridge that is not its own, and
is done in a third of a millisecond, before anybody else could hear of a new port and write its
number. So transactions wait in the server for a row without a number: it executes one before it
tells anybody of that row. The number is the next free one. Where several ports come at once, or one
that is the bridge's own or asks for a number, the right ones follow in a moment.
"""
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from agent.role import Role

# A row whose number alone was taken away has the rest of what its daemon wrote.
UNTOUCHED = ["admin_state", "==", ["set", []]]
ORDERS = 3                                  # that wait at a time: one is for one change
Ports = Mapping[str, Sequence[UUID]]        # bridge -> its ports
Operations = tuple[Mapping[str, Any], ...]


def orders(role: Role, others: Ports, unnumbered: Iterable[UUID], numbers: Iterable[int]
           ) -> list[Operations]:
    """A transaction (RFC 7047) for each number. 'others' are the bridges that are not the role's,
    'unnumbered' the Interface rows that have no number by now.

    A new row is on a bridge of ours when no other bridge has changed. An interface that is added
    to a bond of another bridge at the same time is the only one that this does not tell; its own
    daemon writes over the number.
    """
    from agent.validate import DEVICES  # not at the top: as in ovsdb.py

    new = [["ofport", "==", ["set", []]],
           *(["_uuid", "!=", uuid(row)] for row in unnumbered)]
    conditions: Operations = (
        {"op": "assert", "lock": role.lock},
        {"op": "wait", "table": "Interface", "where": new, "columns": ["name"], "until": "!=",
         "rows": []},
        {"op": "wait", "table": "Bridge", "columns": ["name", "ports"], "until": "==", "timeout": 0,
         "where": [["datapath_type", "!=", role.datapath_type]],
         "rows": [{"name": name, "ports": ["set", [uuid(port) for port in ports]]}
                  for name, ports in others.items()]})
    return [(*conditions, *({"op": "update", "table": "Interface", "row": {"ofport": number},
                             "where": [["type", "==", type_], UNTOUCHED, *new]}
                            for type_ in DEVICES))
            for number in numbers]


def uuid(of: UUID) -> list[str]:
    return ["uuid", str(of)]
