"""Values that reasons are made of. Imports nothing of ours; all frozen."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple


class Reason(NamedTuple):
    """Why a port is down, or does only half of what it could."""

    id: str
    text: str
    mend: str = ""                  # what to do about it: a command wherever there is one

    def __str__(self) -> str:
        return f"{self.text} ({self.mend})" if self.mend else self.text


class Handshake(NamedTuple):
    """What a port's front end has said, on the connection that is or on the last where it said
    anything; in the order in which the data plane tells it."""

    heard: int = 0                  # messages of the connection that is
    last_request: int = 0           # number of its last; 0: none ever
    asked: int = 0                  # virtio features that the guest's driver took; 0: none yet
    offered: int = 0                # those that it may have
    regions: int = 0                # pieces of memory that it shared
    given_up: int = 0               # connections in a row that ended before a guest was ready
    was_ready: bool = False         # a guest was, on this connection
    withheld: bool = False          # a part of a ring lies where it cannot be used


NOTHING_SAID = Handshake()


class Sight(Enum):
    """What is seen of a guest's memory."""

    NONE = "none"                   # nothing that can be looked at
    USED = "used"                   # its driver has used a ring
    UNUSED = "unused"               # not yet, but there is something in the memory
    BLANK = "blank"                 # there are only zeros wherever it was looked


class Found(Enum):
    """What is at the path of a socket, as far as one gets."""

    SOCKET = "a socket"
    NOTHING = "nothing"
    NO_DIRECTORY = "no directory"
    LOOP = "links that lead to themselves"
    CLOSED = "in a directory that may not be entered"
    OTHER = "no socket"
    OTHER_TYPE = "a socket that is none of SOCK_STREAM"


class Access(NamedTuple):
    """A file's owner, group and mode."""

    path: str
    owner: str
    group: str
    mode: int

    def __str__(self) -> str:
        return f"user {self.owner}, group {self.group}, mode {self.mode:04o}"


class SocketFacts(NamedTuple):
    """What was found at 'path' by 'user', who is the agent's."""

    path: str
    found: Found
    user: str = ""
    access: Access | None = None    # of the socket, or of the directory that may not be entered
    may_connect: bool = True        # the user may
    listening: bool = False         # somebody of this network namespace does


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a port beside its spec and its state."""

    handshake: Handshake = NOTHING_SAID
    socket: SocketFacts | None = None       # of a port that no front end is connected to
    sight: Sight = Sight.NONE
    settled: bool = False           # none of that changed for a while
    silent: bool = False            # its bridge forwards nothing
    deaf: str = ""                  # bridge that has its tap for a port and does not listen to it
    stuck: bool = False             # its guest takes no packets
    cores: Mapping[int, int] = field(default_factory=dict)      # {rxq: core that polls it}
    nodes: Mapping[int, int] = field(default_factory=dict)      # {core of a PMD: its NUMA node}
    numa_cores: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    prefix: str = ""                # what is typed before keys of Open_vSwitch.other_config
