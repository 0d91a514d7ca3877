"""What librte_vhost alone would not survive: rings of another size, silence, nobody who reads."""
from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress

import pytest

from tests.hostile.arena import Arena
from tests.hostile.front_end import PAGE, Hostile, memfd
from tools.frontend import FrontEnd
from tools.host import wait_until
from tools.vhost_user import NEED_REPLY, Request, message_of
from tools.wait import wait_for

Make = Callable[..., Hostile]
BOTH = pytest.mark.parametrize("packed", [False, True], ids=["split", "packed"])
SERVED_S = 1.0                  # within which another guest is served whatever one does


def another_is_served(arena: Arena) -> None:
    """A guest of another port, from its first word to running rings."""
    path = arena.port()
    with FrontEnd(path, listen=False, timeout_s=3 * SERVED_S) as guest:
        began = time.monotonic()
        guest.connect()
        assert time.monotonic() - began < SERVED_S
    arena.check()


# --- rings of another size ------------------------------------------------------------------------

@BOTH
@pytest.mark.parametrize("flags", [0, NEED_REPLY], ids=["drops", "asks"])
@pytest.mark.parametrize("size", [0, 1, 3, 512, 32768, 32769, 0xffff_ffff])
def test_ring_size_of_a_running_ring(arena: Arena, hostile: Make, size: int, flags: int,
                                     packed: bool) -> None:
    """The ring is where it was, and its memory ends where it ended."""
    guest = hostile(packed=packed, queue_size=128).connect()
    for index in (0, 1):
        guest.tell(Request.SET_VRING_NUM, struct.pack("<II", index, size), flags=flags)
    guest.hung_up(0.02)
    for ring in (guest.tx, guest.rx):
        ring.offer(*range(128))
        ring.say_available(0x4321)
    arena.check()
    arena.check()


@pytest.mark.parametrize("size", [0, 3, 32769, 65536, 0xffff_ffff])
def test_ring_size_that_none_can_have_ends_the_connection(hostile: Make, size: int) -> None:
    guest = hostile().negotiate()
    guest.tell(Request.SET_VRING_NUM, struct.pack("<II", 1, size), flags=NEED_REPLY)
    assert guest.hung_up(1.0)


class Sizeless(Hostile):
    """Never says how large a ring is, once `silent`."""

    silent = True

    def _tell(self, request: Request, payload: bytes = b"", *fds: int) -> None:
        if request != Request.SET_VRING_NUM or not self.silent:
            super()._tell(request, payload, *fds)


@BOTH
@pytest.mark.parametrize("before", [None, Request.GET_VRING_BASE, Request.RESET_OWNER],
                         ids=["new", "stopped", "reset"])
def test_ring_that_has_no_size(arena: Arena, before: Request | None, packed: bool) -> None:
    """What the library keeps for a ring is made with its size, and gone when it is stopped."""
    with Sizeless(arena.port(), packed=packed) as guest:
        guest.silent = before is None
        with suppress(ConnectionError):
            guest.connect()
            guest.silent = True
            for index in (0, 1) if before else ():
                guest.tell(before or 0, struct.pack("<II", index, 0))
                guest.hung_up(0.01)
            for index in (0, 1) if before else ():
                guest._share_ring(index)
                guest.tell(Request.SET_VRING_ENABLE, struct.pack("<II", index, 1))
            guest.tx.offer(*range(64))
        wait_for(lambda: guest.hung_up(0), 0.3)
        arena.check()
        arena.check()


# --- the one thread that reads messages -----------------------------------------------------------

@pytest.mark.parametrize("said", [
    b"\x01", message_of(Request.GET_FEATURES)[:11], message_of(Request.SET_FEATURES, size=8),
    message_of(Request.SET_FEATURES, bytes(7), size=8),
    message_of(Request.SET_MEM_TABLE, bytes(100), size=264)],
    ids=["a byte", "no whole header", "no payload", "no whole payload", "no whole table"])
@pytest.mark.parametrize("running", [False, True], ids=["new", "running"])
def test_half_a_message_and_then_silence(arena: Arena, hostile: Make, said: bytes, running: bool
                                         ) -> None:
    guest = hostile()
    if running:
        guest.connect()
    else:
        guest.attach()
    guest.say(said)
    another_is_served(arena)


@pytest.mark.parametrize("asked", [
    message_of(Request.GET_FEATURES), message_of(Request.SET_OWNER, flags=NEED_REPLY),
    message_of(Request.SET_VRING_ENABLE, struct.pack("<II", 0, 1), NEED_REPLY),
    message_of(Request.GET_VRING_BASE, struct.pack("<II", 0, 0))],
    ids=["features", "owner", "ring", "base"])
def test_replies_that_nobody_reads(arena: Arena, hostile: Make, asked: bytes) -> None:
    """Their sender may hold locks of rings, which the switch wants when it sends."""
    guest = hostile().connect()
    guest._socket.setblocking(False)
    end = time.monotonic() + 0.5

    def full() -> bool:
        try:
            while time.monotonic() < end:
                guest._socket.send(asked * 20)
        except BlockingIOError:
            return False
        except ConnectionError:
            return True
        return True
    wait_for(full, 0.5)
    another_is_served(arena)


def test_who_reads_no_answer_is_cut_off(arena: Arena, hostile: Make) -> None:
    """Each answer more is waited with, whether ring locks are held or not."""
    guest = hostile().negotiate()
    guest._socket.setblocking(True)
    guest._socket.settimeout(SERVED_S)
    wait_until(lambda: not guest.tell(Request.GET_FEATURES), "nobody hears it any more")
    another_is_served(arena)


def test_more_memory_than_a_host_has(arena: Arena, hostile: Make) -> None:
    """A file without a page costs nothing, but addresses that other guests need."""
    guest = hostile().negotiate()
    size = 1 << 46
    with ExitStack() as stack:
        file = memfd(size)
        stack.callback(os.close, file)
        guest.tell(Request.SET_MEM_TABLE,
                   struct.pack("<IIQQQQ", 1, 0, 1 << 32, size, 1 << 46, 0), [file])
        assert guest.hung_up()
    another_is_served(arena)


def test_messages_without_end(arena: Arena, hostile: Make) -> None:
    """As many as can be said in a second."""
    guest = hostile().connect()
    guest._socket.setblocking(True)
    end = time.monotonic() + 1
    said = message_of(Request.SET_OWNER) * 50
    while time.monotonic() < end and guest.say(said):
        pass
    another_is_served(arena)


# --- memory of the library's own ------------------------------------------------------------------

@pytest.mark.parametrize("file", [0, PAGE])
def test_inflight_memory_that_is_smaller_than_its_queues(arena: Arena, hostile: Make, file: int
                                                         ) -> None:
    guest = hostile().connect()
    fd = memfd(file)
    payload = struct.pack("<QQHH4x", PAGE, 0, 2, 65535)
    guest.tell(Request.SET_INFLIGHT_FD, payload, [fd])
    os.close(fd)
    guest.hung_up(0.02)
    arena.check()


def test_inflight_memory_is_not_given(hostile: Make) -> None:
    """It would be ours, and as much as the guest likes."""
    guest = hostile().negotiate()
    payload = struct.pack("<QQHH4x", 0, 0, 4, 1024)
    assert guest.ask(Request.GET_INFLIGHT_FD, payload) is None


# --- connections ----------------------------------------------------------------------------------

@pytest.mark.parametrize("running", [False, True], ids=["free", "served"])
def test_a_thousand_connections(arena: Arena, hostile: Make, running: bool) -> None:
    """They take nothing from other ports, and all is given back when they are closed."""
    path = arena.port()
    if running:
        hostile(path).connect()
    before = arena.held()
    with ExitStack() as stack:
        for _ in range(1000):
            caller = stack.enter_context(socket.socket(socket.AF_UNIX))
            caller.settimeout(1.0)
            try:
                caller.connect(path)
            except (BlockingIOError, TimeoutError, ConnectionError, FileNotFoundError):
                break                           # nobody takes calls any more
        another_is_served(arena)
    # a port more than then
    wait_until(lambda: arena.held().files <= before.files + 4, "their files are closed")


def test_a_thousand_connections_one_after_the_other(arena: Arena) -> None:
    path = arena.port()
    for _ in range(1000):
        with socket.socket(socket.AF_UNIX) as caller:
            caller.settimeout(1.0)
            try:
                caller.connect(path)
                caller.send(message_of(Request.SET_OWNER))
            except (BlockingIOError, TimeoutError, ConnectionError, FileNotFoundError):
                break
    another_is_served(arena)
