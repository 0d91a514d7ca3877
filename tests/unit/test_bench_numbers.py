"""The benchmarks' arithmetic."""
from __future__ import annotations

import pytest

from tools.bench_numbers import (
    Spread,
    against,
    beside,
    compare,
    differences,
    kib,
    medians,
    percentile,
    ratios,
    run_and_wait_ns,
    shares,
    short,
    spread,
    table,
    thread_time,
    weighted_percentile,
)

STAT = "12 ({}) S 1 12 12 0 -1 4194560 5 6 7 8 {} {} 77 88 20 0 14 0 100 5 6"
STATUS = "Name:\tx\nVmHWM:\t  99 kB\nVmRSS:\t   52664 kB\nThreads:\t14\n"


@pytest.mark.parametrize("name", ["vhost-agent", "pmd-c01/id:8", "a (b) c) d"])
def test_thread_time(name: str) -> None:
    assert thread_time(STAT.format(name, 120, 3)) == (name, 123)


def test_kib() -> None:
    assert kib(STATUS, "VmRSS") == 52664
    assert kib(STATUS, "HugetlbPages") == 0


def test_run_and_wait_ns() -> None:
    assert run_and_wait_ns("4803423212 11238719 4501\n") == (4803423212, 11238719)


def test_shares_count_no_pmds_and_new_threads_from_their_start() -> None:
    before = {1: ("main", 100), 2: ("pmd-c01/id:8", 1000), 3: ("ended", 50)}
    after = {1: ("main", 150), 2: ("pmd-c01/id:8", 3000), 4: ("new", 20)}
    assert shares(before, after, 1, 2000) == (2.5, 3.5)


def test_shares_of_nothing() -> None:
    assert shares({1: ("main", 7)}, {1: ("main", 7)}, 1, 2000) == (0, 0)


def test_ratios_are_theirs_by_ours_pair_by_pair() -> None:
    assert ratios([2, 4], [4, 2]) == [2, 0.5]
    assert ratios([0, 4], [4, 2]) == [0.5]
    with pytest.raises(ValueError, match="shorter"):
        ratios([1, 2], [1])


def test_differences_are_theirs_less_ours_pair_by_pair() -> None:
    assert differences([2, 4], [4, 1]) == [2, -3]
    with pytest.raises(ValueError, match="shorter"):
        differences([1, 2], [1])


@pytest.mark.parametrize(("percent", "value"), [
    (0, 1), (1, 1), (50, 50), (50.1, 51), (99, 99), (99.5, 100), (100, 100)])
def test_percentile_is_one_of_the_values(percent: float, value: float) -> None:
    assert percentile(list(range(100, 0, -1)), percent) == value
    assert percentile([7], percent) == 7


def test_medians_and_spread() -> None:
    assert medians([[3, 1, 2], [5]]) == [2, 5]
    assert spread([3, 1, 2]) == Spread(2, 1, 3)
    assert spread([]) is None


@pytest.mark.parametrize(("value", "text"), [
    (0, "0"), (0.0123, "0.0123"), (1.2345, "1.23"), (12.34, "12.3"), (99.94, "99.9"),
    (123.4, "123"), (12345.6, "12346")])
def test_numbers_are_short(value: float, text: str) -> None:
    assert short(value) == text


def test_compare() -> None:
    results = {"we": [[10], [20], [1, 100, 30]], "they": [[20], [20], [60]]}
    assert compare(results, "we", "they", "floor") == [
        "20 (10..30)", "20 (20..60)", "2 (1..2)", "-"]
    assert compare({"we": [[10]]}, "we", "they", "floor") == ["10", "-", "-", "-"]


def test_beside_the_first() -> None:
    results = {"a": [[10], [20], [40]], "b": [[20], [1, 20, 90], [20]], "c": [[10], [10], [10]]}
    assert beside(results, ["a", "b", "c"], subtract=False) == [
        "20 (10..40)", "20", "10", "1 (0.5..2)", "0.5 (0.25..1)"]
    assert beside(results, ["a", "b", "c"], subtract=True)[3:] == ["0 (-20..10)", "-10 (-30..0)"]
    assert beside({"a": [[0]], "b": [[5]]}, ["a", "b"], subtract=False) == ["0", "5", "-"]


def test_table() -> None:
    assert table(["case", "us"], [["a long one", "1"], ["b", "123"]]) == (
        "case         us\n"
        "a long one    1\n"
        "b           123")


def test_against_is_ours_by_theirs_turn_by_turn() -> None:
    assert against([3.0, 4.0], [2.0, 8.0]) == [1.5, 0.5]
    assert against([3.0], []) == against([], [3.0]) == []


@pytest.mark.parametrize(("percent", "value"), [
    (1, 0.5), (50, 0.5), (51, 2.0), (99, 2.0), (100, 7.0)])
def test_weighted_percentile_is_that_of_the_values_one_by_one(percent: float, value: float) -> None:
    counted = [(0.5, 50), (2.0, 49), (7.0, 1)]
    assert weighted_percentile(counted, percent) == value
    assert percentile([v for v, n in counted for _ in range(n)], percent) == value
    assert weighted_percentile([], percent) == 0
