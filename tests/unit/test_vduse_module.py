"""The one change in a kernel module."""
from __future__ import annotations

import pytest

from tools.vduse_module import SIGNED, lifted

EAX = bytes.fromhex("a9 00000200")          # test $0x20000,%eax
EDX = bytes.fromhex("f7c2 00000200")        # test $0x20000,%edx


@pytest.mark.parametrize(("check", "passed"), [
    (EAX, bytes.fromhex("a9 00000000")), (EDX, bytes.fromhex("f7c2 00000000"))])
def test_the_check_tests_nothing_and_the_signature_is_gone(check: bytes, passed: bytes) -> None:
    assert lifted(b"before" + check + b"after" + SIGNED) == b"before" + passed + b"after"


@pytest.mark.parametrize(("module", "times"), [(b"none", 0), (EAX + EDX, 2)])
def test_a_module_that_looks_different_is_left_alone(module: bytes, times: int) -> None:
    with pytest.raises(ValueError, match=f"there {times} times"):
        lifted(module)
