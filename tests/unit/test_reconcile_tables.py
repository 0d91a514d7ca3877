"""What is looked at once a second: entries that age, and addresses that flap."""
from __future__ import annotations

from agent import loglines
from agent.fdb import Flap
from tests.unit.conftest import OneBridge

A = "02:00:00:00:00:0a"


def test_aged_entries_of_both_tables_are_removed(pair: OneBridge) -> None:
    assert not pair.reconciler.watch_tables(pair.plane)
    assert pair.plane.expired == ["fdb", "mdb"]


def test_address_that_flaps_is_a_problem_of_its_two_ports_and_said_once(
        pair: OneBridge, lines: list[loglines.Line]) -> None:
    reconciler, plane = pair.reconciler, pair.plane
    assert not reconciler.watch_tables(plane)
    plane.flaps = [Flap(A, 7, ("a", "b"))]
    del lines[:]
    assert reconciler.watch_tables(plane)
    assert [level for level, _ in lines] == ["warn", "warn"]
    assert all(A in text for _, text in lines)
    assert {name: [A in text for text in texts] for name, texts in reconciler.problems.items()} == {
        "a": [True], "b": [True]}
    del lines[:]
    plane.flaps = [Flap(A, 7, ("b", "a"))]
    assert not reconciler.watch_tables(plane)
    assert lines == []
    plane.flaps = []
    assert reconciler.watch_tables(plane)
    assert reconciler.problems == {}
