"""Reads what doctor has to know of the host: nothing is changed, and nothing of it needs root."""
from __future__ import annotations

import errno
import grp
import os
import pwd
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from agent.host_values import (
    Cpus,
    FileFacts,
    HostFacts,
    Kernel,
    Node,
    Pages,
    PciDevice,
)
from agent.machine import HUGEPAGES, NODES, numa_cores, parse_cpu_list

CPU = Path("/sys/devices/system/cpu")
PCI = Path("/sys/bus/pci/devices")
MEMORY = re.compile(r"MemTotal:\s*(\d+) kB")
ACL = "system.posix_acl_access"


def gather() -> HostFacts:
    return HostFacts(tuple(nodes()), cpus(), kernel())


def text(path: Path, otherwise: str = "") -> str:
    """Of a file of /proc or /sys, which there may not be."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return otherwise


def number(path: Path, base: int = 10) -> int:
    """0 where there is none."""
    try:
        return int(text(path), base)
    except ValueError:
        return 0


# --- memory and processors ------------------------------------------------------------------------

def nodes() -> Iterator[Node]:
    for node, cores in numa_cores().items():
        directory = NODES / f"node{node}"
        pools = directory / "hugepages"
        there = directory.is_dir()
        memory = MEMORY.search(text(directory / "meminfo" if there else Path("/proc/meminfo")))
        yield Node(node, cores, int(memory[1]) << 10 if memory else 0,
                   tuple(pages(pools if pools.is_dir() else HUGEPAGES)))


def pages(pools: Path) -> Iterator[Pages]:
    """Hugepages of each size; what is reserved is known of the whole host only."""
    sizes = {int(path.name.removeprefix("hugepages-").removesuffix("kB")) << 10: path
             for path in pools.glob("hugepages-*kB")}
    for size, path in sorted(sizes.items()):
        reserved = number(path / "resv_hugepages")
        yield Pages(size, number(path / "nr_hugepages"),
                    max(0, number(path / "free_hugepages") - reserved))


def cores(path: Path) -> tuple[int, ...]:
    """A list of the kernel's; some say '(null)' for none."""
    with suppress(ValueError):
        return parse_cpu_list(text(path))
    return ()


def cpus() -> Cpus:
    online = cores(CPU / "online")
    words = dict(word.partition("=")[::2] for word in text(Path("/proc/cmdline")).split())
    governors = {core: governor for core in online
                 if (governor := text(CPU / f"cpu{core}/cpufreq/scaling_governor"))}
    nocbs: tuple[int, ...] = ()
    with suppress(ValueError):
        nocbs = parse_cpu_list(words.get("rcu_nocbs", ""))
    return Cpus(cores(CPU / "present"), online, cores(CPU / "isolated"), cores(CPU / "nohz_full"),
                nocbs, {core: cores(CPU / f"cpu{core}/topology/thread_siblings_list")
                        for core in online}, governors)


# --- the kernel and its devices -------------------------------------------------------------------

def kernel() -> Kernel:
    release = os.uname().release
    directory = Path("/lib/modules", release)
    loaded = {path.name for path in Path("/sys/module").glob("*")}
    loaded |= {module_name(line) for line in text(directory / "modules.builtin").splitlines()}
    on_disk = text(directory / "modules.dep")
    return Kernel(release, frozenset(loaded),
                  frozenset(module_name(line.partition(":")[0]) for line in on_disk.splitlines())
                  if on_disk else None,
                  sum(1 for _ in Path("/sys/kernel/iommu_groups").glob("*")))


def module_name(path: str) -> str:
    """'vfio_pci' of 'kernel/drivers/vfio/pci/vfio-pci.ko.xz'."""
    return path.rpartition("/")[2].partition(".ko")[0].replace("-", "_")


def pci_device(address: str) -> PciDevice:
    """The device at a full address, as 0000:06:00.0."""
    directory = PCI / address
    if not directory.is_dir():
        return PciDevice(address)
    vendor, device, of_vendor, of_device = (
        number(directory / name, 16)
        for name in ("vendor", "device", "subsystem_vendor", "subsystem_device"))
    return PciDevice(address, True, (vendor, device, of_vendor, of_device),
                     link(directory / "driver"), link(directory / "iommu_group"))


def link(path: Path) -> str:
    """Name of what a link leads to; empty where there is none."""
    try:
        return path.readlink().name
    except OSError:
        return ""


# --- files ----------------------------------------------------------------------------------------

def way_to(path: str) -> list[str]:
    """'/', and every directory on the way to a path, and itself."""
    whole = Path(os.path.abspath(path))
    return [str(p) for p in reversed([whole, *whole.parents])]


def files(paths: Iterable[str]) -> dict[str, FileFacts]:
    """Paths with all that leads to them."""
    return {step: file(step) for path in paths for step in way_to(path)}


def file(path: str) -> FileFacts:
    try:
        found = os.stat(path)
    except OSError as e:
        return FileFacts(path, e.errno or errno.EIO)
    except ValueError:                  # no file can have such a name
        return FileFacts(path, errno.EINVAL)
    mode = found.st_mode
    kind = ("directory" if stat.S_ISDIR(mode) else "socket" if stat.S_ISSOCK(mode)
            else "device" if stat.S_ISCHR(mode) else "file")
    acl = False
    with suppress(OSError):
        acl = ACL in os.listxattr(path)
    return FileFacts(path, 0, kind, stat.S_IMODE(mode), found.st_uid, found.st_gid,
                     user_name(found.st_uid), group_name(found.st_gid), acl)


def user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
