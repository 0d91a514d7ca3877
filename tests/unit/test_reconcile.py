"""When a port that the data plane refused is tried again."""
from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.model import PortSpec
from agent.reconcile import Failure, next_failure

SPEC = PortSpec("p", "br0", True, "/tmp/p", 8)


def waits(tries: int) -> list[int]:
    """How long each of so many refusals in a row waits; each comes when the last wait is over."""
    failure, now_ms, waited = None, 1_000_000, []
    for _ in range(tries):
        failure = next_failure(SPEC, "no", failure, now_ms)
        waited.append(failure.retry_at_ms - now_ms)
        now_ms = failure.retry_at_ms
    return waited


def test_waits_double_from_half_a_second_to_sixteen() -> None:
    assert waits(8) == [500, 1000, 2000, 4000, 8000, 16_000, 16_000, 16_000]


@given(st.integers(6, 10**6), st.integers(0, 2**40))
def test_wait_stays_bounded_however_often_it_failed(tries: int, now_ms: int) -> None:
    failure = next_failure(SPEC, "no", Failure(SPEC, "no", tries, now_ms), now_ms)
    assert failure == Failure(SPEC, "no", tries + 1, now_ms + 16_000)


@pytest.mark.parametrize("changed", [
    replace(SPEC, path="/tmp/q"), replace(SPEC, client=False), replace(SPEC, tx_retries_max=0)])
def test_another_wish_starts_afresh(changed: PortSpec) -> None:
    before = Failure(SPEC, "no", 9, 0)
    assert next_failure(changed, "no", before, 7) == Failure(changed, "no", 1, 507)


def test_another_reason_does_not_start_afresh() -> None:
    before = next_failure(SPEC, "no", None, 0)
    assert next_failure(SPEC, "still no", before, 500) == Failure(SPEC, "still no", 2, 1500)
