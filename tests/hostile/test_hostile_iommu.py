"""Translations that lead nowhere, of guests behind an IOMMU."""
from __future__ import annotations

import struct
from collections.abc import Callable
from itertools import product

import pytest

from tests.hostile.arena import Arena
from tests.hostile.front_end import PAGE, Hostile
from tools.frontend import IO_BASE, USER_BASE, FrontEnd, ethernet
from tools.host import wait_until
from tools.vhost_user import IOTLB, Request

Make = Callable[..., Hostile]
UPDATE, INVALIDATE = 2, 3
ALL = "ff:ff:ff:ff:ff:ff"
FREE = IO_BASE + (1 << 32)      # I/O addresses that nothing is mapped at


@pytest.fixture
def guest(hostile: Make) -> Hostile:
    guest = hostile(kind="client", iommu=True, queue_size=128)
    guest.connect()
    return guest


def say(guest: Hostile, address: int, size: int, user: int, access: int = 3, kind: int = UPDATE
        ) -> None:
    guest.tell(Request.IOTLB_MSG, IOTLB.pack(address, size, user, access, kind))


def use(guest: Hostile, arena: Arena, *places: int) -> None:
    """Frames from and to these I/O addresses."""
    for i in range(128):
        guest.tx.describe(i, places[i % len(places)], 100 + i * 16)
        guest.rx.describe(i, places[i % len(places)], 2048, 2)
    for _ in range(2):
        guest.tx.offer(*range(128))
        guest.rx.offer(*range(128))
        arena.check()


@pytest.mark.parametrize(("address", "size", "user"), [
    (FREE, 0, 0), (FREE, PAGE, 0), (FREE, PAGE, 2**64 - PAGE), (FREE, 2**64 - 1, 0),
    (2**64 - PAGE, PAGE, 0), (2**64 - 1, 2, 0), (FREE + 1, 3, 5), (0, 2**63, 0)])
def test_translations_that_lead_nowhere(arena: Arena, guest: Hostile, address: int, size: int,
                                        user: int) -> None:
    for place in (user, USER_BASE + user):
        say(guest, address, size, place & 2**64 - 1)
    guest.hung_up(0.01)
    use(guest, arena, address, (address + size - 1) % 2**64, address ^ 1)


def test_owner_that_is_reset(arena: Arena, guest: Hostile) -> None:
    """The library then makes rings without room for a translation, and the next one that is missed
    divides by their number."""
    guest.tell(Request.RESET_OWNER)
    assert guest.hung_up()
    arena.check()


def test_translations_over_the_end_of_memory(arena: Arena, guest: Hostile) -> None:
    """They begin in memory, and end behind it."""
    end = len(guest.tx.memory)
    for i, before in enumerate((PAGE, PAGE // 2, 1)):
        say(guest, FREE + i * 16 * PAGE, 8 * PAGE, USER_BASE + end - before)
    guest.settled()
    use(guest, arena, *(FREE + i * 16 * PAGE + at for i in range(3) for at in (0, PAGE - 8, PAGE)))


def test_translations_that_meet_in_io_addresses_alone(arena: Arena, guest: Hostile) -> None:
    """Of a frame over both, the library takes what lies behind the first for the rest. That is
    nobody's memory."""
    ring = guest.tx
    end = len(ring.memory) // PAGE * PAGE
    say(guest, FREE, PAGE, USER_BASE + end - PAGE)
    say(guest, FREE + PAGE, PAGE, USER_BASE + ring.start // PAGE * PAGE)
    guest.settled()
    frame = ethernet(ALL, "02:00:00:00:00:0a", b"a" * 38)
    ring.memory[end - 64:end] = bytes(12) + frame[:52]
    begin = ring.start // PAGE * PAGE
    ring.memory[begin:begin + 500] = b"b" * 500
    with FrontEnd(arena.port(), listen=False) as other:
        other.connect()
        ring.describe(0, FREE + PAGE - 64, 164)
        ring.offer(0)
        came: list[bytes] = []

        def taken() -> bool:
            came.extend(f for f in other.recv() if f[:14] == frame[:14])
            return bool(came) or guest.hung_up(0)
        wait_until(taken, "the frame comes", 2.0)
    assert all(f[:52] == frame[:52] and set(f[52:]) in ({0}, {ord("b")}) for f in came)


def test_translations_of_rings_that_go(arena: Arena, guest: Hostile) -> None:
    """Rings and buffers are unmapped while they are used, and mapped elsewhere."""
    for _ in range(20):
        say(guest, IO_BASE, len(guest.tx.memory), USER_BASE, kind=INVALIDATE)
        say(guest, IO_BASE, PAGE, USER_BASE + PAGE)
    guest.settled()
    arena.check()
    say(guest, 0, 2**64 - 1, 0, kind=INVALIDATE)
    guest.hung_up(0.01)
    use(guest, arena, IO_BASE)


@pytest.mark.parametrize("packed", [False, True], ids=["split", "packed"])
def test_ring_that_starts_again_without_translation(arena: Arena, hostile: Make, packed: bool
                                                    ) -> None:
    """A page beside the ring is unmapped, and with it the piece that both are in."""
    guest = hostile(kind="client", iommu=True, packed=packed, queue_size=128)
    guest.connect()
    for index, ring in enumerate((guest.rx, guest.tx)):
        say(guest, IO_BASE + ring.start, PAGE, 0, kind=INVALIDATE)
        guest.tell(Request.SET_VRING_KICK, struct.pack("<Q", index), [ring.kick])
    guest.hung_up(0.02)
    arena.check()
    arena.check()


def test_messages_of_other_kinds(arena: Arena, guest: Hostile) -> None:
    for i, (kind, access) in enumerate(product((0, 1, 4, 255), (0, 1, 2, 255))):
        say(guest, FREE + 2 * i * PAGE, PAGE, USER_BASE, access, kind)
        say(guest, FREE + 2 * i * PAGE, PAGE, USER_BASE, access)
    guest.hung_up(0.01)
    use(guest, arena, *(FREE + 2 * i * PAGE for i in range(16)))


def test_more_translations_than_are_kept(arena: Arena, guest: Hostile) -> None:
    """The library keeps 2048; no two of these are side by side."""
    for i in range(5000):
        say(guest, FREE + 2 * i * PAGE, PAGE, USER_BASE + i % 64 * PAGE)
    guest.settled()
    use(guest, arena, *(FREE + 2 * i * PAGE for i in range(4872, 5000)))


def test_rings_that_are_nowhere(arena: Arena, guest: Hostile) -> None:
    for index in (0, 1):
        guest.tell(Request.SET_VRING_ADDR, struct.pack("<IIQQQQ", index, 0, FREE, FREE, FREE, 0))
    guest.hung_up(0.01)
    use(guest, arena, FREE)
