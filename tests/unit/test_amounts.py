"""Numbers as a person reads them."""
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.amounts import duration, short, size


@pytest.mark.parametrize(("number", "text"), [
    (0, "0"), (0.01, "<0.1"), (0.5, "0.5"), (7, "7"), (9.9, "9.9"), (12.4, "12"), (999, "999"),
    (999.6, "1.00k"), (1234, "1.23k"), (99_949, "99.9k"), (999_499, "999k"), (999_500, "1.00M"),
    (14_600_000, "14.6M"), (2.5e9, "2.50G"), (1e15, "1000T")])
def test_counts(number: float, text: str) -> None:
    assert short(number) == text


@given(st.floats(0, 1e15, allow_nan=False))
def test_counts_are_short_and_roughly_right(number: float) -> None:
    text = short(number)
    assert len(text) <= 6
    if not text.startswith("<"):
        unit = {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}.get(text[-1], 1)
        assert float(text.rstrip("kMGT")) * unit == pytest.approx(number, rel=0.06, abs=0.06)


@pytest.mark.parametrize(("number", "text"), [
    (0, "0 B"), (1023, "1023 B"), (2048 << 10, "2 MiB"), (1 << 30, "1 GiB"),
    (1536 << 20, "1.5 GiB"), (1020 << 20, "1020 MiB")])
def test_sizes(number: int, text: str) -> None:
    assert size(number) == text


@pytest.mark.parametrize(("seconds", "text"), [
    (0, "0 s"), (59.9, "59 s"), (60, "1 min"), (3599, "59 min 59 s"), (3600, "1 h"),
    (3605, "1 h"), (90_000, "1 d 1 h")])
def test_times(seconds: float, text: str) -> None:
    assert duration(seconds) == text
