"""What doctor says of facts about DPDK, memory and cores."""
from __future__ import annotations

from dataclasses import replace

import pytest

from agent import check_cpus, check_dpdk, check_memory
from agent.dpdk_values import DpdkFacts, Loaded
from agent.eth_values import EthDevice
from agent.finding import Finding
from agent.host_values import Cpus, Node, Pages, Process
from agent.model import Memory, PmdSpec, PortSpec, Registration
from tests.unit.doctor_values import DPDK, EAL, STANDARD, client, ids, port

MIB = 1 << 20
PAGE = 2 * MIB


# --- DPDK -----------------------------------------------------------------------------------------

def test_whole_dpdk() -> None:
    found = check_dpdk.check(DPDK)
    assert ids(found) == [("ok", "dpdk-libraries"), ("ok", "vhost-library"), ("ok", "dpdk-drivers")]
    assert found[0].title.startswith("DPDK 22.11: all 2 of its libraries")
    assert "no VDUSE" in found[1].title
    assert "a look at a ring without a call: rte_vhost_get_monitor_addr, experimental" in (
        found[1].details)
    assert any(line.startswith("no interrupts of guests by another thread")
               for line in found[1].details)


def test_missing_library_is_named_with_its_package_and_what_is_there_instead() -> None:
    facts = replace(DPDK, loaded=Loaded({**DPDK.loaded.found, "librte_vhost.so.23": None}),
                    libraries={EAL.soname: EAL},
                    lookalikes={"librte_vhost.so.23": ("librte_vhost.so.25",)})
    (finding, drivers) = check_dpdk.check(facts)
    assert (finding.id, finding.severity) == ("dpdk-library-missing", "error")
    assert finding.title == "the library librte_vhost.so.23 is not found"
    assert "DPDK 22.11 is what the extension was built against" in finding.why
    assert finding.fix == "apt-get install librte-vhost23"
    assert "librte_vhost.so.25" in finding.details[0]
    assert drivers.id == "dpdk-drivers"


def test_library_without_a_function_that_is_used() -> None:
    facts = replace(DPDK, wants=DPDK.wants | {"rte_vhost_new"})
    finding = check_dpdk.check(facts)[0]
    assert (finding.id, finding.severity) == ("dpdk-symbols-missing", "error")
    assert "rte_vhost_new" in finding.title


@pytest.mark.parametrize(("prefix", "expected"), [
    ("", "make clean setup"), ("/usr/local", "make clean install"),
    ("/usr", "make clean deb && apt-get install --reinstall ./build/ovs-vhost-agent_*.deb")])
def test_extension_is_made_anew_as_it_was_installed(prefix: str, expected: str) -> None:
    facts = replace(DPDK, wants=DPDK.wants | {"rte_vhost_new"})
    assert check_dpdk.check(facts, prefix)[0].fix == expected
    assert check_dpdk.check(DpdkFacts(), prefix)[0].fix == expected.replace("clean setup", "setup")


@pytest.mark.parametrize(("facts", "expected"), [
    (DpdkFacts(), [("error", "extension-missing")]),
    (DpdkFacts("/x", 0, ("pmd.cpython-310.so",)), [("error", "extension-missing")]),
    (replace(DPDK, loaded=replace(DPDK.loaded, complaints=("invalid ELF header",))),
     [("error", "dpdk-not-loadable"), ("ok", "vhost-library"), ("ok", "dpdk-drivers")]),
    (replace(DPDK, loaded=replace(DPDK.loaded, silence="why")), [("info", "not-seen")]),
    (replace(DPDK, plugin_files=0),
     [("ok", "dpdk-libraries"), ("ok", "vhost-library"), ("error", "dpdk-drivers-missing")]),
    (replace(DPDK, plugins=None),
     [("ok", "dpdk-libraries"), ("ok", "vhost-library"), ("info", "dpdk-drivers")])])
def test_broken_dpdk(facts: DpdkFacts, expected: list[tuple[str, str]]) -> None:
    assert ids(check_dpdk.check(facts)) == expected


@pytest.mark.parametrize(("kmod", "expected"), [
    ("", ()),
    ("vfio-pci", (("vfio-pci",),)),
    ("* igb_uio | uio_pci_generic | vfio-pci", (("igb_uio",), ("uio_pci_generic",), ("vfio-pci",))),
    ("* ib_uverbs & mlx5_core & mlx5_ib", (("ib_uverbs", "mlx5_core", "mlx5_ib"),))])
def test_modules_that_drivers_ask_for(kmod: str, expected: tuple[tuple[str, ...], ...]) -> None:
    assert check_dpdk.modules_asked(kmod) == expected


# --- memory ---------------------------------------------------------------------------------------

def node(number: int = 0, free: int = 1000, total: int = 1000, memory: int = 1 << 34,
         cores: tuple[int, ...] = (0, 1)) -> Node:
    return Node(number, cores, memory, (Pages(PAGE, total, free),))


def memory(ports: list[PortSpec], nodes: list[Node], agent: Process | None = None,
           **other_config: str) -> list[Finding]:
    settings = {key.replace("_", "-"): text for key, text in other_config.items()}
    return check_memory.check(ports, settings, nodes, 2, 0, agent)


def test_packet_buffers_are_those_that_the_data_plane_makes() -> None:
    usual = check_memory.packet_bytes([], 2)
    assert 37 * MIB < usual < 41 * MIB
    assert check_memory.packet_bytes([client(f"c{i}") for i in range(1000)], 2) == usual
    jumbo = Memory(9000, 10240)
    assert 37 * MIB < check_memory.packet_bytes([port("j", Registration("/j", True), jumbo)],
                                                2) - usual < 45 * MIB
    own = [port(f"o{i}", Registration(f"/{i}", True), replace(STANDARD, own=True))
           for i in range(3)]
    assert check_memory.packet_bytes(own, 2) == 4 * usual
    eth = port("e0", EthDevice("0000:01:00.0", n_rxq=4))
    assert check_memory.packet_bytes([eth], 2) - usual > 4 * 2048 * 2048


@pytest.mark.parametrize(("free", "severity"), [(0, "error"), (30, "error"), (31, "ok")])
def test_hugepages_against_the_need(free: int, severity: str) -> None:
    (finding,) = memory([], [node(free=free, total=500)])
    assert finding.severity == severity
    if severity == "error":
        lacking = 31 - free
        assert finding.fix == f"sysctl vm.nr_hugepages={500 + lacking}"


def test_running_agent_has_its_memory() -> None:
    assert ids(memory([client()], [node(free=0)], Process(1))) == [("ok", "hugepages")]


def test_each_numa_node_needs_what_dpdk_socket_mem_says() -> None:
    nodes = [node(), node(1, free=100, cores=(2, 3))]
    assert ids(memory([], nodes, dpdk_socket_mem="100,100")) == [("ok", "hugepages")]
    (finding,) = memory([], nodes, dpdk_socket_mem="100,1024")
    assert "200 MiB of hugepages are free on NUMA node 1, about 1024 MiB" in finding.title
    assert finding.fix == ("echo 1412 >/sys/devices/system/node/node1/hugepages/hugepages-2048kB/"
                           "nr_hugepages")


def test_ordinary_memory() -> None:
    assert ids(memory([], [node(free=0)], dpdk_extra="--no-huge -m 256")) == [("info", "hugepages")]
    assert ids(memory([], [node()], dpdk_extra="--no-huge -m 32")) == [("error", "memory-short")]
    assert ids(memory([], [node()], dpdk_extra="--no-huge -m")) == [("info", "hugepages")]
    assert ids(memory([], [node()], dpdk_extra="'")) == [("ok", "hugepages")]


@pytest.mark.parametrize(("words", "shared"), [
    ("-object memory-backend-file,id=m,size=1G,mem-path=/dev/hugepages,share=on", True),
    ("-object memory-backend-memfd,id=m,size=1G", True),
    ('-object {"qom-type":"memory-backend-file","share":true}', True),
    ("-object memory-backend-file,id=m,size=1G,mem-path=/dev/hugepages", False),
    ("-object memory-backend-memfd,id=m,size=1G,share=off", False),
    ("-object memory-backend-ram,id=m,size=1G", False),
    ('-object {"qom-type":"memory-backend-memfd","share":false}', False),
    ("-m 1G", False)])
def test_memory_of_guests(words: str, shared: bool) -> None:
    qemu = Process(7, ("qemu-system-x86_64", "-name", "guest=web,debug-threads=on",
                       "-chardev", "socket,id=c,path=/run/vm/c0,server=on", *words.split()))
    found = list(check_memory.guests([qemu], ["/run/vm/c0"]))
    assert ids(found) == ([] if shared else [("error", "guest-memory-private")])
    assert shared or "guest web (process 7)" in found[0].title
    assert list(check_memory.guests([qemu], ["/run/vm/other"])) == []


# --- cores ----------------------------------------------------------------------------------------

FOUR = Cpus((0, 1, 2, 3), (0, 1, 2, 3), siblings={0: (0, 2), 1: (1, 3), 2: (0, 2), 3: (1, 3)})
NODE = Node(0, (0, 1, 2, 3), 1 << 34)


def cores(*numbers: int, cpus: Cpus = FOUR, allowed: tuple[int, ...] = (0, 1, 2, 3),
          mask: bool = True) -> list[Finding]:
    return check_cpus.check([PmdSpec(core) for core in numbers], cpus, [NODE], allowed, mask)


def test_no_pmd_threads_are_nobodys_concern() -> None:
    assert cores() == []


def test_host_without_isolated_cores_has_a_remark() -> None:
    found = cores(0)
    assert ids(found) == [("ok", "pmd-cores"), ("info", "no-isolated-cores")]
    assert "isolcpus=3 " in str(found[1].fix)       # never core 0
    assert "pmd-cpu-mask=0x8" in str(found[1].fix)
    assert "isolcpus=1 " in str(cores(1)[1].fix)


def test_isolated_cores_that_pmd_threads_are_not_on() -> None:
    isolated = replace(FOUR, isolated=(2, 3))
    assert ids(cores(2, cpus=isolated)) == [("ok", "pmd-cores")]
    (finding,) = cores(1, cpus=isolated)
    assert (finding.id, finding.severity) == ("pmd-core-not-isolated", "warning")
    assert str(finding.fix).endswith("pmd-cpu-mask=0xc")
    (finding,) = cores(1, cpus=isolated, allowed=(0, 1, 2))
    assert str(finding.fix).endswith("pmd-cpu-mask=0x4")
    assert "is not set" in cores(0, cpus=isolated, mask=False)[0].title


def test_core_that_the_agent_may_not_use() -> None:
    found = cores(1, 2, allowed=(0, 1), cpus=replace(FOUR, isolated=(1, 2)))
    assert ids(found) == [("error", "pmd-core-forbidden")]
    assert str(found[0].fix).endswith("pmd-cpu-mask=0x2")


def test_hyperthreads_of_one_core() -> None:
    found = cores(1, 3, cpus=replace(FOUR, isolated=(1, 3)))
    assert ids(found) == [("warning", "pmd-cores-siblings")]
    assert str(found[0].fix).endswith("pmd-cpu-mask=0x2")


def test_node_without_memory_and_a_clock_that_follows_the_load() -> None:
    cpus = replace(FOUR, isolated=(3,), governors={3: "powersave"})
    assert ids(cores(3, cpus=cpus)) == [("ok", "pmd-cores"), ("info", "cpu-governor")]
    nodes = [Node(0, (0, 1), 1 << 34), Node(1, (2, 3), 0)]
    (finding,) = check_cpus.check([PmdSpec(3, 1)], replace(FOUR, isolated=(3,)), nodes, (1, 3),
                                  True)
    assert ids([finding]) == [("warning", "pmd-core-without-memory")]
    assert str(finding.fix).endswith("0x2")
