"""Port numbers: a request wins over history, history over the next automatic number."""
from __future__ import annotations

from dataclasses import replace
from random import Random
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.model import OFPORT_LOCAL, OFPORT_NONE, BridgeRow, InterfaceRow
from agent.ofport import AUTOMATIC_MAX, OFPORT_MAX, REST_MS, Numbers, numbers

U = UUID(int=1)
FRESH = Numbers()


def row(name: str, *, request: int | None = None, had: int | None = None) -> InterfaceRow:
    return InterfaceRow(U, name, "dpdkvhostuser", ofport=had, ofport_request=request)


def bridge(*rows: InterfaceRow) -> BridgeRow:
    return BridgeRow(U, "br0", "netdev", interfaces=rows)


def first(*rows: InterfaceRow, failed: tuple[str, ...] = ()) -> dict[str, int]:
    """Numbers on a bridge that the agent has not seen yet."""
    return dict(numbers(bridge(*rows), failed, FRESH, 0).ofports)


class Bridge:
    """A bridge in the course of time."""

    def __init__(self) -> None:
        self.numbers = FRESH
        self.now_ms = 0

    def has(self, *rows: InterfaceRow | str, failed: tuple[str, ...] = ()) -> dict[str, int]:
        """Numbers when these are its interfaces; one by name alone knows no number."""
        on = bridge(*(row(r) if isinstance(r, str) else r for r in rows))
        self.numbers = numbers(on, failed, self.numbers, self.now_ms)
        return dict(self.numbers.ofports)


# Few numbers, so that they clash; some that cannot be had.
wanted = st.sampled_from([None, None, -1, 0, 1, 2, 3, OFPORT_MAX, OFPORT_MAX + 1, OFPORT_LOCAL])
interfaces = st.lists(st.builds(row, st.sampled_from("abcdef"), request=wanted, had=wanted),
                      unique_by=lambda r: r.name)
failures = st.sets(st.sampled_from("abcdef"))
numbered = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from([-1, 1, 2, 3, 7, OFPORT_MAX]))
befores = st.builds(
    Numbers, numbered, st.sampled_from([0, 1, 3, AUTOMATIC_MAX]),
    st.dictionaries(st.sampled_from([1, 2, 3, 4, OFPORT_MAX]), st.integers(0, 2 * REST_MS)))


def after(rows: list[InterfaceRow], got: dict[str, int]) -> list[InterfaceRow]:
    """The rows once their numbers are in the database."""
    return [replace(r, ofport=got[r.name]) for r in rows]


@given(interfaces, failures, befores, st.integers(0, 3 * REST_MS))
def test_each_served_interface_has_a_number_of_its_own(
        rows: list[InterfaceRow], failed: set[str], before: Numbers, now_ms: int) -> None:
    now = numbers(bridge(*rows), failed, before, now_ms)
    got = now.ofports
    assert got.keys() == {r.name for r in rows}
    assert {n for n, number in got.items() if number == OFPORT_NONE} == got.keys() & failed
    served = [number for name, number in got.items() if name not in failed]
    assert len(served) == len(set(served))
    assert all(1 <= number <= OFPORT_MAX for number in served)
    assert now.freed_at_ms.keys().isdisjoint(served)
    assert now.freed_at_ms.keys() <= {*before.freed_at_ms, *before.ofports.values()}


@given(interfaces, failures, befores, st.integers(0, 3 * REST_MS), st.randoms())
def test_numbers_are_sticky_and_input_order_does_not_matter(
        rows: list[InterfaceRow], failed: set[str], before: Numbers, now_ms: int, random: Random
        ) -> None:
    now = numbers(bridge(*rows), failed, before, now_ms)
    again = after(rows, dict(now.ofports))
    random.shuffle(again)
    assert numbers(bridge(*again), failed, now, now_ms) == now
    # of the database alone, as after a restart
    assert numbers(bridge(*again), failed, FRESH, 0).ofports == now.ofports
    # before the database has said the numbers again
    assert numbers(bridge(*rows), failed, now, now_ms).ofports == now.ofports


@given(interfaces, wanted)
def test_new_interface_moves_none_but_who_sits_unasked_on_the_number_it_requests(
        rows: list[InterfaceRow], request: int | None) -> None:
    before = numbers(bridge(*rows), (), FRESH, 0)
    settled = after(rows, dict(before.ofports))
    # named to sort before all others: the name must not decide
    got = numbers(bridge(row("A", request=request), *settled), (), before, 0).ofports
    moved = {r.name for r in settled if got[r.name] != before.ofports[r.name]}
    assert moved <= {r.name for r in settled
                     if r.ofport == request and r.ofport_request != request}


@pytest.mark.parametrize(("rows", "expected"), [
    ([row("a"), row("b"), row("c")], {"a": 1, "b": 2, "c": 3}),
    ([row("a"), row("b", had=1)], {"a": 2, "b": 1}),
    ([row("a", request=7)], {"a": 7}),
    ([row("a", request=7, had=3)], {"a": 7}),
    ([row("a", request=OFPORT_MAX)], {"a": OFPORT_MAX}),
    ([row("a", had=AUTOMATIC_MAX + 1)], {"a": AUTOMATIC_MAX + 1}),
    # what cannot be had is as if it were not there
    ([row("a", request=0, had=4)], {"a": 4}),
    ([row("a", request=OFPORT_MAX + 1)], {"a": 1}),
    ([row("a", request=-5)], {"a": 1}),
    ([row("a", had=OFPORT_NONE)], {"a": 1}),
    ([row("a", had=OFPORT_LOCAL)], {"a": 1}),
    # who requests comes before who does not
    ([row("a"), row("b", request=1)], {"a": 2, "b": 1}),
    # a holder that did not ask for its number makes way, one that did stays (OVS)
    ([row("a", had=7), row("b", request=7)], {"a": 1, "b": 7}),
    ([row("a", request=7), row("b", request=7, had=7)], {"a": 1, "b": 7}),
    ([row("a", request=7), row("b", request=7)], {"a": 7, "b": 1}),
    ([row("a", had=2), row("b", had=2)], {"a": 2, "b": 1}),
])
def test_choice(rows: list[InterfaceRow], expected: dict[str, int]) -> None:
    assert first(*rows) == expected


def test_number_of_a_failed_interface_is_not_given_to_another_unless_that_asks_for_it() -> None:
    failed = row("a", had=1)
    assert first(failed, row("b"), failed=("a",)) == {"a": OFPORT_NONE, "b": 2}
    assert first(failed, row("b", request=1), failed=("a",)) == {"a": OFPORT_NONE, "b": 1}


def test_own_port_of_the_bridge_is_local_whatever_it_had() -> None:
    own = InterfaceRow(U, "br0", "internal", ofport=5, ofport_request=6)
    assert first(own, row("a", had=6)) == {"br0": OFPORT_LOCAL, "a": 6}


def test_own_port_fails_with_its_bridge() -> None:
    assert first(InterfaceRow(U, "br0", "internal"), failed=("br0",)) == {"br0": OFPORT_NONE}


# --- a request on a live port ---------------------------------------------------------------------

@pytest.mark.parametrize(("rows", "expected"), [
    # the wanted number is free
    ([row("a", request=9), row("b")], {"a": 9, "b": 2}),
    # its holder did not request it: both move
    ([row("a", request=2), row("b")], {"a": 2, "b": 3}),
    # its holder requested it: nothing changes
    ([row("a", request=2), row("b", request=2)], {"a": 1, "b": 2}),
    # each requests the other's
    ([row("a", request=2), row("b", request=1)], {"a": 2, "b": 1}),
    # what cannot be had changes nothing
    ([row("a", request=OFPORT_MAX + 1), row("b")], {"a": 1, "b": 2}),
])
def test_request_on_a_live_port(rows: list[InterfaceRow], expected: dict[str, int]) -> None:
    live = Bridge()
    assert live.has("a", "b") == {"a": 1, "b": 2}
    assert live.has(*rows) == expected


def test_cleared_request_changes_nothing() -> None:
    live = Bridge()
    assert live.has(row("a", request=7)) == {"a": 7}
    assert live.has(row("a", had=7)) == {"a": 7}
    assert live.has("a") == {"a": 7}


# --- automatic numbers in the course of time ------------------------------------------------------

def test_automatic_numbers_go_on_counting() -> None:
    live = Bridge()
    assert live.has("a", "b") == {"a": 1, "b": 2}
    assert live.has("a") == {"a": 1}
    assert live.has("a", "c") == {"a": 1, "c": 3}
    assert live.has("d") == {"d": 4}


def test_freed_number_rests_an_hour_though_the_count_has_come_round() -> None:
    live = Bridge()
    live.has("a", "b")
    live.now_ms = 1000
    live.has("b")
    live.numbers = replace(live.numbers, last=AUTOMATIC_MAX)
    live.now_ms = 1000 + REST_MS - 1
    assert live.has("b", "c") == {"b": 2, "c": 3}
    live.numbers = replace(live.numbers, last=AUTOMATIC_MAX)
    live.now_ms = 1000 + REST_MS
    assert live.has("b", "c", "d") == {"b": 2, "c": 3, "d": 1}


def test_number_that_its_port_left_for_another_rests_too() -> None:
    live = Bridge()
    live.has("a")
    live.has(row("a", request=7))
    assert live.has(row("a", request=7), "b") == {"a": 7, "b": 2}
    assert live.numbers.freed_at_ms.keys() == {1}


def test_who_requests_a_resting_number_or_had_it_gets_it() -> None:
    live = Bridge()
    live.has("a", "b")
    assert live.has() == {}
    assert live.has(row("c", request=1), row("d", had=2)) == {"c": 1, "d": 2}
    assert live.numbers.freed_at_ms == {}


def test_count_wraps_after_the_automatic_numbers() -> None:
    live = Bridge()
    live.has(row("a", had=1))
    live.numbers = replace(live.numbers, last=AUTOMATIC_MAX - 1)
    assert live.has("a", "b", "c") == {"a": 1, "b": AUTOMATIC_MAX, "c": 2}


def full(*free: int) -> BridgeRow:
    """A bridge with every automatic number taken but these."""
    return bridge(*(row(f"p{n}", had=n) for n in range(1, AUTOMATIC_MAX + 1) if n not in free))


def test_longest_rested_number_is_reused_when_nothing_else_is_free() -> None:
    before = Numbers(last=7, freed_at_ms={5: 300, 9: 100, 4: 200, OFPORT_MAX: 0})
    on = full(4, 5, 9)
    now = numbers(replace(on, interfaces=(*on.interfaces, row("x"), row("y"), row("z"))), (),
                  before, 400)
    assert [now.ofports[name] for name in "xyz"] == [9, 4, 5]
    assert now.freed_at_ms == {OFPORT_MAX: 0}


def test_interface_beyond_all_numbers_has_none() -> None:
    on = full()
    now = numbers(replace(on, interfaces=(*on.interfaces, row("x"))), (), FRESH, 0)
    assert "x" not in now.ofports


def test_mended_port_has_its_number_back() -> None:
    live = Bridge()
    live.has("a", "b")
    assert live.has("a", "b", failed=("a",)) == {"a": OFPORT_NONE, "b": 2}
    # the database has said -1 again by now
    assert live.has(row("a", had=OFPORT_NONE), "b", failed=("a",)) == {"a": OFPORT_NONE, "b": 2}
    assert live.has(row("a", had=OFPORT_NONE), "b") == {"a": 1, "b": 2}
