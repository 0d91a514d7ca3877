"""Guests behind an IOMMU: what lacks a translation waits a moment, and is not lost."""
from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.ext.conftest import CORE, Switch
from tests.ext.test_idle import wait_until_it_waits
from tools.frontend import RX_BUFFER_BYTES, FrontEnd, ethernet
from tools.host import wait_until

A, B, C = (f"02:00:00:00:00:0{x}" for x in "abc")
ALL = "ff:ff:ff:ff:ff:ff"
KEPT = 64                       # frames that may wait for one ring
BOUND_S = 1.0                   # that they may wait


@pytest.fixture
def lazy(switch: Switch) -> FrontEnd:
    """The guest of port a, which maps nothing but its rings before it is asked."""
    switch.add("a", iommu=True)
    return switch.attach("a", iommu=True, lazy=True)


@pytest.fixture
def crowded_core() -> Iterator[None]:
    """Others want the PMD's core, too: it stands still for milliseconds, wherever it is."""
    spin = (f"import os; os.sched_setaffinity(0, {{{CORE}}})\n"
            f"while os.getppid() == {os.getpid()}: pass")
    others = [subprocess.Popen([sys.executable, "-c", spin]) for _ in range(2)]
    yield
    for other in others:
        other.kill()
        other.wait()


def numbered(count: int, first: int = 0, length: int = 60) -> list[bytes]:
    return [ethernet(ALL, B, n.to_bytes(4, "big")).ljust(length, b"x")
            for n in range(first, first + count)]


def answering(guest: FrontEnd, count: int) -> list[bytes]:
    """Frames that the guest gets while it answers what the switch asks."""
    frames: list[bytes] = []

    def all_there() -> bool:
        guest.answer_misses()
        frames.extend(guest.recv())
        return len(frames) >= count
    wait_until(all_there, f"{count} frames come")
    return frames


@pytest.mark.parametrize("length", [60, 1500])
def test_frames_wait_for_the_translation_and_come_in_order(
        switch: Switch, lazy: FrontEnd, length: int) -> None:
    switch.add("b")
    b = switch.attach("b")
    for first in range(0, 400, 40):         # the rings go round: pages are new, and known
        b.send(numbered(40, first, length))
        assert answering(lazy, 40) == numbered(40, first, length)
    found = switch.counters("a")
    assert (found["tx_packets"], found["tx_failure_drops"]) == (400, 0)
    assert found["tx_iotlb_misses"] > 0


def test_nothing_overtakes_a_frame_that_waits(switch: Switch) -> None:
    switch.add("a", iommu=True, mtu=9000)
    switch.add("b", room_bytes=9216)
    lazy, b = switch.attach("a", iommu=True, lazy=True), switch.attach("b")
    b.send(numbered(1))
    assert answering(lazy, 1) == numbered(1)        # a page is two buffers: the second is known
    long, short = numbered(1, 1, RX_BUFFER_BYTES + 100), numbered(1, 2)
    for count, frames in enumerate((long, short), 2):
        b.send(frames)                              # the long one needs the third buffer, too
        switch.wait_counter("b", "rx_packets", count)
    assert lazy.recv() == []
    assert answering(lazy, 2) == long + short


def test_stream_comes_whole_and_in_order_while_the_guest_answers(
        switch: Switch, lazy: FrontEnd) -> None:
    switch.add("b")
    b = switch.attach("b")
    total, came = 1000, list[bytes]()
    sent = 0

    def all_there() -> bool:
        nonlocal sent
        for _ in range(1000):                       # a frame at a time, never more than may wait
            if sent < min(total, len(came) + KEPT):
                sent += b.send(numbered(1, sent))
            lazy.answer_misses()
            came.extend(lazy.recv())
        return len(came) >= total
    wait_until(all_there, "all come")
    assert came == numbered(total)
    assert switch.counters("a")["tx_failure_drops"] == 0


def test_frames_of_such_a_guest_wait_in_its_ring(switch: Switch, lazy: FrontEnd) -> None:
    switch.add("b")
    b = switch.attach("b")
    lazy.send(numbered(40))
    frames: list[bytes] = []

    def all_there() -> bool:
        lazy.answer_misses()
        frames.extend(b.recv())
        return len(frames) >= 40
    wait_until(all_there, "all come")
    assert frames == numbered(40)


def test_guest_that_never_answers_costs_itself_alone(switch: Switch, lazy: FrontEnd) -> None:
    switch.add("b", "c")
    b, c = switch.attach("b"), switch.attach("c")
    began = time.monotonic()
    for first in range(0, 200, 20):
        b.send(numbered(20, first))
        assert c.recv_wait(20) == numbered(20, first)
    switch.wait_counter("a", "tx_failure_drops", 200)
    assert time.monotonic() - began >= BOUND_S
    assert switch.counters("a")["tx_packets"] == 0
    assert lazy.waiting() == 0


def test_no_more_wait_than_there_is_room_for(switch: Switch, lazy: FrontEnd) -> None:
    switch.add("b")
    b = switch.attach("b")
    b.send(numbered(100))
    switch.wait_counter("a", "tx_failure_drops", 100 - KEPT)
    frames = answering(lazy, KEPT)
    assert frames == numbered(KEPT)
    assert switch.counters("a")["tx_failure_drops"] == 100 - KEPT


def test_what_waits_for_a_guest_that_leaves_is_counted_and_freed(
        switch: Switch, lazy: FrontEnd) -> None:
    switch.add("b")
    b = switch.attach("b")
    b.send(numbered(10))
    wait_until(lambda: b.sent_back() == 10, "the switch has them")
    lazy.close()
    switch.wait_counter("a", "tx_disconnected_drops", 10)
    assert switch.counters("a")["tx_failure_drops"] == 0
    assert switch.runtime.packets_in_use() == 0


def test_port_is_removed_while_frames_wait(switch: Switch, lazy: FrontEnd) -> None:
    switch.add("b")
    b = switch.attach("b")
    b.send(numbered(10))
    wait_until(lambda: b.sent_back() == 10, "the switch has them")
    switch.remove("a")
    lazy.close()
    switch.add("a", iommu=True)
    again = switch.attach("a", iommu=True, lazy=True)
    b.send(numbered(10, 20))
    assert answering(again, 10) == numbered(10, 20)


def test_thread_uses_no_device_that_is_taken_away_while_frames_wait(
        switch: Switch, crowded_core: None) -> None:
    switch.add("b")
    b = switch.attach("b")
    for n in range(1, 21):
        switch.add("a", iommu=True)
        guest = switch.attach("a", iommu=True, lazy=True)
        b.send(numbered(10))
        wait_until(lambda n=n: b.sent_back() == 10 * n, "the switch has them")
        switch.remove("a")
        guest.close()
    assert switch.runtime.packets_in_use() == 0


def test_thread_ends_while_frames_wait(switch: Switch, lazy: FrontEnd) -> None:
    switch.add("b")
    b = switch.attach("b")
    b.send(numbered(10))
    wait_until(lambda: b.sent_back() == 10, "the switch has them")
    switch.runtime.set_poll_lists({CORE: []})
    switch.runtime.stop_pmd(CORE)
    assert switch.runtime.packets_in_use() == 0
    assert switch.counters("a")["tx_failure_drops"] == 10


def test_pmd_that_may_rest_does_not_while_frames_wait(switch: Switch, lazy: FrontEnd) -> None:
    switch.add("b")
    b = switch.attach("b")
    switch.runtime.rest_pmd(CORE, 0, True)
    for first in range(0, 400, 40):
        b.send(numbered(40, first))
        assert answering(lazy, 40) == numbered(40, first)


def test_pmd_that_rests_takes_what_the_guest_sent_when_the_translation_comes(
        switch: Switch, lazy: FrontEnd) -> None:
    switch.add("b")
    b = switch.attach("b")
    switch.runtime.rest_pmd(CORE, 0, True)
    for n in range(10):
        lazy.send(numbered(1, n))               # each buffer is of other pages
        wait_until_it_waits(switch)
        frames: list[bytes] = []

        def there(frames: list[bytes] = frames) -> bool:
            lazy.answer_misses()
            frames.extend(b.recv())
            return bool(frames)
        wait_until(there, "it comes")
        assert frames == numbered(1, n)


@pytest.mark.parametrize("size", [256, 1024])
def test_rings_may_lie_in_memory_page_by_page(switch: Switch, size: int) -> None:
    switch.add("a", iommu=True)
    switch.add("b")
    a = switch.attach("a", iommu=True, scattered=True, queue_size=size, tx_buffer_bytes=2048)
    b = switch.attach("b")
    for first in range(0, 2500, 50):            # both rings go round
        b.send(numbered(50, first))
        assert a.recv_wait(50) == numbered(50, first)
        a.send(numbered(50, first))
        assert b.recv_wait(50) == numbered(50, first)
    a.restart(size // 2)
    b.send(numbered(50))
    assert a.recv_wait(50) == numbered(50)


def test_ring_that_lies_in_pieces_is_not_touched_where_it_cannot_be_mapped_again(
        switch: Switch) -> None:
    switch.add("a", iommu=True, postcopy=True)      # then the guest's memory has to stay as it is
    switch.add("b")
    a = switch.attach("a", iommu=True, scattered=True, queue_size=1024, tx_buffer_bytes=2048)
    b = switch.attach("b")
    a.send(numbered(50))
    before = a.memory()
    b.send(numbered(50))
    switch.wait_counter("a", "tx_disconnected_drops", 50)
    assert a.memory() == before
    assert b.waiting() == 0


def test_frames_that_there_is_no_buffer_for_are_counted_as_such(switch: Switch) -> None:
    """Two PMDs let frames wait for 16 rings each, which are more than there are buffers."""
    switch.add("a", iommu=True, tx_hash=True)
    switch.add("b", "c")
    switch.attach("a", iommu=True, lazy=True, queues=16)
    senders = [switch.attach(name) for name in "bc"]
    switch.poll(tuple(sorted(os.sched_getaffinity(0)))[-2:])
    flows = [[ethernet(A, f"02:00:00:00:{number:02x}:{n:02x}") for n in range(200)]
             for number in (1, 2)]

    def short() -> bool:
        for sender, frames in zip(senders, flows, strict=True):
            sender.send(frames)
        return switch.counters("a")["tx_no_buffer_drops"] > 0
    wait_until(short, "there are no buffers")
    counted = switch.counters("a")
    assert counted["tx_packets"] == 0
