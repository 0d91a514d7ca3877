"""Multiqueue guests: the document's queues=$q, mq=on, vectors=$v, and ethtool -L in the guest."""
from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial

import pytest

from tests.guests.lab import PING, Lab, new_lab, received, says
from tools.guest_image import ONE_PROCESSOR
from tools.host import Host, wait_until
from tools.qemu import Machine

SECTION = "multiqueue"
PAIRS = 2


@pytest.fixture(scope="module")
def pair() -> Iterator[Lab]:
    """Guests a and b with two CPUs and two queue pairs each, on two PMDs that leave the cores to
    them when they have nothing to do."""
    with new_lab(other_config=("pmd-cpu-mask=0x3", "pmd-idle-mode=block")) as lab:
        for name in ("a", "b"):
            lab.add_port(name)
        for machine in lab.boot("a", "b", options=("--queues", str(PAIRS)), cpus=PAIRS,
                                kernel_words=ONE_PROCESSOR):
            machine.run("echo 1 >/sys/devices/system/cpu/cpu1/online")
        yield lab


def channels(machine: Machine) -> tuple[int, int]:
    """Combined channels of eth0: how many there can be, and are."""
    most, now = re.findall(r"Combined:\s+(\d+)", machine.run("ethtool -l eth0"))
    return int(most), int(now)


def set_channels(lab: Lab, machine: Machine, number: int) -> None:
    """Has the guest use so many; returns when the switch polls as many."""
    machine.run(f"ethtool -L eth0 combined {number}")
    wait_until(lambda: polled(lab, machine.name) == number,
               f"{number} queue pairs of {machine.name} are polled")


def polled(lab: Lab, port: str) -> int:
    """How many rxqs of the port the guest has enabled, as pmd-rxq-show says."""
    return len(re.findall(rf"port: {port}\s+queue-id:\s+\d+ \(enabled\)",
                          lab.host.appctl("dpif-netdev/pmd-rxq-show")))


@says(SECTION, "queues=$q, mq=on, vectors=$q*2+2; reconfigured with the queues of the device")
def test_queues_follow_the_device(pair: Lab) -> None:
    """qemu-args --queues 2 prints vectors=6. The guest has 2 channels, which ethtool -L switches
    off and on; pmd-rxq-show says of 2 rxqs which are enabled, status:n_rxq and n_txq are 2."""
    a = pair.machines["a"]
    assert any("queues=2" in word for word in a.command)
    assert any("mq=on,vectors=6" in word for word in a.command)
    for number in (1, 2):
        set_channels(pair, a, number)
        assert channels(a) == (2, number)
    status = pair.host.interface("a", "status")
    assert (status["n_rxq"], status["n_txq"], status["num_of_vrings"]) == ("2", "2", "4")


@says(SECTION, "ethtool -L <DEV> combined <$q>")
def test_up_and_down_under_traffic(pair: Lab) -> None:
    """Queue pairs go from 2 to 1 and back, five times, while 50 pings a second run: the last 50
    of them, after the last change, are all answered."""
    a, b = pair.machines["a"], pair.machines["b"]
    a.begin("ping", f"{PING} -i 0.02 -w 120 {pair.address(b)}")
    for number in (1, 2) * 5:
        set_channels(pair, b, number)
    after = a.run(f"{PING} -c 50 -i 0.02 -W 2 {pair.address(b)}")
    a.run("killall -INT ping")
    said = a.finish("ping")
    assert received(after) == 50, after
    assert received(said) > 50, said


@says(SECTION, "At least two PMDs; queues are distributed among them")
def test_all_queues_carry_packets_on_two_pmds(pair: Lab) -> None:
    """Both ports have an rxq on each of two PMDs; iperf3 with 8 streams: each of the two rx and
    two tx queues of each port carries packets."""
    a, b = pair.machines["a"], pair.machines["b"]
    for machine in (a, b):
        set_channels(pair, machine, PAIRS)
    shown = pair.host.appctl("dpif-netdev/pmd-rxq-show")
    pmds = [set(re.findall(r"port: (\w+)\s+queue-id:", part))
            for part in shown.split("pmd thread ")[1:]]
    assert pmds == [{"a", "b"}, {"a", "b"}], shown
    b.run("iperf3 -s -D")
    a.run(f"iperf3 -c {pair.address(b)} -t 3 -P 8")
    b.run("killall iperf3")
    for port in ("a", "b"):
        for queue in ("rx_q0", "rx_q1", "tx_q0", "tx_q1"):
            wait_until(partial(carried, pair.host, port, queue), f"{queue} of {port} carried much")


def carried(host: Host, port: str, queue: str) -> bool:
    return host.statistic(port, f"{queue}_good_packets") > 100
