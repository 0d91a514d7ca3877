"""A picture as text on one screen: what is wrong first, then a table of each bridge. Pure."""
from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import Any

from agent.amounts import duration, short, size
from agent.model import OFPORT_LOCAL
from agent.picture import LOCK_HELD, LOCK_TAKEN, Picture
from agent.role import ROLES
from agent.table import Column, layout, printable

NAMED = 4                       # ports that one line of problems names
LOADS = 12                      # of the last minute, one each 5 s
COLUMNS = (
    Column("PORT"), Column("OFPORT", right=True, goes=4), Column("TYPE", goes=3), Column("LINK"),
    Column("QUEUES", goes=2), Column("MTU", right=True, goes=5), Column("RX PACKETS", right=True),
    Column("TX PACKETS", right=True), Column("DROPS", right=True), Column("DEVICE", goes=6),
)

Port = Mapping[str, Any]


class Style(Enum):
    """What a line is, for a terminal to colour."""

    PLAIN = "plain"
    HEAD = "head"
    BAD = "bad"
    QUIET = "quiet"


Line = tuple[Style, str]


def text(picture: Picture, bridge: str | None = None) -> str:
    """All lines, of one bridge's ports alone when one is named."""
    return "\n".join(words for _, words in lines(picture, bridge))


def lines(picture: Picture, bridge: str | None = None, width: int | None = None
          ) -> Iterator[Line]:
    """Tables within 'width' characters if there is such a limit."""
    ports = [port for port in picture["ports"] if bridge in (None, port["bridge"])]
    yield from agent_lines(picture)
    yield from pmd_lines(picture)
    said = list(problem_lines(picture, ports))
    if said:
        yield Style.PLAIN, ""
        yield Style.HEAD, "problems"
        yield from said
    for row in picture["bridges"]:
        if bridge in (None, row["name"]):
            yield Style.PLAIN, ""
            yield from bridge_lines(row, [p for p in ports if p["bridge"] == row["name"]],
                                    width)


# --- the whole ------------------------------------------------------------------------------------

def agent_lines(picture: Picture) -> Iterator[Line]:
    agent, memory = picture["agent"], picture["memory"]
    up = duration((picture["taken_ms"] - agent["started_ms"]) / 1000)
    yield Style.HEAD, (f"{agent['name']} (ovs-vhost-agent) {agent['version']}, {agent['dpdk']}, "
                       f"role {agent['role']}, pid {agent['pid']}, up {up}")
    yield database_line(picture["database"])
    pools = [f"{size(pool['kib'] * 1024)} pages: {pool['free']} of {pool['total']} free"
             for pool in memory["hugepages"]] or ["no hugepages"]
    if agent["dpdk_initialized"]:
        pools.append(f"DPDK uses {size(memory['used_bytes'])} of {size(memory['reserved_bytes'])}")
        pools.append(f"{memory['packet_buffers_in_use']} packet buffers in use")
    yield Style.PLAIN, f"memory    {'; '.join(pools)}"


def database_line(database: Mapping[str, Any]) -> Line:
    if not database["connected"]:
        said = "not connected: ports are served on as they are"
    elif database["lock"] == LOCK_TAKEN:
        said = "another process holds the lock and serves it: nothing is changed or written here"
    elif database["lock"] != LOCK_HELD:
        said = "connected, waiting for the lock"
    elif not database["seen"]:
        said = "connected, it holds no Open_vSwitch row (ovs-vsctl init)"
    else:
        return Style.PLAIN, f"database  {database['remote']}: connected, lock held"
    return Style.BAD, f"database  {database['remote']}: {said}"


def pmd_lines(picture: Picture) -> Iterator[Line]:
    if not picture["agent"]["dpdk_initialized"]:
        yield Style.BAD, ("PMDs      none: DPDK is not started (other_config:"
                          f"{ROLES[picture['agent']['role']].prefix}dpdk-init=true)")
    elif not picture["pmds"]:
        yield Style.BAD, "PMDs      none: nothing is polled"
    for pmd in picture["pmds"]:
        loads = pmd["loads_percent"]
        now = (f"{loads[0]} % busy, {sum(loads) // len(loads)} % in {len(loads) * 5} s" if loads
               else "load not known yet")
        rest = ("sleeps without packets" if pmd["block"]
                else f"sleeps up to {pmd['sleep_max_us']} us" if pmd["sleep_max_us"] else "")
        rxqs = f"{pmd['rxqs']} rx queue{'s' * (pmd['rxqs'] != 1)}"
        yield Style.PLAIN, (f"PMD       core {pmd['core']} (node {pmd['node']}): "
                            f"{', '.join(filter(None, (now, rxqs, rest)))}")


# --- problems -------------------------------------------------------------------------------------

def problem_lines(picture: Picture, ports: Sequence[Port]) -> Iterator[Line]:
    """What is wrong, the worst first; what many ports have in common is said once."""
    for problem in picture["problems"]:
        yield Style.BAD, f"  {printable(problem)}"
    same: dict[tuple[Style, str], list[tuple[Port, str]]] = {}
    for say in (errors, reasons):
        for port in sorted(ports, key=natural):
            for style, problem in say(port):
                same.setdefault((style, generally(problem, port)), []).append((port, problem))
    for (style, general), found in same.items():
        (port, problem), *others = found
        names = some([printable(port["name"]) for port, _ in found])
        yield style, f"  {names}: {printable(general if others else problem)}"


def errors(port: Port) -> Iterator[Line]:
    status = port["status"]
    if port["error"]:
        yield Style.BAD, f"not served: {port['error']}"
    if "problems" in status:
        yield Style.BAD, status["problems"]


def reasons(port: Port) -> Iterator[Line]:
    """Why a port is down, which may be as it should be, or works but half."""
    status = port["status"]
    if "pending" in status:
        yield Style.PLAIN, f"pending: {status['pending']}"
    if "reason" in status:
        yield Style.BAD if port["link_state"] == "up" else Style.PLAIN, status["reason"]


def generally(problem: str, port: Port) -> str:
    """The sentence without what it has of this port alone."""
    if port["device"] and port["device"] != port["name"]:
        problem = problem.replace(port["device"], "DEVICE")
    return re.sub(rf"(?<![\w.-]){re.escape(port['name'])}(?![\w.-])", "PORT", problem)


def some(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")


# --- ports ----------------------------------------------------------------------------------------

def bridge_lines(bridge: Mapping[str, Any], ports: Sequence[Port], width: int | None
                 ) -> Iterator[Line]:
    up = sum(port["link_state"] == "up" for port in ports)
    served = "" if bridge["served"] else (
        f", not served: datapath_type is '{bridge['datapath_type']}'")
    yield Style.HEAD, (f"bridge {bridge['name']}: {len(ports)} port{'s' * (len(ports) != 1)}, "
                       f"{up} up{served}")
    ports = sorted(ports, key=natural)
    texts = layout(COLUMNS, [cells(port) for port in ports], width)
    yield Style.QUIET, texts[0]
    yield from ((style_of(port), text) for port, text in zip(ports, texts[1:], strict=True))


def natural(port: Port) -> list[tuple[int, str]]:
    """Sorts c2 before c10."""
    return [(int(part), "") if part.isdecimal() else (-1, part)
            for part in re.split(r"([0-9]{1,18})", port["name"]) if part]


def style_of(port: Port) -> Style:
    if port["error"] or "problems" in port["status"] or (
            port["link_state"] == "up" and "reason" in port["status"]):
        return Style.BAD
    return Style.PLAIN if port["link_state"] == "up" else Style.QUIET


def cells(port: Port) -> tuple[str, ...]:
    traffic = port.get("traffic", {})
    ofport = port["ofport"]
    return (printable(port["name"]), "-" if ofport is None else
            "LOCAL" if ofport == OFPORT_LOCAL else str(ofport), port["type"] or "system",
            link(port), queues(port), str(port["mtu"] or "-"),
            short(traffic.get("rx_packets", 0)), short(traffic.get("tx_packets", 0)),
            short(sum(traffic.get("drops", {}).values())), printable(port["device"]))


def link(port: Port) -> str:
    if port["error"]:
        return "error"
    if port["admin_state"] == "down":
        return "disabled" if port["guest"] else "down"
    return port["link_state"] or "-"


def queues(port: Port) -> str:
    """Queues that work of those that there are; '-' where no PMD has any, and without a guest."""
    rxqs, txqs = port.get("rxqs", ()), port.get("txqs", ())
    if port["guest"] and port["connected"]:
        return (f"{sum(q['enabled'] for q in rxqs)}/{len(rxqs)} rx "
                f"{sum(q['enabled'] for q in txqs)}/{len(txqs)} tx")
    polled = sum(rxq["core"] is not None for rxq in rxqs)
    return f"{polled} rx" if polled and not port["guest"] else "-"

