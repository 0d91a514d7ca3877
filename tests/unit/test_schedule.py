"""Placement of rxqs on PMDs, by properties."""
from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.schedule import schedule

rxqs = st.sets(st.tuples(st.sampled_from("abcdef"), st.integers(0, 7)), max_size=30)
cores = st.sets(st.integers(0, 9), min_size=1, max_size=5)


def flat(polls: tuple[tuple[int, tuple[tuple[str, int], ...]], ...]) -> list[tuple[str, int]]:
    return [rxq for _, queues in polls for rxq in queues]


@given(rxqs, cores, rxqs, cores)
def test_each_rxq_exactly_once_on_a_wanted_core(
        before: set[tuple[str, int]], old_cores: set[int],
        after: set[tuple[str, int]], new_cores: set[int]) -> None:
    polls = schedule(after, new_cores, schedule(before, old_cores, ()))
    assert sorted(flat(polls)) == sorted(after)
    assert [core for core, _ in polls] == sorted(new_cores)


@given(rxqs, rxqs, cores)
def test_what_can_stay_stays(before: set[tuple[str, int]], after: set[tuple[str, int]],
                             on: set[int]) -> None:
    old = schedule(before, on, ())
    where = {rxq: core for core, queues in old for rxq in queues}
    for core, queues in schedule(after, on, old):
        for rxq in queues:
            assert where.get(rxq, core) == core


@given(rxqs, cores)
def test_input_order_does_not_matter_and_load_is_even(queues: set[tuple[str, int]],
                                                      on: set[int]) -> None:
    polls = schedule(sorted(queues), on, ())
    assert polls == schedule(sorted(queues, reverse=True), on, ())
    sizes = [len(q) for _, q in polls]
    assert max(sizes) - min(sizes) <= 1


def test_without_cores_nothing_is_polled() -> None:
    assert schedule([("a", 0)], [], ((0, (("a", 0),)),)) == ()
