"""Captures: exact frames in both directions; a slow or dead reader costs only the capture."""
from __future__ import annotations

import errno
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from typing import Any, NamedTuple

import pytest

from tests.ext.conftest import Switch
from tools.frontend import FrontEnd, ethernet
from tools.host import wait_until

CORES = tuple(sorted(os.sched_getaffinity(0))[:2])
A, B = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
HEAD = struct.Struct("=IIIHHQQ")        # capture_record
RX, TX, LAST = 1, 2, 0
RING_BYTES = 1 << 22
WHOLE = 262144


class Record(NamedTuple):
    kept: int
    length: int
    queue: int
    direction: int
    time_ns: int
    lost: int
    frame: bytes


class Reader:
    """The other side of a capture."""

    def __init__(self, switch: Switch, port: str, *, snaplen: int = WHOLE, rx: bool = True,
                 tx: bool = True) -> None:
        self.socket, theirs = socket.socketpair()
        theirs.setblocking(False)
        self.socket.settimeout(5)
        try:
            switch.runtime.ports.start_capture(switch.slots[port], theirs.fileno(), snaplen, rx,
                                               tx)
        except BaseException:
            theirs.close()
            self.socket.close()
            raise
        theirs.detach()
        self._received = b""

    def records(self) -> Iterator[Record]:
        """What comes, until the agent closes."""
        while head := self._take(HEAD.size):
            size, kept, *more = HEAD.unpack(head)
            yield Record(kept, *more, self._take(size - HEAD.size)[:kept])

    def _take(self, n: int) -> bytes:
        while len(self._received) < n:
            data = self.socket.recv(1 << 16)
            if not data:
                assert self._received == b""
                return b""
            self._received += data
        taken, self._received = self._received[:n], self._received[n:]
        return taken

    def take(self, n: int) -> list[Record]:
        return list(islice(self.records(), n))

    def end(self, coming: int = 0) -> list[Record]:
        """All that is left, the last record included; so many are waited for, for a guest has a
        frame a moment before it is captured."""
        came = self.take(coming)
        self.socket.shutdown(socket.SHUT_WR)
        return [*came, *self.records()]


@pytest.fixture
def capture(switch: Switch) -> Iterator[Callable[..., Reader]]:
    """Starts captures; afterwards none may be left."""
    before = sockets()
    readers: list[Reader] = []

    def start(port: str, **how: Any) -> Reader:
        readers.append(Reader(switch, port, **how))
        return readers[-1]

    yield start
    for reader in readers:
        reader.socket.close()
    switch.close()
    assert "capture" not in thread_names()
    wait_until(lambda: sockets() <= before, "sockets are closed")


def sockets() -> int:
    """Open ones of this process."""
    found = 0
    for fd in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            found += os.readlink(f"/proc/self/fd/{fd}").startswith("socket:")
    return found


def thread_names() -> list[str]:
    names = []
    for tid in os.listdir("/proc/self/task"):
        with suppress(OSError), open(f"/proc/self/task/{tid}/comm", encoding="ascii") as f:
            names.append(f.read().strip())
    return names


def gone(switch: Switch) -> bool:
    """Whether no capture runs, once main was woken for what ended."""
    if switch.runtime.drain_wake():
        switch.runtime.ports.end_captures()
    return "capture" not in thread_names()


def pair(switch: Switch, **options: Any) -> tuple[FrontEnd, FrontEnd]:
    """Guests a and b that know each other."""
    switch.add("a", "b", **options)
    a, b = switch.attach("a"), switch.attach("b")
    b.send([ethernet(A, B)])
    a.recv_wait(1)
    a.send([ethernet(B, A)])
    b.recv_wait(1)
    return a, b


def numbered(n: int, first: int = 0, size: int = 60) -> list[bytes]:
    return [ethernet(B, A, (first + i).to_bytes(4, "big")).ljust(size, b"\xaa") for i in range(n)]


def test_both_directions_as_the_guest_sees_them(switch: Switch,
                                                capture: Callable[..., Reader]) -> None:
    a, b = pair(switch)
    reader = capture("a")
    before = time.time_ns()
    a.send(sent := numbered(3, size=1500))
    b.recv_wait(3)
    b.send([back := ethernet(A, B, b"back")])
    a.recv_wait(1)
    got = reader.end(4)
    after = time.time_ns()
    assert [(r.direction, r.frame) for r in got] == [*((RX, f) for f in sent), (TX, back),
                                                     (LAST, b"")]
    assert [(r.kept, r.length, r.queue, r.lost) for r in got[:4]] == [
        (1500, 1500, 0, 0)] * 3 + [(60, 60, 0, 0)]
    times = [r.time_ns for r in got]
    assert times == sorted(times)
    assert before - 10_000_000 < times[0] <= times[-1] < after + 10_000_000


@pytest.mark.parametrize(("how", "directions"), [
    ({"tx": False}, {RX}), ({"rx": False}, {TX}), ({}, {RX, TX})])
def test_one_direction_alone(switch: Switch, capture: Callable[..., Reader],
                             how: dict[str, bool], directions: set[int]) -> None:
    a, b = pair(switch)
    reader = capture("a", **how)
    a.send(numbered(2))
    b.recv_wait(2)
    b.send([ethernet(A, B)] * 2)
    a.recv_wait(2)
    got = reader.end(2 * len(directions))
    assert {r.direction for r in got[:-1]} == directions
    assert len(got) == 1 + 2 * len(directions)


def test_snaplen_keeps_the_head_and_the_true_length(switch: Switch,
                                                    capture: Callable[..., Reader]) -> None:
    a, b = pair(switch)
    reader = capture("a", snaplen=33)
    a.send(sent := [f[:60 + i].ljust(60 + i, b"\1") for i, f in enumerate(numbered(5))])
    b.recv_wait(5)
    assert [(r.frame, r.kept, r.length) for r in reader.end()[:-1]] == [
        (f[:33], 33, len(f)) for f in sent]


def test_tags_are_those_on_the_guests_side(switch: Switch,
                                           capture: Callable[..., Reader]) -> None:
    switch.add("a", "b")
    switch.bridges({"br0": {"a": {"vlan_mode": "access", "vlan": 7}, "b": {}}})
    a, b = switch.attach("a"), switch.attach("b")
    at_a, at_b = capture("a"), capture("b")
    a.send([plain := ethernet("ff:ff:ff:ff:ff:ff", A, b"x")])
    b.recv_wait(1)
    b.send([tagged := ethernet(A, B, b"y", vlan=7)])
    a.recv_wait(1)
    assert [r.frame for r in at_a.end(2)] == [plain, tagged[:12] + tagged[16:], b""]
    assert [r.frame for r in at_b.end(2)] == [plain[:12] + b"\x81\x00\x00\x07" + plain[12:],
                                             tagged, b""]


def test_only_what_the_guest_got_is_shown_as_sent(switch: Switch,
                                                  capture: Callable[..., Reader]) -> None:
    switch.add("a", "b", tx_retries_max=0)
    a, b = switch.attach("a"), switch.attach("b", queue_size=4)
    b.send([ethernet(A, B)])
    a.recv_wait(1)
    reader = capture("b")
    a.send(sent := numbered(6))
    switch.wait_counter("b", "tx_failure_drops", 2)
    assert [r.frame for r in reader.end(4)[:-1]] == sent[:4]


def test_queues_are_told_apart(switch: Switch, capture: Callable[..., Reader]) -> None:
    switch.add("a", "b")
    a, b = switch.attach("a", queues=2), switch.attach("b")
    reader = capture("a", tx=False)
    for queue in (1, 0):
        a.send([ethernet(B, A)], queue=queue)
        b.recv_wait(1)
    assert [r.queue for r in reader.end()[:-1]] == [1, 0]


def test_packets_come_while_the_capture_runs(switch: Switch,
                                             capture: Callable[..., Reader]) -> None:
    a, _ = pair(switch)
    reader = capture("a")
    for i in range(5):
        a.send(frames := numbered(1, first=i))
        assert [r.frame for r in reader.take(1)] == frames


def test_slow_reader_loses_captured_packets_and_no_traffic(switch: Switch,
                                                           capture: Callable[..., Reader]) -> None:
    a, b = pair(switch)
    reader = capture("a", tx=False)
    rounds, burst, size = 200, 64, 1500         # four times what ring and socket hold
    assert rounds * burst * size > 4 * RING_BYTES
    for i in range(rounds):
        a.send(sent := numbered(burst, first=i * burst, size=size))
        assert b.recv_wait(burst) == sent
    got = reader.end()
    numbers = [int.from_bytes(r.frame[14:18], "big") for r in got[:-1]]
    assert numbers == sorted(set(numbers))
    assert got[-1].direction == LAST
    assert got[-1].lost == rounds * burst - len(numbers) > 0
    assert len(numbers) * size > RING_BYTES // 2
    # the ring was emptied in between: nothing is lost to a reader that reads
    assert numbers[:1000] == list(range(1000))


def test_ring_serves_many_times_what_it_holds(switch: Switch,
                                              capture: Callable[..., Reader]) -> None:
    a, b = pair(switch)
    reader = capture("a")
    rounds, burst = 150, 64
    for i in range(rounds):
        a.send(sent := [f[:900 + k] for k, f in enumerate(numbered(burst, i * burst, 1500))])
        assert b.recv_wait(burst) == sent
        got = reader.take(burst)
        assert [r.frame for r in got] == sent
    assert reader.end()[-1].lost == 0


def test_reader_that_dies_ends_the_capture(switch: Switch,
                                           capture: Callable[..., Reader]) -> None:
    a, b = pair(switch)
    for traffic in (False, True):
        reader = capture("a")
        if traffic:
            a.send(numbered(64, size=1500))
            b.recv_wait(64)
        reader.socket.close()
        wait_until(lambda: gone(switch), "the capture is gone")
    a.send([last := ethernet(B, A, b"last")])
    assert b.recv_wait(1) == [last]
    reader = capture("a")                       # and there can be another
    assert [r.direction for r in reader.end()] == [LAST]


def test_port_that_goes_ends_its_capture(switch: Switch, capture: Callable[..., Reader]) -> None:
    a, b = pair(switch)
    reader, other = capture("a"), capture("b")
    a.send(sent := numbered(3))
    b.recv_wait(3)
    switch.remove("a")
    assert [r.frame for r in reader.records()] == [*sent, b""]
    b.send([ethernet(A, B, b"alone")])
    assert [r.direction for r in other.take(4)] == [TX, TX, TX, RX]


def test_port_that_goes_does_not_wait_for_a_reader(switch: Switch,
                                                   capture: Callable[..., Reader]) -> None:
    a, b = pair(switch)
    capture("a")
    for i in range(30):
        a.send(numbered(64, i * 64, 1500))
        b.recv_wait(64)
    begin = time.monotonic()
    switch.remove("a")
    assert time.monotonic() - begin < 2


def test_threads_share_a_capture(switch: Switch, capture: Callable[..., Reader]) -> None:
    switch.add("a", "b", "c")
    guests = a, b, c = [switch.attach(name, queue_size=256) for name in ("a", "b", "c")]
    switch.poll(CORES)
    for guest in guests:
        guest.send([ethernet("ff:ff:ff:ff:ff:ff", B if guest is b else A)])
    a.recv_wait(2), c.recv_wait(2), b.recv_wait(2)
    reader = capture("b")
    for i in range(50):
        sent = {g: [ethernet(B, A, bytes([k]) + (i * 64 + n).to_bytes(4, "big")).ljust(
            61 + (7 * n + k) % 500, b"\5") for n in range(64)] for k, g in enumerate((a, c))}
        for guest, frames in sent.items():
            guest.send(frames)
        got = reader.take(128)
        assert len(b.recv_wait(128)) == 128
        for k, frames in enumerate(sent.values()):
            assert [r.frame for r in got if r.frame[14] == k] == frames
        assert {(r.direction, r.lost) for r in got} == {(TX, 0)}
    reader.end()


def test_one_capture_a_port_and_several_ports(switch: Switch,
                                              capture: Callable[..., Reader]) -> None:
    a, b = pair(switch)
    one, other = capture("a"), capture("b")
    with pytest.raises(OSError, match="start_capture") as refused:
        capture("a")
    assert refused.value.errno == errno.EBUSY
    a.send(sent := numbered(1))
    b.recv_wait(1)
    assert [(r.direction, r.frame) for r in one.take(1)] == [(RX, sent[0])]
    assert [(r.direction, r.frame) for r in other.take(1)] == [(TX, sent[0])]
