"""Values about devices of the host's kernel that are ports. Imports nothing of ours; all frozen."""
from __future__ import annotations

from dataclasses import dataclass

INTERNAL, TAP, SYSTEM = "internal", "tap", "system"


@dataclass(frozen=True, slots=True)
class HostDevice:
    """A device that a port is to be."""

    kind: str                       # internal (a tap of ours), tap or system
    name: str
    mac: str | None = None          # None: it keeps its own
    mtu: int | None = None          # likewise
    tso: bool = False               # checksums and segmentation are left to the other side
    lasts: bool = False             # a tap that stays when the agent ends, and goes with its port


@dataclass(frozen=True, slots=True)
class Link:
    """A device of the kernel, as it is."""

    ifindex: int
    up: bool                        # administratively
    running: bool                   # it has a carrier, too
    mtu: int
    mac: str
    promiscuous: bool = False       # only looked at of taps that last


@dataclass(frozen=True, slots=True)
class HostState:
    """The device of a port that is served."""

    link: Link | None = None
    driver: tuple[str, str, str] = ("", "", "")     # its name, version, version of its firmware
    unset: tuple[str, ...] = ()     # what it does not take, in plain words
    lost: str = ""                  # why it serves no more, in plain words
    segmentable: bool = False       # frames came that are to be cut, and are not TCP

    @property
    def is_up(self) -> bool:
        """False only when that is known."""
        return self.link is None or self.link.up
