"""--mlockall: which memory is locked, and what of it is known afterwards."""
from __future__ import annotations

import errno

import pytest

from agent.memlock import MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT, lock_memory

TOUCHED = MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT
ALL = MCL_CURRENT | MCL_FUTURE


@pytest.mark.parametrize(("answers", "whole", "said"), [
    ({TOUCHED: 0}, False, ""),
    ({TOUCHED: errno.EINVAL, ALL: 0}, True, ""),        # a kernel that knows no MCL_ONFAULT
    ({TOUCHED: errno.EINVAL, ALL: errno.ENOMEM}, False, "Cannot allocate memory"),
    ({TOUCHED: errno.EPERM}, False, "Operation not permitted"),
])
def test_pages_are_locked_as_they_are_touched_where_the_kernel_can(
        answers: dict[int, int], whole: bool, said: str) -> None:
    asked = []

    def lock(flags: int) -> int:
        asked.append(flags)
        return answers[flags]

    lines = [("err", f"mlockall failed: {said}")] if said else []
    assert lock_memory(lock) == (whole and not said, lines)
    assert asked == list(answers)
