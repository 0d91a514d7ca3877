"""Facts about the host, read from /proc and /sys."""
from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

NODES = Path("/sys/devices/system/node")
HUGEPAGES = Path("/sys/kernel/mm/hugepages")
MAPS = Path("/proc/self/maps")
EAL_LIBRARY = re.compile(r"(/.*)/librte_eal\.so\.([0-9.]+)$")


def parse_cpu_list(text: str) -> tuple[int, ...]:
    """The kernel's list format: '0-3,8' is (0, 1, 2, 3, 8)."""
    cpus: list[int] = []
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        cpus += range(int(first), int(last or first) + 1)
    return tuple(cpus)


def numa_cores() -> dict[int, tuple[int, ...]]:
    """{NUMA node: its online cores}, nodes ascending, those without any left out; on hosts without
    NUMA all are on node 0."""
    online = set(parse_cpu_list(Path("/sys/devices/system/cpu/online").read_text()))
    nodes = sorted(int(path.name.removeprefix("node")) for path in NODES.glob("node[0-9]*"))
    cores = {node: tuple(c for c in parse_cpu_list((NODES / f"node{node}/cpulist").read_text())
                         if c in online)
             for node in nodes}
    return {node: c for node, c in cores.items() if c} or {0: tuple(sorted(online))}


def dpdk_buses() -> tuple[str, ...]:
    """Names of the DPDK buses that the EAL loads as plugins into this process; empty where DPDK is
    part of the program."""
    for line in MAPS.read_text().splitlines():
        if match := EAL_LIBRARY.search(line):
            plugins = Path(match[1], "dpdk", f"pmds-{match[2]}")
            names = {path.name.partition(".")[0] for path in plugins.glob("librte_bus_*.so*")}
            return tuple(sorted(name.removeprefix("librte_bus_") for name in names))
    return ()


def hugepages() -> list[tuple[int, int, int]]:
    """(size in KiB, pages, those that nobody uses or has reserved) of each size that there are
    pages of, small ones first."""
    pools = []
    for pool in HUGEPAGES.glob("hugepages-*kB"):
        total, free, reserved = (int((pool / name).read_text()) for name in (
            "nr_hugepages", "free_hugepages", "resv_hugepages"))
        if total:
            pools.append((int(pool.name.removeprefix("hugepages-").removesuffix("kB")), total,
                          max(0, free - reserved)))
    return sorted(pools)


def free_hugepage_bytes() -> int:
    """Bytes in hugepages of any size that nobody has reserved."""
    return sum(kib * 1024 * free for kib, _, free in hugepages())


def lowest_allowed_cpu() -> int:
    return min(os.sched_getaffinity(0))


def main_node(numa_cores: Mapping[int, Sequence[int]]) -> int:
    """NUMA node of the core that DPDK's main thread gets; 0 when it is on none."""
    cpu = lowest_allowed_cpu()
    return next((node for node, cores in numa_cores.items() if cpu in cores), 0)
