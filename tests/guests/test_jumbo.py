"""Jumbo frames: mtu_request on the port is the guest's MTU."""
from __future__ import annotations

from tests.guests.lab import PING, Lab, says
from tools.host import wait_until
from tools.qemu import Machine

SECTION = "Jumbo Frames"
LARGEST = 9000 - 20 - 8             # what ping -s takes: without the headers of IP and ICMP


def mtu(machine: Machine) -> int:
    return int(machine.run("cat /sys/class/net/eth0/mtu"))


@says(SECTION, "vHost User ports can be configured to use jumbo frames")
def test_jumbo(lab: Lab) -> None:
    """mtu_request=9000 gives host_mtu=9000, with which both guests come up; 9001 is refused
    inside. 5 of 5 pings of 9000 bytes that may not be cut, iperf3 in segments of that size, and
    Interface.mtu is 9000."""
    for name in ("a", "b"):
        lab.add_port(name, "mtu_request=9000")
    a, b = lab.boot("a", "b")
    for machine in (a, b):
        assert any("host_mtu=9000" in word for word in machine.command)
        assert mtu(machine) == 9000
        assert machine.attempt("ip link set eth0 mtu 9001")[0] != 0
        assert lab.host.interface(machine.name, "mtu") == 9000
    assert lab.ping(a, b, words=f"-M do -s {LARGEST}") == 5
    b.run("iperf3 -s -D")
    # no segmentation offload: each segment is a frame
    a.run("ethtool -K eth0 tso off gso off")
    a.run(f"iperf3 -c {lab.address(b)} -t 2")
    wait_until(lambda: lab.host.statistic("b", "tx_1523_to_max_packets") > 100,
               "iperf3's long frames are counted")
    assert lab.host.statistic("a", "rx_oversize_drops") == 0


@says(SECTION, "A frame longer than the port's MTU is not sent to the guest")
def test_too_long_for_the_target(lab: Lab) -> None:
    """Ports of 9000 and of 1500 bytes: a ping of 9000 bytes gets no answer and counts as
    ovs_tx_mtu_exceeded_drops of the small port; one of 1500 bytes is answered."""
    lab.add_port("a", "mtu_request=9000")
    lab.add_port("b")
    a, b = lab.boot("a", "b")
    assert mtu(b) == 1500
    assert a.attempt(f"{PING} -c 1 -W 1 -M do -s {LARGEST} {lab.address(b)}")[0] != 0
    assert lab.ping(a, b, words="-M do -s 1472") == 5
    wait_until(lambda: lab.host.statistic("b", "ovs_tx_mtu_exceeded_drops") >= 1,
               "the long ping is counted as dropped")
