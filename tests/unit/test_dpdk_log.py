"""The words of dpdk/log-set: what each means, and the errors of those that mean nothing."""
from __future__ import annotations

from collections.abc import Sequence

import pytest

from agent import dpdk_log
from agent.command import CommandError

DEBUG = 8


@pytest.mark.parametrize(("words", "expected"), [
    ([], [("*", DEBUG)]),
    (["debug"], [("*", DEBUG)]),
    (["lib.vhost*:notice"], [("lib.vhost*", 6)]),
    (["error", "lib.eal:debug", "pmd.*:info"], [("*", 4), ("lib.eal", DEBUG), ("pmd.*", 7)]),
    ([":info"], [("", 7)]),
])
def test_each_word_sets_a_level_of_a_pattern_and_none_sets_all_to_debug(
        words: Sequence[str], expected: Sequence[tuple[str, int]]) -> None:
    assert dpdk_log.parse(words) == expected


def test_levels_have_the_numbers_of_dpdk() -> None:
    words = ["emergency", "alert", "critical", "error", "warning", "notice", "info", "debug"]
    assert [level for _, level in dpdk_log.parse(words)] == [1, 2, 3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize(("word", "said"), [
    ("loud", "loud"), ("DEBUG", "DEBUG"), ("dbg", "dbg"), ("", ""), ("8", "8"),
    ("lib.eal:loud", "loud"), ("lib.eal:", ""), ("a:b:debug", "b:debug"),
    ("debug:lib.eal", "lib.eal"),
])
def test_error_repeats_what_should_have_been_a_level(word: str, said: str) -> None:
    with pytest.raises(CommandError) as error:
        dpdk_log.parse(["info", word])
    assert str(error.value) == f"invalid log level: '{said}'"


class Levels:
    """DPDK as a pattern matcher that knows no 'nosuch'."""

    def __init__(self) -> None:
        self.set: list[tuple[str, int]] = []

    def __call__(self, pattern: str, level: int) -> bool:
        self.set.append((pattern, level))
        return pattern != "nosuch"


def test_words_are_set_in_their_order_and_a_refused_one_is_repeated() -> None:
    levels = Levels()
    dpdk_log.set_levels(["warning", "lib.eal:debug"], levels)
    assert levels.set == [("*", 5), ("lib.eal", DEBUG)]
    with pytest.raises(CommandError, match=r"^cannot set log level for 'nosuch:info'$"):
        dpdk_log.set_levels(["nosuch:info"], levels)


def test_nothing_is_set_when_one_of_the_words_is_none() -> None:
    levels = Levels()
    with pytest.raises(CommandError):
        dpdk_log.set_levels(["debug", "loud"], levels)
    assert levels.set == []
