"""What the database's server is told beforehand: to number a port as it appears. Pure.

ovs-vsctl waits for ovs-vswitchd alone. That has nothing to do for a bridge that is not its own, and
is done in a third of a millisecond, before anybody else could hear of a new port and write its
number. So a transaction waits in the server for the ports of our bridges to change, and is executed
before anybody is told of that change. The number is the next free one; where several ports come at
once, or one that is the bridge's own, the right ones follow at once.
"""
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from agent.role import Role
from agent.validate import DEVICES

Ports = Mapping[str, Sequence[UUID]]        # bridge -> its ports
Operations = tuple[Mapping[str, Any], ...]


def operations(role: Role, ours: Ports, others: Ports, unnumbered: Iterable[UUID], number: int
               ) -> Operations:
    """The transaction (RFC 7047). 'ours' and 'others' are the bridges as they are known,
    'unnumbered' the Interface rows that have no number by now.

    New rows are ours when a bridge of ours has changed and no other: they are on no other then.
    """
    known = [["_uuid", "!=", uuid(row)] for row in sorted(unnumbered)]
    return (
        {"op": "assert", "lock": role.lock},
        {**wait(ours, "==", role), "until": "!="},
        {**wait(others, "!=", role), "until": "==", "timeout": 0},
        *({"op": "update", "table": "Interface", "row": {"ofport": number},
           "where": [["type", "==", type_], ["ofport", "==", ["set", []]],
                     ["ofport_request", "==", ["set", []]], *known]} for type_ in DEVICES))


def wait(bridges: Ports, is_ours: str, role: Role) -> dict[str, Any]:
    return {"op": "wait", "table": "Bridge", "columns": ["name", "ports"],
            "where": [["datapath_type", is_ours, role.datapath_type]],
            "rows": [{"name": name, "ports": ["set", [uuid(port) for port in sorted(ports)]]}
                     for name, ports in sorted(bridges.items())]}


def uuid(of: UUID) -> list[str]:
    return ["uuid", str(of)]
