"""What each row should say: pure."""
from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from agent import report_eth, report_host, validate
from agent.drops import OVS_REASONS, REASONS, dropped, happened
from agent.host_device import bridge_address
from agent.host_model import HostDevice
from agent.ifindex import ifindex
from agent.model import (
    ETH_TYPE,
    PATCH_TYPE,
    TSO_DISABLED,
    TSO_ON,
    VHOST_TYPES,
    BridgeRow,
    Counters,
    Device,
    InterfaceRow,
    PortSpec,
    PortState,
    Registration,
    Snapshot,
)

HOST_TYPES = ("internal", "system", "tap")

Columns = dict[str, Any]        # column -> value as OVSDB has it ([]: empty)

DATAPATH_VERSION = "<built-in>"   # OVS: dpif_netdev
MAC_UNKNOWN = "00:00:00:00:00:00"
LINK_UP, LINK_DOWN = "up", "down"
NET_F_GUEST_CSUM = 1 << 1       # virtio: the guest completes checksums
NET_F_GUEST_TSO = 1 << 7 | 1 << 8       # virtio: and takes TCP frames uncut, over IPv4 and IPv6

# What a guest's features decide of the offloads that status names, and what nothing does yet.
CHECKSUM_OFFLOADS = ("tx_ip_csum_offload", "tx_tcp_csum_offload", "tx_udp_csum_offload",
                     "tx_sctp_csum_offload")
OTHER_OFFLOADS = ("tx_vxlan_tso_offload", "tx_gre_tso_offload",
                  "tx_geneve_tso_offload", "tx_out_ip_csum_offload", "tx_out_udp_csum_offload")

# A key of statistics -> the counters of a queue that it sums up, its direction left out.
BASE_STATISTICS = {
    "packets": ("good_packets",),
    "bytes": ("good_bytes",),
    "1_to_64_packets": ("undersize_packets", "size_64_packets"),
    "65_to_127_packets": ("size_65_127_packets",),
    "128_to_255_packets": ("size_128_255_packets",),
    "256_to_511_packets": ("size_256_511_packets",),
    "512_to_1023_packets": ("size_512_1023_packets",),
    "1024_to_1522_packets": ("size_1024_1518_packets",),
    "1523_to_max_packets": ("size_1519_max_packets",),
    "multicast_packets": ("multicast_packets",),
    "broadcast_packets": ("broadcast_packets",),
}


def host(snapshot: Snapshot, dpdk_version: str, dpdk_initialized: bool) -> Columns:
    """Columns of the Open_vSwitch row (OVS: vswitchd/bridge.c)."""
    return {
        "cur_cfg": snapshot.next_cfg,
        "dpdk_initialized": dpdk_initialized,
        "dpdk_version": [dpdk_version],
        "datapath_types": ["netdev"],
        "iface_types": sorted([*HOST_TYPES, PATCH_TYPE,
                               *((*VHOST_TYPES, ETH_TYPE) if dpdk_initialized else ())]),
    }


def datapath_id(row: BridgeRow) -> str:
    """16 hexadecimal digits: as configured, else of the bridge's address."""
    if configured := validate.datapath_id(row.other_config.get("datapath-id", "")):
        return configured
    return "0000" + bridge_address(row).hex()


def bridge(row: BridgeRow) -> Columns:
    """Columns of a Bridge row."""
    return {"datapath_id": [datapath_id(row)], "datapath_version": DATAPATH_VERSION}


def status(spec: PortSpec, state: PortState | None, problems: Collection[str] = ()
           ) -> dict[str, str]:
    """Interface.status of a served vhost port, and what of its row could not be used; 'problems'
    are those of the data plane.

    Keys as of OVS's netdev_dpdk_vhost_user_get_status() and netdev_get_status(), then ours.
    """
    device = state.device if state is not None else None
    assert device is None or isinstance(device, Registration)
    connected = state is not None and state.connected
    checksums = state is not None and connected and bool(state.features & NET_F_GUEST_CSUM)
    segmentation = (state is not None and connected and device is not None and device.tso == TSO_ON
                    and state.features & NET_F_GUEST_TSO == NET_F_GUEST_TSO)
    values = {
        "mode": "client" if spec.client else "server",
        "status": "connected" if connected else "disconnected",
        **dict.fromkeys(CHECKSUM_OFFLOADS, str(checksums).lower()),
        "tx_tcp_seg_offload": str(segmentation).lower(),
        **dict.fromkeys(OTHER_OFFLOADS, "false"),
    }
    if state is not None and connected:
        pairs = len(state.vring_sizes) // 2
        values |= {
            "socket": device.path if device is not None else "",
            "features": f"0x{state.features:016x}",
            "num_of_vrings": str(len(state.vring_sizes)),
            "n_rxq": str(pairs),
            "n_txq": str(pairs),
        }
        if device is not None and device.tso == TSO_DISABLED:
            values["userspace-tso"] = "disabled"
        values |= {f"vring_{i}_size": str(size) for i, size in enumerate(state.vring_sizes)}
        if state.guest_mtu:
            values["mtu"] = str(state.guest_mtu)
        if state.numa >= 0:
            values["numa"] = str(state.numa)
    if device is not None:
        if device.iommu:
            values["vhost-iommu-support"] = "true"
        if device.postcopy:
            values["vhost-postcopy-support"] = "true"
        if waiting := pending(spec.device, device):
            values["pending"] = waiting
    if spec.problems or problems:
        values["problems"] = "; ".join((*spec.problems, *problems))
    return values


def pending(wanted: Device | None, has: Registration) -> str:
    """What of a port's settings waits for the guest to disconnect; empty when nothing does."""
    if not isinstance(wanted, Registration) or wanted == has:
        return ""
    waits = []
    if wanted.path != has.path:
        waits.append(f"socket {wanted.path}")
    for key, want, now in (("vhost-iommu-support", wanted.iommu, has.iommu),
                           ("vhost-postcopy-support", wanted.postcopy, has.postcopy)):
        if want != now:
            waits.append(f"{key}={str(want).lower()}")
    if wanted.max_queue_pairs != has.max_queue_pairs:
        waits.append(f"vhost-max-queue-pairs={wanted.max_queue_pairs}")
    return ", ".join(waits) + ": when the guest disconnects" if waits else ""


def statistics(counters: Counters, connected: bool) -> dict[str, int]:
    """Interface.statistics: the ovs_ keys always, the others while connected, drops by reason also
    afterwards.

    Keys as of OVS's netdev_dpdk_vhost_get_stats() and netdev_dpdk_get_custom_stats().
    """
    port = counters.port
    if counters.device:
        return report_eth.statistics(counters)
    values = {key: port.get(name, 0)
              for key, name in {"ovs_tx_retries": "tx_retries", **OVS_REASONS}.items()}
    values |= {key: port.get(key, 0) for key in REASONS if connected or port.get(key, 0)}
    if not connected:
        return values
    for direction, queues in (("rx", counters.rx_queues), ("tx", counters.tx_queues)):
        for key, names in BASE_STATISTICS.items():
            values[f"{direction}_{key}"] = sum(queue[name] for queue in queues for name in names)
        for q, queue in enumerate(queues):
            values |= {f"{direction}_q{q}_{name}": count for name, count in queue.items()}
    return values | dropped(port)


def statistics_of(spec: PortSpec, counters: Counters, connected: bool) -> dict[str, int]:
    """Interface.statistics of a port of any type."""
    if isinstance(spec.device, HostDevice):
        return report_host.statistics(counters)
    if spec.type == PATCH_TYPE:
        return patch_statistics(counters)
    return statistics(counters, connected)


# Columns that only a failure or another daemon leaves something in.
EMPTY: Columns = {"link_speed": [], "duplex": []}
CLEARED: Columns = {**EMPTY, "lacp_current": [], "cfm_fault": [], "cfm_fault_status": [],
                    "cfm_flap_count": [], "cfm_health": [], "cfm_remote_mpids": [],
                    "cfm_remote_opstate": [], "bfd_status": {}}


def failed_interface(error: str) -> Columns:
    """The failure record (OVS: iface_clear_db_record)."""
    return {"error": [error], "admin_state": [], "link_state": [], "mtu": [], "mac_in_use": [],
            "ifindex": [], "status": {}, "statistics": {}, **CLEARED}


def local_interface() -> Columns:
    """The bridge's own port before DPDK runs: it has no device yet."""
    return {"error": [], "admin_state": [LINK_DOWN], "link_state": [LINK_DOWN]}


def vhost_interface(spec: PortSpec, state: PortState | None, problems: Collection[str] = ()
                    ) -> Columns:
    connected = state is not None and state.connected
    mtu = state.memory.mtu if state is not None and state.connects else 0
    return {
        "error": [],
        "admin_state": [LINK_UP if state is None or state.up else LINK_DOWN],
        "link_state": [LINK_UP if connected else LINK_DOWN],
        "link_resets": [0],
        "mtu": [mtu],
        "mac_in_use": [MAC_UNKNOWN],
        "ifindex": [ifindex(spec.name)],
        "status": status(spec, state, problems),
        **EMPTY,
    }


def patch_interface(spec: PortSpec, state: PortState | None, problems: Collection[str] = ()
                    ) -> Columns:
    """A patch port is up and has neither MTU nor address."""
    said = "; ".join((*spec.problems, *problems))
    return {"error": [], "admin_state": [LINK_UP], "link_state": [LINK_UP], "link_resets": [0],
            "mtu": [], "mac_in_use": [], "ifindex": [0],
            "status": {"problems": said} if said else {}, **EMPTY}


def patch_statistics(counters: Counters) -> dict[str, int]:
    """What netdev_vport_get_stats() of OVS has, and drops by reason."""
    values = happened(counters.port)
    for direction, queues in (("rx", counters.rx_queues), ("tx", counters.tx_queues)):
        for key in ("packets", "bytes"):
            values[f"{direction}_{key}"] = sum(queue[f"good_{key}"] for queue in queues)
    return values


# What a port of each type says.
INTERFACES: Mapping[str, Callable[[PortSpec, PortState | None, Collection[str]], Columns]] = {
    **dict.fromkeys(VHOST_TYPES, vhost_interface),
    PATCH_TYPE: patch_interface,
    **dict.fromkeys((*HOST_TYPES, ""), report_host.host_interface),
    ETH_TYPE: report_eth.interface,
}


def interface(on: BridgeRow, row: InterfaceRow, spec: PortSpec | None,
              state: PortState | None, error: str | None, problems: Collection[str] = (),
              reason: str = "") -> Columns:
    """Columns of one Interface row but for its number and its statistics."""
    if error is not None:
        return failed_interface(error)
    if spec is None:
        assert validate.is_local(on, row)
        columns = local_interface()
    else:
        columns = INTERFACES[spec.type](spec, state, problems)
    if reason:
        columns["status"] = {**columns.get("status", {}), "reason": reason}
    return columns
