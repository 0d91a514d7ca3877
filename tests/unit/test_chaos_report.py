"""What chaos says in the end, of made-up events."""
from __future__ import annotations

import json
from itertools import islice
from random import Random

from tools.chaos import FAULTS, order
from tools.chaos_check import Stretch
from tools.chaos_report import Event, losses, record, table, verdict

KINDS = {"agent killed": "all", "clock stepped": "nothing", "never done": "nothing"}


def stretch(lost: int = 0, gap_ms: float = 10.0, duplicated: int = 0) -> Stretch:
    return Stretch(received=500, lost=lost, duplicated=duplicated, longest_gap_ms=gap_ms)


def event(fault: str, spared: tuple[str, ...] = (), agreed_s: float | None = 0.5,
          wrong: tuple[str, ...] = (), **streams: Stretch) -> Event:
    return Event(fault=fault, at_s=1.0, agreed_s=agreed_s, streams=streams, spared=spared,
                 wrong=wrong)


def test_only_what_is_to_be_spared_may_not_lose() -> None:
    streams = {"a": stretch(lost=3), "c": stretch(duplicated=1)}
    assert losses(streams, ()) == []
    assert [said.partition(":")[0] for said in losses(streams, ("a", "c"))] == ["a", "c"]
    assert losses({"a": stretch()}, ("a",)) == []


def test_table_has_a_line_for_each_kind_that_was_done_with_its_worst() -> None:
    events = [event("agent killed", a=stretch(100, 250.0)),
              event("agent killed", a=stretch(20, 310.0), agreed_s=2.25),
              event("clock stepped", ("a",), a=stretch(0, 12.0))]
    _, killed, stepped = table(events, KINDS)
    assert killed.split() == ["agent", "killed", "2", "310", "ms", "120", "2.2", "s", "all"]
    assert stepped.split() == ["clock", "stepped", "1", "12", "ms", "0", "0.5", "s", "nothing"]


def test_what_never_agreed_is_said() -> None:
    assert "never" in table([event("clock stepped", agreed_s=None, a=stretch())], KINDS)[1]


def test_verdict_names_what_was_not_done_and_counts_what_went_wrong() -> None:
    said = verdict([event("agent killed"), event("clock stepped", wrong=("x",))], list(KINDS), 61.4)
    assert said == ("2 faults of 2 of 3 kinds in 61 s (not done: never done); 1 went wrong")


def test_record_is_json() -> None:
    kept = json.loads(json.dumps(record([event("agent killed", a=stretch(1))], list(KINDS), 7, 60)))
    assert (kept["seed"], kept["wrong"]) == (7, 0)
    assert kept["events"][0]["streams"]["a"]["lost"] == 1


def test_every_kind_comes_before_one_comes_again_and_a_seed_says_in_which_order() -> None:
    first = list(islice(order(FAULTS, Random(5)), 2 * len(FAULTS)))
    assert first == list(islice(order(FAULTS, Random(5)), 2 * len(FAULTS)))
    assert set(first[:len(FAULTS)]) == set(first[len(FAULTS):]) == set(FAULTS)
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
