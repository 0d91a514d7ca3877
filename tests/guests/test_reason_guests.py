"""Why a port is down, as real QEMUs make it so: what the agent says in status:reason."""
from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from tests.guests.lab import Lab, new_lab, says
from tests.guests.test_vduse import BUILD, SLOW_S, Inside
from tools.debian13 import made_root, source_copy
from tools.guest_image import ONE_PROCESSOR
from tools.host import wait_until
from tools.qemu import Machine

SECTION = "status:reason"
NOT_SHARED = "the guest's memory is not shared: its driver has started, and "
NONE_GIVEN = NOT_SHARED + "QEMU had no memory to give to the switch (QEMU: -object memory-backend-"
ONLY_ZEROS = NOT_SHARED + "the switch sees only zeros in it (QEMU: -object memory-backend-memfd"
WAITS = "the guest is connected, and waits for its driver"
LONG_S = 60.0                   # until a guest has booted


@pytest.fixture
def lab() -> Iterator[Lab]:
    with new_lab(other_config=("stats-update-interval=1000",)) as lab:
        lab.add_port("a")
        yield lab


def reason(lab: Lab) -> str:
    return str(lab.host.interface("a", "status").get("reason", ""))


def wait_reason(lab: Lab, words: str) -> None:
    wait_until(lambda: (words in reason(lab)) if words else not reason(lab),
               f"it says {words!r}", LONG_S)


def started(lab: Lab, arguments: list[str], *options: str, **settings: object) -> Machine:
    machine = lab.machine("a", arguments, **settings)
    machine.start(*options)
    return machine


def with_shared_memory(lab: Lab) -> None:
    """The same guest, started as it should be: nothing more to say."""
    lab.machines.pop("a").kill()
    lab.boot("a")
    wait_reason(lab, "")


def privately(words: list[str]) -> list[str]:
    return [word.replace("share=on", "share=off") for word in words]


def of_ram(words: list[str]) -> list[str]:
    return [re.sub("memory-backend-memfd(.*),share=on", r"memory-backend-ram\1", word)
            for word in words]


def plain(words: list[str]) -> list[str]:
    """-m alone."""
    return [word for word, before in zip(words, ["", *words], strict=False)
            if not {word, before} & {"-object", "-machine", "-numa"}]


@pytest.mark.parametrize(("how", "change", "words"), [
    ("memory-backend-memfd,share=off", privately, ONLY_ZEROS),
    ("memory-backend-ram", of_ram, NONE_GIVEN), ("-m alone", plain, NONE_GIVEN)])
@says(SECTION, "guest memory not shared: {how}")
def test_memory_that_is_not_shared(lab: Lab, how: str, words: str,
                                   change: Callable[[list[str]], list[str]]) -> None:
    """Until the driver starts, the port waits for it; then it is said that the memory is not
    shared, and what mends it. Started again with share=on the guest is up, and no more is said."""
    arguments = change(lab.qemu_args("a"))
    assert arguments != lab.qemu_args("a")
    machine = started(lab, arguments, "-S")     # it boots once that was said
    wait_reason(lab, WAITS)
    machine.qmp("cont")
    machine.wait_ready()
    machine.run("ip link set eth0 up")
    wait_reason(lab, words)
    assert lab.host.connected("a") == (words == ONLY_ZEROS)
    with_shared_memory(lab)


@says(SECTION, "feature refused: iommu_platform=on without vhost-iommu-support")
def test_iommu_that_the_port_does_not_offer(lab: Lab) -> None:
    """QEMU ends at once. It is said that it gave up, that ACCESS_PLATFORM is not offered, and what
    offers it; nobody listens on its socket. With a device without it the guest is up."""
    started(lab, [word.replace("virtio-net-pci,", "virtio-net-pci,iommu_platform=on,")
                  for word in lab.qemu_args("a")])
    wait_reason(lab, "the guest's QEMU ended the connection before a driver ran; its last request "
                "was SET_VRING_ERR. Not offered are HOST_TSO4, HOST_TSO6, ACCESS_PLATFORM (see "
                "what QEMU said as it ended; for iommu_platform=on: ovs-vsctl set Interface a "
                "options:vhost-iommu-support=true; ")
    wait_reason(lab, f"nobody listens on the socket {lab.host.directory}/a")
    with_shared_memory(lab)


@says(SECTION, "1 of 4 queues enabled; the guest's interface is down; waiting for the driver")
def test_one_of_four_queues(lab: Lab) -> None:
    """A guest with 4 queue pairs, 4 CPUs of which one is on: before its interface is up that is
    said, then that 1 of 4 pairs is enabled; after ethtool -L combined 4, nothing; with the driver
    taken out, that it has stopped."""
    machine = started(lab, lab.qemu_args("--queues", "4", "a"), cpus=4,
                      kernel_words=ONE_PROCESSOR)
    machine.wait_ready()
    one = ("1 of 4 queue pairs of the guest is enabled (in the guest: ethtool -L DEVICE combined "
           "4)")
    wait_reason(lab, "the guest's driver has not put a buffer into a ring yet: its interface is "
                f"down (in the guest: ip link set DEVICE up); {one}")
    machine.run("ip link set eth0 up")
    wait_until(lambda: reason(lab) == one, "one of four queues, and nothing else", LONG_S)
    machine.run("for cpu in 1 2 3; do echo 1 >/sys/devices/system/cpu/cpu$cpu/online; done; "
                "ethtool -L eth0 combined 4")
    wait_reason(lab, "")
    machine.run("rmmod virtio_net")
    wait_reason(lab, "the guest's driver has stopped its queues: it starts again, or was taken out")


# --- a machine with two NUMA nodes ----------------------------------------------------------------

NODES = [word for node in (0, 1) for word in (
    "-object", f"memory-backend-ram,id=node{node},size=1024M",
    "-numa", f"node,nodeid={node},cpus={node},memdev=node{node}")]


@pytest.fixture(scope="module")
def two_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inside]:
    """An agent with a PMD on core 0, and a guest in miniature whose memory is on node 1."""
    made = subprocess.run([sys.executable, "-m", "tools.debian13", "sh", "-c", BUILD],
                          capture_output=True, text=True)
    assert made.returncode == 0, made.stdout + made.stderr
    checkout = source_copy(made_root())
    with Machine("numa", tmp_path_factory.mktemp("numa"), ["-m", "2048M", *NODES], cpus=2,
                 kernel_words=ONE_PROCESSOR, debian=True) as machine:
        machine.wait_ready(SLOW_S)
        machine.run("echo 1 >/sys/devices/system/cpu/cpu1/online")
        inside = Inside(machine, checkout)
        inside.run("modprobe tun && echo 128 >/proc/sys/vm/nr_hugepages && mkdir -p /tmp/ovs")
        inside.begin("peer", "taskset -c 1 .venv/bin/python -m tests.guests.numa_peer /tmp/ovs/c0")
        inside.start_agent()
        inside.run("ovs-vsctl set Open_vSwitch . other_config:pmd-idle-mode=block "
                   "other_config:pmd-cpu-mask=1 other_config:stats-update-interval=1000 "
                   "-- add-br br0 -- set Bridge br0 datapath_type=netdev -- add-port br0 c0 "
                   "-- set Interface c0 type=dpdkvhostuserclient "
                   "options:vhost-server-path=/tmp/ovs/c0")
        yield inside


@says(SECTION, "no PMD on its NUMA node")
def test_no_pmd_on_the_node_of_the_guest(two_nodes: Inside) -> None:
    """In a machine with two NUMA nodes of a core each the agent has a PMD on core 0, and the
    memory of a guest is on node 1: it is said, with the mask that mends it. Typed, it does."""
    inside = two_nodes
    inside.run(f"ovs-vsctl --timeout={SLOW_S / 2:.0f} wait-until Interface c0 link_state=up")
    inside.until("ovs-vsctl get Interface c0 status:reason")
    said = inside.run("ovs-vsctl get Interface c0 status:reason").strip('"')
    assert said == (
        "rx queue 0 is polled from another NUMA node, by core 0, for the guest's memory is on "
        "node 1 (no PMD thread is on node 1, whose cores are 1: ovs-vsctl set Open_vSwitch . "
        "other_config:pmd-cpu-mask=0x3)")
    inside.run("ovs-vsctl set Open_vSwitch . other_config:pmd-cpu-mask=0x3")
    inside.until("! ovs-vsctl get Interface c0 status:reason")
