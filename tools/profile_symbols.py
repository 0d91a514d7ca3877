"""From addresses that perf sampled to functions, by what binutils say.

Functions of the extension come with those that the compiler inlined. A stripped library has names
for its entries alone: there a function is known by the one entry that calls lead to it from.
"""
from __future__ import annotations

import re
import subprocess
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.profile_stages import KERNEL, Place

OURS = "/pmd_ext/"
LIBRARY = "/librte_vhost.so"
ENTRIES = ("rte_vhost_dequeue_burst", "rte_vhost_enqueue_burst")
KERNEL_FROM = 1 << 63
NOT_KNOWN = "??"                # what addr2line calls it

Graph = Mapping[int, set[int]]          # start of a function -> starts of those it leads to


# --- pure -----------------------------------------------------------------------------------------

@dataclass(frozen=True, slots=True)
class Sample:
    """One line of `perf script -F ip,sym,dso`."""

    ip: int
    symbol: str


@dataclass(frozen=True, slots=True)
class Mapped:
    """A part of a file in the memory of a process."""

    start: int
    end: int
    offset: int
    file: str


def parse_samples(script: str) -> list[Sample]:
    found = re.findall(r"^\s*([0-9a-f]+) (.+?)(?: \(\S*.*\))?$", script, re.M)
    return [Sample(int(ip, 16), NOT_KNOWN if symbol == "[unknown]" else symbol)
            for ip, symbol in found]


def parse_maps(maps: str) -> list[Mapped]:
    """What can run of /proc/PID/maps."""
    found = re.findall(r"^([0-9a-f]+)-([0-9a-f]+) ..x. ([0-9a-f]+) \S+ \d+ +(\S.*)$", maps, re.M)
    return [Mapped(int(start, 16), int(end, 16), int(offset, 16), file)
            for start, end, offset, file in found]


def file_offset(maps: Iterable[Mapped], ip: int) -> tuple[str, int]:
    """File and place in it; without a file its name is empty."""
    if ip >= KERNEL_FROM:
        return KERNEL, ip
    return next(((m.file, ip - m.start + m.offset) for m in maps if m.start <= ip < m.end),
                ("", ip))


def address_of(headers: str, offset: int) -> int:
    """The address that a file's tables know a place by, from the output of `readelf -lW`."""
    for segment in re.findall(r"^ +LOAD +(0x\w+) (0x\w+) 0x\w+ (0x\w+)", headers, re.M):
        start, address, size = (int(number, 16) for number in segment)
        if start <= offset < start + size:
            return offset - start + address
    return offset


def parse_inlined(output: str) -> dict[int, tuple[str, ...]]:
    """Functions at each address, the innermost first, from `addr2line -a -i -f`."""
    found: dict[int, tuple[str, ...]] = {}
    for part in re.split(r"^(?=0x)", output, flags=re.M)[1:]:
        address, *lines = part.splitlines()
        found[int(address, 16)] = tuple(lines[::2])         # between them file and line
    return found


def function_starts(frames: str) -> list[int]:
    """Of the output of `readelf -wf`, ascending."""
    return sorted({int(start, 16) for start in re.findall(r" pc=([0-9a-f]+)\.\.", frames)})


def function_at(starts: Sequence[int], address: int) -> int:
    """Where the function begins that an address is in."""
    return starts[max(0, bisect_right(starts, address) - 1)]


def calls(disassembly: str, starts: Sequence[int]) -> Graph:
    """Which functions call or jump to which, from `objdump -d --no-show-raw-insn`."""
    graph: defaultdict[int, set[int]] = defaultdict(set)
    if starts:
        for at, to in re.findall(r"^ +([0-9a-f]+):\t(?:\w+ )*?(?:call|j)\w* +([0-9a-f]+) <",
                                 disassembly, re.M):
            graph[function_at(starts, int(at, 16))].add(function_at(starts, int(to, 16)))
    return graph


def parse_symbols(nm: str) -> dict[str, int]:
    """Functions of `nm -D --defined-only`, without their versions."""
    return {name: int(address, 16)
            for address, name in re.findall(r"^([0-9a-f]+) T ([^@\s]+)", nm, re.M)}


def reached(graph: Graph, start: int) -> set[int]:
    seen: set[int] = set()
    new = {start}
    while new:
        seen |= new
        new = {to for each in new for to in graph.get(each, ())} - seen
    return seen


def owners(graph: Graph, entries: Mapping[str, int]) -> dict[int, str]:
    """{function: entry} of those that one entry alone leads to."""
    known: dict[int, str] = {}
    shared: set[int] = set()
    for name, start in entries.items():
        functions = reached(graph, start)
        shared |= functions & known.keys()
        known.update(dict.fromkeys(functions, name))
    return {function: name for function, name in known.items() if function not in shared}


# --- with binutils --------------------------------------------------------------------------------

def output(*command: str, text: str = "") -> str:
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout


class Library:
    """Which entry of a library the functions inside are for."""

    def __init__(self, file: str) -> None:
        self._starts = function_starts(output("readelf", "-wf", file))
        symbols = parse_symbols(output("nm", "-D", "--defined-only", file))
        graph = calls(output("objdump", "-d", "--no-show-raw-insn", file), self._starts)
        self._owners = owners(graph, {name: symbols[name] for name in ENTRIES if name in symbols})

    def entry(self, address: int) -> str | None:
        if not self._starts:
            return None
        return self._owners.get(function_at(self._starts, address))


def places(samples: Sequence[Sample], maps: Sequence[Mapped]) -> list[Place]:
    """Of each sample where it was."""
    found = [(*file_offset(maps, sample.ip), sample) for sample in samples]
    wanted: defaultdict[str, dict[int, str]] = defaultdict(dict)
    for file, offset, sample in found:
        wanted[file][offset] = sample.symbol
    known = {file: functions_in(file, offsets) for file, offsets in wanted.items()}
    return [Place(file, known[file][offset]) for file, offset, _ in found]


def functions_in(file: str, symbols: Mapping[int, str]) -> dict[int, tuple[str, ...]]:
    """Functions at offsets in a file, of which perf says that they are in these symbols."""
    functions: dict[int, tuple[str, ...]] = {
        offset: (symbol,) for offset, symbol in symbols.items()}
    if not (OURS in file or LIBRARY in file) or not Path(file).exists():
        return functions
    headers = output("readelf", "-lW", file)
    addresses = {offset: address_of(headers, offset) for offset in symbols}
    if LIBRARY in file:             # which may be in our directory, too
        library = Library(file)
        return functions | {offset: (entry,) for offset, address in addresses.items()
                            if (entry := library.entry(address))}
    inlined = parse_inlined(output("addr2line", "-a", "-i", "-f", "-e", file,
                                   text="\n".join(map(hex, addresses.values()))))
    return functions | {offset: inlined[address] for offset, address in addresses.items()
                        if inlined[address][0] != NOT_KNOWN}
