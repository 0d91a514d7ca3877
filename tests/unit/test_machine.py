"""Facts about the host, as the kernel's files put them."""
from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import machine


@pytest.mark.parametrize(("text", "cpus"), [
    ("", ()), ("\n", ()), ("0", (0,)), ("0\n", (0,)), ("0-3,8", (0, 1, 2, 3, 8)),
    ("2-2", (2,)), ("1,3,5\n", (1, 3, 5)), ("0-1,64-65", (0, 1, 64, 65)),
])
def test_cpu_list(text: str, cpus: tuple[int, ...]) -> None:
    assert machine.parse_cpu_list(text) == cpus


def kernel_list(cpus: list[int]) -> str:
    """The list as the kernel prints it: runs of consecutive numbers as ranges."""
    if not cpus:
        return "\n"
    starts = [cpus[0]] + [b for a, b in pairwise(cpus) if b != a + 1]
    ends = [a for a, b in pairwise(cpus) if b != a + 1] + [cpus[-1]]
    return ",".join(str(a) if a == b else f"{a}-{b}"
                    for a, b in zip(starts, ends, strict=True)) + "\n"


@given(st.sets(st.integers(0, 300)).map(sorted))
def test_cpu_list_reads_what_the_kernel_writes(cpus: list[int]) -> None:
    assert machine.parse_cpu_list(kernel_list(cpus)) == tuple(cpus)


def test_nodes_are_ordered_by_number_and_those_without_cores_left_out(
        monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    online = machine.parse_cpu_list(Path("/sys/devices/system/cpu/online").read_text())
    never = 10_000
    for name, cpus in (("node10", f"{online[0]}"), ("node2", f"{online[-1]},{never}"),
                       ("node0", ""), ("node1", f"{never}")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cpulist").write_text(f"{cpus}\n")
    monkeypatch.setattr(machine, "NODES", tmp_path)
    assert machine.numa_cores() == ((online[-1],), (online[0],))


def test_host_without_numa_is_one_node(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(machine, "NODES", tmp_path)
    online = machine.parse_cpu_list(Path("/sys/devices/system/cpu/online").read_text())
    assert machine.numa_cores() == (online,)


def test_free_hugepages_of_all_sizes_less_the_reserved_ones(
        monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for kib, free, reserved in ((2048, 10, 4), (1048576, 2, 0), (64, 1, 3)):
        pool = tmp_path / f"hugepages-{kib}kB"
        pool.mkdir()
        (pool / "free_hugepages").write_text(f"{free}\n")
        (pool / "resv_hugepages").write_text(f"{reserved}\n")
    monkeypatch.setattr(machine, "HUGEPAGES", tmp_path)
    assert machine.free_hugepage_bytes() == 6 * (2 << 20) + 2 * (1 << 30)


def test_lowest_allowed_cpu_is_one_of_the_host() -> None:
    assert machine.lowest_allowed_cpu() in {c for cores in machine.numa_cores() for c in cores}
