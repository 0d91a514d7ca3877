"""What is known of DPDK's files on this host. Imports nothing of ours; all frozen."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

EXPERIMENTAL = "EXPERIMENTAL"       # version of a symbol that may change or go


@dataclass(frozen=True, slots=True)
class Library:
    """A shared object's own words about itself."""

    path: str
    soname: str = ""
    needed: tuple[str, ...] = ()                            # sonames
    exports: Mapping[str, str] = field(default_factory=dict)     # symbol: its version, or ""
    wants: frozenset[str] = frozenset()                     # symbols that others have to have
    serves_vduse: bool = False                              # it knows paths below /dev/vduse


@dataclass(frozen=True, slots=True)
class Driver:
    """A driver of DPDK's (PMD), by the PMD_INFO_STRING in its file."""

    name: str
    file: str                       # of the library that it is in
    params: str = ""                # arguments that it takes (devargs)
    kmod: str = ""                  # kernel modules that it needs, as DPDK writes them
    # (vendor, device, subsystem's vendor, its device); 65535 is any
    pci_ids: tuple[tuple[int, int, int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the dynamic loader finds for shared objects."""

    found: Mapping[str, str | None] = field(default_factory=dict)    # soname: path; None: nowhere
    complaints: tuple[str, ...] = ()
    silence: str = ""               # why it could not be asked


@dataclass(frozen=True, slots=True)
class DpdkFacts:
    """The extension as it was built, and the DPDK that it meets here."""

    directory: str = ""                     # of the extension
    modules: int = 0                        # that this Python can import
    others: tuple[str, ...] = ()            # files of modules for another Python
    needed: tuple[str, ...] = ()            # sonames of DPDK's libraries it was built against
    wants: frozenset[str] = frozenset()     # DPDK's symbols that it uses
    loaded: Loaded = Loaded()
    libraries: Mapping[str, Library] = field(default_factory=dict)  # DPDK's that were found
    lookalikes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)     # of missing ones
    plugins: str | None = None              # directory of the drivers, as librte_eal has it
    plugin_files: int = 0                   # drivers' libraries there
    drivers: tuple[Driver, ...] = ()
    unreadable: tuple[str, ...] = ()        # files, and why
