"""Memory that is not there: ranges over the end, tables that change under traffic."""
from __future__ import annotations

import os
import resource
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.hostile.arena import Arena
from tests.hostile.front_end import PAGE, Hostile, Region, memfd, table
from tests.hostile.rings import DESC_F_NEXT
from tools.frontend import GUEST_BASE, USER_BASE
from tools.vhost_user import F_LOG_ALL, NEED_REPLY, Request

Make = Callable[..., Hostile]
BOTH = pytest.mark.parametrize("packed", [False, True], ids=["split", "packed"])


class Spread(Hostile):
    """Its memory is in two regions that meet in guest and user space, not in the file."""

    def _tell(self, request: Request, payload: bytes = b"", *fds: int) -> None:
        if request == Request.SET_MEM_TABLE:
            (total,) = struct.unpack_from("<Q", payload, 16)
            half = total // 2 // PAGE * PAGE
            payload = table([Region(fds[0], half),
                             Region(fds[0], total - half, GUEST_BASE + half, USER_BASE + half,
                                    half)])
            fds *= 2
        super()._tell(request, payload, *fds)


def test_buffers_that_span_two_regions(arena: Arena, hostile: Make) -> None:
    """CVE-2018-1059. They meet for the guest; where the switch has them nobody knows."""
    with Spread(arena.port()) as guest:
        guest.connect()
        half = len(guest.tx.memory) // 2 // PAGE * PAGE
        for i in range(256):
            guest.tx.describe(i, GUEST_BASE + half - 50 + i % 8, 100)
        for _ in range(3):
            guest.tx.offer(*range(256))
            arena.check()
        guest.rx.describe(0, GUEST_BASE + half - 1024, 2048, 2)
        guest.rx.offer(*[0] * 256)


@BOTH
def test_buffers_over_the_end_of_memory(arena: Arena, hostile: Make, packed: bool) -> None:
    guest = hostile(packed=packed).connect()
    end = GUEST_BASE + len(guest.tx.memory)
    for i in range(256):
        guest.tx.describe(i, end - i * 8, 2048, DESC_F_NEXT if i % 2 else 0, (i + 1) % 256)
    for _ in range(3):
        guest.tx.offer(*range(256))
        arena.check()


# --- tables ---------------------------------------------------------------------------------------

@contextmanager
def files(count: int, size: int = PAGE) -> Iterator[list[int]]:
    found = [memfd(size) for _ in range(count)]
    try:
        yield found
    finally:
        for fd in found:
            os.close(fd)


def bad_tables() -> dict[str, Callable[[list[int]], tuple[bytes, int]]]:
    """{what: (payload, how many files come with it)}"""
    def regions(*sizes_and_offsets: tuple[int, int]) -> Callable[[list[int]], tuple[bytes, int]]:
        return lambda fds: (table(
            Region(fds[i], size, GUEST_BASE + i * 16 * PAGE, USER_BASE + i * 16 * PAGE, offset)
            for i, (size, offset) in enumerate(sizes_and_offsets)), len(sizes_and_offsets))

    good = (PAGE, 0)
    return {
        "no region": lambda fds: (table([]), 0),
        "no file": lambda fds: (table([Region(fds[0], PAGE)]), 0),
        "fewer files": lambda fds: (table([Region(fds[0], PAGE)] * 2), 1),
        "more files": lambda fds: (table([Region(fds[0], PAGE)]), 2),
        "nine": lambda fds: (table([Region(fds[0], PAGE)] * 8, 9), 8),
        "4 billion": lambda fds: (table([Region(fds[0], PAGE)] * 8, 0xffff_ffff), 8),
        "overlapping": lambda fds: (table([Region(fds[0], PAGE)] * 3), 3),
        "size 0": regions((0, 0)),
        "size 0 behind a good one": regions(good, (0, 0)),
        "offset over 2^64": regions(good, (PAGE, 2**64 - PAGE)),
        "more than there is": regions(good, (2**47, 0)),
        "all there is": regions((2**64 - PAGE, 0)),
        "odd offset": regions((100, 50), (PAGE, 1)),
        "over 2^64": lambda fds: (table([Region(fds[0], PAGE, 2**64 - 1, 2**64 - 1)]), 1),
    }


@pytest.mark.parametrize("what", bad_tables())
def test_table_of_a_guest_that_begins(arena: Arena, hostile: Make, what: str) -> None:
    guest = hostile().negotiate()
    with files(8) as fds:
        payload, count = bad_tables()[what](fds)
        for _ in range(2):
            guest.tell(Request.SET_MEM_TABLE, payload, fds[:count], NEED_REPLY)
            guest.hung_up(0.01)
    arena.check()


@pytest.mark.parametrize("flags", [0, NEED_REPLY], ids=["drops", "asks"])
@pytest.mark.parametrize("what", bad_tables())
def test_table_of_a_running_guest(arena: Arena, hostile: Make, what: str, flags: int) -> None:
    """A table that is refused half way leaves nothing where the rings were."""
    guest = hostile().connect()
    guest.tx.offer(*range(256))
    with files(8) as fds:
        payload, count = bad_tables()[what](fds)
        guest.tell(Request.SET_MEM_TABLE, payload, fds[:count], flags)
        guest.hung_up(0.02)
    arena.check()


@BOTH
def test_table_that_changes_under_traffic(arena: Arena, hostile: Make, packed: bool) -> None:
    """The same file at other guest addresses, another file, less of it; the rings go on."""
    guest = hostile(packed=packed).connect()
    size = len(guest.tx.memory)
    with files(2, size) as fds:
        for round_ in range(100):
            guest.tell(Request.SET_MEM_TABLE, table([
                Region(fds[round_ % 2], size - round_ % 3 * PAGE, GUEST_BASE + round_ % 5 * PAGE)
            ]), [fds[round_ % 2]])
            for i in range(16):
                guest.tx.describe(i, guest.tx.buffer(i), 100)
            guest.tx.offer(*range(16))
    guest.settled()
    arena.check()


@contextmanager
def addresses_left(pid: int, size: int) -> Iterator[None]:
    """No more than so many bytes can be mapped in addition by the process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[0])
    before = resource.prlimit(pid, resource.RLIMIT_AS)
    resource.prlimit(pid, resource.RLIMIT_AS, (pages * PAGE + size, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_AS, before)


def fail_half_way(arena: Arena, guest: Hostile, flags: int = 0) -> None:
    """Shares pieces of which each could be mapped, but not all."""
    size = 1 << 30
    with addresses_left(arena.pid, 7 * size // 2), files(8, size) as fds:
        guest.tell(Request.SET_MEM_TABLE, table(
            Region(fd, size, GUEST_BASE + i * size, USER_BASE + i * size)
            for i, fd in enumerate(fds)), fds, flags)
        assert guest.hung_up()


@BOTH
@pytest.mark.parametrize("flags", [0, NEED_REPLY], ids=["drops", "asks"])
def test_table_that_fails_half_way(arena: Arena, hostile: Make, packed: bool, flags: int) -> None:
    """The library has unmapped what there was by then. A PMD mostly waits for it just there."""
    for _ in range(8):
        fail_half_way(arena, hostile(packed=packed).connect(), flags)
        arena.check()


def test_table_that_fails_half_way_behind_an_iommu(arena: Arena, hostile: Make) -> None:
    for _ in range(4):
        fail_half_way(arena, hostile(kind="client", iommu=True, queue_size=128).connect())
        arena.check()


def test_table_that_fails_half_way_and_is_not_logged(arena: Arena, hostile: Make) -> None:
    for level in ("emergency", "info"):
        arena.host.appctl("dpdk/log-set", f"lib.vhost.config:{level}")
        for _ in range(4):
            fail_half_way(arena, hostile().connect())
            arena.check()


def test_memory_that_cannot_be_mapped(hostile: Make) -> None:
    guest = hostile().negotiate()
    with open("/dev/null", "rb") as file:
        guest.tell(Request.SET_MEM_TABLE, table([Region(file.fileno(), PAGE)]), [file.fileno()])
        assert guest.hung_up()


def test_memory_table_of_hugepages(arena: Arena, hostile: Make) -> None:
    """Two of them are said to be there, one is."""
    size = 2 << 20
    fd = memfd(size, flags=os.MFD_HUGETLB)
    guest = hostile().negotiate()
    guest.tell(Request.SET_MEM_TABLE, table([Region(fd, size // 2), Region(
        fd, size // 2 + 1, GUEST_BASE + size, USER_BASE + size, size // 2)]), [fd, fd])
    guest.hung_up(0.02)
    os.close(fd)
    arena.check()


# --- a log of what was written --------------------------------------------------------------------

@pytest.mark.parametrize(("file", "size", "offset"), [
    (PAGE, PAGE, 0), (PAGE, 1, 0), (1 << 24, PAGE, 1 << 23), (0, PAGE, 0)],
    ids=["small", "one byte", "offset", "no file"])
def test_dirty_log_that_is_too_small(arena: Arena, hostile: Make, file: int, size: int, offset: int
                                     ) -> None:
    """Pages that it has no bit for are written to all the same."""
    guest = hostile().connect()
    with files(1, file) as (fd,):
        guest.tell(Request.SET_LOG_BASE, struct.pack("<QQ", size, offset), [fd])
        guest.settled()
        guest.tell(Request.SET_FEATURES, struct.pack("<Q", guest.features | F_LOG_ALL))
        for index, ring in enumerate((guest.rx, guest.tx)):
            places = [USER_BASE + at for at in (ring.desc, ring.used, ring.avail)]
            guest.tell(Request.SET_VRING_ADDR,
                       struct.pack("<IIQQQQ", index, 1, *places, 0))
        guest.settled()
        guest.tx.offer(*range(256))
        arena.check()
        arena.check()


# --- memory that goes -----------------------------------------------------------------------------

@pytest.mark.parametrize("left", [0, PAGE])
def test_memory_that_is_truncated(arena: Arena, left: int) -> None:
    """Reads and writes there are SIGBUS."""
    kept: list[int] = []

    class Truncating(Hostile):
        def _tell(self, request: Request, payload: bytes = b"", *fds: int) -> None:
            if request == Request.SET_MEM_TABLE:
                kept.append(os.dup(fds[0]))
            super()._tell(request, payload, *fds)

    with Truncating(arena.port()) as guest:
        guest.connect()
        os.ftruncate(kept[0], left)
        os.close(kept[0])
        arena.check()
        arena.check()
