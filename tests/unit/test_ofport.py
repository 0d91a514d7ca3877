"""Port numbers: a request wins over history, history over the lowest free number."""
from __future__ import annotations

from dataclasses import replace
from random import Random
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.model import OFPORT_LOCAL, OFPORT_NONE, BridgeRow, InterfaceRow
from agent.ofport import AUTOMATIC_MAX, OFPORT_MAX, ofports

U = UUID(int=1)


def row(name: str, *, request: int | None = None, had: int | None = None) -> InterfaceRow:
    return InterfaceRow(U, name, "dpdkvhostuser", ofport=had, ofport_request=request)


def bridge(*rows: InterfaceRow) -> BridgeRow:
    return BridgeRow(U, "br0", "netdev", interfaces=rows)


def numbers(*rows: InterfaceRow, failed: tuple[str, ...] = ()) -> dict[str, int]:
    return ofports(bridge(*rows), failed)


# Few numbers, so that they clash; some that cannot be had.
wanted = st.sampled_from([None, None, -1, 0, 1, 2, 3, OFPORT_MAX, OFPORT_MAX + 1, OFPORT_LOCAL])
interfaces = st.lists(st.builds(row, st.sampled_from("abcdef"), request=wanted, had=wanted),
                      unique_by=lambda r: r.name)
failures = st.sets(st.sampled_from("abcdef"))


def after(rows: list[InterfaceRow], got: dict[str, int]) -> list[InterfaceRow]:
    """The rows once their numbers are in the database."""
    return [replace(r, ofport=got[r.name]) for r in rows]


@given(interfaces, failures)
def test_each_served_interface_has_a_number_of_its_own(rows: list[InterfaceRow],
                                                       failed: set[str]) -> None:
    got = ofports(bridge(*rows), failed)
    assert got.keys() == {r.name for r in rows}
    assert {n for n, number in got.items() if number == OFPORT_NONE} == got.keys() & failed
    served = [number for name, number in got.items() if name not in failed]
    assert len(served) == len(set(served))
    assert all(1 <= number <= OFPORT_MAX for number in served)


@given(interfaces, failures, st.randoms())
def test_numbers_are_sticky_and_input_order_does_not_matter(
        rows: list[InterfaceRow], failed: set[str], random: Random) -> None:
    got = ofports(bridge(*rows), failed)
    again = after(rows, got)
    random.shuffle(again)
    assert ofports(bridge(*again), failed) == got


@given(interfaces, wanted)
def test_new_interface_moves_none_but_who_sits_unasked_on_the_number_it_requests(
        rows: list[InterfaceRow], request: int | None) -> None:
    before = numbers(*rows)
    settled = after(rows, before)
    # named to sort before all others: the name must not decide
    got = numbers(row("A", request=request), *settled)
    moved = {r.name for r in settled if got[r.name] != before[r.name]}
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
    # clearing a request changes nothing
    ([row("a", had=7)], {"a": 7}),
    # a holder that did not ask for its number makes way, one that did stays (OVS)
    ([row("a", had=7), row("b", request=7)], {"a": 1, "b": 7}),
    ([row("a", request=7), row("b", request=7, had=7)], {"a": 1, "b": 7}),
    ([row("a", request=7), row("b", request=7)], {"a": 7, "b": 1}),
    ([row("a", had=2), row("b", had=2)], {"a": 2, "b": 1}),
])
def test_choice(rows: list[InterfaceRow], expected: dict[str, int]) -> None:
    assert numbers(*rows) == expected


def test_failed_interface_holds_no_number() -> None:
    assert numbers(row("a", request=1, had=1), row("b"), failed=("a",)) == {
        "a": OFPORT_NONE, "b": 1}


def test_own_port_of_the_bridge_is_local_whatever_it_had() -> None:
    own = InterfaceRow(U, "br0", "internal", ofport=5, ofport_request=6)
    assert numbers(own, row("a", had=6)) == {"br0": OFPORT_LOCAL, "a": 6}


def test_own_port_fails_with_its_bridge() -> None:
    assert numbers(InterfaceRow(U, "br0", "internal"), failed=("br0",)) == {"br0": OFPORT_NONE}
