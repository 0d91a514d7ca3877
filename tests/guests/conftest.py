"""The fixture of most tests here, and the table of what was seen.

A test names the place in the document and what it says there (`says`); its docstring tells how it
is shown. Parameters may stand in both, as in str.format. Figures go to record_property("seen").
"""
from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.guests.lab import Lab, new_lab

WIDTHS = (26, 46, 62)               # of the table's columns of words


@pytest.fixture
def lab() -> Iterator[Lab]:
    with new_lab() as lab:
        yield lab


# --- the table ------------------------------------------------------------------------------------

def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "document(section, promise): what the document says where")


def row_of(item: pytest.Item) -> tuple[str, str, str]:
    """Section, promise and how it is shown, of a test."""
    mark = item.get_closest_marker("document")
    assert mark is not None, f"{item.nodeid} says of nothing what the document promises"
    section, promise = mark.args
    how = inspect.getdoc(getattr(item, "function", None))
    assert how, f"{item.nodeid} does not say how it shows that"
    given = item.callspec.params if hasattr(item, "callspec") else {}
    section, promise, how = (text.format(**given) for text in (section, promise, how))
    return section, promise, " ".join(how.split())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.user_properties.append(("row", row_of(item)))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Each test's row, in the order in which they ran, with its result and seconds; figures that a
    test recorded as "seen" stand behind how it was shown."""
    rows: dict[str, tuple[tuple[str, str, str], str, float]] = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            if not isinstance(report, pytest.TestReport):
                continue                    # a test that was deselected, for example
            properties = dict(report.user_properties)
            if "row" not in properties:
                continue
            _, result, seconds = rows.get(report.nodeid, ((), "passed", 0.0))
            section, promise, how = properties["row"]
            if "seen" in properties:
                how = f"{how} SEEN: {properties['seen']}"
            if report.outcome != "passed":
                result = report.outcome
            rows[report.nodeid] = ((section, promise, how), result, seconds + report.duration)
    if not rows:
        return
    terminalreporter.section("what the document says, and what was seen")
    write = terminalreporter.write_line
    write(line(("section", "what it says", "how it was shown"), "result", "s"))
    for words, result, seconds in rows.values():
        columns = [textwrap.wrap(text, width) for text, width in zip(words, WIDTHS, strict=True)]
        for number in range(max(map(len, columns))):
            cells = tuple(column[number] if number < len(column) else "" for column in columns)
            write(line(cells, *((result, f"{seconds:.0f}") if number == 0 else ("", ""))),
                  red=result != "passed")
    passed = sum(result == "passed" for _, result, _ in rows.values())
    write(f"{passed} of {len(rows)} rows passed")


def line(cells: tuple[str, ...], result: str, seconds: str) -> str:
    words = "  ".join(f"{cell:{width}}" for cell, width in zip(cells, WIDTHS, strict=True))
    return f"{words}  {result:7} {seconds:>4}".rstrip()
