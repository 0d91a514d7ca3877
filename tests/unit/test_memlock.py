"""--mlockall: which memory is locked, and what of it is known afterwards."""
from __future__ import annotations

import errno

import pytest

from agent.memlock import MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT, lock_memory

TOUCHED = MCL_CURRENT | MCL_ONFAULT
ALL = MCL_CURRENT | MCL_FUTURE


@pytest.mark.parametrize(("postcopy", "answers", "fills", "said"), [
    (False, {TOUCHED | MCL_FUTURE: 0}, True, ""),
    (True, {TOUCHED: 0}, False, ""),
    (False, {TOUCHED | MCL_FUTURE: errno.EINVAL, ALL: 0}, True, ""),
    (True, {TOUCHED: errno.EINVAL, ALL: 0}, True, ""),
    (True, {TOUCHED: errno.EINVAL, ALL: errno.ENOMEM}, False, "Cannot allocate memory"),
    (False, {TOUCHED | MCL_FUTURE: errno.EPERM}, False, "Operation not permitted"),
])
def test_memory_to_come_is_left_alone_where_it_must_be_and_can_be(
        postcopy: bool, answers: dict[int, int], fills: bool, said: str) -> None:
    asked = []

    def lock(flags: int) -> int:
        asked.append(flags)
        return answers[flags]

    lines = [("err", f"mlockall failed: {said}")] if said else []
    assert lock_memory(postcopy, lock) == (fills, lines)
    assert asked == list(answers)
