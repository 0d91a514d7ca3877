"""How to get from what is to what should be: what the data plane is told to do. All frozen."""
from __future__ import annotations

from dataclasses import dataclass

from agent.access import SocketAccess
from agent.host_model import HostDevice
from agent.limits import Limits
from agent.model import Bridges, Memory, PmdSpec, PollLists, PortSpec


@dataclass(frozen=True, slots=True)
class AddPort:
    spec: PortSpec


@dataclass(frozen=True, slots=True)
class RemovePort:
    name: str
    tap_stays: bool = False         # for who is to serve the port next


@dataclass(frozen=True, slots=True)
class SetTxRetriesMax:
    name: str
    retries: int


@dataclass(frozen=True, slots=True)
class SetMemory:
    name: str
    memory: Memory
    node: int


@dataclass(frozen=True, slots=True)
class SetHostDevice:
    """Another address or MTU of a port's device."""

    name: str
    device: HostDevice


@dataclass(frozen=True, slots=True)
class SetBridges:
    bridges: Bridges


@dataclass(frozen=True, slots=True)
class SetTxHash:
    name: str
    by_flow: bool


@dataclass(frozen=True, slots=True)
class SetLimits:
    name: str
    limits: Limits


@dataclass(frozen=True, slots=True)
class SetSocketAccess:
    name: str
    access: SocketAccess


@dataclass(frozen=True, slots=True)
class SetAdminState:
    name: str
    up: bool


@dataclass(frozen=True, slots=True)
class StartPmd:
    spec: PmdSpec


@dataclass(frozen=True, slots=True)
class RestPmd:
    """How the PMD of the core rests."""

    spec: PmdSpec


@dataclass(frozen=True, slots=True)
class StopPmd:
    spec: PmdSpec


@dataclass(frozen=True, slots=True)
class SetPollLists:
    polls: PollLists


Action = (AddPort | RemovePort | SetTxRetriesMax | SetTxHash | SetAdminState | SetMemory
          | SetLimits | SetSocketAccess | SetHostDevice | SetBridges | StartPmd | RestPmd | StopPmd
          | SetPollLists)
