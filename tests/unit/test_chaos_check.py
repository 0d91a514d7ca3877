"""What chaos compares, of made-up rows, pictures and marks."""
from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tools.chaos_check import IN_FLIGHT, Levels, disagreements, hugetlb_kib, leaks, stretch
from tools.probe import ProbeMark, Receiver

STATUS = {"status": "connected"}
ROW = {"name": "a", "error": None, "ofport": 1, "link_state": "up", "status": STATUS,
       "admin_state": "up"}
PORT = {"name": "a", "guest": True, "ofport": 1, "connected": True,
        "rxqs": [{"core": 0, "enabled": True}]}
LEVELS = Levels(descriptors=40, threads=7, hugetlb_kib=4096, packet_buffers=10, processes=3,
                sockets=("db.sock", "s"))


def picture(**port: Any) -> dict[str, Any]:
    return {"database": {"connected": True, "lock": "held"}, "problems": [],
            "ports": [{**PORT, **port}, {"name": "br0", "guest": False}]}


def test_all_agrees() -> None:
    assert disagreements({"a": ROW, "br0": {**ROW, "name": "br0"}}, picture(), {"a": True}) == []


def test_a_port_without_a_guest_agrees_when_it_says_so() -> None:
    row = {**ROW, "link_state": "down", "status": {"status": "disconnected"}}
    assert disagreements({"a": row}, picture(connected=False), {"a": False}) == []
    assert disagreements({"a": ROW}, picture(), {"a": False}) != []


@pytest.mark.parametrize("change", [
    {"error": "no such thing"}, {"ofport": 2}, {"ofport": -1}, {"link_state": "down"},
    {"status": {"status": "disconnected"}}, {"status": None}, {"admin_state": "down"},
    {"status": {**STATUS, "problems": "no memory"}}])
def test_each_column_has_to_agree(change: dict[str, Any]) -> None:
    (said,) = disagreements({"a": {**ROW, **change}}, picture(), {"a": True})
    assert said.startswith("a: ")


@pytest.mark.parametrize("port", [
    {"connected": False}, {"rxqs": [{"core": None, "enabled": True}]},
    {"rxqs": [{"core": 0, "enabled": False}]}])
def test_the_agent_has_to_serve_it(port: dict[str, Any]) -> None:
    assert len(disagreements({"a": ROW}, picture(**port), {"a": True})) == 1


def test_an_error_of_any_row_is_said() -> None:
    rows = {"a": ROW, "br0": {**ROW, "name": "br0", "error": "no tap"}}
    assert disagreements(rows, picture(), {"a": True}) == ["br0: error: no tap"]


def test_rows_and_served_ports_are_those_that_are_wanted() -> None:
    assert len(disagreements({"a": ROW}, picture(), {"a": True, "b": True})) == 2
    assert len(disagreements({}, {**picture(), "ports": []}, {"a": True})) == 2


def test_a_lost_database_is_said() -> None:
    shown = {**picture(), "database": {"connected": False, "lock": "held"}}
    assert len(disagreements({"a": ROW}, shown, {"a": True})) == 1


def test_more_is_a_leak_and_less_is_none() -> None:
    assert leaks(LEVELS, LEVELS) == []
    assert leaks(LEVELS, replace(LEVELS, descriptors=39, threads=6, hugetlb_kib=0)) == []
    for name in ("descriptors", "threads", "hugetlb_kib", "processes"):
        (said,) = leaks(LEVELS, replace(LEVELS, **{name: 5000}))    # type: ignore[arg-type]
        assert said.startswith(name.replace("_", " "))


def test_traffic_may_have_some_packet_buffers() -> None:
    most = LEVELS.packet_buffers + IN_FLIGHT
    assert leaks(LEVELS, replace(LEVELS, packet_buffers=most)) == []
    assert leaks(LEVELS, replace(LEVELS, packet_buffers=most + 1)) != []


@pytest.mark.parametrize("sockets", [("db.sock",), ("db.sock", "s", "x")])
def test_sockets_have_to_be_the_same(sockets: tuple[str, ...]) -> None:
    assert len(leaks(LEVELS, replace(LEVELS, sockets=sockets))) == 1


def test_hugepages_are_counted_whether_they_are_touched_or_not() -> None:
    smaps = ("7f00-7f20 rw-p 0 00:00 0\nSize:    4096 kB\nKernelPageSize:   2048 kB\nRss: 0 kB\n"
             "7f20-7f21 rw-p 0 00:00 0\nSize:       4 kB\nKernelPageSize:      4 kB\n"
             "7f40-7f60 rw-s 0 00:00 0\nSize: 1048576 kB\nKernelPageSize: 1048576 kB\n")
    assert hugetlb_kib(smaps) == 4096 + 1048576


def mark(received: int, missing: int, gap_ms: float, duplicated: int = 0) -> ProbeMark:
    return ProbeMark(received=received, missing=missing, duplicated=duplicated,
                     longest_gap_ms=gap_ms)


def test_a_stretch_is_what_came_between_two_marks() -> None:
    was = stretch([mark(100, 5, 900.0), mark(150, 7, 20.0), mark(200, 8, 30.0, 1)])
    assert (was.received, was.lost, was.duplicated, was.longest_gap_ms) == (100, 3, 1, 30.0)


def test_what_was_late_at_the_first_mark_is_no_gain() -> None:
    assert stretch([mark(100, 5, 0.0), mark(150, 3, 0.0)]).lost == 0


def test_a_gap_that_lasts_is_marked_in_full_each_time() -> None:
    receiver = Receiver()
    for seq, now_ns in ((0, 0), (1, 10**6), (3, 5 * 10**6)):
        receiver.count(seq, now_ns, now_ns)
    assert receiver.mark(6 * 10**6) == {"received": 3, "missing": 1, "duplicated": 0,
                                        "longest_gap_ms": 4.0}
    assert receiver.mark(105 * 10**6)["longest_gap_ms"] == 100.0
    receiver.count(4, 0, 205 * 10**6)
    assert receiver.mark(206 * 10**6)["longest_gap_ms"] == 200.0
    assert receiver.mark(207 * 10**6)["longest_gap_ms"] == 2.0
