"""What a database says, and what was written into it. Imports only values of ours; all frozen."""
from __future__ import annotations

from dataclasses import dataclass

from agent.model import Snapshot


@dataclass(frozen=True, slots=True)
class Told:
    """What the agent wrote about a port."""

    name: str
    error: str = ""
    link_state: str = ""
    problems: str = ""              # status:problems
    reason: str = ""                # status:reason


@dataclass(frozen=True, slots=True)
class DatabaseFacts:
    """A database, or why there is none."""

    remote: str
    error: str = ""                 # why it does not answer
    schema_version: str = ""
    lacks: tuple[str, ...] = ()     # 'Table.column's that the agent uses
    snapshot: Snapshot | None = None    # None: it does not answer, or is empty
    told: tuple[Told, ...] = ()

    @property
    def socket(self) -> str | None:
        """Path of the server's socket, where the remote is one."""
        kind, _, path = self.remote.partition(":")
        return path if kind == "unix" and "," not in path else None
