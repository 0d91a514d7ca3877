"""The values that the control plane passes around. Imports nothing of ours; all frozen.

Equality answers "did anything change?"; collections are sorted tuples where order means nothing.
"""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

CLIENT_TYPE = "dpdkvhostuserclient"
SERVER_TYPE = "dpdkvhostuser"
VHOST_TYPES = (SERVER_TYPE, CLIENT_TYPE)

OFPORT_LOCAL = 65534
OFPORT_NONE = -1


# --- what OVSDB says ------------------------------------------------------------------------------

@dataclass(frozen=True, slots=True)
class InterfaceRow:
    """One Interface row, with what its Port row says about it."""

    uuid: UUID
    name: str
    type: str
    options: Mapping[str, str] = field(default_factory=dict)
    ofport: int | None = None
    ofport_request: int | None = None
    port_name: str = ""
    port_interfaces: int = 1
    vlan_columns: tuple[str, ...] = ()      # Port columns that ask for VLAN treatment


@dataclass(frozen=True, slots=True)
class BridgeRow:
    """One Bridge row."""

    uuid: UUID
    name: str
    datapath_type: str = ""
    fail_mode: str = ""
    other_config: Mapping[str, str] = field(default_factory=dict)
    interfaces: tuple[InterfaceRow, ...] = ()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The database at one moment: everything the agent acts on."""

    next_cfg: int = 0
    other_config: Mapping[str, str] = field(default_factory=dict)
    bridges: tuple[BridgeRow, ...] = ()


# --- what should be -------------------------------------------------------------------------------

@dataclass(frozen=True, slots=True)
class PortSpec:
    """A port to serve. A client port without 'path' exists, but has no socket yet."""

    name: str
    bridge: str
    client: bool
    path: str | None
    tx_retries_max: int
    problems: tuple[str, ...] = ()      # options that could not be used, in plain words


@dataclass(frozen=True, slots=True)
class Desired:
    """What the data plane should look like, and what to tell about the rest."""

    ports: tuple[PortSpec, ...] = ()
    bridges: tuple[tuple[str, tuple[str, ...]], ...] = ()      # (name, ports it forwards between)
    cores: tuple[int, ...] = ()
    errors: Mapping[str, str] = field(default_factory=dict)    # interface name -> Interface.error
    problems: tuple[str, ...] = ()                             # of the whole, for the log


# --- what is --------------------------------------------------------------------------------------

Rxq = tuple[str, int]                           # (port, queue)
PollLists = tuple[tuple[int, tuple[Rxq, ...]], ...]     # ((core, rxqs), ...), cores ascending


@dataclass(frozen=True, slots=True)
class PortState:
    """A port of the data plane and its guest."""

    name: str
    path: str
    client: bool
    tx_retries_max: int
    connects: int = 0                   # times a guest became ready
    connected: bool = False
    features: int = 0
    numa: int = -1
    vring_sizes: tuple[int, ...] = ()
    enabled_rxqs: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Observed:
    """The data plane at one moment."""

    ports: tuple[PortState, ...] = ()
    bridges: tuple[tuple[str, tuple[str, ...]], ...] = ()
    polls: PollLists = ()


# --- how to get there -----------------------------------------------------------------------------

@dataclass(frozen=True, slots=True)
class AddPort:
    spec: PortSpec


@dataclass(frozen=True, slots=True)
class RemovePort:
    name: str


@dataclass(frozen=True, slots=True)
class SetTxRetriesMax:
    name: str
    retries: int


@dataclass(frozen=True, slots=True)
class SetBridges:
    bridges: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True, slots=True)
class SetCores:
    cores: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SetPollLists:
    polls: PollLists


Action = AddPort | RemovePort | SetTxRetriesMax | SetBridges | SetCores | SetPollLists


@dataclass(frozen=True, slots=True)
class FdbEntry:
    """One MAC table entry."""

    port: str
    vlan: int
    mac: str
    age_s: int
