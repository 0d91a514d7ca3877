"""Guests behind an IOMMU of their own: QEMU's q35 with intel-iommu, Linux's two ways to use it."""
from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from tests.guests.lab import PING, Lab, new_lab, received, says
from tools.frontend import FrontEnd, ethernet
from tools.host import wait_until
from tools.qemu import Machine

SECTION = "vhost-user-client IOMMU Support"
PROMISE = "vhost IOMMU restricts the memory that a virtio device can access"
FIRST = ("-machine", "q35", "-device", "intel-iommu,device-iotlb=on")
PASSTHROUGH = "intel_iommu=on iommu=pt"
STRICT = "intel_iommu=on iommu=nopt iommu.strict=1"    # each frame is mapped anew, and unmapped
F_ACCESS_PLATFORM = 33
PINGS = 50
COMPLAINTS = r"BUG|Oops|Bad page|not a head|queue failure"     # of a kernel that was written into
BOUND_S = 0.8                   # less than a frame waits for a translation: 1 s
C, D = "02:00:00:00:00:0c", "02:00:00:00:00:0d"


def pair(kernel_words: str) -> Iterator[Lab]:
    with new_lab(other_config=("stats-update-interval=1000",)) as lab:
        for name in ("a", "b"):
            lab.add_port(name, "options:vhost-iommu-support=true")
        lab.boot("a", "b", first=FIRST, kernel_words=kernel_words)
        yield lab


@pytest.fixture(scope="module")
def passthrough() -> Iterator[Lab]:
    yield from pair(PASSTHROUGH)


@pytest.fixture(scope="module")
def strict() -> Iterator[Lab]:
    yield from pair(STRICT)


def pings(lab: Lab, number: int = PINGS) -> int:
    """How many of so many, ten a second, were answered."""
    a, b = lab.machines.values()
    _, said = a.attempt(f"{PING} -c {number} -i 0.1 -W 5 {lab.address(b)}", 120)
    return received(said)


def translations(lab: Lab, name: str) -> int:
    return (lab.host.statistic(name, "rx_q0_iotlb_hits")
            + lab.host.statistic(name, "tx_q0_iotlb_hits"))


def unharmed(machine: Machine) -> bool:
    return not re.search(COMPLAINTS, machine.run("dmesg"))


@says(SECTION, PROMISE)
def test_passthrough(passthrough: Lab) -> None:
    """iommu=pt: VIRTIO_F_ACCESS_PLATFORM is negotiated, 50 of 50 pings are answered, and
    iotlb_hits counts."""
    lab = passthrough
    before = {name: translations(lab, name) for name in lab.machines}
    assert pings(lab) == PINGS
    for name in lab.machines:
        assert int(lab.host.interface(name, "status")["features"], 16) >> F_ACCESS_PLATFORM & 1
        wait_until(lambda name=name: translations(lab, name) >= before[name] + 2 * PINGS,
                   "each ping was translated")
    assert all(map(unharmed, lab.machines.values()))


@says(SECTION, PROMISE)
def test_strict_pings(strict: Lab) -> None:
    """iommu.strict=1, where every buffer is a miss at first: 50 of 50 pings are answered, and
    no frame is dropped."""
    assert pings(strict) == PINGS
    for name in strict.machines:
        assert strict.host.statistic(name, "ovs_tx_failure_drops") == 0


@says(SECTION, PROMISE)
def test_strict_tcp(strict: Lab, record_property: Callable[[str, object], None]) -> None:
    """256 KiB by TCP arrive whole each way (sha256sum at both ends), then 256 KiB by iperf3: more
    frames than a page of a ring has. No kernel finds that it was written into elsewhere."""
    machines = list(strict.machines.values())
    for source, target in (machines, machines[::-1]):
        target.begin("receiver", "nc -l -p 7000 -e sha256sum")
        wait_until(partial(listens, target, 7000), "it listens")
        sent, came = source.run(
            "head -c 262144 /dev/urandom >/tmp/sent; sha256sum </tmp/sent; "
            f"nc {strict.address(target)} 7000 </tmp/sent", 120).splitlines()
        assert came == sent
    a, b = machines
    b.begin("iperf", "iperf3 -s -1")
    wait_until(partial(listens, b, 5201), "it listens")
    said = a.run(f"iperf3 -c {strict.address(b)} -n 256K", 120)
    assert "iperf Done." in said
    record_property("seen", re.findall(r"[\d.]+ .?bits/sec.*sender", said)[-1])
    for name in strict.machines:
        wait_until(lambda name=name: strict.host.statistic(name, "rx_packets") > 300, "frames")
    assert all(map(unharmed, machines))


def listens(machine: Machine, port: int) -> bool:
    return machine.attempt(f"netstat -ltn | grep -q :{port}")[0] == 0


@says(SECTION, PROMISE)
def test_strict_driver_comes_again(strict: Lab) -> None:
    """The driver is taken out and loaded again, with rings in other places: pings flow, twice."""
    a = strict.machines["a"]
    for _ in range(2):
        a.run("rmmod virtio_net")
        a.run("modprobe virtio_net; until [ -e /sys/class/net/eth0 ]; do usleep 10000; done")
        strict.set_up(a)
        assert pings(strict, 10) == 10
    assert unharmed(a)


@says(SECTION, PROMISE)
def test_miss_holds_up_nobody(strict: Lab, record_property: Callable[[str, object], None]) -> None:
    """While frames wait for guest b, whose QEMU is stopped and answers no miss, 1000 of 1000 frames
    between two other ports arrive, each much sooner than a frame may wait. It runs again: 10 of 10
    pings."""
    lab, (a, b) = strict, strict.machines.values()
    others = [FrontEnd(f"{lab.host.directory}/{name}", listen=True, timeout_s=20)
              for name in ("c", "d")]
    for name, other in zip(("c", "d"), others, strict=True):
        lab.stack.callback(other.close)
        lab.add_port(name)
        other.connect()
    c, d = others
    d.send([ethernet(C, D)])
    c.recv_wait(1, 20)
    os.kill(b.pid, signal.SIGSTOP)
    try:
        dropped = lab.host.statistic("b", "ovs_tx_failure_drops")
        a.begin("ping", f"ping -c 1000 -i 0.02 {lab.address(b)}")
        longest_s = max(crossing_s(c, d, number) for number in range(1000))
        wait_until(lambda: lab.host.statistic("b", "ovs_tx_failure_drops") > dropped,
                   "frames waited for b in vain")
    finally:
        os.kill(b.pid, signal.SIGCONT)
        a.run("killall ping; true")
    record_property("seen", f"the slowest of 1000 took {longest_s * 1000:.0f} ms")
    assert longest_s < BOUND_S
    assert pings(lab, 10) == 10


def crossing_s(source: FrontEnd, target: FrontEnd, number: int) -> float:
    """How long a frame takes from one to the other; what is flooded meanwhile is of no interest."""
    frame = ethernet(D, C, number.to_bytes(4, "big"))
    began = time.monotonic()
    source.send([frame])
    while frame not in target.recv_wait(1, 20):
        continue
    return time.monotonic() - began
