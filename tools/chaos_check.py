"""What `make chaos` compares after each fault: rows with the agent, levels with those before.

Pure, but for the two functions at the end that read a process and a directory.
"""
from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from tools.probe import ProbeMark

HUGEPAGE_KIB = 2048
IN_FLIGHT = 256                 # packet buffers that traffic may have at any moment
COLUMNS = ("name", "error", "ofport", "link_state", "status", "admin_state")


def disagreements(rows: Mapping[str, Mapping[str, Any]], picture: Mapping[str, Any],
                  guests: Mapping[str, bool]) -> list[str]:
    """Where Interface rows, the agent's own picture (vhost/state) and what is so differ; empty when
    all agree. 'guests' are the ports that there should be, with whether a guest runs on each."""
    said = []
    if not picture["database"]["connected"] or picture["database"]["lock"] != "held":
        said.append("the agent does not serve the database")
    served = {port["name"]: port for port in picture["ports"] if port["guest"]}
    listed = {name for name in rows if name != "br0"}
    if listed != guests.keys():
        said.append(f"rows of {sorted(listed)}, wanted {sorted(guests)}")
    if served.keys() != guests.keys():
        said.append(f"the agent serves {sorted(served)}, wanted {sorted(guests)}")
    for name in sorted(listed & served.keys() & guests.keys()):
        said += [f"{name}: {what}" for what in port_disagreements(
            rows[name], served[name], guests[name])]
    said += [f"{name}: error: {row['error']}" for name, row in sorted(rows.items())
             if row["error"]]
    return said + list(picture["problems"])


def port_disagreements(row: Mapping[str, Any], port: Mapping[str, Any], runs: bool) -> list[str]:
    """The same of one port: 'row' of the database, 'port' of the agent's picture."""
    state, link = ("connected", "up") if runs else ("disconnected", "down")
    wanted = {"link_state": link, "status": state, "admin_state": "up", "ofport": port["ofport"]}
    told = {**row, "status": (row["status"] or {}).get("status")}
    said = [f"{key} is {told[key]!r}, not {value!r}" for key, value in wanted.items()
            if told[key] != value]
    if not isinstance(port["ofport"], int) or port["ofport"] < 1:
        said.append(f"it has the number {port['ofport']}")
    if port["connected"] != runs:
        said.append(f"the agent says connected: {port['connected']}")
    if (row["status"] or {}).get("problems"):
        said.append(f"problems: {row['status']['problems']}")
    if runs and not any(rxq["core"] is not None and rxq["enabled"] for rxq in port["rxqs"]):
        said.append("no PMD polls it")
    return said


@dataclass(frozen=True, kw_only=True)
class Levels:
    """What the agent and its run directory hold. The agent's memory segments are no descriptors
    here: they are counted as hugepages."""

    descriptors: int
    threads: int
    hugetlb_kib: int            # hugepages that it has mapped, its guests' among them
    packet_buffers: int         # in use
    processes: int              # whose command line names the run directory
    sockets: tuple[str, ...]    # in the run directory, PID in place of the agent's number


def leaks(before: Levels, now: Levels) -> list[str]:
    """What is more than before; of sockets also what is missing."""
    said = []
    for name in (field.name for field in fields(Levels)):
        was, is_ = getattr(before, name), getattr(now, name)
        slack = IN_FLIGHT if name == "packet_buffers" else 0
        if (was != is_) if name == "sockets" else (is_ > was + slack):
            said.append(f"{name.replace('_', ' ')}: {is_}, before: {was}")
    return said


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """What became of one stream during one fault."""

    received: int
    lost: int
    duplicated: int
    longest_gap_ms: float


def stretch(marks: Sequence[ProbeMark]) -> Stretch:
    """Of a stream's marks, the first as the fault began. The first one's gap was before."""
    first, last = marks[0], marks[-1]
    return Stretch(received=last.received - first.received,
                   lost=max(0, last.missing - first.missing),
                   duplicated=last.duplicated - first.duplicated,
                   longest_gap_ms=max((mark.longest_gap_ms for mark in marks[1:]), default=0.0))


def hugetlb_kib(smaps: str) -> int:
    """Hugepages that a process has mapped, touched or not: of its /proc/PID/smaps."""
    sizes = re.findall(r"^Size: +(\d+) kB\nKernelPageSize: +(\d+) kB", smaps, re.M)
    return sum(int(size) for size, page in sizes if int(page) >= HUGEPAGE_KIB)


# --- read -----------------------------------------------------------------------------------------

def levels(pid: int, directory: Path, packet_buffers: int) -> Levels:
    """Of the agent 'pid' that runs on 'directory'."""
    process = Path(f"/proc/{pid}")
    links = []
    for entry in (process / "fd").iterdir():
        with suppress(FileNotFoundError):
            links.append(os.readlink(entry))
    sockets = [entry.name.replace(str(pid), "PID") for entry in directory.iterdir()
               if stat.S_ISSOCK(entry.lstat().st_mode)]
    return Levels(
        descriptors=sum(not link.startswith("/memfd:seg_") for link in links),
        threads=len(list((process / "task").iterdir())),
        hugetlb_kib=hugetlb_kib((process / "smaps").read_text()),
        packet_buffers=packet_buffers, processes=_named(os.fsencode(directory)),
        sockets=tuple(sorted(sockets)))


def _named(directory: bytes) -> int:
    """Processes whose command line names the directory."""
    count = 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):     # it ended
                count += directory in (entry / "cmdline").read_bytes()
    return count
