"""DPDK's testpmd in a guest, between two vhost-user ports: the document's "DPDK in the Guest"."""
from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from tests.guests.lab import Lab, new_lab, received, says
from tools.guest import Guest, Namespace
from tools.guest_image import ONE_PROCESSOR
from tools.host import wait_until
from tools.qemu import Machine

# The document's commands, for a small guest; TESTPMD is the one that it leaves open.
PREPARE = ("sysctl -q vm.nr_hugepages=128", "mkdir -p /dev/hugepages",
           "mount -t hugetlbfs hugetlbfs /dev/hugepages", "modprobe uio_pci_generic",
           "dpdk-devbind.py -b uio_pci_generic 00:03.0 00:04.0")
ALL_PROCESSORS = "echo 1 >/sys/devices/system/cpu/cpu1/online"
TESTPMD = ("dpdk-testpmd -l 0-1 -- -i --auto-start --forward-mode=io "
           "--rxd={rings} --txd={rings} --total-num-mbufs=8192 --no-flush-rx")
SLOW_S = 180.0                  # DPDK's programs take their time under TCG
FIRST, BURST = 20, 500          # packets; the second burst finds the ring of 256 not empty


@dataclass
class Wire:
    """A guest with two devices, n0 on br0 and n1 on br1: what testpmd takes at one it sends at the
    other. Ports a and c are on br0, b on br1; the sender is on c, and never receives."""

    lab: Lab
    guest: Machine
    sender: Guest
    rings: int = 0              # of the testpmd that runs in the guest; 0: none
    sending: bool = field(default=False, init=False)

    def start_testpmd(self, rings: int) -> None:
        """Has it run with rings of so many descriptors."""
        if self.rings == rings:
            return
        if self.rings:
            self.command("quit")
            self.guest.finish("testpmd", SLOW_S)
        self.guest.run("rm -f /tmp/in; mkfifo /tmp/in; sleep infinity >/tmp/in 2>/dev/null &")
        self.guest.begin("testpmd", f"{TESTPMD.format(rings=rings)} </tmp/in")
        self.guest.run("until grep -q '^testpmd>' /tmp/testpmd; do "
                       "[ ! -s /tmp/testpmd.status ] || { cat /tmp/testpmd; exit 1; }; "
                       "sleep 0.1; done", SLOW_S)
        self.rings = rings

    def command(self, text: str) -> None:
        """Types a command into testpmd; returns when it is done: it reads the comment after it."""
        self.guest.run(f"echo {text} >/tmp/in; [ {text} = quit ] || {{ echo '# after' >/tmp/in; "
                       "until tail -n 2 /tmp/testpmd | grep -q '# after'; do sleep 0.1; done; }",
                       SLOW_S)

    def passed(self, port: str) -> tuple[int, int, int]:
        """Packets that the switch took from a port, sent to it, and could not send, as of now."""
        shown = self.lab.host.appctl("dpctl/show", "-s")
        found = re.search(rf": {port} .*?RX packets:(\d+).*?TX packets:(\d+).*?dropped:(\d+)",
                          shown, re.DOTALL)
        assert found, shown
        rx, tx, dropped = map(int, found.groups())
        return rx, tx, dropped

    def counted(self) -> tuple[int, int, int]:
        """Retries, packets lost and packets sent of n0, in its statistics: they are written every
        5 s, so this waits until they have come to what passed."""
        def statistics() -> tuple[int, int, int] | None:
            written = self.lab.host.interface("n0", "statistics")
            _, tx, dropped = self.passed("n0")
            lost = written["ovs_tx_failure_drops"]
            same = (written["tx_packets"], written["tx_dropped"]) == (tx, dropped)
            return (written["ovs_tx_retries"], lost, tx) if same else None

        found = wait_until(statistics, "the statistics of n0 are written")
        assert found is not None
        return found

    def burst(self, packets: int) -> None:
        """So many at once from the sender; returns when the switch has sent or lost them."""
        before = sum(self.passed("n0")[1:])
        for command in ("stop", f"set burst {packets}", "start tx_first 1"):
            self.sender.command(command)
        wait_until(lambda: sum(self.passed("n0")[1:]) == before + packets,
                   f"{packets} packets have come")

    def bursts_while_paused(self) -> tuple[int, int, int]:
        """Retries, packets lost, and packets that come out at n1 in the end, of two bursts that
        come while the guest takes nothing."""
        if not self.sending:
            self.sender.start()
            self.sender.wait_ready()
            self.sending = True
        retries, lost, sent = self.counted()
        out, _, _ = self.passed("n1")
        self.command("stop")
        self.burst(FIRST)
        self.burst(BURST)
        retries_then, lost_then, sent_then = self.counted()
        self.command("start")
        wait_until(lambda: self.passed("n1")[0] >= out + sent_then - sent,
                   "testpmd forwards what came while it was stopped", SLOW_S)
        return retries_then - retries, lost_then - lost, self.passed("n1")[0] - out


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    with new_lab() as lab:
        host = lab.host
        host.vsctl("add-br", "br1", "--", "set", "Bridge", "br1", "datapath_type=netdev")
        for port, bridge in (("a", "br0"), ("n0", "br0"), ("c", "br0"), ("n1", "br1"),
                             ("b", "br1")):
            host.vsctl("add-port", bridge, port, "--", "set", "Interface", port,
                       "type=dpdkvhostuserclient",
                       f"options:vhost-server-path={host.directory}/{port}")
        guest = lab.machine(
            "testpmd", lab.qemu_args("--memory", "768M", "--rx-queue-size", "1024",
                                     "--tx-queue-size", "1024", "n0", "n1"),
            debian=True, cpus=2, kernel_words=ONE_PROCESSOR)
        guest.start()
        sender = Guest(name="c", socket=host.directory / "c", log=host.directory / "c.log",
                       server=True, forward="rxonly", mac="02:00:00:00:00:0c")
        lab.stack.callback(sender.stop)
        guest.wait_ready()
        for command in (*PREPARE, ALL_PROCESSORS):
            guest.run(command, SLOW_S)
        yield Wire(lab, guest, sender)


@contextmanager
def peer(lab: Lab, port: str, number: int) -> Iterator[Namespace]:
    """A network namespace as the guest of a port."""
    directory = lab.host.directory
    with Namespace(name=f"vg{os.getpid()}{port}", mac=f"02:00:00:00:00:0{number}",
                   address=f"10.30.0.{number}/24") as namespace, \
            Guest(name=port, socket=directory / port, log=directory / f"{port}.log",
                  server=True, namespace=namespace) as guest:
        guest.wait_ready(60.0)
        yield namespace


@says("DPDK in the Guest", "testpmd forwards between two vhost-user ports of a guest")
def test_testpmd_forwards_in_a_guest(wire: Wire) -> None:
    """Two bridges that only the guest joins, its devices bound to uio_pci_generic: no ping gets
    from one to the other before testpmd runs (--rxd=1024 --txd=1024); once one does, 5 of 5 do."""
    with peer(wire.lab, "a", 1) as a, peer(wire.lab, "b", 2) as b:
        def ping(number: int) -> int:
            return received(a.run(["ping", "-n", "-i", "2", "-W", "2", "-c", str(number),
                                   "-l", str(number), b.ip], capture_output=True).stdout)

        assert ping(1) == 0
        wire.start_testpmd(1024)
        wait_until(lambda: ping(1) == 1, "testpmd in the guest forwards", 60.0)
        assert ping(5) == 5, wire.lab.host.appctl("dpctl/show", "-s")


@says("vhost tx retries", "Retries may be reduced or avoided by rings of 1024 (rxd={rings})")
@pytest.mark.parametrize(("rings", "seen"), [
    (1024, (0, 0, FIRST + BURST)), (256, (1, FIRST + BURST - 256, 256))])
def test_rings_and_retries(wire: Wire, rings: int, seen: tuple[int, int, int]) -> None:
    """520 packets come while testpmd in the guest is stopped. (retries, lost, forwarded when it
    goes on) is {seen}, to the packet."""
    wire.start_testpmd(rings)
    assert wire.bursts_while_paused() == seen


@says("tx retries config", "tx-retries-max=0: there will be no retries")
def test_no_retries(wire: Wire) -> None:
    """Rings of 256, the same packets: 0 retries and 264 lost; with the default back, 1 and 264."""
    wire.start_testpmd(256)
    host = wire.lab.host
    host.vsctl("set", "Interface", "n0", "options:tx-retries-max=0")
    assert wire.bursts_while_paused() == (0, 264, 256)
    host.vsctl("remove", "Interface", "n0", "options", "tx-retries-max")
    assert wire.bursts_while_paused() == (1, 264, 256)
