"""After each test the agent lives, neighbours noticed nothing, nothing of the attack is held."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.hostile.arena import Arena
from tests.hostile.front_end import Hostile


@pytest.fixture(scope="session")
def _arena() -> Iterator[Arena]:
    arena = Arena()
    yield arena
    arena.close()


@pytest.fixture
def arena(_arena: Arena, request: pytest.FixtureRequest) -> Iterator[Arena]:
    _arena.start()
    _arena.standing_port()
    held = _arena.held()
    yield _arena
    _arena.check()
    _arena.clear()
    if request.node.get_closest_marker("loses_files") is None:
        _arena.lets_go(held)


@pytest.fixture
def hostile(arena: Arena) -> Iterator[Callable[..., Hostile]]:
    """Makes front ends, each on a new port unless it is told one; see Hostile."""
    with ExitStack() as stack:
        def make(path: str | None = None, kind: str = "server", **options: Any) -> Hostile:
            return stack.enter_context(Hostile(path or arena.port(kind), listen=kind == "client",
                                               **options))
        yield make
