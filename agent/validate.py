"""From the database's rows to what should be: pure. Every rejected value gets a sentence."""
from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

import schema
from agent import eth_device, host_device, mirroring, patch_device, vhost_device
from agent.eth_values import EthDevice
from agent.fdb import aging_s, table_size
from agent.host_device import ethernet_address
from agent.host_model import HostDevice
from agent.hostconfig import HostConfig, mtu_range
from agent.limits import NO_LIMITS
from agent.mcast import snooping
from agent.membership import membership
from agent.mirror_model import MirrorSpec
from agent.model import (
    CLIENT_TYPE,
    ETH_TYPE,
    PATCH_TYPE,
    SERVER_TYPE,
    BridgeRow,
    BridgeSpec,
    Desired,
    Device,
    InterfaceRow,
    Memory,
    PatchDevice,
    PortSpec,
    Registration,
    Snapshot,
    place,
)
from agent.options import (
    Texts,
    in_range,
    misspelt,
    shown,
    span,
    without_effect,
)
from agent.pmdconfig import queues
from agent.policing import limits
from agent.refusal import NO_DEVICE, NO_OFPORT, PortError
from agent.shell import quoted

ROOM_STEP_BYTES = 1024          # OVS: dpdk_buf_size() rounds packet buffers to these
FRAME_EXTRA_BYTES = 26          # OVS: Ethernet header, two VLAN tags, FCS
NO_BRIDGE = "ignoring bridge with invalid name '{}': no '/', no '\\'"
LEFT_ALONE = ("bridge {}: datapath_type {} is for an agent that runs with --role companion, left "
              "alone")
# Names that ovs-vswitchd keeps for itself: its own devices and those of its tunnels
# (OVS: ofproto_dpif's init_ports, netdev_vport's datapath ports).
RESERVED_NAMES = ("ovs-netdev", "ovs-system")
RESERVED_PREFIXES = ("vxlan_sys", "genev_sys", "gre_sys", "bareudp_sys", "gtpu_sys", "srv6_sys",
                     "ip6gre_sys", "erspan_sys", "ip6erspan_sys")

DATAPATH_ID = re.compile("[0-9a-fA-F]{16}|0[xX][0-9a-fA-F]{1,16}")

NO_FRAMES_OF_ITS_OWN = Memory(0, 0)     # a patch port receives into no buffers

# How each type of port makes its device of its row: PortError, or what could not be used.
DEVICES: Mapping[str, Callable[[InterfaceRow, HostConfig], tuple[Device | None, list[str]]]] = {
    PATCH_TYPE: patch_device.patch,
    SERVER_TYPE: vhost_device.server,
    CLIENT_TYPE: vhost_device.client,
    "internal": host_device.internal,
    "tap": host_device.tap,
    "system": host_device.system,
    "": host_device.system,
    ETH_TYPE: eth_device.device,
}

# {interface: (what it was made of: row, bridge's name, datapath_type and address, settings; and its
# spec or error)}: a row that is the same object is not looked at again.
Made = tuple[InterfaceRow, tuple[str, ...], HostConfig, "PortSpec | str"]
Memo = dict[str, Made]


def datapath_id(text: str) -> str | None:
    """16 hexadecimal digits of other_config:datapath-id; None when it is none, or zero."""
    if not DATAPATH_ID.fullmatch(text) or not int(text, 16):
        return None
    return f"{int(text, 16):016x}"


def bridge_problems(bridge: BridgeRow) -> Iterator[str]:
    """What of a Bridge row's other_config cannot be used."""
    texts = Texts(bridge.other_config, "Bridge", "other_config")
    if (text := texts.text("datapath-id")) and datapath_id(text) is None:
        texts.complain("datapath-id", f"{shown(text)} is neither 16 hexadecimal digits nor 0x and "
                       "up to 16, or is zero; using an automatic one")
    if (text := texts.text("hwaddr")) and ethernet_address(text) is None:
        texts.complain("hwaddr", f"{shown(text)} is not a unicast Ethernet address; using an "
                       "automatic one")
    texts.boolean("forward-bpdu")
    aging_s(texts)
    table_size(texts)
    snooping(bridge, texts)
    for problem in (*(p for _, p in texts.problems),
                    *(p for _, p in misspelt(bridge.other_config, "Bridge", "other_config")),
                    *without_effect(bridge.other_config, "Bridge", "other_config"),
                    *(f"{column}: has no effect: {schema.without_effect('Bridge')[column]}"
                      for column in bridge.unserved), *bridge.shared):
        yield f"bridge {bridge.name}: {problem}"


def refuse_row(bridge: BridgeRow, row: InterfaceRow, config: HostConfig) -> None:
    """Raises PortError for rows that no port can be made of."""
    if not usable_name(bridge.name):
        raise PortError(NO_OFPORT.format(row.name, "Invalid argument")
                        + f": {NO_BRIDGE.format(bridge.name)}")
    if row.name in RESERVED_NAMES or row.name.startswith(RESERVED_PREFIXES):
        raise PortError(f"could not create interface {row.name}, name is reserved")
    served = config.role.datapath_type
    if bridge.datapath_type != served:
        found = bridge.datapath_type or "system"
        raise PortError(
            NO_OFPORT.format(row.name, "Invalid argument")
            + f": bridge {bridge.name} has datapath_type {found}, only {served} is served here "
            f"(ovs-vsctl set Bridge {quoted(bridge.name)} datapath_type={served})")
    if row.type not in DEVICES and not is_local(bridge, row):
        raise PortError(
            NO_DEVICE.format(row.name, "Address family not supported by protocol")
            + f": type {shown(row.type or 'system')} is not served, only "
            + ", ".join(sorted(filter(None, DEVICES))))
    if not config.dpdk_initialized:
        raise PortError(
            NO_DEVICE.format(row.name, "Address family not supported by protocol")
            + ": DPDK is not started (ovs-vsctl set Open_vSwitch . "
            f"other_config:{config.role.prefix}dpdk-init=true)")
    if row.port.interfaces != 1:
        raise PortError(NO_OFPORT.format(row.name, "Invalid argument")
                        + f": port {row.port.name} is a bond, which is not served")


def room_bytes(mtu: int, shared_mtus: Sequence[int]) -> int:
    """Longest frame that the packet buffers of a port with this MTU hold: the least of the
    configured sizes that is enough (OVS: dpdk_buf_size and dpdk_get_user_adjusted_mtu)."""
    needed = buffer_bytes(mtu)
    return min((size for size in map(buffer_bytes, shared_mtus) if size >= needed), default=needed)


def buffer_bytes(mtu: int) -> int:
    return -(-(mtu + FRAME_EXTRA_BYTES) // ROOM_STEP_BYTES) * ROOM_STEP_BYTES


def port_memory(row: InterfaceRow, config: HostConfig) -> tuple[Memory, tuple[str, ...]]:
    """MTU and packet buffers of a port, and why its mtu_request is not used."""
    mtu = schema.columns()["Interface"]["mtu_request"]["default"]
    problems: tuple[str, ...] = ()
    if row.mtu_request is not None:
        if in_range(row.mtu_request, *mtu_range()):
            mtu = row.mtu_request
        else:
            problems = (f"unsupported MTU {row.mtu_request}: mtu_request is outside "
                        f"{span(*mtu_range())}, using {mtu}",)
    return Memory(mtu, room_bytes(mtu, config.shared_mtus), config.own_memory), problems


def port_spec(bridge: BridgeRow, row: InterfaceRow, config: HostConfig, before: PortSpec | None
              ) -> PortSpec:
    """The port that a row asks for, and asked for before; raises PortError when it cannot be
    served."""
    refuse_row(bridge, row, config)
    device: Device | None
    if is_local(bridge, row):
        device, device_problems = host_device.local(bridge, row, config)
    else:
        device, device_problems = DEVICES[row.type](row, config)
    vhost_texts = Texts(row.options if row.type == CLIENT_TYPE else {}, "Interface", "options")
    retries = vhost_texts.integer("tx-retries-max")
    memory, problems = (port_memory(row, config) if row.type != PATCH_TYPE
                        else (NO_FRAMES_OF_ITS_OWN, ()))
    interface_texts = Texts(row.other_config, "Interface", "other_config")
    kind = device.kind if isinstance(device, HostDevice) else row.type
    pinned, tx_hash = queues(interface_texts, device, kind, config.pmds,
                               f"{config.role.prefix}pmd-cpu-mask", config.cores)
    limited, limit_problems = limits(row, memory.mtu, interface_texts,
                                     NO_LIMITS if before is None else before.limits)
    access, access_problems = vhost_device.access(row, config, before)
    port_texts = Texts(row.port.other_config, "Port", "other_config")
    how, vlan_problems = membership(row.port, port_texts)
    said = [*(problem for _, problem in vhost_texts.problems), *device_problems,
            *access_problems, *problems]
    said += [problem for _, problem in interface_texts.problems]
    said += [p for _, p in misspelt(row.other_config, "Interface", "other_config")]
    said += without_effect(row.other_config, "Interface", "other_config")
    said += vlan_problems
    said += [problem for _, problem in port_texts.problems]
    said += [p for _, p in misspelt(row.port.other_config, "Port", "other_config")]
    said += without_effect(row.port.other_config, "Port", "other_config")
    said += limit_problems
    said += config.port_problems.get(row.type, ())
    return PortSpec(row.name, bridge.name, row.type, device, retries, memory, tuple(said), pinned,
                    tx_hash, how, limited, access, vhost_device.asked(row))


def one_port_per_path(specs: Sequence[PortSpec], owners: Callable[[], Mapping[str, str]]
                      ) -> dict[str, str]:
    """{port: error}: of ports on one path the one that has it already stays, else the first by
    name. 'owners' tells which ports have the paths in use."""
    types = {spec.name: spec.type for spec in specs}
    paths = {spec.name: path for spec in specs if (path := place(spec.device)) is not None}
    errors: dict[str, str] = {}
    if len(set(paths.values())) == len(paths):
        return errors
    for path in {path for path, times in Counter(paths.values()).items() if times > 1}:
        owner = owners().get(path)
        winner, *losers = sorted((name for name in paths if paths[name] == path),
                                 key=lambda name: (name != owner, name))
        errors |= {
            name: eth_device.IN_USE.format(name, path, winner) if types[name] == ETH_TYPE
            else NO_DEVICE.format(name, "Address already in use")
            + f": port {winner} has the socket {path} already" for name in losers}
    return errors


def is_local(bridge: BridgeRow, row: InterfaceRow) -> bool:
    """Whether the row is the bridge's own (LOCAL) port, which ovs-vsctl add-br makes."""
    return row.name == bridge.name and row.type in ("internal", "")


def usable_name(bridge: str) -> bool:
    """Whether a bridge can have that name (OVS: add_del_bridges)."""
    return "/" not in bridge and "\\" not in bridge


def bridge_spec(bridge: BridgeRow, ports: Sequence[PortSpec], peers: Mapping[str, str | None],
                mirrors: tuple[MirrorSpec, ...], config: HostConfig) -> BridgeSpec:
    texts = Texts(bridge.other_config, "Bridge", "other_config")
    return BridgeSpec(
        bridge.name, tuple((spec.name, spec.membership) for spec in ports),
        tuple((spec.name, peers[spec.name]) for spec in ports if spec.name in peers),
        bridge.flood_vlans, bool(texts.boolean("forward-bpdu")), config.vlan_limit, mirrors,
        aging_s(texts), table_size(texts), snooping(bridge, texts))


def desired(snapshot: Snapshot, config: HostConfig, owners: Callable[[], Mapping[str, str]],
            memo: Memo | None = None) -> Desired:
    """What should be. 'owners' tells which ports have the paths in use ({path: port}), asked only
    when two want one; 'memo' is this function's own memory from call to call."""
    memo = {} if memo is None else memo
    before = dict(memo)
    memo.clear()
    specs: dict[str, PortSpec] = {}
    errors: dict[str, str] = {}
    bridges = [b for b in snapshot.bridges if usable_name(b.name)]
    for bridge in snapshot.bridges:
        served = bridge.datapath_type == config.role.datapath_type and usable_name(bridge.name)
        on = (bridge.name, bridge.datapath_type, bridge.other_config.get("hwaddr", ""))
        for row in bridge.interfaces:
            port = row.name
            made = before.get(port)
            if (made is None or made[0] is not row or made[2] is not config or made[1] != on):
                if served and is_local(bridge, row) and not config.dpdk_initialized:
                    continue    # it waits for DPDK, and is down
                made = (row, on, config, spec_or_error(bridge, row, config, asked(row, made)))
            memo[port] = made
            outcome = made[3]
            if type(outcome) is PortSpec:
                specs[port] = outcome
            else:
                errors[port] = str(outcome)
    duplicates = one_port_per_path(tuple(specs.values()), owners)
    for port in duplicates:
        del specs[port]
    ports: dict[str, list[PortSpec]] = {}
    silent = {bridge.name for bridge in bridges if bridge.fail_mode == "secure"}
    for spec in specs.values():
        if spec.bridge not in silent:
            ports.setdefault(spec.bridge, []).append(spec)
    patches = [spec for spec in specs.values() if isinstance(spec.device, PatchDevice)]
    peers = {spec.name: patch_device.peer_of(spec, specs) for spec in patches}
    ours = [bridge for bridge in bridges if bridge.datapath_type == config.role.datapath_type]
    mirrors = {bridge.name: mirroring.mirrors(bridge, {
        spec.name: spec.membership for spec in ports.get(bridge.name, ())})
        for bridge in ours if bridge.mirrors}
    pmds = config.pmds if any(isinstance(p.device, Registration | EthDevice)
                            for p in specs.values()) else ()
    return Desired(
        ports=specs,
        bridges=tuple(bridge_spec(b, ports.get(b.name, ()), peers,
                                  mirrors.get(b.name, ((), ()))[0], config) for b in ours),
        pmds=pmds,
        placing=config.placing,
        auto_balance=config.auto_balance,
        numa_nodes=config.numa_nodes,
        errors={**errors, **duplicates},
        port_problems={spec.name: why for spec in patches
                       if (why := patch_device.missing_peer(spec, specs)) is not None},
        problems=(*(NO_BRIDGE.format(b.name) for b in snapshot.bridges if not usable_name(b.name)),
                  *(LEFT_ALONE.format(name, config.role.leaves) for name in snapshot.apart),
                  *config.problems,
                  *(p for bridge in bridges for p in bridge_problems(bridge)),
                  *(p for _, problems in mirrors.values() for p in problems)),
        stats_interval_ms=config.stats_interval_ms,
        taps_elsewhere=snapshot.taps_elsewhere,
        taps_shared=snapshot.taps_shared,
    )


def asked(row: InterfaceRow, made: Made | None) -> PortSpec | None:
    """What the row asked for so far: some of that stays where it cannot be used."""
    if made is None or made[0].uuid != row.uuid or not isinstance(made[3], PortSpec):
        return None
    return made[3]


def spec_or_error(bridge: BridgeRow, row: InterfaceRow, config: HostConfig,
                  before: PortSpec | None) -> PortSpec | str:
    try:
        return port_spec(bridge, row, config, before)
    except PortError as e:
        return str(e)
