"""PMDs at rest: sleeping between rounds, and waiting in the kernel for a kick."""
from __future__ import annotations

import os
import random
import threading
import time
from pathlib import Path

from tests.ext.conftest import CORE, Switch
from tools.frontend import FrontEnd, ethernet
from tools.host import wait_until

A, B = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
CORES = tuple(sorted(os.sched_getaffinity(0)))[-2:]


def counts(switch: Switch, core: int = CORE) -> dict[str, int]:
    from pmd_ext.runtime import PMD_COUNTER_NAMES

    values = {c: v for c, *v in switch.runtime.readings()[1]}[core]
    return dict(zip(PMD_COUNTER_NAMES, values, strict=True))


def cpu_s(switch: Switch, core: int = CORE) -> float:
    """Seconds of CPU that the core's PMD took so far."""
    tid = dict(switch.runtime.threads())[core]
    schedstat = Path(f"/proc/self/task/{tid}/schedstat").read_text()
    return int(schedstat.split()[0]) / 1e9


def pause(seconds: float) -> None:
    until = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() >= until, "time passes")


def waits(switch: Switch, core: int = CORE) -> bool:
    """Whether the PMD is in the kernel and stays there: its rounds have stopped."""
    before = counts(switch, core)["iterations"]
    pause(0.01)         # a PMD that polls makes thousands of rounds meanwhile
    return counts(switch, core)["iterations"] == before


def wait_until_it_waits(switch: Switch, core: int = CORE) -> None:
    wait_until(lambda: waits(switch, core), "the PMD waits in the kernel")


def pair(switch: Switch, queues: int = 1, block: bool = True) -> tuple[FrontEnd, FrontEnd]:
    switch.add("a", "b")
    a, b = switch.attach("a", queues=queues), switch.attach("b")
    b.send([ethernet(A, B)])
    a.recv_wait(1)
    switch.runtime.rest_pmd(CORE, 0, block)
    return a, b


def flows(a: FrontEnd, b: FrontEnd, queue: int = 0) -> None:
    a.send([ethernet(B, A)], queue)
    b.recv_wait(1)


def test_pmd_without_a_queue_takes_no_cpu(switch: Switch) -> None:
    switch.add("a")
    switch.poll()
    wait_until_it_waits(switch)
    a = switch.attach("a")              # it wakes for a guest, by itself
    wait_until(lambda: not waits(switch), "the guest is polled")
    a.stop()
    wait_until_it_waits(switch)
    before = cpu_s(switch)
    pause(0.2)
    assert cpu_s(switch) == before


def test_sleep_grows_to_its_most_and_packets_flow(switch: Switch) -> None:
    a, b = pair(switch, block=False)
    assert counts(switch)["sleep_iterations"] <= 4      # while it had nothing to poll
    before = counts(switch)
    switch.runtime.rest_pmd(CORE, 200, False)
    wait_until(lambda: counts(switch)["sleep_iterations"] > before["sleep_iterations"] + 300,
               "it sleeps")
    was = counts(switch)
    pause(0.1)
    now = counts(switch)
    rounds = now["sleep_iterations"] - was["sleep_iterations"]
    # in each round, but for one that is read between the two counts
    assert abs(rounds - (now["iterations"] - was["iterations"])) <= 1
    assert 0 < rounds < 0.1 / 200e-6 * 1.5
    flows(a, b)
    switch.runtime.rest_pmd(CORE, 0, False)
    pause(0.01)
    was = counts(switch)
    flows(a, b)
    assert counts(switch)["sleep_iterations"] == was["sleep_iterations"]


def test_full_bursts_keep_a_pmd_awake(switch: Switch) -> None:
    a, b = pair(switch, block=False)
    switch.runtime.rest_pmd(CORE, 100, False)
    wait_until(lambda: counts(switch)["sleep_iterations"] > 200, "it sleeps its longest")
    before = counts(switch)
    a.send([ethernet(B, A)] * 160)
    b.recv_wait(160)
    assert counts(switch)["busy_iterations"] - before["busy_iterations"] <= 10


def test_silent_pmd_waits_and_the_first_packet_wakes_it(switch: Switch) -> None:
    a, b = pair(switch)
    for _ in range(20):
        wait_until_it_waits(switch)
        flows(a, b)
    wait_until_it_waits(switch)
    before = cpu_s(switch)
    pause(0.2)
    assert cpu_s(switch) == before
    switch.runtime.rest_pmd(CORE, 0, False)
    wait_until(lambda: not waits(switch), "it polls again")
    flows(a, b)


def test_no_packet_is_left_waiting_whenever_it_comes(switch: Switch) -> None:
    """Gaps around the time of going to sleep: none may fall between the last look and the wait."""
    a, b = pair(switch)
    generator = random.Random(1)
    for _ in range(3000):
        flows(a, b)
        until = time.perf_counter() + generator.uniform(0, 0.0008)
        while time.perf_counter() < until:
            pass
    assert counts(switch)["sleep_iterations"] > 100


def test_what_changes_wakes_a_waiting_pmd(switch: Switch) -> None:
    a, b = pair(switch, queues=2)
    a.enable(1, False)
    wait_until_it_waits(switch)
    a.enable(1, True)                   # a queue more: it must be able to wake it, too
    wait_until_it_waits(switch)
    flows(a, b, queue=1)
    switch.add("c")
    c = switch.attach("c")              # a list more
    wait_until_it_waits(switch)
    flows(c, b)
    wait_until_it_waits(switch)
    c.close()                           # a guest less, as if killed
    wait_until(lambda: not switch.connected("c"), "the guest is gone")
    wait_until_it_waits(switch)
    flows(a, b)
    switch.remove("c")
    wait_until_it_waits(switch)
    flows(a, b)
    wait_until_it_waits(switch)
    begun = time.monotonic()
    switch.runtime.close()
    assert time.monotonic() - begun < 2


def test_queues_move_between_waiting_pmds(switch: Switch) -> None:
    a, b = pair(switch, queues=2)
    switch.poll(CORES)
    for core in CORES:
        switch.runtime.rest_pmd(core, 0, True)
    for i in range(10):
        for core in CORES:
            wait_until_it_waits(switch, core)
        flows(a, b, queue=i % 2)
        switch.poll((CORE,) if i % 2 else CORES)
        for core in switch.cores():
            switch.runtime.rest_pmd(core, 0, True)
        if i % 2:
            switch.poll(CORES)
            for core in CORES:
                switch.runtime.rest_pmd(core, 0, True)
    switch.poll()


def test_guest_that_cannot_kick_is_polled(switch: Switch) -> None:
    a, b = pair(switch)
    wait_until_it_waits(switch)
    a.set_kick(0, None)
    wait_until(lambda: not waits(switch), "it polls")
    a.send([ethernet(B, A)])            # its kick goes to the old descriptor
    b.recv_wait(1)
    assert not waits(switch)


def test_kick_descriptor_changes_while_it_waits(switch: Switch) -> None:
    a, b = pair(switch)
    for _ in range(10):
        wait_until_it_waits(switch)
        ring = a._rings[1]
        old, ring.kick = ring.kick, os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        a.set_kick(0, ring.kick)
        os.close(old)
        wait_until_it_waits(switch)
        flows(a, b)


def test_descriptors_are_given_back(switch: Switch) -> None:
    def eventfds() -> int:
        fds = Path("/proc/self/fd")
        return sum(os.readlink(fd).startswith("anon_inode:") for fd in fds.iterdir()
                   if os.path.islink(fd))

    a, b = pair(switch)
    wait_until_it_waits(switch)
    a.close()
    wait_until(lambda: not switch.connected("a"), "the guest is gone")
    before = eventfds()
    for _ in range(5):
        a = switch.attach("a", queues=4)
        flows(a, b, queue=3)
        wait_until_it_waits(switch)
        a.close()
        wait_until(lambda: not switch.connected("a"), "the guest is gone")
    wait_until(lambda: eventfds() == before, "descriptors are closed")


def test_guest_that_kicks_all_the_time_hurts_nobody(switch: Switch) -> None:
    a, b = pair(switch)
    stop = threading.Event()

    def kick() -> None:
        while not stop.is_set():
            os.eventfd_write(a._rings[1].kick, 1)
    kicker = threading.Thread(target=kick)
    kicker.start()
    try:
        for _ in range(20):
            b.send([ethernet(A, B)])
            a.recv_wait(1)
    finally:
        stop.set()
        kicker.join()
    wait_until_it_waits(switch)
