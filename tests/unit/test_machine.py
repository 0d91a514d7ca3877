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


def test_nodes_keep_their_numbers_are_ordered_by_them_and_those_without_cores_left_out(
        monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    online = machine.parse_cpu_list(Path("/sys/devices/system/cpu/online").read_text())
    never = 10_000
    for name, cpus in (("node10", f"{online[0]}"), ("node2", f"{online[-1]},{never}"),
                       ("node0", ""), ("node1", f"{never}")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cpulist").write_text(f"{cpus}\n")
    monkeypatch.setattr(machine, "NODES", tmp_path)
    assert machine.numa_cores() == {2: (online[-1],), 10: (online[0],)}
    assert list(machine.numa_cores()) == [2, 10]


def test_host_without_numa_is_one_node(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(machine, "NODES", tmp_path)
    online = machine.parse_cpu_list(Path("/sys/devices/system/cpu/online").read_text())
    assert machine.numa_cores() == {0: online}


def test_every_online_core_of_this_host_is_on_one_node() -> None:
    online = machine.parse_cpu_list(Path("/sys/devices/system/cpu/online").read_text())
    assert sorted(c for cores in machine.numa_cores().values() for c in cores) == list(online)


def test_free_hugepages_of_all_sizes_less_the_reserved_ones(
        monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for kib, free, reserved in ((2048, 10, 4), (1048576, 2, 0), (64, 1, 3)):
        pool = tmp_path / f"hugepages-{kib}kB"
        pool.mkdir()
        (pool / "nr_hugepages").write_text("16\n")
        (pool / "free_hugepages").write_text(f"{free}\n")
        (pool / "resv_hugepages").write_text(f"{reserved}\n")
    monkeypatch.setattr(machine, "HUGEPAGES", tmp_path)
    (tmp_path / "hugepages-16kB").mkdir()
    for name in ("nr_hugepages", "free_hugepages", "resv_hugepages"):
        (tmp_path / "hugepages-16kB" / name).write_text("0\n")
    assert machine.hugepages() == [(64, 16, 0), (2048, 16, 6), (1048576, 16, 2)]
    assert machine.free_hugepage_bytes() == 6 * (2 << 20) + 2 * (1 << 30)


def test_lowest_allowed_cpu_is_one_of_the_host() -> None:
    everywhere = {c for cores in machine.numa_cores().values() for c in cores}
    assert machine.lowest_allowed_cpu() in everywhere


# --- DPDK's buses ---------------------------------------------------------------------------------

def loaded(monkeypatch: pytest.MonkeyPatch, directory: Path, *libraries: str) -> None:
    """This process has these libraries in memory."""
    maps = directory / "maps"
    maps.write_text("".join(f"7f4001c00000-7f4001e00000 r-xp 0001 fe:00 12  {directory}/{name}\n"
                            for name in ("libc.so.6", *libraries)))
    monkeypatch.setattr(machine, "MAPS", maps)


def test_buses_are_those_that_dpdk_of_this_version_has_as_plugins(
        monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    old = ("bus_pci.so.23.0", "bus_pci.so", "bus_vmbus.so", "bus_cdx.a", "net_bus_x.so")
    for version, names in (("23.0", old), ("25.0", ("bus_uacce.so",))):
        plugins = tmp_path / "dpdk" / f"pmds-{version}"
        plugins.mkdir(parents=True)
        for name in names:
            (plugins / f"librte_{name}").touch()
    loaded(monkeypatch, tmp_path, "librte_eal.so.23.0")
    assert machine.dpdk_buses() == ("pci", "vmbus")
    loaded(monkeypatch, tmp_path, "librte_eal.so.25.0")
    assert machine.dpdk_buses() == ("uacce",)


@pytest.mark.parametrize("libraries", [(), ("librte_eal.so.23.0",), ("librte_eal.a",)])
def test_program_without_dpdk_or_dpdk_without_plugins_has_no_buses(
        monkeypatch: pytest.MonkeyPatch, tmp_path: Path, libraries: tuple[str, ...]) -> None:
    loaded(monkeypatch, tmp_path, *libraries)
    assert machine.dpdk_buses() == ()


def test_buses_of_this_process() -> None:
    assert set(machine.dpdk_buses()) <= {"auxiliary", "cdx", "dpaa", "fslmc", "ifpga", "pci",
                                         "platform", "uacce", "vdev", "vmbus"}
