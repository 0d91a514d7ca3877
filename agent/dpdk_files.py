"""Finds the extension and DPDK's files, without loading any of them."""
from __future__ import annotations

import importlib.util
import os
import re
import subprocess
from collections.abc import Iterable, Sequence
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

from agent.dpdk_values import DpdkFacts, Driver, Library, Loaded
from agent.elf import Elf, ElfError
from agent.machine import MAPS

EXTENSION = "pmd_ext"
EAL = "librte_eal.so."
LOADER_LIMIT_S = 10.0
DIRECTORIES = ("/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/local/lib64",
               f"/usr/lib/{os.uname().machine}-linux-gnu",
               f"/usr/local/lib/{os.uname().machine}-linux-gnu")
LIST_ONLY = {"LC_ALL": "C", "LD_TRACE_LOADED_OBJECTS": "1"}     # as ldd asks
LOADER = re.compile(r"(/\S*/ld[-.][^/ ]*so[^/ ]*)$")
FOUND = re.compile(r"\s*(\S+) => (.+?)(?: \(0x[0-9a-f]+\))?")


def gather() -> DpdkFacts:
    """The extension that `import` would find, and what it meets."""
    directory = extension_directory()
    if directory is None:
        return DpdkFacts()
    unreadable: list[str] = []
    objects = sorted(directory.glob("*.so"))
    usable = [path for path in objects if path.name.endswith(EXTENSION_SUFFIXES[0])]
    modules = [library for path in usable if (library := read(path, unreadable)) is not None]
    loaded = load(modules)
    found = {soname: Path(path) for soname, path in loaded.found.items()
             if path is not None and soname.startswith("librte_")}
    libraries = {soname: library for soname, path in found.items()
                 if (library := read(path, unreadable)) is not None}
    missing = [soname for soname, path in loaded.found.items() if path is None]
    plugins = next((plugin_directory(path, unreadable) for soname, path in found.items()
                    if soname.startswith(EAL)), None)
    drivers = list(drivers_in(plugins, unreadable)) if plugins is not None else []
    return DpdkFacts(
        str(directory), len(usable), tuple(p.name for p in objects if p not in usable),
        tuple(sorted({n for m in modules for n in m.needed if n.startswith("librte_")})),
        frozenset(name for m in modules for name in m.wants if name.startswith("rte_")),
        loaded, libraries, {soname: lookalikes(soname) for soname in missing},
        None if plugins is None else str(plugins),
        len(plugin_files(plugins)) if plugins is not None else 0,
        tuple(sorted(drivers, key=lambda driver: (driver.name, driver.file))), tuple(unreadable))


def extension_directory() -> Path | None:
    spec = importlib.util.find_spec(EXTENSION)
    places = spec.submodule_search_locations if spec is not None else None
    return Path(next(iter(places))) if places else None


def read(path: Path, unreadable: list[str]) -> Library | None:
    try:
        with Elf(path) as elf:
            return elf.library()
    except ElfError as e:
        unreadable.append(str(e))
        return None


def load(modules: Sequence[Library]) -> Loaded:
    """What the dynamic loader says it would load for them: one of each kind is enough."""
    found: dict[str, str | None] = {}
    complaints: list[str] = []
    silence = ""
    asked: set[tuple[str, ...]] = set()
    for module in modules:
        if module.needed in asked:
            continue
        asked.add(module.needed)
        one = ask_loader(module.path)
        found |= one.found
        complaints += [line for line in one.complaints if line not in complaints]
        silence = silence or one.silence
    return Loaded(found, tuple(complaints), silence)


def ask_loader(path: str) -> Loaded:
    """As ldd does, but with the loader of this Python itself; no code of the file is run."""
    loader = own_loader()
    if loader is None:
        return Loaded(silence="this Python is not linked dynamically")
    try:
        done = subprocess.run([loader, path], text=True, capture_output=True,
                              stdin=subprocess.DEVNULL, timeout=LOADER_LIMIT_S, check=False,
                              errors="replace", env={**os.environ, **LIST_ONLY})
    except (OSError, subprocess.TimeoutExpired) as e:
        return Loaded(silence=str(e))
    return listed(done.stdout, done.stderr)


def own_loader() -> str | None:
    """The dynamic loader that this process was started by."""
    for line in MAPS.read_text().splitlines():
        if match := LOADER.search(line):
            return match[1]
    return None


def listed(stdout: str, stderr: str) -> Loaded:
    """The loader's list."""
    found = {match[1]: None if match[2] == "not found" else match[2]
             for line in stdout.splitlines() if (match := FOUND.fullmatch(line))}
    return Loaded(found, tuple(filter(None, stderr.splitlines())))


def lookalikes(soname: str) -> tuple[str, ...]:
    """Other versions of a library that are on the host."""
    name = soname.partition(".so.")[0]
    return tuple(sorted({path.name for directory in DIRECTORIES
                         for path in Path(directory).glob(f"{name}.so.*")}))


def plugin_directory(eal: Path, unreadable: list[str]) -> Path | None:
    try:
        with Elf(eal) as elf:
            directory = elf.plugin_directory()
    except ElfError as e:
        unreadable.append(str(e))
        return None
    return Path(directory) if directory else None


def plugin_files(directory: Path) -> list[Path]:
    """Libraries in a directory of drivers, each once: most have links besides."""
    return sorted({Path(os.path.realpath(path)) for path in directory.glob("librte_*.so*")})


def drivers_in(directory: Path, unreadable: list[str]) -> Iterable[Driver]:
    for path in plugin_files(directory):
        try:
            with Elf(path) as elf:
                yield from elf.drivers()
        except ElfError as e:
            unreadable.append(str(e))
