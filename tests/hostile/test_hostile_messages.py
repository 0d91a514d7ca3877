"""Messages that do not add up: what they say, how long they are, what comes with them."""
from __future__ import annotations

import os
import struct
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from tests.hostile.arena import Arena, Held
from tests.hostile.front_end import PAGE, Hostile, Region, memfd, table
from tools.frontend import USER_BASE
from tools.vhost_user import NEED_REPLY, VRING_NO_FD, Request

Make = Callable[..., Hostile]
LONGEST = 632                   # bytes of payload that the library has room for
WITH_INDEX = {
    Request.SET_VRING_NUM: "<II", Request.SET_VRING_BASE: "<II", Request.GET_VRING_BASE: "<II",
    Request.SET_VRING_ENABLE: "<II", Request.SET_VRING_ADDR: "<IIQQQQ",
    Request.SET_VRING_KICK: "<Q", Request.SET_VRING_CALL: "<Q", Request.SET_VRING_ERR: "<Q"}
WITHOUT_FILES = [r for r in Request if r not in (
    Request.SET_MEM_TABLE, Request.SET_LOG_BASE, Request.SET_LOG_FD, Request.SET_VRING_KICK,
    Request.SET_VRING_CALL, Request.SET_VRING_ERR, Request.SET_BACKEND_REQ_FD,
    Request.SET_INFLIGHT_FD)]


SOME = (Request.SET_OWNER, Request.GET_FEATURES, Request.SET_MEM_TABLE, Request.SET_VRING_ADDR)


def filled(layout: str, *first: int) -> bytes:
    """These numbers, and 0 for the rest."""
    fields = len(layout) - 1
    return struct.pack(layout, *(*first, *[0] * fields)[:fields])


@pytest.mark.parametrize("index", [256, 65536, 0xffff_ffff])
@pytest.mark.parametrize("request_", WITH_INDEX, ids=lambda r: r.name)
def test_ring_of_an_index_that_is_none(arena: Arena, hostile: Make, request_: Request, index: int
                                       ) -> None:
    """CVE-2020-10723. What names a ring by 8 bits cannot name one that is none."""
    layout = WITH_INDEX[request_]
    guest = hostile().negotiate()
    if layout == "<Q":
        index = index & 0xff | VRING_NO_FD
    guest.tell(request_, filled(layout, index, 2))
    if index >= 256 and layout != "<Q":
        assert guest.hung_up()
    else:
        guest.settled()
    arena.check()


@pytest.mark.parametrize("request_", [*WITHOUT_FILES, 0, 41, 0xffff_ffff],
                         ids=lambda r: getattr(r, "name", str(r)))
def test_files_with_messages_that_want_none(arena: Arena, hostile: Make, request_: int) -> None:
    """CVE-2019-14818: they are not kept, be the connection ended or not."""
    guest = hostile().negotiate()
    before = arena.held()
    with closing(open("/dev/null")) as file:
        for _ in range(20):
            guest.tell(request_, bytes(8), [file.fileno()] * 8, NEED_REPLY)
            if guest.hung_up(0):
                break
    guest.settled()
    arena.lets_go(before)


def test_files_beyond_eight(arena: Arena, hostile: Make) -> None:
    guest = hostile().negotiate()
    before = arena.held()
    with closing(open("/dev/null")) as file:
        for request in (Request.GET_FEATURES, Request.SET_MEM_TABLE, Request.SET_VRING_CALL):
            guest.tell(request, bytes(8), [file.fileno()] * 28)
    guest.hung_up(0)
    guest.settled()
    arena.lets_go(before)


def test_memory_files_that_never_end(arena: Arena, hostile: Make) -> None:
    """Each table replaces the one before it, with its files."""
    guest = hostile().negotiate()
    before = arena.held()
    for round_ in range(50):
        fds = [memfd(PAGE) for _ in range(8)]
        guest.tell(Request.SET_MEM_TABLE, table(
            Region(fd, PAGE, guest=i * PAGE + round_ * 8 * PAGE, user=USER_BASE + i * PAGE)
            for i, fd in enumerate(fds)), fds)
        for fd in fds:
            os.close(fd)
    assert guest.settled()
    # the library's, and those kept to explain
    arena.lets_go(Held(before.files + 16, before.memory_files + 8))


@pytest.mark.parametrize("running", [False, True])
def test_ring_size_said_again_and_again(arena: Arena, hostile: Make, running: bool) -> None:
    """CVE-2019-14818 in its other form: arrays of each ring."""
    guest = hostile()
    if running:
        guest.connect()
    else:
        guest.negotiate()
    for size in [256, 128, 64, 256] * 50:
        guest.tell(Request.SET_VRING_NUM, filled("<II", 1, size))
    guest.settled()
    arena.check()


@pytest.mark.parametrize(("size", "offset"), [
    (PAGE, 2**64 - PAGE), (2**64 - 1, 1), (2**64 - PAGE, PAGE), (2**63, 2**63), (0, 0), (0, PAGE),
    (1, 2**64 - 1), (2**48, 0), (PAGE, 1)])
def test_dirty_log_of_a_size_that_runs_over(arena: Arena, hostile: Make, size: int, offset: int
                                            ) -> None:
    """CVE-2020-10722"""
    guest = hostile().negotiate()
    fd = memfd(PAGE)
    guest.tell(Request.SET_LOG_BASE, struct.pack("<QQ", size, offset), [fd])
    os.close(fd)
    guest.hung_up(0)
    guest.settled()
    arena.check()


def inflight(size: int, offset: int, queues: int, queue_size: int) -> bytes:
    return struct.pack("<QQHH4x", size, offset, queues, queue_size)


def test_inflight_memory_asked_for_again_and_again(arena: Arena, hostile: Make) -> None:
    """CVE-2020-10726"""
    guest = hostile().negotiate()
    before = arena.held()
    for _ in range(50):
        if guest.ask(Request.GET_INFLIGHT_FD, inflight(0, 0, 2, 256)) is None:
            break
    arena.lets_go(Held(before.files + 1, before.memory_files + 1))


@pytest.mark.parametrize("size", [0, 2**64 - 1])
def test_inflight_memory_of_an_odd_size(arena: Arena, hostile: Make, size: int) -> None:
    """CVE-2022-0669"""
    guest = hostile().connect()
    before = arena.held()
    fd = memfd(PAGE)
    for _ in range(20):
        guest.tell(Request.SET_INFLIGHT_FD, inflight(size, 0, 2, 256), [fd])
        guest.tell(Request.GET_INFLIGHT_FD, inflight(0, 0, 1, 1), [fd])
    os.close(fd)
    guest.hung_up(0.02)
    arena.lets_go(before)


@pytest.mark.parametrize("queues", [0, 257, 65535])
def test_inflight_memory_of_more_queues_than_there_are(hostile: Make, queues: int) -> None:
    """CVE-2021-3839"""
    guest = hostile().connect()
    guest.tell(Request.SET_INFLIGHT_FD, inflight(PAGE, 0, queues, 256), flags=NEED_REPLY)
    assert guest.hung_up()


@pytest.mark.loses_files
def test_files_with_a_ring_that_is_none(arena: Arena, hostile: Make) -> None:
    """The library loses them before anybody is asked; but the connection ends."""
    guest = hostile().negotiate()
    before = arena.held()
    with closing(open("/dev/null")) as file:
        guest.tell(Request.SET_VRING_NUM, filled("<II", 256, 256), [file.fileno()] * 8)
    assert guest.hung_up()
    arena.clear()
    # the limit that docs/security.md has
    arena.lets_go(Held(before.files + 8, before.memory_files))


@pytest.mark.parametrize(("running", "bytes_"), [
    (False, 0), (True, 0), (True, 1), (True, LONGEST), (False, LONGEST + 1), (True, 0xffff_ffff)])
def test_messages_of_other_lengths(arena: Arena, hostile: Make, running: bool, bytes_: int
                                   ) -> None:
    """Of every kind. Those longer than the library's room end the connection."""
    guest = hostile()
    if running:
        guest.connect()
    else:
        guest.negotiate()
    for request in Request if bytes_ <= LONGEST else SOME:
        guest.tell(request, bytes(min(bytes_, LONGEST + 1)), size=bytes_, flags=NEED_REPLY)
        if guest.hung_up(0.005):
            assert not guest.settled()
            guest = hostile()
            if running:
                guest.connect()
            else:
                guest.negotiate()
    arena.check()


@pytest.mark.parametrize("version", [0, 2, 3])
def test_messages_of_another_version(arena: Arena, hostile: Make, version: int) -> None:
    guest = hostile().attach()
    guest.say(struct.pack("<III", Request.SET_OWNER, version, 0))
    guest.hung_up(0.05)
    arena.check()


def said_by_a_running_guest() -> list[Any]:
    number = struct.pack("<Q", 2**64 - 1)
    return [
        pytest.param(Request.SET_FEATURES, bytes(8), id="no features"),
        pytest.param(Request.SET_FEATURES, number, id="all features"),
        pytest.param(Request.SET_FEATURES, struct.pack("<Q", 1 << 32 | 1 << 34 | 1 << 30),
                     id="packed"),
        pytest.param(Request.SET_PROTOCOL_FEATURES, number, id="all protocol features"),
        pytest.param(Request.SET_OWNER, b"", id="owner"),
        pytest.param(Request.RESET_OWNER, b"", id="no owner"),
        pytest.param(Request.NET_SET_MTU, number, id="MTU"),
        pytest.param(Request.NET_SET_MTU, bytes(8), id="MTU 0"),
        pytest.param(Request.SEND_RARP, number, id="RARP"),
        pytest.param(Request.SET_STATUS, number, id="status"),
        pytest.param(Request.SET_STATUS, bytes(8), id="reset"),
        *(pytest.param(Request.SET_VRING_BASE, struct.pack("<II", i, base), id=f"base {base} {i}")
          for i in (0, 1) for base in (1, 0x7fff, 0xffff_ffff)),
        *(pytest.param(Request.SET_VRING_ADDR, struct.pack("<IIQQQQ", i, 0, *places, 0),
                       id=f"addresses {name} {i}")
          for i in (0, 1) for name, places in {
              "null": (0, 0, 0), "the same": (USER_BASE,) * 3, "odd": (USER_BASE + 1,) * 3,
              "the end": (2**64 - 16,) * 3}.items()),
    ]


@pytest.mark.parametrize("packed", [False, True], ids=["split", "packed"])
@pytest.mark.parametrize(("request_", "payload"), said_by_a_running_guest())
def test_messages_while_the_rings_run(
        arena: Arena, hostile: Make, request_: Request, payload: bytes, packed: bool) -> None:
    guest = hostile(packed=packed).connect()
    guest.tell(request_, payload, flags=NEED_REPLY)
    guest.hung_up(0.02)
    if guest.settled():
        guest.tx.describe(0, guest.tx.buffer(0), 100)
        guest.tx.offer(0)
    arena.check()
