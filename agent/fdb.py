"""The MAC tables as the control plane sees them: settings, replies of fdb commands, and what is
said of addresses that flap. Pure."""
from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from agent.model import OFPORT_LOCAL, FdbEntry
from agent.options import Texts, nearest

HEADER = " Port  VLAN  MAC                Age"
STATIC = -1                     # an entry's age: it was set by hand
NEVER = 1 << 16                 # seconds; longer than anything is unseen
ADDRESS = re.compile("[0-9a-fA-F]{1,2}(?::[0-9a-fA-F]{1,2}){5}")
ATOI = re.compile(r"\s*([+-]?[0-9]{1,9})")
VLANS = 4096
FLAPS_SAID = 3                  # of the addresses that flap at one port
# Events of fdb/stats-show, as it names them.
EVENTS = {"learned": "learned MAC entries     ", "expired": "expired MAC entries     ",
          "evicted": "evicted MAC entries     ", "moved": "port moved MAC entries  "}


@dataclass(frozen=True, slots=True)
class FdbCounters:
    """What one bridge's MAC table holds, and what happened in it since the bridge was made."""

    entries: int = 0
    statics: int = 0                # of these set by hand
    events: Mapping[str, int] = field(default_factory=dict)
    cleared: Mapping[str, int] = field(default_factory=dict)    # events before fdb/stats-clear


@dataclass(frozen=True, slots=True)
class Flap:
    """An address that moves between two ports all the time, and is held where it is for that."""

    mac: str
    vlan: int
    ports: tuple[str, str]


# --- settings -------------------------------------------------------------------------------------

def aging_s(texts: Texts) -> int:
    """mac-aging-time of a bridge's other_config."""
    return nearest(texts, "mac-aging-time", texts.text("mac-aging-time"))


def table_size(texts: Texts) -> int:
    """mac-table-size of a bridge's other_config."""
    return nearest(texts, "mac-table-size", texts.text("mac-table-size"))


# --- commands -------------------------------------------------------------------------------------

def address(text: str) -> str | None:
    """An Ethernet address as tables show it; None for what is none."""
    if not ADDRESS.fullmatch(text):
        return None
    return ":".join(f"{int(octet, 16):02x}" for octet in text.split(":"))


def vlan(text: str) -> int:
    """A VLAN as C's atoi() reads it: 0 for what is no number."""
    match = ATOI.match(text)
    return int(match[1]) if match else 0


def port_text(number: int) -> str:
    return "LOCAL" if number == OFPORT_LOCAL else str(number)


def lines(entries: Sequence[FdbEntry], ofports: Mapping[str, int]) -> list[str]:
    """Rows of fdb/show, those set by hand first, then the longest unseen (OVS: least recently used
    first)."""
    # A table may have a million rows: sorted twice, which is faster than by a key of four parts.
    numbers = {port: f"{port_text(number):>5}" for port, number in ofports.items()}
    rows = sorted((mac, vlan, age_s, port) for port, vlan, mac, age_s in entries)
    rows.sort(key=lambda row: NEVER if row[2] == STATIC else row[2], reverse=True)
    return [f"{numbers.get(port, '    0')}  {vlan:4}  {mac}  "
            f"{'static' if age_s == STATIC else f'{age_s:3}'}" for mac, vlan, age_s, port in rows]


def show(tables: Mapping[str, Sequence[FdbEntry]], ofports: Mapping[str, int], several: bool
         ) -> str:
    """Reply of fdb/show; with 'several' a column names the bridge."""
    if not several:
        rows = [line for entries in tables.values() for line in lines(entries, ofports)]
        return "\n".join([HEADER, *rows, ""])
    width = max([6, *map(len, tables)]) + 1
    reply = [f" {'Bridge':<{width}}{HEADER}"]
    for bridge, entries in tables.items():
        rows = lines(entries, ofports) or [""]
        reply += [f" {bridge if i == 0 else '':<{width}}{row}".rstrip()
                  for i, row in enumerate(rows)]
    return "\n".join([*reply, ""])


def stats_show(bridge: str, counters: FdbCounters, size: int) -> str:
    """Reply of fdb/stats-show."""
    since = {name: counters.events.get(name, 0) - counters.cleared.get(name, 0) for name in EVENTS}
    return "".join((
        f'Statistics for bridge "{bridge}":\n',
        f"  Current/maximum MAC entries in the table: {counters.entries}/{size}\n",
        f"  Current static MAC entries in the table : {counters.statics}\n",
        *(f"  Total number of {what}: {since[name]}\n" for name, what in EVENTS.items())))


# --- addresses that flap --------------------------------------------------------------------------

def flap_problems(flaps: Sequence[Flap]) -> dict[str, tuple[str, ...]]:
    """{port: what to say of it}"""
    found: dict[str, set[str]] = {}
    for flap in flaps:
        for port, other in (flap.ports, flap.ports[::-1]):
            found.setdefault(port, set()).add(
                f"{flap.mac} in VLAN {flap.vlan} moves between this port and {other} all the time: "
                "it stays for 10 s where it is after 5 moves")
    return {port: (*sorted(texts)[:FLAPS_SAID],
                   *([f"and {len(texts) - FLAPS_SAID} more addresses do"]
                     if len(texts) > FLAPS_SAID else []))
            for port, texts in found.items()}
