"""The values that the control plane passes around. Imports only values of ours; all frozen.

Equality answers "did anything change?"; collections are sorted tuples where order means nothing.
"""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

from agent.access import AS_MADE, SocketAccess
from agent.eth_values import EthDevice, EthInfo
from agent.host_model import HostDevice, HostState
from agent.limits import NO_LIMITS, Limits, QosRow
from agent.mirror_model import MirrorRow, MirrorSpec

CLIENT_TYPE = "dpdkvhostuserclient"
SERVER_TYPE = "dpdkvhostuser"
VHOST_TYPES = (SERVER_TYPE, CLIENT_TYPE)
PATCH_TYPE = "patch"
ETH_TYPE = "dpdk"

OFPORT_LOCAL = 65534
OFPORT_NONE = -1
NO_HOST = HostState()


# --- what OVSDB says ------------------------------------------------------------------------------

@dataclass(frozen=True, slots=True)
class PortRow:
    """What one Port row says about its interfaces."""

    name: str = ""
    interfaces: int = 1
    vlan_mode: str = ""
    tag: int | None = None
    trunks: tuple[int, ...] = ()            # ascending, as all sets of VLANs
    cvlans: tuple[int, ...] = ()
    protected: bool = False
    other_config: Mapping[str, str] = field(default_factory=dict)
    qos: QosRow | None = None


@dataclass(frozen=True, slots=True)
class InterfaceRow:
    """One Interface row, with its Port row."""

    uuid: UUID
    name: str
    type: str
    options: Mapping[str, str] = field(default_factory=dict)
    other_config: Mapping[str, str] = field(default_factory=dict)
    ofport: int | None = None
    ofport_request: int | None = None
    mtu_request: int | None = None
    mac: str = ""                           # of an internal port
    # rate in kbit/s, burst in kbit, and both in 1000 packets; 0: not set
    ingress_policing: tuple[int, int, int, int] = (0, 0, 0, 0)
    port: PortRow = PortRow()


@dataclass(frozen=True, slots=True)
class BridgeRow:
    """One Bridge row; interfaces in order of their names."""

    uuid: UUID
    name: str
    datapath_type: str = ""
    fail_mode: str = ""
    flood_vlans: tuple[int, ...] = ()
    mcast_snooping: bool = False
    other_config: Mapping[str, str] = field(default_factory=dict)
    unserved: tuple[str, ...] = ()          # set columns that do nothing here
    interfaces: tuple[InterfaceRow, ...] = ()
    mirrors: tuple[MirrorRow, ...] = ()
    shared: tuple[str, ...] = ()            # which interfaces are another port's, in plain words


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The database at one moment: everything the agent acts on.

    What did not change since the last one is the same object, so that a look at everything costs
    next to nothing where nothing changed.
    """

    next_cfg: int = 0
    other_config: Mapping[str, str] = field(default_factory=dict)
    bridges: tuple[BridgeRow, ...] = ()
    apart: tuple[str, ...] = ()             # bridges that an agent in another role serves
    # names of taps that ports of bridges which are not served ask for
    taps_elsewhere: frozenset[str] = frozenset()
    # {tap that a port of ours asks for: bridge that is not served and has it for a port, too}
    taps_shared: Mapping[str, str] = field(default_factory=dict)


# --- what should be -------------------------------------------------------------------------------

@dataclass(frozen=True, slots=True)
class Memory:
    """The packet buffers of a port."""

    mtu: int                        # bytes; frames to the guest are 18 bytes longer at most
    room_bytes: int                 # longest frame that fits
    own: bool = False               # buffers of this port alone


# Whether guests of a port are offered to leave segmentation to the switch; disabled: they would be,
# had the last one not given up.
TSO_OFF, TSO_ON, TSO_DISABLED = "off", "on", "disabled"


@dataclass(frozen=True, slots=True)
class Registration:
    """What librte_vhost is told when a socket is registered, and cannot be told later."""

    path: str
    client: bool
    iommu: bool = False
    postcopy: bool = False
    max_queue_pairs: int = 1
    tso: str = TSO_OFF


@dataclass(frozen=True, slots=True)
class PatchDevice:
    """One end of a pair of patch ports."""

    peer: str                       # name of the other, which has to name this one


# What a port is in the data plane.
Device = Registration | EthDevice | HostDevice | PatchDevice
WITHOUT_QUEUES = HostDevice | PatchDevice       # no PMD polls these


def place(device: Device | None) -> str | None:
    """What one port alone can have: the path of a socket, DPDK's words for a device."""
    match device:
        case Registration(path):
            return path
        case EthDevice(devargs):
            return devargs
        case _:
            return None

ASSIGN_CYCLES, ASSIGN_ROUNDROBIN, ASSIGN_GROUP = "cycles", "roundrobin", "group"


@dataclass(frozen=True, slots=True)
class Placing:
    """How rxqs are placed on PMDs (pmd-rxq-assign, pmd-rxq-isolate)."""

    algorithm: str = ASSIGN_CYCLES
    isolate: bool = True            # a PMD that a queue is pinned to polls pinned queues alone


@dataclass(frozen=True, slots=True)
class AutoBalance:
    """When rxqs are placed anew by themselves (pmd-auto-lb-...)."""

    interval_ms: int = 60_000
    load_percent: int = 95          # of a PMD, in every interval that is looked at
    improvement_percent: int = 25   # by which the variance of the PMDs' loads would have to fall


@dataclass(frozen=True, slots=True)
class PmdSpec:
    """A PMD thread, as it should be or as it is."""

    core: int
    node: int = 0                   # NUMA node of the core
    sleep_max_us: int = 0           # longest sleep between two rounds with little to do
    block: bool = False             # whether it waits in the kernel while its queues are silent


VLAN_TRUNK, VLAN_ACCESS, VLAN_TUNNEL = "trunk", "access", "dot1q-tunnel"


@dataclass(frozen=True, slots=True)
class Membership:
    """How a port takes part in its bridge; words are those of the database."""

    vlan_mode: str = VLAN_TRUNK
    vlan: int = 0                       # of an access, native or tunnel port
    trunks: tuple[int, ...] = ()        # VLANs that a trunk or native port carries; empty: all
    cvlans: tuple[int, ...] = ()        # VLANs that a tunnel port takes; empty: all
    tpid: int = 0x88a8                  # EtherType of the tag that a tunnel port adds
    priority_tags: str = "never"
    protected: bool = False             # sends nothing to other protected ports
    # on bridges with multicast snooping:
    mcast_flood: bool = False           # gets all multicast
    mcast_flood_reports: bool = False   # gets all reports


@dataclass(frozen=True, slots=True)
class McastSnooping:
    """How a bridge sends multicast to those who asked for it alone."""

    aging_s: int = 300                  # of a port in a group without a report, 15..3600
    table_size: int = 2048              # groups, 10..1000000
    flood_unregistered: bool = True     # what nobody asked for goes to all ports


@dataclass(frozen=True, slots=True)
class BridgeSpec:
    """A bridge and who it forwards between."""

    name: str
    members: tuple[tuple[str, Membership], ...] = ()        # (port, how)
    patches: tuple[tuple[str, str | None], ...] = ()        # (patch port, its peer)
    flood_vlans: tuple[int, ...] = ()   # VLANs where nothing is learned
    forward_bpdu: bool = False
    vlan_limit: int = 1                 # VLAN tags of a frame that are looked at, 1 or 2
    mirrors: tuple[MirrorSpec, ...] = ()    # up to 32, by name
    mac_aging_s: int = 300              # 15..3600
    mac_table_size: int = 8192          # entries, 10..1000000
    snooping: McastSnooping | None = None       # None: multicast is flooded


Bridges = tuple[BridgeSpec, ...]


@dataclass(frozen=True, slots=True)
class PortSpec:
    """A port to serve. One without 'device' exists, but has no socket yet."""

    name: str
    bridge: str
    type: str
    device: Device | None
    tx_retries_max: int
    memory: Memory
    problems: tuple[str, ...] = ()      # settings that could not be used, in plain words
    affinity: tuple[tuple[int, int], ...] = ()      # (queue, core) of pinned rxqs, ascending
    tx_hash: bool = False               # the txq is chosen by flow, not by PMD
    membership: Membership = Membership()
    limits: Limits = NO_LIMITS
    access: SocketAccess = AS_MADE      # of a server port
    asked: tuple[tuple[str, int], ...] = ()     # options that the guest decides about

    @property
    def client(self) -> bool:
        return self.type == CLIENT_TYPE


@dataclass(frozen=True, slots=True)
class Desired:
    """What the data plane should look like, and what to tell about the rest."""

    ports: Mapping[str, PortSpec] = field(default_factory=dict)
    bridges: Bridges = ()
    pmds: tuple[PmdSpec, ...] = ()      # cores ascending
    placing: Placing = Placing()
    auto_balance: AutoBalance | None = None     # None: only what changes places queues anew
    numa_nodes: int = 1
    errors: Mapping[str, str] = field(default_factory=dict)    # interface name -> Interface.error
    port_problems: Mapping[str, str] = field(default_factory=dict)  # of a port, for lack of others
    taps_elsewhere: frozenset[str] = frozenset()                # as of the Snapshot
    taps_shared: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()                             # of the whole, for the log
    stats_interval_ms: int = 5000


# --- what is --------------------------------------------------------------------------------------

Rxq = tuple[str, int]                           # (port, queue)
PollLists = tuple[tuple[int, tuple[Rxq, ...]], ...]     # ((core, rxqs), ...), cores ascending


@dataclass(frozen=True, slots=True)
class PortState:
    """A port of the data plane and its guest. One that did not change is the same object."""

    name: str
    device: Device
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
    offences: int = 0                   # front ends that had to be cut off since the port was added
    offence: str = ""                   # of the last: a key of quarantine.DID or SHORT
    number: int = 0                     # datapath port number: the lowest that was free
    tx_hash: bool = False
    up: bool = True                     # administratively (netdev-dpdk/set-admin-state)
    limits: Limits = NO_LIMITS
    access: SocketAccess = AS_MADE
    socket_gone: bool = False           # somebody removed the server socket while it had no guest
    host: HostState = NO_HOST           # of a device of the host
    eth: EthInfo | None = None          # of an Ethernet device

    @property
    def n_rxqs(self) -> int:
        """Queues to place: those of the device, or of the guest, one without a guest; none of
        ports that no PMD polls."""
        if self.eth is not None:
            return self.eth.n_rxq
        if not isinstance(self.device, Registration):
            return 0
        return max(1, len(self.vring_sizes) // 2)


@dataclass(frozen=True, slots=True)
class Observed:
    """The data plane at one moment."""

    ports: Mapping[str, PortState] = field(default_factory=dict)
    bridges: Bridges = ()
    polls: PollLists = ()
    pmds: tuple[PmdSpec, ...] = ()      # that run, cores ascending


@dataclass(frozen=True, slots=True)
class Counters:
    """Counters of one port at one moment."""

    port: Mapping[str, int] = field(default_factory=dict)       # since the port was added
    # of each queue, since the guest connected; empty without a guest
    rx_queues: tuple[Mapping[str, int], ...] = ()
    tx_queues: tuple[Mapping[str, int], ...] = ()
    device: Mapping[str, int] = field(default_factory=dict)     # the device's own, unless a guest's


class RxqLoad(NamedTuple):
    """An rxq to be placed. A tuple, for a thousand are made whenever one port comes or goes."""

    port: str
    queue: int
    number: int                     # the port's datapath port number
    node: int = 0                   # the port's NUMA node
    pin: int | None = None          # core that it is pinned to (pmd-rxq-affinity)
    cycles: int = 0                 # that it was processed for in the last minute

    @property
    def rxq(self) -> Rxq:
        return (self.port, self.queue)


@dataclass(frozen=True, slots=True)
class PmdCounters:
    """What a PMD thread did since it was started; cycles are the TSC's."""

    cycles: int = 0                 # since then
    busy_cycles: int = 0            # of rounds in which packets were received
    sleep_cycles: int = 0           # in the kernel: sleeping, blocked, or without a queue to poll
    iterations: int = 0
    busy_iterations: int = 0
    sleep_iterations: int = 0       # that slept or blocked
    rx_packets: int = 0
    tx_packets: int = 0
    tx_batches: int = 0
    tx_contentions: int = 0         # times another PMD held the txq's lock
    thread: int = 0                 # its id: one that is started later on the core has another


@dataclass(frozen=True, slots=True)
class Readings:
    """All that PMDs and their rxqs did, at one moment."""

    tsc_hz: int = 1
    pmds: Mapping[int, PmdCounters] = field(default_factory=dict)     # by core
    rxq_cycles: Mapping[Rxq, int] = field(default_factory=dict)     # since the port was added


class FdbEntry(NamedTuple):
    """One MAC table entry. A tuple, for a million are made for a large table."""

    port: str
    vlan: int
    mac: str
    age_s: int                      # since it was seen last; -1: set by hand (fdb/add)


@dataclass(frozen=True, slots=True)
class MdbEntry:
    """A port in a multicast group, or one that leads to a router."""

    port: str
    vlan: int
    group: str                      # "": a router
    protocol: str                   # of the last report
    age_s: int
