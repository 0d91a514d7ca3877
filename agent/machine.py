"""Facts about the host, read from /proc and /sys."""
from __future__ import annotations

import os
from pathlib import Path

NODES = Path("/sys/devices/system/node")
HUGEPAGES = Path("/sys/kernel/mm/hugepages")


def parse_cpu_list(text: str) -> tuple[int, ...]:
    """The kernel's list format: '0-3,8' is (0, 1, 2, 3, 8)."""
    cpus: list[int] = []
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        cpus += range(int(first), int(last or first) + 1)
    return tuple(cpus)


def numa_cores() -> tuple[tuple[int, ...], ...]:
    """Online cores of each NUMA node; one node on hosts without NUMA."""
    online = set(parse_cpu_list(Path("/sys/devices/system/cpu/online").read_text()))
    nodes = sorted(NODES.glob("node[0-9]*"), key=lambda p: int(p.name.removeprefix("node")))
    cores = [tuple(c for c in parse_cpu_list((node / "cpulist").read_text()) if c in online)
             for node in nodes]
    return tuple(c for c in cores if c) or (tuple(sorted(online)),)


def free_hugepage_bytes() -> int:
    """Bytes in hugepages of any size that nobody has reserved."""
    total = 0
    for pool in HUGEPAGES.glob("hugepages-*kB"):
        size = int(pool.name.removeprefix("hugepages-").removesuffix("kB")) * 1024
        free = int((pool / "free_hugepages").read_text())
        reserved = int((pool / "resv_hugepages").read_text())
        total += size * max(0, free - reserved)
    return total


def lowest_allowed_cpu() -> int:
    return min(os.sched_getaffinity(0))
