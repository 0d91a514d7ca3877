"""What a fault of `make chaos` is."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from tools.chaos_site import NEIGHBOURS, SUFFERERS, Site

Act = Callable[[Site, Random], None]

BOTH = (NEIGHBOURS, SUFFERERS)


@dataclass(frozen=True)
class Fault:
    """One kind of fault."""

    name: str
    act: Act                    # breaks something and, as an operator would, puts it back
    spared: tuple[str, ...]     # streams that it may cost nothing
    may_cost: str               # what it may cost the others, in words
