"""Random databases that their schema allows, and random edits: the agent lives on, comes to rest,
and is then as one that was started on the final database.

FUZZ is how long that is tried, in seconds, from a random seed on; without it always the same ones
are, for a commit is judged by what it changes. FUZZ_SEED begins with another seed, which a failure
prints.
"""
from __future__ import annotations

import faulthandler
import os
import random
import time
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, seed, settings

from agent.role import ROLES
from tests.agent.random_edits import START, STEPS, Step
from tests.agent.twin import Twins
from tools.host import temporary_host
from tools.wait import wait_for

FUZZ_S = float(os.environ.get("FUZZ", "30")) / len(ROLES)
ALIKE_S = 10.0                  # until statistics are written again, and what failed is tried
ALIKE_AGAIN_S = 8.0             # of what failed and is made shorter
EXAMPLES = 20                   # of one seed


@pytest.fixture(scope="module", params=ROLES.values(), ids=ROLES)
def twins(request: pytest.FixtureRequest) -> Iterator[Twins]:
    # of one length, for a socket's path has an end
    with temporary_host("vhost-edited") as edited, temporary_host("vhost-fresh0") as fresh:
        yield Twins(edited, fresh, request.param)


def differences(a: Any, b: Any, at: str = "") -> list[str]:
    """Where two states are not the same, a line for each place."""
    if type(a) is type(b) and isinstance(a, dict):
        return [line for key in sorted(a.keys() | b.keys(), key=str)
                for line in differences(a.get(key), b.get(key), f"{at}/{key}")]
    if type(a) is type(b) and isinstance(a, list) and len(a) == len(b):
        return [line for i, (x, y) in enumerate(zip(a, b, strict=True))
                for line in differences(x, y, f"{at}/{i}")]
    return [] if a == b else [f"{at}:\n  edited {a!r}\n  fresh  {b!r}"]


def play(twins: Twins, steps: list[Step]) -> None:
    twins.begin(START)
    for edits, handled in steps:
        twins.edit(edits)
        if handled:
            twins.edited.wait()


def is_as_a_fresh_one(twins: Twins, steps: list[Step], within_s: float) -> None:
    before = twins.tso
    play(twins, steps)
    if twins.tso != before:     # ports that were there when it was enabled go on without
        play(twins, steps)
    twins.forget_the_past()
    twins.start_fresh()
    compared: list[str] = []

    def same() -> bool:
        edited, fresh = twins.edited.state(), twins.fresh.state()
        compared[:] = differences(edited, fresh)
        return not compared

    wait_for(same, within_s)
    assert not compared, "\n".join(compared)
    assert twins.edited.rests()
    for half in (twins.edited, twins.fresh):
        half.answers()
        assert half.host.agents[-1].poll() is None, "the agent died"
        assert "Traceback" not in half.host.output()


def test_edited_agent_is_as_one_that_starts_on_the_final_database(twins: Twins) -> None:
    usual = random.randrange(1 << 32) if "FUZZ" in os.environ else 1
    first = int(os.environ.get("FUZZ_SEED", usual))
    end = time.monotonic() + FUZZ_S
    faulthandler.cancel_dump_traceback_later()      # it may take as long as is asked for
    for number in count(first):
        failed = False

        @seed(number)
        @settings(max_examples=EXAMPLES, deadline=None, database=None, print_blob=False,
                  suppress_health_check=list(HealthCheck))
        @given(STEPS)
        def example(steps: list[Step]) -> None:
            nonlocal failed
            if time.monotonic() > end and not failed:
                return              # but what failed is made short, however long that takes
            try:
                is_as_a_fresh_one(twins, steps, ALIKE_AGAIN_S if failed else ALIKE_S)
            except Exception as e:
                failed = True
                print(f"{type(e).__name__}: {e}", flush=True)
                twins.start_edited()        # what shrinks it begins without a past, too
                raise

        print(f"FUZZ_SEED={number}")
        example()
        if time.monotonic() > end:
            break
