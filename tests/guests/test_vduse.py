"""VDUSE: the kernel of the agent's own machine is the guest. It has to be a kernel with VDUSE, so
that machine is a guest itself, with Debian 13, DPDK 24.11, and Linux 6.12."""
from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.guests.lab import Lab, says
from tools.debian13 import made_root, source_copy
from tools.frontend import FrontEnd
from tools.guest_image import ONE_PROCESSOR
from tools.host import wait_until
from tools.qemu import Machine

SECTION = "vhost-user-client max queue pairs config"
NAME = "vduse0"
PEER = "peer"                           # on a vhost-user port; its namespace's name, too
ADDRESSES = {NAME: "10.30.0.1", PEER: "10.30.0.2"}
TYPE = f"type=dpdkvhostuserclient options:vhost-server-path=/dev/vduse/{NAME}"
NETDEVS = f"/sys/devices/virtual/vduse/{NAME}/{NAME}/virtio*/net"
TRANSFER = "python3 -m tests.guests.transfer"
SLOW_S = 300.0                          # TCG on a busy machine
BYTES = 200_000
BUILD = "make setup && .venv/bin/python -m compileall -q agent pmd_ext schema tools tests/guests"


class Inside:
    """The machine: commands in it, and the device that it has now."""

    def __init__(self, machine: Machine, checkout: str) -> None:
        self.machine = machine
        self.checkout = checkout
        self.pairs = 0                  # of the device; 0: there is none
        self.lifted = False             # whether the kernel lets a device have a control queue

    def words(self, command: str) -> str:
        """For the guest's shell, whose own ip, ping and ethtool are not meant."""
        there = f"cd {self.checkout} && export OVS_RUNDIR=/tmp/ovs && {command}"
        return f"/bin/sh -ec {shlex.quote(there)}"

    def run(self, command: str) -> str:
        return self.machine.run(self.words(command), SLOW_S).strip()

    def attempt(self, command: str) -> tuple[int, str]:
        return self.machine.attempt(self.words(command), SLOW_S)

    def begin(self, name: str, command: str) -> None:
        self.machine.begin(name, self.words(command))

    def until(self, condition: str) -> None:
        loop = shlex.quote(f"until {condition}; do sleep .1; done")
        self.run(f"timeout {SLOW_S / 2:.0f} sh -c {loop}")

    def start_agent(self) -> None:
        self.run(".venv/bin/vhost-agent run --standalone /tmp/ovs --pidfile --detach "
                 ">>/tmp/agent 2>&1")

    def set_up(self) -> None:
        self.run("modprobe -a vduse virtio_vdpa tun veth && echo 128 >/proc/sys/vm/nr_hugepages "
                 "&& mkdir -p /tmp/ovs")
        self.begin(PEER, f".venv/bin/python -m tests.guests.vduse_peer {PEER} /tmp/ovs/{PEER} "
                         f"02:00:00:00:00:02 {ADDRESSES[PEER]}/24")
        self.start_agent()
        self.run("ovs-vsctl set Open_vSwitch . other_config:pmd-idle-mode=block "
                 "-- add-br br0 -- set Bridge br0 datapath_type=netdev "
                 f"-- add-port br0 {PEER} -- set Interface {PEER} type=dpdkvhostuserclient "
                 f"options:vhost-server-path=/tmp/ovs/{PEER}")
        self.until(f"grep -q ready /tmp/{PEER}")
        # It polls: with a quarter of a CPU it does not keep all others from theirs.
        self.run("mount -t cgroup2 cgroup2 /sys/fs/cgroup && cd /sys/fs/cgroup && "
                 f"echo +cpu >cgroup.subtree_control && mkdir {PEER} && "
                 f"echo 5000 20000 >{PEER}/cpu.max && "
                 f"pgrep dpdk-testpmd >{PEER}/cgroup.procs")

    # --- the device -------------------------------------------------------------------------------

    def add_port(self, pairs: int) -> str:
        """As the document has it, without the option for one pair; what Interface.error says."""
        option = f"options:vhost-max-queue-pairs={pairs}" if pairs > 1 else ""
        self.attempt(f"ovs-vsctl add-port br0 {NAME} -- set Interface {NAME} {TYPE} {option}")
        return self.run(f"ovs-vsctl get Interface {NAME} error")

    def use_kernel(self, *, lifted: bool) -> None:
        if lifted == self.lifted:
            return
        self.run("modprobe -r vduse && " + (
            "python3 -m tools.vduse_module /tmp/vduse.ko && modprobe -a vdpa vhost_iotlb && "
            "insmod /tmp/vduse.ko" if lifted else "modprobe vduse"))
        self.lifted = lifted

    def serve(self, pairs: int) -> None:
        """The kernel has a netdev, in namespace NAME, of a device of so many pairs."""
        if pairs == self.pairs:
            return
        self.stop()
        self.use_kernel(lifted=pairs > 1)
        assert self.add_port(pairs) == "[]"
        self.run(f"vdpa dev add name {NAME} mgmtdev vduse")
        self.pairs = pairs
        self.until(f"ls {NETDEVS}")
        self.run(f"ip netns add {NAME} && ip link set $(ls {NETDEVS}) netns {NAME} name eth0 "
                 f"&& ip -n {NAME} addr add {ADDRESSES[NAME]}/24 dev eth0 "
                 f"&& ip -n {NAME} link set eth0 up")
        self.wait_up()

    def wait_up(self) -> None:
        self.run(f"ovs-vsctl --timeout={SLOW_S / 2:.0f} wait-until Interface {NAME} link_state=up")

    def stop(self) -> None:
        """There is no device and no port, whatever an earlier test left."""
        self.attempt(f"vdpa dev del {NAME} && ip netns del {NAME}")
        self.run(f"ovs-vsctl --if-exists del-port {NAME}")
        self.pairs = 0

    def status(self, key: str) -> str:
        return self.run(f"ovs-vsctl get Interface {NAME} status:{key}").strip('"')

    # --- traffic ----------------------------------------------------------------------------------

    def ping(self, source: str, number: int = 5, deadline_s: int = 60) -> int:
        """How many of so many pings were answered. One more is waited for: how long ping waits
        for the last is a matter of the others' times, which are anything here."""
        target = PEER if source == NAME else NAME
        said = self.attempt(f"ip netns exec {source} ping -n -c {number + 1} -i 0.2 "
                            f"-w {deadline_s} {ADDRESSES[target]}")[1]
        answered = {int(n) for n in re.findall(r"icmp_seq=(\d+) ttl=", said)}
        return len(answered & set(range(1, number + 1)))

    def begin_transfer(self, source: str, feed: str) -> None:
        """What the command 'feed' prints goes to the other namespace in one TCP connection."""
        target = PEER if source == NAME else NAME
        self.begin("got", f"exec ip netns exec {target} {TRANSFER} receive 5001")
        self.until(f"ip netns exec {target} ss -ltnH | grep -q :5001")
        self.begin("send", f"{{ {feed}; }} | ip netns exec {source} {TRANSFER} "
                           f"send {ADDRESSES[target]} 5001")

    def check_transfer(self, sent: str) -> None:
        """All of it came, as it was sent."""
        self.until("[ -s /tmp/send.status ] && [ -s /tmp/got.status ]")
        assert self.run("cat /tmp/send /tmp/send.status /tmp/got.status") == "0\n0"
        assert self.run(f"cat {sent} | sha256sum") == self.run("sha256sum </tmp/got")

    def exchange(self) -> None:
        """Pings, and a file with its checksum, both ways."""
        for source in (NAME, PEER):
            assert self.ping(source) == 5
            self.run(f"head -c {BYTES} /dev/urandom >/tmp/sent")
            self.begin_transfer(source, "cat /tmp/sent")
            self.check_transfer("/tmp/sent")


@pytest.fixture(scope="module")
def inside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inside]:
    built = subprocess.run([sys.executable, "-m", "tools.debian13", "sh", "-c", BUILD],
                           capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    checkout = source_copy(made_root())
    with Machine("vduse", tmp_path_factory.mktemp("vduse"), ["-m", "2048M"], cpus=2,
                 kernel_words=ONE_PROCESSOR, debian=True) as machine:
        machine.wait_ready(SLOW_S)
        machine.run("echo 1 >/sys/devices/system/cpu/cpu1/online")
        inside = Inside(machine, checkout)
        inside.set_up()
        yield inside


# --- on this host ---------------------------------------------------------------------------------

@says(SECTION, "This value is ignored for Vhost-user backends")
def test_value_is_ignored_for_sockets_with_a_word(lab: Lab) -> None:
    """Of two guests on a socket with vhost-max-queue-pairs=4 one has 2 pairs, one has 5; both work,
    and status:problems says that the guest decides."""
    lab.add_port("a", "options:vhost-max-queue-pairs=4")
    for pairs in (2, 5):
        with FrontEnd(f"{lab.host.directory}/a", listen=True, queues=pairs) as guest:
            guest.connect()
            wait_until(lambda: lab.host.interface("a", "status").get("num_of_vrings")
                       == str(2 * pairs), f"{pairs} pairs are there")      # noqa: B023
    assert lab.host.interface("a", "status")["problems"] == (
        "vhost-max-queue-pairs: only a VDUSE device (a path under /dev/vduse/) has it; here the "
        "guest decides")


def what_is_missing_here() -> str:
    """Of this host, for 4 queue pairs of a VDUSE device."""
    from pmd_ext.runtime import dpdk_version

    if dpdk_version() < "DPDK 23.07":
        return f"VDUSE needs DPDK 24.11, this is {dpdk_version()}"
    if not Path("/dev/vduse/control").exists():
        return "there is no VDUSE in /dev (modprobe vduse)"
    return "the kernel makes no VDUSE network device with a control queue"


@says(SECTION, "VDUSE, where this host does not have it")
def test_device_that_cannot_be_had_is_refused_with_the_reason(lab: Lab) -> None:
    """Interface.error says what is missing: DPDK 24.11 (on Debian 12), or the kernel's module or
    its control queues; the port beside it works."""
    lab.add_port("a")
    lab.host.vsctl("add-port", "br0", NAME, "--", "set", "Interface", NAME, *TYPE.split(),
                   "options:vhost-max-queue-pairs=4")
    error = lab.host.interface(NAME, "error")
    assert f": VDUSE device /dev/vduse/{NAME}: {what_is_missing_here()}" in error
    assert lab.host.interface(NAME, "ofport") == -1
    with FrontEnd(f"{lab.host.directory}/a", listen=True) as guest:
        guest.connect()
        wait_until(lambda: lab.host.connected("a"), "a is connected")


# --- in a machine with Debian 13 and Linux 6.12 ---------------------------------------------------

@says(SECTION, "If not set, the default value is 1 queue pair")
def test_default_is_one_pair(inside: Inside) -> None:
    """add-port without the option, then vdpa dev add: the kernel's netdev has 1 combined channel,
    the port 2 vrings."""
    inside.serve(1)
    assert channels(inside) == [1, 1]
    assert inside.status("num_of_vrings") == "2"
    assert inside.status("n_rxq") == "1"


@says(SECTION, "A VDUSE device carries traffic (1 queue pair, Linux as it is)")
def test_traffic_both_ways(inside: Inside) -> None:
    """Between the kernel's netdev and a guest on a vhost-user port: 5 of 5 pings, and a file over
    TCP whose SHA-256 is the same, each way."""
    inside.serve(1)
    inside.exchange()


@says(SECTION, "The agent comes back to the device")
def test_agent_that_is_killed_comes_back_to_the_device(inside: Inside) -> None:
    """SIGKILL amid a TCP connection and a new start: the netdev keeps its carrier, the same
    connection carries the rest of its file, SHA-256 as sent; 5 of 5 pings both ways."""
    inside.serve(1)
    inside.run(f"rm -f /tmp/go; head -c {2 * BYTES} /dev/urandom >/tmp/sent")
    inside.begin_transfer(NAME, f"head -c {BYTES} /tmp/sent; until [ -e /tmp/go ]; do sleep .1; "
                                f"done; tail -c {BYTES} /tmp/sent")
    inside.until(f"[ $(stat -c %s /tmp/got) -eq {BYTES} ]")
    inside.run("kill -9 $(cat /tmp/ovs/vhost-agent.pid)")
    assert inside.ping(NAME, deadline_s=2) == 0
    assert inside.run(f"ip netns exec {NAME} cat /sys/class/net/eth0/carrier") == "1"
    inside.start_agent()
    inside.wait_up()
    inside.run("touch /tmp/go")
    inside.check_transfer("/tmp/sent")
    for source in (NAME, PEER):
        assert inside.ping(source) == 5


@says(SECTION, "vhost-max-queue-pairs=4 (Linux as it is)")
def test_kernel_without_control_queues_is_said(inside: Inside) -> None:
    """Linux 6.12 refuses a VDUSE device with a control queue, which several pairs need:
    Interface.error says that and what to set; that makes the port work."""
    inside.stop()
    inside.use_kernel(lifted=False)
    assert (f"VDUSE device /dev/vduse/{NAME}: the kernel makes no VDUSE network device with a "
            "control queue, which more than one queue pair needs: set vhost-max-queue-pairs=1"
            ) in inside.add_port(4)
    inside.run(f"ovs-vsctl set Interface {NAME} options:vhost-max-queue-pairs=1")
    assert inside.run(f"ovs-vsctl get Interface {NAME} error && ls -1 /dev/vduse") == (
        f"[]\ncontrol\n{NAME}")
    inside.run(f"ovs-vsctl del-port {NAME}")


@says(SECTION, "vhost-max-queue-pairs=4 (Linux without that check)")
def test_four_pairs(inside: Inside) -> None:
    """The same Linux, that one check taken out of its module: the netdev appears with 4 channels,
    and all are switched on; the port has 8 vrings and the control queue. Pings and files both
    ways, and flows that arrive on all 4 queues."""
    inside.serve(4)
    assert channels(inside)[0] == 4
    inside.run(f"ip netns exec {NAME} ethtool -L eth0 combined 4")
    assert channels(inside) == [4, 4]
    assert inside.status("num_of_vrings") == "9"
    assert inside.status("n_rxq") == "4"
    inside.exchange()
    flows = ("import socket; s = socket.socket(type=socket.SOCK_DGRAM); "
             f"[s.sendto(b'x', ('{ADDRESSES[PEER]}', port)) for port in range(6000, 6064)]")
    for cpu in (0, 1):                      # the driver has queues of its own for each
        inside.run(f"ip netns exec {NAME} taskset -c {cpu} python3 -c {shlex.quote(flows)}")
    for queue in range(4):
        inside.until(f"[ $(ovs-vsctl get Interface {NAME} statistics:rx_q{queue}_good_packets) "
                     "-gt 0 ]")


@says(SECTION, "A device that is taken back")
def test_device_that_is_taken_back_leaves_nothing(inside: Inside) -> None:
    """vdpa dev del and del-port: the device and the file that is kept for a restart are gone. A
    file that is left of an earlier one does not keep a new one away."""
    inside.serve(1)
    inside.stop()
    assert inside.run("ls -1 /dev/vduse /run/vduse") == "/dev/vduse:\ncontrol\n\n/run/vduse:"
    inside.run(f"touch /run/vduse/{NAME}")
    inside.serve(1)
    assert inside.ping(NAME) == 5


def channels(inside: Inside) -> list[int]:
    """Combined channels of the netdev: at most, and now."""
    shown = inside.run(f"ip netns exec {NAME} ethtool -l eth0 | grep Combined:")
    return [int(line.split()[1]) for line in shown.splitlines()]
