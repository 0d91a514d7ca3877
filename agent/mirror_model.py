"""The values of mirrors, as agent/model.py has the others; all frozen."""
from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID


@dataclass(frozen=True, slots=True)
class MirrorRow:
    """One Mirror row; ports are named as their Port rows are."""

    uuid: UUID
    name: str = ""
    select_all: bool = False
    select_src_port: tuple[str, ...] = ()       # ascending, as all of them
    select_dst_port: tuple[str, ...] = ()
    select_vlan: tuple[int, ...] = ()
    output_port: str | None = None
    output_vlan: int | None = None
    snaplen: int | None = None
    filter: str = ""


@dataclass(frozen=True, slots=True)
class MirrorSpec:
    """A mirror of a bridge; ports are members."""

    uuid: UUID                              # of its row: what it counts goes by that
    sources: tuple[str, ...] = ()           # ports whose received packets it selects
    destinations: tuple[str, ...] = ()      # ports whose sent packets it selects
    vlans: tuple[int, ...] = ()             # that it selects; empty: all
    output_port: str | None = None          # None: it outputs to a VLAN
    output_vlan: int = 0
    snaplen: int = 0                        # bytes of a packet that are copied; 0: all


class MirrorCounters(NamedTuple):
    """What a mirror selected since it is in force."""

    packets: int
    bytes: int                      # of packets as they were received
