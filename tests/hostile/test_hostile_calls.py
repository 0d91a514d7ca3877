"""Descriptors that are no eventfd, or one that blocks, where guest and switch wake each other."""
from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress

import pytest

from tests.hostile.arena import Arena
from tests.hostile.front_end import Hostile, memfd
from tools.host import wait_until
from tools.vhost_user import Request
from tools.wait import wait_for

FULL = 0xffff_ffff_ffff_fffe


def full_eventfd(flags: int) -> int:
    fd = os.eventfd(0, flags | os.EFD_CLOEXEC)
    os.eventfd_write(fd, FULL)
    return fd


def fill(fd: int) -> None:
    """Writes as much as there is room for; a writer waits for ever then."""
    os.set_blocking(fd, False)
    with suppress(BlockingIOError):
        while os.write(fd, bytes(4096)):
            pass
    os.set_blocking(fd, True)


@pytest.fixture
def files() -> Iterator[dict[str, int]]:
    """Files of many kinds; one end of each whose other end is full, or gone."""
    with ExitStack() as stack:
        pipe, written = os.pipe()
        gone, broken = os.pipe()
        ours, theirs = socket.socketpair()
        for fd in (pipe, written, broken):
            stack.callback(os.close, fd)
        os.close(gone)
        for end in (ours, theirs):
            stack.enter_context(closing(end))
        for fd in (written, theirs.fileno()):
            fill(fd)
        found = {"full pipe": written, "broken pipe": broken, "full socket": theirs.fileno(),
                 "read end": pipe}
        for name, fd in (("full eventfd", full_eventfd(0)), ("memory", memfd(0)),
                         ("full eventfd that does not block", full_eventfd(os.EFD_NONBLOCK)),
                         ("directory", os.open("/tmp", os.O_RDONLY | os.O_DIRECTORY)),
                         ("device", os.open("/dev/full", os.O_RDWR)),
                         ("semaphore", os.eventfd(0, os.EFD_SEMAPHORE))):
            stack.callback(os.close, fd)
            found[name] = fd
        yield found


BLOCKS = ("full eventfd", "full pipe", "full socket")
HARMLESS = ("full eventfd that does not block", "broken pipe", "read end", "memory", "directory",
            "device", "semaphore")


def as_call(guest: Hostile, fd: int) -> None:
    """Has the switch raise interrupts by this descriptor, and waits until it has, if it can."""
    for index in (0, 1):
        guest.tell(Request.SET_VRING_CALL, index.to_bytes(8, "little"), [fd])
    guest.settled()
    guest.interrupts()                      # they are wanted
    before = guest.rx.used_index
    wait_for(lambda: guest.rx.used_index > before + 3 or guest.hung_up(0), 0.5)


@pytest.mark.parametrize("kind", HARMLESS + BLOCKS)
def test_interrupts_by_what_cannot_be_written_to(
        arena: Arena, hostile: Callable[..., Hostile], files: dict[str, int], kind: str) -> None:
    as_call(hostile().connect(), files[kind])
    arena.check()


def test_eventfd_that_blocks_again_once_it_was_accepted(
        arena: Arena, hostile: Callable[..., Hostile]) -> None:
    """Whether an open file blocks is its own, not the descriptor's: the guest can change it."""
    call = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    guest = hostile().connect()
    as_call(guest, call)
    assert os.eventfd_read(call)
    while True:
        try:
            os.eventfd_write(call, FULL)
            break
        except BlockingIOError:             # the switch was faster
            os.eventfd_read(call)
    os.set_blocking(call, True)
    before = guest.rx.used_index
    wait_for(lambda: guest.rx.used_index > before + 3 or guest.hung_up(0), 0.5)
    arena.check()
    os.close(call)


@pytest.mark.parametrize("kind", HARMLESS + BLOCKS)
def test_kicks_by_what_cannot_be_read_from(
        arena: Arena, hostile: Callable[..., Hostile], files: dict[str, int], kind: str) -> None:
    guest = hostile().connect()
    guest.tell(Request.SET_VRING_KICK, bytes(8), [files[kind]])
    if "eventfd" not in kind and kind != "semaphore":
        assert guest.hung_up()
        return
    guest.tx.describe(0, guest.tx.buffer(0), 100)
    guest.tx.offer(0)
    wait_until(lambda: guest.tx.used_index or guest.hung_up(0), "the switch takes the frame")
