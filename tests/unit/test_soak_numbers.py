"""Endurance: what counts as growth, and what is said of a run."""
from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.soak_numbers import (
    QUANTITIES,
    Quantity,
    Sample,
    Soak,
    Traffic,
    document,
    faults,
    rollup_mib,
    slope,
    trend,
    trends,
)

GOOD = Traffic(sent=1000, received=1000)
FLAT = {quantity.key: 100.0 for quantity in QUANTITIES}


def run(count: int = 60, traffic: Traffic = GOOD, **values: list[float]) -> Soak:
    """A flat run with a sample a minute, but for these quantities."""
    samples = [Sample(60.0 * n, 100 * n, 1000 * n,
                      {**FLAT, **{key: series[n] for key, series in values.items()}})
               for n in range(count)]
    return Soak({"seed": 1}, 60.0 * count, {"add": 5}, (0.5, "add"), samples, traffic)


def test_flat_run_has_no_fault() -> None:
    assert faults(run()) == []
    assert document(run())["faults"] == []


@pytest.mark.parametrize("quantity", QUANTITIES, ids=lambda quantity: quantity.key)
def test_each_quantity_that_grows_is_named_with_its_figures(quantity: Quantity) -> None:
    (sentence,) = faults(run(**{quantity.key: [100.0 + 20 * n for n in range(60)]}))
    assert sentence.startswith(quantity.title)
    assert "from 340" in sentence
    assert "to 1,280" in sentence
    assert faults(run(**{quantity.key: [1280.0 - 20 * n for n in range(60)]})) == []    # it falls


def test_a_descriptor_in_a_hundred_changes_is_found_within_minutes() -> None:
    assert faults(run(12, descriptors=[40.0 + n for n in range(12)])) != []


def test_growth_of_the_warm_up_is_none() -> None:
    grown = [min(100.0, 10.0 * n) for n in range(60)]
    assert faults(run(own_mib=grown, descriptors=grown)) == []


def test_outliers_are_no_growth() -> None:
    """A sample that was taken while a removal was not over yet."""
    assert faults(run(descriptors=[140.0 if n % 4 == 3 else 100.0 for n in range(60)])) == []


def test_noise_within_the_tolerance_is_no_growth() -> None:
    noisy = [100 + (n * 7919 % 13) / 13 + n / 60 for n in range(60)]
    assert faults(run(own_mib=noisy, main_ms_per_step=noisy)) == []


def test_what_scatters_as_it_really_does_is_no_growth() -> None:
    """By chance the first ones have less. Without what the scatter explains it would be growth."""
    log = [368.0, 702, 443, 879, 525, 418, 1115, 517, 530, 868, 567, 570, 636, 357, 756, 572, 842,
           1096, 1050, 796]
    assert faults(run(25, log_per_step=[*[400.0] * 5, *log])) == []
    steep = [each + 100 * n for n, each in enumerate(log)]
    assert faults(run(25, log_per_step=[*[400.0] * 5, *steep])) != []


def test_lost_and_repeated_frames_are_faults() -> None:
    lost = replace(GOOD, received=998)
    assert faults(run(traffic=lost)) == [
        "Of 1,000 numbered frames between the steady neighbours 2 were lost."]
    assert document(run(traffic=lost))["traffic"]["lost"] == 2
    (sentence,) = faults(run(traffic=replace(GOOD, duplicated=3)))
    assert "twice" in sentence
    assert faults(run(traffic=Traffic())) == ["No numbered frame came through at all."]


def test_what_ended_a_run_is_a_fault_whatever_was_seen_until_then() -> None:
    assert faults(replace(run(), broken=("The agent has ended.",))) == ["The agent has ended."]


@pytest.mark.parametrize(("count", "judged"), [
    (0, 0), (1, 0), (5, 0), (6, len(QUANTITIES) - 2), (25, len(QUANTITIES))])
def test_a_run_is_judged_by_five_samples_and_what_scatters_by_twenty(
        count: int, judged: int) -> None:
    assert len(trends(run(count).samples)) == judged
    assert bool(faults(run(count))) == (not judged)


def test_report_of_a_trend() -> None:
    found = trend(QUANTITIES[0], run(11, descriptors=[float(n) for n in range(11)]).samples)
    assert found is not None
    assert (found.first, found.last, found.median) == (2, 10, 6)
    assert found.growth == pytest.approx(8)


@given(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3), st.integers(2, 1000))
def test_slope_of_a_line_is_its_own(rise: float, start: float, count: int) -> None:
    points = [(float(n), start + rise * n) for n in range(count)]
    assert slope(points) == pytest.approx(rise, abs=1e-6)


def test_slope_of_less_than_two_points_is_none() -> None:
    assert slope([]) == slope([(1.0, 5.0)]) == 0


def test_rollup_is_read() -> None:
    text = ("5600000-7ffff ---p 00000000 00:00 0    [rollup]\nRss:   2048 kB\nPss:  1024 kB\n"
            "Private_Hugetlb: 512 kB\nShared_Hugetlb:  512 kB\n")
    assert rollup_mib(text, "Rss") == 2
    assert rollup_mib(text, "Private_Hugetlb", "Shared_Hugetlb") == 1
