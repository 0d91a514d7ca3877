"""Long walks: chains of empty descriptors cost the switch's time, and give it nothing to do."""
from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.hostile.arena import Arena
from tests.hostile.front_end import Hostile
from tests.hostile.rings import DESC_F_NEXT, DESC_F_WRITE, SPLIT, HandRing
from tools.wait import wait_for

Make = Callable[..., Hostile]
SIZES = (1024, 4096, 32768)     # QEMU's rings have 1024 at most


def one_long_chain(ring: HandRing, last: int, flags: int = 0) -> None:
    """All descriptors, in order, empty but for the last; offered as often as the ring allows."""
    entries = [SPLIT.pack(ring.buffer(0), 0, DESC_F_NEXT | flags, i + 1)
               for i in range(ring.size - 1)]
    entries.append(SPLIT.pack(ring.buffer(0), last, flags, 0))
    ring.memory[ring.desc:ring.desc + SPLIT.size * ring.size] = b"".join(entries)
    ring.posted = ring.used_index
    ring.offer(*[0] * ring.size)


@pytest.mark.parametrize("size", SIZES)
def test_frames_at_the_end_of_long_chains(arena: Arena, hostile: Make, size: int) -> None:
    """On as many queues as there may be."""
    guest = hostile(queue_size=size, queues=24, tx_buffer_bytes=128)
    try:
        guest.connect()
    except ConnectionError:
        return                              # it may not have such rings
    for ring in guest._rings[1::2]:
        one_long_chain(ring, 100)           # type: ignore[arg-type]
    wait_for(lambda: guest.tx.used_index > 100 or guest.hung_up(0), 1.0)
    arena.check()


@pytest.mark.parametrize("size", SIZES)
def test_buffers_of_nothing(arena: Arena, hostile: Make, size: int) -> None:
    """A frame that needs room finds none in any of the chains, each as long as the ring."""
    guest = hostile(queue_size=size, tx_buffer_bytes=128)
    try:
        guest.connect()
    except ConnectionError:
        return
    one_long_chain(guest.rx, 0, DESC_F_WRITE)
    wait_for(lambda: guest.hung_up(0), 0.3)
    arena.check()
