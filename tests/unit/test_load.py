"""Loads of PMDs and rxqs out of samples of their counters."""
from __future__ import annotations

from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.load import INTERVALS, Loads
from agent.model import PmdCounters, PollLists, Readings, Rxq

A, B = ("a", 0), ("b", 0)
CORE = 3
BOTH: PollLists = ((CORE, (A, B)), (4, ()))
SPLIT: PollLists = ((CORE, (A,)), (4, (B,)))


class Host:
    """PMDs on two cores, rxqs a and b, and how an interval passes."""

    def __init__(self) -> None:
        self.loads = Loads()
        self.polls = BOTH
        self.pmds = {CORE: PmdCounters(), 4: PmdCounters()}
        self.rxqs: dict[Rxq, int] = {A: 1_000_000, B: 5}
        self.sample()

    def sample(self) -> None:
        self.loads.sample(Readings(1, dict(self.pmds), dict(self.rxqs)), self.polls)

    def interval(self, a: int = 0, b: int = 0, *, elapsed: int = 1000, busy: int = 0) -> None:
        """A sample later: cycles for the queues; the PMDs were busy with them and 'busy' more."""
        for core, polled in self.polls:
            gone = sum({A: a, B: b}[rxq] for rxq in polled) + busy
            before = self.pmds[core]
            self.pmds[core] = PmdCounters(before.cycles + elapsed, before.busy_cycles + gone)
        for rxq, cycles in ((A, a), (B, b)):
            if rxq in self.rxqs:
                self.rxqs[rxq] += cycles
        self.sample()


# --- cycles of a queue ----------------------------------------------------------------------------

def test_nothing_is_known_before_the_second_sample() -> None:
    for host in (Loads(), Host().loads):
        assert host.cycles(A) == 0
        assert host.usage(CORE, A, 60) is None
        assert host.overhead(CORE, 60) is None
        assert host.pmd_load(CORE) == ()
        assert host.minute(CORE) == 0


def test_cycles_are_those_of_the_last_twelve_intervals() -> None:
    host = Host()
    for n in range(1, 21):
        host.interval(a=n, b=1)
        assert host.loads.cycles(A) == sum(range(max(1, n - 11), n + 1))
        assert host.loads.cycles(B) == min(n, 12)


def test_cycles_go_with_a_queue_to_another_core() -> None:
    host = Host()
    host.interval(b=10)
    host.polls = SPLIT
    host.interval(b=20)
    host.interval(b=40)
    assert host.loads.cycles(B) == 70


def test_queue_whose_port_was_added_again_begins_anew() -> None:
    host = Host()
    host.interval(a=100, b=10)
    host.rxqs[A] = 30
    host.sample()
    assert (host.loads.cycles(A), host.loads.cycles(B)) == (0, 10)
    host.interval(a=7)
    assert host.loads.cycles(A) == 7


def test_queue_that_is_gone_is_forgotten_and_begins_anew() -> None:
    host = Host()
    host.interval(a=100)
    kept = host.rxqs.pop(A)
    host.sample()
    assert host.loads.cycles(A) == 0
    host.rxqs[A] = kept + 500
    host.sample()
    assert host.loads.cycles(A) == 0
    host.interval(a=7)
    assert host.loads.cycles(A) == 7


# --- shares of a PMD's time -----------------------------------------------------------------------

def test_usage_is_of_the_time_that_passed_in_the_last_seconds() -> None:
    host = Host()
    for n in range(12):
        host.interval(a=100 * (n == 11), b=300 * (n >= 6))
    assert host.loads.usage(CORE, A, 5) == 10
    assert host.loads.usage(CORE, A, 10) == 5
    assert host.loads.usage(CORE, A, 60) == pytest.approx(100 / 120)
    assert host.loads.usage(CORE, B, 30) == 30
    assert host.loads.usage(CORE, B, 60) == 15


def test_usage_is_of_what_is_known_and_intervals_may_be_of_any_length() -> None:
    host = Host()
    host.interval(a=400, elapsed=800)
    assert host.loads.usage(CORE, A, 60) == 50
    host.interval(a=0, elapsed=3200)
    assert host.loads.usage(CORE, A, 60) == 10
    assert host.loads.usage(CORE, A, 5) == 0


def test_queue_that_stays_keeps_its_usage_and_one_that_moves_begins_anew() -> None:
    host = Host()
    host.interval(a=100, b=200)
    host.polls = SPLIT
    host.interval(a=100, b=200)     # somewhere in it b moved
    assert host.loads.usage(CORE, A, 60) == 10
    assert host.loads.usage(4, B, 60) == 0
    assert host.loads.usage(CORE, B, 60) == 0
    host.interval(a=100, b=400)
    assert host.loads.usage(4, B, 5) == 40
    assert host.loads.usage(4, B, 15) == pytest.approx(40 / 3)
    host.polls = BOTH
    host.interval(b=400)
    assert host.loads.usage(CORE, B, 60) == 0       # not what it used there before


def test_pmd_that_was_started_anew_begins_anew_and_its_queues_keep_their_cycles() -> None:
    host = Host()
    host.interval(a=100)
    host.pmds[CORE] = PmdCounters(10, 10)
    host.interval(a=100, elapsed=0)
    assert host.loads.usage(CORE, A, 60) is None
    assert host.loads.pmd_load(CORE) == ()
    assert host.loads.usage(4, B, 60) == 0
    host.interval(a=100)
    assert host.loads.usage(CORE, A, 60) == 10
    assert host.loads.pmd_load(CORE) == (10,)
    assert host.loads.cycles(A) == 300


def test_busy_cycles_that_went_back_tell_of_a_new_pmd_too() -> None:
    host = Host()
    host.interval(a=500)
    host.pmds[CORE] = PmdCounters(1200, 30)
    host.sample()
    assert host.loads.pmd_load(CORE) == ()


def test_pmd_that_is_gone_is_forgotten() -> None:
    host = Host()
    host.interval(a=100)
    del host.pmds[CORE]
    host.polls = ((4, (A, B)),)
    host.interval(a=100)
    assert host.loads.usage(CORE, A, 60) is None
    assert host.loads.overhead(CORE, 60) is None
    assert host.loads.pmd_load(CORE) == ()
    assert host.loads.minute(CORE) == 0


# --- overhead -------------------------------------------------------------------------------------

def test_overhead_is_what_a_pmd_was_busy_with_beside_its_queues() -> None:
    host = Host()
    host.interval(a=100, b=100, busy=50)
    assert host.loads.overhead(CORE, 60) == 5
    host.interval(a=100, b=100, busy=150)
    assert host.loads.overhead(CORE, 60) == 10
    assert host.loads.overhead(CORE, 5) == 15


def test_overhead_is_never_negative() -> None:
    """Cycles of a queue count from its burst on, those of a PMD from the end of its round on."""
    host = Host()
    host.interval(a=100, busy=-10)
    assert host.loads.overhead(CORE, 60) == 0
    host.interval(a=100, busy=30)
    assert host.loads.overhead(CORE, 60) == 1


def test_overhead_leaves_intervals_out_in_which_the_queues_changed() -> None:
    host = Host()
    host.interval(a=100, b=200, busy=100)
    host.polls = SPLIT
    host.interval(a=100, b=200, busy=100)
    assert host.loads.overhead(CORE, 5) is None
    assert host.loads.overhead(CORE, 10) == 10
    assert host.loads.overhead(4, 60) == 10         # idle before: the second interval is left out
    host.interval(a=100, b=200, busy=100)
    assert host.loads.overhead(4, 5) == 10


@pytest.mark.parametrize("count", [None, 0])
def test_overhead_leaves_intervals_out_in_which_a_port_was_replaced(count: int | None) -> None:
    host = Host()
    host.interval(a=100, busy=20)
    del host.rxqs[A]
    if count is not None:
        host.rxqs[A] = count
    host.interval(a=100, busy=900)
    assert host.loads.overhead(CORE, 60) == 2


# --- load of a PMD --------------------------------------------------------------------------------

def test_pmd_load_is_whole_percent_of_each_interval_newest_first() -> None:
    host = Host()
    host.interval(a=999)
    host.interval(busy=15, elapsed=2000)
    host.interval(elapsed=0)
    assert host.loads.pmd_load(CORE) == (0, 0, 99)
    for n in range(12):
        host.interval(a=10 * n)
    assert host.loads.pmd_load(CORE) == tuple(range(11, -1, -1))


def test_minute_is_what_twelve_intervals_like_the_known_ones_have() -> None:
    host = Host()
    host.interval(elapsed=1000)
    assert host.loads.minute(CORE) == 12_000
    host.interval(elapsed=3000)
    assert host.loads.minute(CORE) == 24_000
    for _ in range(12):
        host.interval(elapsed=500)
    assert host.loads.minute(CORE) == 6000


# --- what always holds ----------------------------------------------------------------------------

intervals = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 400), st.integers(0, 200),
                               st.sampled_from([BOTH, SPLIT])), min_size=1, max_size=30)


@given(intervals, st.integers(1, 12))
def test_shares_are_consistent(passed: list[tuple[int, int, int, PollLists]], last: int) -> None:
    host = Host()
    for a, b, busy, polls in passed:
        host.polls = polls
        host.interval(a, b, busy=busy)
    assert host.loads.cycles(A) == sum(a for a, *_ in passed[-INTERVALS:])
    for core in (CORE, 4):
        loads = host.loads.pmd_load(core)
        assert len(loads) == min(INTERVALS, len(passed))
        assert all(0 <= load <= 100 for load in loads)
        usages = [host.loads.usage(core, rxq, 5 * last) for rxq in (A, B)]
        used = sum(usage for usage in usages if usage is not None)
        mean = sum(loads[:last]) / len(loads[:last])
        assert used <= mean + 1         # the loads are rounded down
        same = len({polls for *_, polls in passed} | {BOTH}) == 1
        overhead = host.loads.overhead(core, 5 * last)
        if same:
            assert overhead is not None
            assert mean <= used + overhead + 1e-9 <= mean + 1


@given(st.lists(st.integers(0, 1000), min_size=2, max_size=30))
def test_cycles_are_what_a_counter_gained_since_it_last_went_back(counts: list[int]) -> None:
    loads = Loads()
    for count in counts:
        loads.sample(Readings(1, {}, {A: count}), ())
    kept = counts[-INTERVALS - 1:]
    start = max((i for i, (x, y) in enumerate(pairwise(kept), 1) if y < x), default=0)
    assert loads.cycles(A) == kept[-1] - kept[start]
    rising = Loads()
    for count in accumulate(counts):
        rising.sample(Readings(1, {}, {A: count}), ())
    assert rising.cycles(A) == sum(counts[1:][-INTERVALS:])


def test_thread_that_is_started_later_on_a_core_begins_anew() -> None:
    host = Host()
    host.interval(a=100)
    assert host.loads.usage(CORE, A, 60) == 10
    for core in host.pmds:      # it lived for longer than the one before it
        host.pmds[core] = PmdCounters(9000, 900, thread=7)
    host.sample()
    assert host.loads.usage(CORE, A, 60) is None
