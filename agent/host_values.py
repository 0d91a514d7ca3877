"""What is known of the host. Imports nothing of ours; all frozen."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_NET_ADMIN, CAP_NET_RAW = 0, 1, 2, 12, 13
CAP_IPC_LOCK, CAP_SYS_RAWIO = 14, 17
READ, WRITE, SEARCH = 4, 2, 1


@dataclass(frozen=True, slots=True)
class User:
    """Whom a process runs as, and what it may."""

    name: str
    uid: int
    groups: frozenset[int] = frozenset()        # its own among them
    capabilities: int = 0                       # effective, as the kernel's bits

    def may(self, capability: int) -> bool:
        return bool(self.capabilities >> capability & 1)


@dataclass(frozen=True, slots=True)
class FileFacts:
    """A file, or why it cannot be seen."""

    path: str
    error: int = 0                  # errno of stat()
    kind: str = ""                  # "directory", "socket", "device" or "file"
    mode: int = 0                   # 0..0o7777
    uid: int = 0
    gid: int = 0
    owner: str = ""                 # their names
    group: str = ""
    acl: bool = False               # more is said in an access control list, which is not read


@dataclass(frozen=True, slots=True)
class Pages:
    """Hugepages of one size on a NUMA node."""

    size: int                       # bytes of each
    total: int = 0
    free: int = 0                   # that nobody has reserved


@dataclass(frozen=True, slots=True)
class Node:
    """A NUMA node; on hosts without NUMA there is one, 0."""

    number: int
    cores: tuple[int, ...] = ()     # that are online
    memory_bytes: int = 0
    pages: tuple[Pages, ...] = ()   # sizes ascending


@dataclass(frozen=True, slots=True)
class Cpus:
    """Sets of cores, ascending."""

    present: tuple[int, ...] = ()
    online: tuple[int, ...] = ()
    isolated: tuple[int, ...] = ()
    nohz_full: tuple[int, ...] = ()
    rcu_nocbs: tuple[int, ...] = ()
    siblings: Mapping[int, tuple[int, ...]] = field(default_factory=dict)   # threads of one core
    governors: Mapping[int, str] = field(default_factory=dict)      # where the kernel has any


@dataclass(frozen=True, slots=True)
class PciDevice:
    """A PCI device that a port names, if it is there."""

    address: str
    there: bool = False
    ids: tuple[int, int, int, int] = (0, 0, 0, 0)   # vendor, device, subsystem's vendor, its device
    driver: str = ""                # of the kernel, bound to it
    iommu_group: str = ""


@dataclass(frozen=True, slots=True)
class Kernel:
    """The kernel and its modules."""

    release: str = ""
    loaded: frozenset[str] = frozenset()        # modules, built-in ones among them, with '_'
    loadable: frozenset[str] | None = None      # that are on disk; None: that is not known
    iommu_groups: int = 0


@dataclass(frozen=True, slots=True)
class HostFacts:
    """The machine."""

    nodes: tuple[Node, ...] = ()
    cpus: Cpus = Cpus()
    kernel: Kernel = Kernel()

    @property
    def numa_cores(self) -> dict[int, tuple[int, ...]]:
        return {node.number: node.cores for node in self.nodes if node.cores}


@dataclass(frozen=True, slots=True)
class Process:
    """A process that matters here."""

    pid: int
    words: tuple[str, ...] = ()         # of its command line; empty: it may not be read
    user: User | None = None
    descriptors: int | None = None      # most that it may have open; None: not known
    locked_bytes: int | None = None     # most of its memory that it may lock; -1: any
    cores: tuple[int, ...] = ()         # that it runs on
    cpuset: tuple[int, ...] = ()        # that its threads may choose from; empty: not known

    def has(self, word: str) -> bool:
        return word in self.words


@dataclass(frozen=True, slots=True)
class Daemon:
    """A daemon of Open vSwitch's kind, by its files in the run directory."""

    name: str
    pid: int
    control: str                    # path of the socket; empty: it is somewhere else
    process: Process | None = None      # None: it is gone
    version: str | None = None          # first line of what it answers
    silence: str = ""                   # why it does not answer


@dataclass(frozen=True, slots=True)
class Program:
    """An installed program that tells its version."""

    name: str
    version: tuple[int, ...] = ()       # empty: what it says is not understood
    problem: str = ""


def version_text(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
