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
    other_config: Mapping[str, str] = field(default_factory=dict)
    ofport: int | None = None
    ofport_request: int | None = None
    mtu_request: int | None = None
    port_name: str = ""
    port_interfaces: int = 1
    port_config: Mapping[str, str] = field(default_factory=dict)    # Port.other_config
    limiting_columns: tuple[str, ...] = ()  # set Port columns that limit what a port reaches
    unserved: tuple[str, ...] = ()          # set columns, of both rows, that do nothing here


@dataclass(frozen=True, slots=True)
class BridgeRow:
    """One Bridge row; interfaces in order of their names."""

    uuid: UUID
    name: str
    datapath_type: str = ""
    fail_mode: str = ""
    other_config: Mapping[str, str] = field(default_factory=dict)
    unserved: tuple[str, ...] = ()          # set columns that do nothing here
    interfaces: tuple[InterfaceRow, ...] = ()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The database at one moment: everything the agent acts on.

    What did not change since the last one is the same object, so that a look at everything costs
    next to nothing where nothing changed.
    """

    next_cfg: int = 0
    other_config: Mapping[str, str] = field(default_factory=dict)
    bridges: tuple[BridgeRow, ...] = ()


# --- what should be -------------------------------------------------------------------------------

@dataclass(frozen=True, slots=True)
class Memory:
    """The packet buffers of a port."""

    mtu: int                        # bytes; frames to the guest are 18 bytes longer at most
    room_bytes: int                 # longest frame that fits
    own: bool = False               # buffers of this port alone


@dataclass(frozen=True, slots=True)
class Registration:
    """What librte_vhost is told when a socket is registered, and cannot be told later."""

    path: str
    client: bool
    iommu: bool = False
    postcopy: bool = False
    max_queue_pairs: int = 1


@dataclass(frozen=True, slots=True)
class PortSpec:
    """A port to serve. A client port without 'registration' exists, but has no socket yet."""

    name: str
    bridge: str
    client: bool
    registration: Registration | None
    tx_retries_max: int
    memory: Memory
    problems: tuple[str, ...] = ()      # settings that could not be used, in plain words


@dataclass(frozen=True, slots=True)
class Desired:
    """What the data plane should look like, and what to tell about the rest."""

    ports: Mapping[str, PortSpec] = field(default_factory=dict)
    bridges: tuple[tuple[str, tuple[str, ...]], ...] = ()      # (name, ports it forwards between)
    cores: tuple[int, ...] = ()
    numa_nodes: int = 1
    errors: Mapping[str, str] = field(default_factory=dict)    # interface name -> Interface.error
    problems: tuple[str, ...] = ()                             # of the whole, for the log
    stats_interval_ms: int = 5000


# --- what is --------------------------------------------------------------------------------------

Rxq = tuple[str, int]                           # (port, queue)
PollLists = tuple[tuple[int, tuple[Rxq, ...]], ...]     # ((core, rxqs), ...), cores ascending


@dataclass(frozen=True, slots=True)
class PortState:
    """A port of the data plane and its guest. One that did not change is the same object."""

    name: str
    registration: Registration
    tx_retries_max: int
    memory: Memory
    node: int = -1                      # NUMA node of the packet buffers; -1: the main thread's
    connections: int = 0                # front ends that connected since the port was added
    attached: bool = False              # one is connected, running or not
    connects: int = 0                   # times a guest became ready
    connected: bool = False             # a guest's driver runs its queues
    features: int = 0
    numa: int = -1                      # node of the guest's memory; -1: not known
    guest_mtu: int = 0                  # what the guest was told; 0: nothing
    vring_sizes: tuple[int, ...] = ()
    enabled_rxqs: tuple[int, ...] = ()
    enabled_txqs: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Observed:
    """The data plane at one moment."""

    ports: Mapping[str, PortState] = field(default_factory=dict)
    bridges: tuple[tuple[str, tuple[str, ...]], ...] = ()
    polls: PollLists = ()


@dataclass(frozen=True, slots=True)
class Counters:
    """Counters of one port at one moment."""

    port: Mapping[str, int] = field(default_factory=dict)       # since the port was added
    # of each queue, since the guest connected; empty without a guest
    rx_queues: tuple[Mapping[str, int], ...] = ()
    tx_queues: tuple[Mapping[str, int], ...] = ()


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
class SetMemory:
    name: str
    memory: Memory
    node: int


@dataclass(frozen=True, slots=True)
class SetBridges:
    bridges: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True, slots=True)
class SetCores:
    cores: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SetPollLists:
    polls: PollLists


Action = (AddPort | RemovePort | SetTxRetriesMax | SetMemory | SetBridges | SetCores
          | SetPollLists)


@dataclass(frozen=True, slots=True)
class FdbEntry:
    """One MAC table entry."""

    port: str
    vlan: int
    mac: str
    age_s: int
