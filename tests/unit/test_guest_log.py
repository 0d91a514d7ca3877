"""A guest that comes and goes without a pause does not fill the log."""
from __future__ import annotations

from dataclasses import replace

from agent.guest_log import BURST, REFILL_MS, GuestLog
from agent.loglines import without_guest
from agent.model import Memory, PortState, Registration

PORT = PortState("p", Registration("/g", client=True), 8, Memory(1500, 2048), attached=True,
                 connections=1)
GONE = without_guest(PORT)


def come_and_go(log: GuestLog, times: int, now_ms: int, port: PortState = PORT) -> list[str]:
    return [text for _ in range(times) for before, now in (
        (without_guest(port), port), (port, without_guest(port)))
        for _, text in log.lines(before, now, now_ms)]


def test_what_happens_now_and_then_is_all_told() -> None:
    log = GuestLog()
    told = [come_and_go(log, 1, hour * 3_600_000) for hour in range(1000)]
    assert all(told)
    assert len(set(map(tuple, told))) == 1


def test_a_storm_is_told_so_long_and_then_now_and_again_with_what_is_left_out() -> None:
    log = GuestLog()
    usual = len(come_and_go(log, 1, 0))
    come_and_go(log, BURST, 0)
    assert come_and_go(log, 1000, 0) == []
    first, *rest = come_and_go(log, 1000, REFILL_MS)
    assert first.startswith("p: its guest comes and goes so often that 10")
    assert len(rest) <= usual
    assert come_and_go(log, 1000, REFILL_MS + 1) == []
    lines = sum(len(come_and_go(log, 20, REFILL_MS + ms)) for ms in range(0, 3_600_000, 1000))
    assert lines <= (usual + 1) * (3_600_000 // REFILL_MS + 1)


def test_another_port_and_a_look_that_says_nothing_cost_nothing() -> None:
    log = GuestLog()
    for _ in range(1000):
        assert log.lines(GONE, GONE, 0) == []
    come_and_go(log, 1000, 0)
    assert come_and_go(log, 1, 0, replace(PORT, name="other"))


def test_a_port_that_is_made_anew_starts_afresh() -> None:
    log = GuestLog()
    come_and_go(log, 1000, 0)
    log.keep(["p"])
    assert come_and_go(log, 1, 0) == []
    log.keep([])
    assert come_and_go(log, 1, 0)
