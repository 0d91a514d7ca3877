"""`vhost-agent link` and `vhost-agent unlink`: asks the database, writes to it, waits for who
serves the bridges."""
from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from agent import ask, linking, netdev
from agent.ask import AskError
from agent.guest_command import plain, say
from agent.linking import MARK, OUR_END, Bridge, Bridges, LinkError, Operation, Port
from agent.remotes import TlsFiles

TRIES = 3                       # while somebody else changes the same bridges
WAIT_S = 10
SAY_AFTER_S = 1                 # what is waited for
LOOK_S = 0.1

Transact = Callable[..., list[Any]]


def link(remote: str, tls: TlsFiles, bridge: str, ovs_bridge: str, name: str | None) -> int:
    """The exit status."""
    name = linking.default_name(bridge, ovs_bridge) if name is None else name

    def join(found: Bridges) -> list[Operation]:
        linking.check(found, name)
        return linking.join(found, name)

    def transact(*operations: Operation) -> list[Any]:
        return ask.transact(remote, tls, *operations)

    try:
        change(transact, bridge, ovs_bridge, join)
        ours, theirs = wait_for_numbers(transact, bridge, ovs_bridge, name)
    except (AskError, LinkError) as e:
        say(str(e))
        return 1
    print(f"{bridge} and {ovs_bridge} are linked by the tap {name}: port {ours} of {bridge}, port "
          f"{theirs} of {ovs_bridge}")
    return 0


def unlink(remote: str, tls: TlsFiles, bridge: str, ovs_bridge: str) -> int:
    """The exit status."""
    taps: list[str] = []

    def part(found: Bridges) -> list[Operation]:
        ports = list(linking.parts(found))
        if not ports:
            raise LinkError(f"{bridge} and {ovs_bridge} are not linked")
        taps[:] = {port.name.removesuffix(OUR_END) for port in ports}
        return linking.part(found)

    def transact(*operations: Operation) -> list[Any]:
        return ask.transact(remote, tls, *operations)

    try:
        change(transact, bridge, ovs_bridge, part)
    except (AskError, LinkError) as e:
        say(str(e))
        return 1
    left = wait(lambda: [tap for tap in taps if netdev.look(tap)],
                lambda left: not left, f"the agent to remove the tap {taps[0]}")
    for tap in left:
        say(f"{bridge} and {ovs_bridge} are not linked any more, but the tap {tap} is there still: "
            f"no agent has removed it within {WAIT_S} s (ip link delete {tap})")
    if left:
        return 1
    print(f"{bridge} and {ovs_bridge} are not linked any more")
    return 0


def change(transact: Transact, ours: str, theirs: str,
           operations: Callable[[Bridges], list[Operation]]) -> None:
    """Looks, and changes what it has seen, as a whole or not at all. Raises AskError and
    LinkError."""
    for left in reversed(range(TRIES)):
        wish = operations(read(transact, ours, theirs))
        try:
            transact(*wish)
            return
        except AskError:
            if not left:
                raise


def read(transact: Transact, ours: str, theirs: str) -> Bridges:
    """Raises AskError, and LinkError when there is no such bridge."""
    bridges, ports, interfaces = (result["rows"] for result in transact(
        {"op": "select", "table": "Bridge", "where": [],
         "columns": ["_uuid", "name", "datapath_type", "ports"]},
        {"op": "select", "table": "Port", "where": [],
         "columns": ["_uuid", "name", "external_ids"]},
        {"op": "select", "table": "Interface", "where": [], "columns": ["name"]}))
    by_uuid = {row["_uuid"][1]: Port(plain(row["_uuid"]), row["name"],
                                     plain(row["external_ids"]).get(MARK)) for row in ports}
    return linking.find(
        {row["name"]: Bridge(plain(row["_uuid"]), row["name"], row["datapath_type"],
                             tuple(by_uuid[uuid] for uuid in uuids(row["ports"])))
         for row in bridges},
        ours, theirs, frozenset(row["name"] for row in (*ports, *interfaces)))


def uuids(value: Any) -> Sequence[str]:
    """A set of UUIDs in OVSDB's notation: one stands there alone."""
    return [value[1]] if value[0] == "uuid" else [one for _, one in value[1]]


def wait_for_numbers(transact: Transact, ours: str, theirs: str, tap: str) -> tuple[int, int]:
    """Numbers of the tap's ports. Raises AskError, and LinkError when they have none in time."""
    ends = {tap + OUR_END: (ours, "a companion runs on this database (vhost-agent run --role "
                                  "companion)"),
            tap: (theirs, "ovs-vswitchd runs on it")}

    def look() -> dict[str, tuple[Any, Any]]:
        results = transact(*({"op": "select", "table": "Interface",
                              "columns": ["ofport", "error"], "where": [["name", "==", port]]}
                             for port in ends))
        return {port: (plain(row["ofport"]), plain(row["error"]))
                for port, result in zip(ends, results, strict=True) for row in result["rows"]}

    def served(found: dict[str, tuple[Any, Any]]) -> bool:
        return all((number or 0) > 0 for number, _ in found.values())

    found = wait(look, served, f"{ours} and {theirs} to have their ports")
    if found.keys() != ends.keys():
        raise LinkError(f"somebody has removed the ports of {ours} and {theirs} meanwhile")
    if not served(found):
        whys = [f"{error or 'nobody serves it; see whether ' + ends[port][1]}, port {port} of "
                f"{ends[port][0]}" for port, (number, error) in found.items() if (number or 0) <= 0]
        raise LinkError(
            f"{ours} and {theirs} are linked in the database, but not yet in fact: "
            + "; ".join(whys) + f". It works as soon as that is mended (vhost-agent unlink {ours} "
            f"{theirs} takes it back)")
    return found[tap + OUR_END][0], found[tap][0]


def wait(look: Callable[[], Any], good: Callable[[Any], bool], what: str) -> Any:
    """What look() gives, as soon as it is good or WAIT_S later."""
    start, said = time.monotonic(), False
    while not good(found := look()) and (waited := time.monotonic() - start) < WAIT_S:
        if waited > SAY_AFTER_S and not said:
            print(f"waiting for {what}", file=sys.stderr, flush=True)
            said = True
        time.sleep(LOOK_S)
    return found
