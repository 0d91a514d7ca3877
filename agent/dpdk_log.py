"""The words of ovs-appctl dpdk/log-set: [LEVEL | PATTERN:LEVEL]... Pure."""
from __future__ import annotations

from collections.abc import Callable, Sequence

from agent.command import CommandError

ALL = "*"                       # the pattern of all that DPDK's modules log
LEVELS = ("emergency", "alert", "critical", "error", "warning", "notice", "info", "debug")


def parse(words: Sequence[str]) -> list[tuple[str, int]]:
    """(pattern, RTE_LOG_* level) of each word; without words everything is logged."""
    return [parse_word(word) for word in words or ["debug"]]


def parse_word(word: str) -> tuple[str, int]:
    pattern, colon, level = word.partition(":")
    if not colon:
        pattern, level = ALL, word
    if level not in LEVELS:
        raise CommandError(f"invalid log level: '{level}'")
    return pattern, LEVELS.index(level) + 1


def set_levels(words: Sequence[str], set_level: Callable[[str, int], bool]) -> None:
    """Sets what the words say, or nothing when one of them is no word; 'set_level' returns False
    for a pattern that can be no module's."""
    for pattern, level in parse(words):
        if not set_level(pattern, level):
            raise CommandError(f"cannot set log level for '{pattern}:{LEVELS[level - 1]}'")
