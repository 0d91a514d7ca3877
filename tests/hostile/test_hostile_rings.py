"""Rings that do not add up: chains without an end, lengths of nothing, indices that jump."""
from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from tests.hostile.arena import Arena
from tests.hostile.front_end import PAGE, Hostile
from tests.hostile.rings import (
    DESC_F_INDIRECT,
    DESC_F_NEXT,
    DESC_F_WRITE,
    PACKED_F_AVAIL,
    PACKED_F_USED,
    SPLIT,
    HandRing,
)
from tools.frontend import GUEST_BASE, ethernet
from tools.host import wait_until
from tools.vhost_user import Request

Make = Callable[..., Hostile]
Write = Callable[[HandRing], None]
SIZE = 256
BOTH = pytest.mark.parametrize("packed", [False, True], ids=["split", "packed"])
HEADER = 12


# Descriptors that every ring of `SIZE` gets, whatever it offers: (i, address, length, flags, next).

def chain_of_nothing(ring: HandRing) -> None:
    for i in range(SIZE):
        ring.describe(i, ring.buffer(0), 0, DESC_F_NEXT if i + 1 < SIZE else 0, i + 1)


def frames_of_nothing(ring: HandRing) -> None:
    for i in range(SIZE):
        ring.describe(i, ring.buffer(0), 0)


def headers_alone(ring: HandRing) -> None:
    for i in range(SIZE):
        ring.describe(i, ring.buffer(0), HEADER)


def headers_cut_off(ring: HandRing) -> None:
    """CVE-2022-2132: the chain is shorter than the header."""
    for i in range(SIZE):
        ring.describe(i, ring.buffer(0), i % HEADER)


def headers_in_pieces(ring: HandRing) -> None:
    """CVE-2022-2132: the header spans more than two descriptors."""
    for i in range(SIZE):
        ring.describe(i, ring.buffer(i), 1, DESC_F_NEXT if i % 16 < 15 else 0, i + 1)


def headers_in_pieces_alone(ring: HandRing) -> None:
    for i in range(SIZE):
        ring.describe(i, ring.buffer(i), 4, DESC_F_NEXT if i % 3 < 2 else 0, i + 1)


def loops_of_one(ring: HandRing) -> None:
    for i in range(SIZE):
        ring.describe(i, ring.buffer(i), 64, DESC_F_NEXT, i)


def loop_of_all(ring: HandRing) -> None:
    for i in range(SIZE):
        ring.describe(i, ring.buffer(i), 1, DESC_F_NEXT, (i + 1) % SIZE)


def loops_of_nothing(ring: HandRing) -> None:
    for i in range(SIZE):
        ring.describe(i, ring.buffer(i), 0, DESC_F_NEXT, i)


def chains_that_leave_the_ring(ring: HandRing) -> None:
    for i in range(SIZE):
        ring.describe(i, ring.buffer(i), 64, DESC_F_NEXT, (SIZE, 0x7fff, 0xffff)[i % 3])


def longest_lengths(ring: HandRing) -> None:
    for i in range(SIZE):
        ring.describe(i, ring.buffer(i), 0xffff_ffff - i % 16)


def addresses_that_are_none(ring: HandRing) -> None:
    """CVE-2020-10725, CVE-2018-1059: null, outside, over the end of the region, over 2^64."""
    end = GUEST_BASE + len(ring.memory)
    places = (0, 1, GUEST_BASE - 1, GUEST_BASE - 64, end, end - 1, end - HEADER, 2**63, 2**64 - 1,
              2**64 - 100)
    for i in range(SIZE):
        ring.describe(i, places[i % len(places)], (100, 0, 2048, 0xffff_ffff)[i // 10 % 4])


def one_good_among_bad(ring: HandRing) -> None:
    """For what is taken four at a time."""
    for i in range(SIZE):
        ring.describe(i, ring.buffer(i) if i % 4 == 0 else 0, 100 if i % 8 else 0)


def tables_of(ring: HandRing, entries: bytes, length: int | None = None, address: int | None = None
              ) -> None:
    """Each descriptor is an indirect table: these entries."""
    ring.memory[ring.start:ring.start + len(entries)] = entries
    for i in range(SIZE):
        ring.describe(i, ring.buffer(0) if address is None else address,
                      len(entries) if length is None else length, DESC_F_INDIRECT, i)


def tables_in_tables(ring: HandRing) -> None:
    tables_of(ring, SPLIT.pack(ring.buffer(0), 16, DESC_F_INDIRECT, 0) * 8)


def tables_that_loop(ring: HandRing) -> None:
    tables_of(ring, SPLIT.pack(ring.buffer(4), 1, DESC_F_NEXT, 0) * 8)


def tables_of_nothing(ring: HandRing) -> None:
    tables_of(ring, SPLIT.pack(ring.buffer(4), 0, DESC_F_NEXT, 1) * 8, length=0)


def tables_of_odd_length(ring: HandRing) -> None:
    tables_of(ring, SPLIT.pack(ring.buffer(4), 100, 0, 0) * 8, length=17)


def tables_without_end(ring: HandRing) -> None:
    tables_of(ring, SPLIT.pack(ring.buffer(4), 1, DESC_F_NEXT, 1) * 8, length=0xffff_fff0)


def tables_outside(ring: HandRing) -> None:
    tables_of(ring, b"", length=4096, address=2**64 - 4096)


def tables_over_the_end(ring: HandRing) -> None:
    tables_of(ring, b"", length=4096, address=GUEST_BASE + len(ring.memory) - 16)


def tables_that_leave_themselves(ring: HandRing) -> None:
    tables_of(ring, SPLIT.pack(ring.buffer(4), 16, DESC_F_NEXT, 0x4000) * 8)


def tables_with_a_chain(ring: HandRing) -> None:
    tables_of(ring, SPLIT.pack(ring.buffer(4), 100, 0, 0) * 8)
    for i in range(SIZE):
        ring.describe(i, ring.buffer(0), 128, DESC_F_INDIRECT | DESC_F_NEXT | DESC_F_WRITE, i)


def the_ring_itself(ring: HandRing) -> None:
    """What the switch reads or writes is the ring."""
    for i in range(SIZE):
        ring.describe(i, ring.base + ring.desc, 4096)


def all_flags(ring: HandRing) -> None:
    for i in range(SIZE):
        ring.describe(i, ring.buffer(i), 100, 0xffff & ~(PACKED_F_AVAIL | PACKED_F_USED), i)


STATES: list[Write] = [
    chain_of_nothing, frames_of_nothing, headers_alone, headers_cut_off, headers_in_pieces,
    headers_in_pieces_alone, loops_of_one, loop_of_all, loops_of_nothing,
    chains_that_leave_the_ring, longest_lengths, addresses_that_are_none, one_good_among_bad,
    tables_in_tables, tables_that_loop, tables_of_nothing, tables_of_odd_length,
    tables_without_end, tables_outside, tables_over_the_end, tables_that_leave_themselves,
    tables_with_a_chain, the_ring_itself, all_flags]


@BOTH
@pytest.mark.parametrize("state", STATES, ids=lambda s: s.__name__)
def test_frames_of_a_guest(arena: Arena, hostile: Make, state: Write, packed: bool) -> None:
    """What the switch takes from the guest. All of the ring is offered, and then again."""
    guest = hostile(arena.standing_port(), packed=packed).connect()
    state(guest.tx)
    for _ in range(3):
        guest.tx.offer(*range(SIZE))
        arena.check()
    assert guest.settled()


@BOTH
@pytest.mark.parametrize("state", STATES, ids=lambda s: s.__name__)
def test_buffers_of_a_guest(arena: Arena, hostile: Make, state: Write, packed: bool) -> None:
    """What the switch writes to: a feeder broadcasts all the while."""
    guest = hostile(arena.standing_port(), packed=packed).connect()
    state(guest.rx)
    for i in range(SIZE):
        at = guest.rx.desc + 16 * i + (14 if packed else 12)
        (flags,) = struct.unpack_from("<H", guest.rx.memory, at)
        struct.pack_into("<H", guest.rx.memory, at, flags | DESC_F_WRITE)
    for _ in range(3):
        guest.rx.offer(*range(SIZE))
        arena.check()
    assert guest.settled()


@pytest.mark.parametrize("jump", [SIZE + 1, 0x7fff, 0x8000, 0xffff])
def test_available_index_that_jumps(arena: Arena, hostile: Make, jump: int) -> None:
    guest = hostile(arena.standing_port()).connect()
    for i in range(SIZE):
        guest.tx.describe(i, guest.tx.buffer(i), 100)
    for ring in (guest.tx, guest.rx):
        for step in range(1, 6):
            ring.say_available(ring.used_index + step * jump)
            arena.check()


def test_available_ring_of_descriptors_that_are_none(arena: Arena, hostile: Make) -> None:
    guest = hostile(arena.standing_port()).connect()
    for ring in (guest.tx, guest.rx):
        ring.offer(*range(SIZE, SIZE + 64), *range(0xffff - 64, 0x10000))
        arena.check()


@pytest.mark.parametrize("index", [0, 1, 0x7fff, 0xffff])
def test_used_index_that_the_guest_writes(arena: Arena, hostile: Make, index: int) -> None:
    guest = hostile(arena.standing_port()).connect()
    for i in range(SIZE):
        guest.tx.describe(i, guest.tx.buffer(i), 100)
    for ring in (guest.tx, guest.rx):
        for _ in range(20):
            ring.say_used(index)
            ring.offer(*range(8))
        arena.check()


def test_ring_that_is_rewritten_while_it_is_read(arena: Arena, hostile: Make) -> None:
    """Between a check and a use of it the switch may see anything: lengths and flags change."""
    guest = hostile(arena.standing_port()).connect()
    ring = guest.tx
    for round_ in range(400):
        for i in range(0, SIZE, 8):
            ring.describe(i, ring.buffer(i), (100, 0xffff_ffff, 0, 13)[round_ % 4],
                          (0, DESC_F_NEXT, DESC_F_INDIRECT, DESC_F_WRITE)[round_ // 3 % 4], i + 1)
        ring.offer(*range(0, SIZE, 8))
    arena.check()


def test_ring_whose_memory_is_elsewhere_than_its_guest_says(arena: Arena, hostile: Make) -> None:
    """Rings at the very end of the region, over it, and at odd addresses."""
    guest = hostile(arena.standing_port()).connect()
    end = len(guest.tx.memory)
    for at in (end - 16, end - PAGE, end - 1, 3):
        places = [0x5000_0000_0000 + at] * 3
        guest.tell(Request.SET_VRING_ADDR, struct.pack("<IIQQQQ", 1, 0, *places, 0))
        guest.tell(Request.SET_VRING_ENABLE, struct.pack("<II", 1, 1))
        guest.settled()
        arena.check()


def test_packed_buffers_without_room_for_a_header(arena: Arena, hostile: Make) -> None:
    """The library takes the header's 12 bytes from their length without a look, and fills four of
    them at once: over the end of the memory, to which all from the middle of the ring on reach."""
    guest, sender = hostile(arena.port(), packed=True).connect(), hostile(arena.port()).connect()
    end = guest.rx.base + len(guest.rx.memory)
    for i in range(SIZE // 2, SIZE):
        guest.rx.describe(i, end - 8, 8, DESC_F_WRITE, i)
    guest.rx.offer(*range(SIZE // 2, SIZE))
    frame = ethernet("ff:ff:ff:ff:ff:ff", "02:00:00:00:00:99", bytes(1000))

    def cut_off() -> bool:
        sender.send([frame] * 32)
        return guest.hung_up(0)

    wait_until(cut_off, "the guest is cut off")
    arena.check()
