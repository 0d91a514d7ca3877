"""Slots, connections, PMD threads: what is refused, what moves, what is left behind."""
from __future__ import annotations

import errno
import os
import random
import struct
import threading
import time
from pathlib import Path

import pytest

from tests.ext.conftest import CORE, Switch
from tools.frontend import FrontEnd, ethernet
from tools.host import wait_until

A, B = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
CORES = tuple(sorted(os.sched_getaffinity(0)))[-2:]


def refused(call: object, *args: object, **options: object) -> OSError:
    from pmd_ext.runtime import DatapathError

    with pytest.raises(DatapathError) as caught:
        call(*args, **options)                      # type: ignore[operator]
    return caught.value


def test_path_too_long_or_taken_is_refused(switch: Switch) -> None:
    switch.add("a")
    assert refused(switch.add_port, "x", "/" + "y" * 107).errno == errno.ENAMETOOLONG
    assert refused(switch.add_port, "x", switch.path("a")).errno == errno.EEXIST
    error = refused(switch.add_port, "x", "/nowhere/x")
    assert error.errno == errno.ENOENT
    assert (error.call, error.port) == ("rte_vhost_driver_start", "x")     # type: ignore[attr-defined]
    switch.add("b")                                 # the slot of the failed one is free again


def test_port_in_use_is_not_removed(switch: Switch) -> None:
    switch.add("a")
    guest = switch.attach("a")
    slot = switch.slots["a"]
    assert refused(switch.runtime.ports.remove, slot).errno == errno.EBUSY
    switch.bridge()
    assert refused(switch.runtime.ports.remove, slot).errno == errno.EBUSY
    assert refused(switch.runtime.stop_pmd, CORE).errno == errno.EBUSY
    switch.remove("a")
    with pytest.raises(ConnectionError):
        guest.enable(0, True)


def test_second_front_end_on_a_socket_is_refused_and_hurts_nobody(switch: Switch) -> None:
    switch.add("a", "b")
    a, b = switch.attach("a"), switch.attach("b")
    with pytest.raises((ConnectionError, TimeoutError)):
        FrontEnd(switch.path("a"), listen=False, timeout_s=2).connect()
    a.send([ethernet(B, A)])
    assert b.recv_wait(1)


@pytest.mark.parametrize("polite", [True, False])
def test_guest_leaves_and_comes_back(switch: Switch, polite: bool) -> None:
    switch.add("a", "b")
    a, b = switch.attach("a"), switch.attach("b")
    for round_ in range(1, 20):
        (b.stop if polite else b.close)()
        wait_until(lambda: not switch.connected("b"), "b is seen to leave")
        a.send([ethernet(B, A)])                    # nobody there
        b = switch.attach("b")
        assert switch.state("b")["connects"] == round_ + 1
        b.send([ethernet(A, B)])
        assert a.recv_wait(1)


def test_client_port_connects_again_and_again(switch: Switch) -> None:
    with FrontEnd(switch.path("c"), listen=True) as guest:
        switch.add_port("c", client=True)
        for _ in range(3):
            guest.connect()
            wait_until(lambda: switch.connected("c"), "c is connected")
            guest.stop()
            wait_until(lambda: not switch.connected("c"), "c is disconnected")
    Path(switch.path("c")).unlink()


def test_queues_follow_what_the_guest_enables(switch: Switch) -> None:
    switch.add("a", "b")
    a = switch.attach("a")
    b = switch.attach("b", queues=4, enable=[0])
    assert switch.state("b")["enabled_rxqs"] == (0,)
    assert len(switch.state("b")["vring_sizes"]) == 8
    for queue in (1, 3):
        b.enable(queue, True)
    assert switch.state("b")["enabled_rxqs"] == (0, 1, 3)
    b.enable(0, False)
    switch.poll()
    assert switch.state("b")["enabled_rxqs"] == (1, 3)
    b.send([ethernet(A, B)], queue=3)
    a.recv_wait(1)
    a.send([ethernet(B, A)])                        # txq 0 is off: an enabled one takes over
    assert len(b.recv_wait(1, queue=1)) == 1
    b.enable(1, False)
    b.enable(3, False)
    a.send([ethernet(B, A)] * 2)
    switch.wait_counter("b", "tx_disabled_drops", 2)


def test_queue_that_moves_between_pmds_loses_and_doubles_nothing(switch: Switch) -> None:
    switch.add("a", "b")
    a, b = switch.attach("a", queue_size=1024), switch.attach("b", queue_size=1024)
    b.send([ethernet(A, B)])
    a.recv_wait(1)
    stop = threading.Event()
    moves = 0

    def move() -> None:
        nonlocal moves
        while not stop.is_set():
            switch.poll(CORES[:1])
            switch.poll(CORES)
            switch.poll(CORES[::-1])
            moves += 3

    mover = threading.Thread(target=move)
    mover.start()
    seen = sent = 0
    try:
        while seen < 100_000:
            frames = [ethernet(B, A, struct.pack("!I", sent + i)) for i in range(min(
                64, 512 - (sent - seen)))]          # never more than b's ring can hold
            sent += a.send(frames)
            for frame in b.recv():
                assert struct.unpack_from("!I", frame, 14)[0] == seen
                seen += 1
    finally:
        stop.set()
        mover.join()
    assert moves > 10
    switch.poll((CORE,))


def test_threads_are_pinned_named_and_stopped(switch: Switch) -> None:
    for _ in range(20):
        for core in CORES:
            switch.runtime.start_pmd(core, 0, False)
        for core, tid in switch.runtime.threads():
            assert Path(f"/proc/self/task/{tid}/comm").read_text().strip() == f"pmd-c{core:02}"
            assert os.sched_getaffinity(tid) == {core}
        for core in CORES:
            begun = time.monotonic()
            switch.runtime.stop_pmd(core)
            assert time.monotonic() - begun < 1
        assert switch.runtime.threads() == ()


def test_no_thread_on_a_core_that_cannot_be_had(switch: Switch) -> None:
    threads = len(os.listdir("/proc/self/task"))
    assert refused(switch.runtime.start_pmd, 1000, 0, False).errno == errno.EINVAL
    assert switch.runtime.threads() == ()
    assert len(os.listdir("/proc/self/task")) <= threads     # one that was joined may linger there
    switch.poll(CORES)                              # it is no PMD that others count with
    assert switch.cores() == list(CORES)
    switch.poll()


def test_hundred_ports_come_and_go_while_guests_reconnect(switch: Switch) -> None:
    """The deadlock hunt: removal against connecting and dying front ends."""
    switch.add("a", "b")
    a, b = switch.attach("a"), switch.attach("b")
    b.send([ethernet(A, B)])
    a.recv_wait(1)
    stop = threading.Event()
    connects = dict.fromkeys(("x0", "x1", "x2"), 0)

    def come_and_go(name: str) -> None:
        with FrontEnd(switch.path(name), listen=True, timeout_s=0.5) as guest:
            while not stop.is_set():
                try:
                    guest.connect()
                    connects[name] += 1
                    if random.random() < 0.5:
                        guest.stop()
                except (OSError, TimeoutError):
                    pass                            # the port went away: the next one will come
        Path(switch.path(name)).unlink()

    guests = [threading.Thread(target=come_and_go, args=(name,)) for name in connects]
    for guest in guests:
        guest.start()
    changes = 0
    try:
        while changes < 100 or min(connects.values()) < 5:
            name = random.choice(list(connects))
            if name in switch.slots:
                switch.remove(name)
            else:
                switch.add_port(name, client=True)
                switch.bridge(*switch.slots)
            switch.poll()
            changes += 1
            a.send([ethernet(B, A, struct.pack("!I", changes))])
            assert struct.unpack_from("!I", b.recv_wait(1)[0], 14)[0] == changes
    finally:
        stop.set()
        for guest in guests:
            guest.join()
