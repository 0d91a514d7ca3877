"""When a site of chaos takes a stream for one that flows."""
from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import cast

from tools.chaos_site import Site
from tools.probe import Probe, ProbeMark


class Streams(Site):
    """Of which nothing but the flow of its streams is looked at."""

    def differences(self) -> list[str]:
        return list(self.silent())


class Stream:
    """One that has received so many packets each time it is asked."""

    def __init__(self, *received: int) -> None:
        self.left: Iterator[int] = iter(received)

    def mark(self) -> ProbeMark:
        return ProbeMark(received=next(self.left), missing=0, duplicated=0, longest_gap_ms=0.0)


def test_what_came_before_the_end_of_a_fault_is_no_sign_of_a_stream_that_flows(tmp_path: Path
                                                                              ) -> None:
    stream = Stream(0, 10, 10, 10, 11, 12)
    site = Streams(tmp_path, tmp_path, ExitStack())
    site.streams["c to s"] = cast(Probe, stream)
    site.begin()
    assert site.unsettled() == []
    assert next(stream.left) == 12
