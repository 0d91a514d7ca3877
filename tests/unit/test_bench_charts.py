"""What the charts of the benchmarks show; how they are drawn is looked at."""
from __future__ import annotations

from typing import Any

import pytest

from tools.bench_bars import Bars, Panel, charts, rows
from tools.bench_numbers import Spread


def case(group: str = "sizes", unit: str = "M packets/s", better: str = "more",
         **values: list[float]) -> dict[str, Any]:
    return {"key": "64", "title": "64 bytes", "unit": unit, "group": group, "better": better,
            "values": values, "notes": []}


def document(*cases: dict[str, Any], turns: int = 3) -> dict[str, Any]:
    return {"about": {"machine": "Two cores", "versions": {"OVS": "3.1.0", "agent": "0.1.0"},
                      "turns": turns}, "cases": list(cases)}


def panel(*bars: Spread) -> Panel:
    return Panel("us", "less", tuple(Bars(str(i), {"OVS": bar}) for i, bar in enumerate(bars)))


def test_a_chart_for_each_group_in_the_order_of_the_document() -> None:
    found = charts(document(case("tcp", OVS=[1]), case("sizes", OVS=[1]), case("tcp", OVS=[2]),
                            case("new-ones", OVS=[1])))
    assert [(chart.name, chart.title) for chart in found] == [
        ("tcp", "TCP"), ("sizes", "Packet sizes"), ("new-ones", "New-ones")]


def test_a_bar_is_the_median_its_whisker_the_least_and_the_most() -> None:
    (chart,) = charts(document(case(OVS=[3, 1, 9], agent=[2])))
    (only,) = chart.panels[0].cases
    assert only == Bars("64 bytes", {"agent": Spread(2, 2, 2), "OVS": Spread(3, 1, 9)})


def test_no_bar_of_a_side_that_was_not_measured_and_no_place_for_one_that_never_was() -> None:
    (chart,) = charts(document(case(OVS=[1], agent=[1]), case(agent=[1], testpmd=[], OVS=[])))
    assert chart.sides == ("agent", "OVS")
    assert [set(each.bars) for each in chart.panels[0].cases] == [{"agent", "OVS"}, {"agent"}]


def test_no_chart_of_a_group_without_numbers() -> None:
    assert charts(document(case(), case(OVS=[]))) == []


def test_cases_that_count_other_things_have_an_axis_of_their_own() -> None:
    (chart,) = charts(document(case(agent=[1]), case(unit="us", better="less", agent=[2]),
                               case(agent=[3])))
    assert [(each.unit, each.better, len(each.cases)) for each in chart.panels] == [
        ("M packets/s", "more", 2), ("us", "less", 1)]


@pytest.mark.parametrize(("wrong", "message"), [
    (case("../sizes", agent=[1]), "named after group"),
    (case(better="bigger", agent=[1]), "bigger is neither more nor less"),
    (case(agent=[1], other=[1]), "no colour for other"),
])
def test_what_cannot_be_drawn_is_said(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        charts(document(wrong))


@pytest.mark.parametrize(("turns", "start"), [(1, "One turn. "), (3, "Median of 3 turns, ")])
def test_caption_says_what_the_bars_are_and_what_was_measured(turns: int, start: str) -> None:
    (chart,) = charts(document(case(agent=[1]), turns=turns))
    assert chart.caption.startswith(start)
    assert chart.caption.endswith("Two cores; agent 0.1.0, OVS 3.1.0.")


def test_an_axis_reaches_the_highest_whisker_and_a_number_has_its_characters() -> None:
    measured = panel(Spread(5, 1, 70), Spread(1234.5, 1000, 2000), Spread(0.125, 0, 1))
    assert (measured.most, measured.digits) == (2000, len("0.125"))


@pytest.mark.parametrize(("cases", "most", "lengths"), [
    (7, 8, [7]), (8, 8, [8]), (9, 8, [5, 4]), (9, 4, [3, 3, 3]), (2, 1, [1, 1]), (1, 1, [1])])
def test_rows_are_few_and_about_as_long(cases: int, most: int, lengths: list[int]) -> None:
    measured = panel(*[Spread(1, 1, 1)] * cases)
    found = rows(measured, most)
    assert [len(row) for row in found] == lengths
    assert tuple(each for row in found for each in row) == measured.cases
