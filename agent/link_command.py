"""`vhost-agent link` and `vhost-agent unlink`: asks the database, writes to it, waits for who
serves the bridges."""
from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from agent import ask, linking, netdev, remotes
from agent.ask import AskError
from agent.guest_command import say
from agent.linking import (
    MARK,
    OUR_END,
    Bridge,
    Bridges,
    HostName,
    LinkError,
    Operation,
    Port,
)
from agent.remotes import TlsFiles
from agent.select_rows import plain, uuids
from agent.shell import argument, quoted

TRIES = 3                       # while somebody else changes the same bridges
WAIT_S = 10
SAY_AFTER_S = 1                 # what is waited for
LOOK_S = 0.1


class End(NamedTuple):
    """One port of a link."""

    number: int                 # 0 or less: none
    up: bool                    # a number alone may be given beforehand
    error: str | None

    @property
    def served(self) -> bool:
        return self.number > 0 and self.up


Transact = Callable[..., list[Any]]


def link(remote: str, tls: TlsFiles, bridge: str, ovs_bridge: str, name: str | None) -> int:
    """The exit status."""
    name = linking.default_name(bridge, ovs_bridge) if name is None else name

    def join(found: Bridges) -> list[Operation]:
        linking.check(found, name)
        if is_local(remote):
            linking.check_host(name, on_host(name))
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
    left = wait(lambda: [tap for tap in taps if is_local(remote) and netdev.is_tap(tap)],
                lambda left: not left, f"the agent to remove the tap {taps[0]}")
    for tap in left:
        say(f"{bridge} and {ovs_bridge} are not linked any more, but the tap {tap} is there still: "
            f"no agent has removed it within {WAIT_S} s (ip link delete {quoted(tap)})")
    if left:
        return 1
    print(f"{bridge} and {ovs_bridge} are not linked any more")
    return 0


def is_local(remote: str) -> bool:
    """Whether the database is one of this host, whose devices then are those of the bridges."""
    return all(server.startswith("unix:") for server in remotes.split(remote))


def on_host(name: str) -> HostName:
    link = netdev.look(name)
    tap = link is not None and netdev.is_tap(name)
    # a tap has its carrier of who has it open
    return HostName(link is not None, tap, tap and link is not None and link.running)


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
    by_uuid = {plain(row["_uuid"]): Port(plain(row["_uuid"]), row["name"],
                                     plain(row["external_ids"]).get(MARK)) for row in ports}
    return linking.find(
        {row["name"]: Bridge(plain(row["_uuid"]), row["name"], row["datapath_type"],
                             tuple(by_uuid[uuid] for uuid in uuids(row["ports"])))
         for row in bridges},
        ours, theirs, frozenset(row["name"] for row in (*ports, *interfaces)))


def wait_for_numbers(transact: Transact, ours: str, theirs: str, tap: str) -> tuple[int, int]:
    """Numbers of the tap's ports. Raises AskError, and LinkError when they have none in time."""
    ends = {tap + OUR_END: (ours, "a companion runs on this database (vhost-agent run --role "
                                  "companion)"),
            tap: (theirs, "ovs-vswitchd runs on it")}

    def look() -> dict[str, End]:
        results = transact(*({"op": "select", "table": "Interface",
                              "columns": ["ofport", "link_state", "error"],
                              "where": [["name", "==", port]]} for port in ends))
        return {port: End(plain(row["ofport"]) or 0, plain(row["link_state"]) == "up",
                          plain(row["error"]))
                for port, result in zip(ends, results, strict=True) for row in result["rows"]}

    def served(found: dict[str, End]) -> bool:
        return all(end.served for end in found.values())

    found = wait(look, served, f"{ours} and {theirs} to have their ports")
    if found.keys() != ends.keys():
        raise LinkError(f"somebody has removed the ports of {ours} and {theirs} meanwhile")
    if not served(found):
        whys = [f"{end.error or why_not(end, tap, ends[port][1])}, port {port} of {ends[port][0]}"
                for port, end in found.items() if not end.served]
        raise LinkError(
            f"{ours} and {theirs} are linked in the database, but not yet in fact: "
            + "; ".join(whys) + f". It works as soon as that is mended (vhost-agent unlink "
            f"{argument(ours, theirs)} takes it back)")
    return found[tap + OUR_END].number, found[tap].number


def why_not(end: End, tap: str, who: str) -> str:
    """Where the row has no error."""
    if end.number > 0 and (device := netdev.look(tap)) and not device.up:
        return f"the tap {tap} is down (ip link set {quoted(tap)} up)"
    if end.number > 0:
        return f"it has number {end.number}, but its link_state is not up"
    return f"nobody serves it; see whether {who}"


def wait(look: Callable[[], Any], good: Callable[[Any], bool], what: str) -> Any:
    """What look() gives, as soon as it is good or WAIT_S later."""
    start, said = time.monotonic(), False
    while not good(found := look()) and (waited := time.monotonic() - start) < WAIT_S:
        if waited > SAY_AFTER_S and not said:
            print(f"waiting for {what}", file=sys.stderr, flush=True)
            said = True
        time.sleep(LOOK_S)
    return found
