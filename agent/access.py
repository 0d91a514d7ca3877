"""Who may connect to the socket of a server port. Imports nothing of ours; all frozen."""
from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SocketAccess:
    """Owner, group and mode of a socket: those that it was made with where nothing is set."""

    owner: str = ""                 # name or number of a user
    group: str = ""
    mode: int | None = None         # 0..0o777

    def __str__(self) -> str:
        return ", ".join((
            f"owner {self.owner}" if self.owner else "the agent's owner",
            f"group {self.group}" if self.group else "the agent's group",
            f"mode {self.mode:04o}" if self.mode is not None else "the agent's mode"))


AS_MADE = SocketAccess()
