"""What all other tests here rely on: that neighbours notice what there is to notice."""
from __future__ import annotations

import os
import signal
import time

import pytest

from tests.hostile.arena import STALL_MS, Arena
from tools.host import wait_until


def test_neighbours_notice_a_stall(arena: Arena) -> None:
    arena.check()
    end = time.monotonic() + 2 * STALL_MS / 1e3
    os.kill(arena.pid, signal.SIGSTOP)
    try:
        wait_until(lambda: time.monotonic() > end, "the switch stands still")
    finally:
        os.kill(arena.pid, signal.SIGCONT)
    with pytest.raises(AssertionError, match="longest_stall_ms"):
        arena.check()


def test_neighbours_notice_a_loss(arena: Arena) -> None:
    """What one of them sends is more than its port may."""
    arena.check()
    arena.host.vsctl("--no-wait", "set", "Interface", "right", "ingress_policing_rate=1",
                     "ingress_policing_burst=1")
    try:
        wait_until(lambda: arena.neighbours.end_round().lost, "frames are dropped")
    finally:
        arena.host.vsctl("set", "Interface", "right", "ingress_policing_rate=0",
                         "ingress_policing_burst=0")
    arena.neighbours.end_round()


def test_arena_notices_that_the_switch_died(arena: Arena) -> None:
    os.kill(arena.pid, signal.SIGSEGV)
    wait_until(arena.died, "it ends")
    with pytest.raises(AssertionError, match="SIGSEGV"):
        arena.check()
    arena.start()
