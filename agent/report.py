"""What each row should say: pure."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent import validate
from agent.model import (
    VHOST_TYPES,
    BridgeRow,
    Desired,
    InterfaceRow,
    Observed,
    PortSpec,
    PortState,
    Snapshot,
)
from agent.ofport import ofports

Columns = dict[str, Any]        # column -> value as python-ovs takes it ([] : empty)

MTU_BYTES = 1500
MAC_UNKNOWN = "00:00:00:00:00:00"
LINK_UP, LINK_DOWN = "up", "down"

# keys of Interface.statistics that are counters of the data plane under the same name
BASE_STATISTICS = tuple(
    f"{direction}_{name}" for direction in ("rx", "tx") for name in (
        "packets", "bytes", "1_to_64_packets", "65_to_127_packets", "128_to_255_packets",
        "256_to_511_packets", "512_to_1023_packets", "1024_to_1522_packets",
        "1523_to_max_packets", "multicast_packets", "broadcast_packets"))


def host(snapshot: Snapshot, dpdk_version: str, dpdk_initialized: bool) -> Columns:
    """Columns of the Open_vSwitch row (OVS: vswitchd/bridge.c)."""
    return {
        "cur_cfg": snapshot.next_cfg,
        "dpdk_initialized": dpdk_initialized,
        "dpdk_version": [dpdk_version],
        "datapath_types": ["netdev"],
        "iface_types": sorted(["internal", *(VHOST_TYPES if dpdk_initialized else ())]),
    }


def datapath_id(bridge: BridgeRow) -> str:
    """16 hexadecimal digits: as configured, else from hwaddr, else from the row's UUID.

    The UUID's first six bytes are taken as they lie in ovs-vswitchd's memory (little-endian
    32-bit words), so that the id is the one it would use.
    """
    if configured := validate.datapath_id(bridge.other_config.get("datapath-id", "")):
        return configured
    if hwaddr := validate.ethernet_address(bridge.other_config.get("hwaddr", "")):
        return "0000" + hwaddr.hex()
    raw = bridge.uuid.bytes
    mac = bytearray([raw[3], raw[2], raw[1], raw[0], raw[7], raw[6]])
    mac[0] = mac[0] & ~0x01 | 0x02
    return "0000" + mac.hex()


def status(spec: PortSpec, state: PortState | None) -> dict[str, str]:
    """Interface.status of a served vhost port, and what of its row could not be used.

    Keys as of OVS's netdev_dpdk_vhost_user_get_status(), and 'problems'.
    """
    connected = state is not None and state.connected
    values = {
        "mode": "client" if spec.client else "server",
        "status": "connected" if connected else "disconnected",
    }
    if state is not None and connected:
        pairs = len(state.vring_sizes) // 2
        values |= {
            "socket": state.path,
            "features": f"0x{state.features:016x}",
            "num_of_vrings": str(len(state.vring_sizes)),
            "n_rxq": str(pairs),
            "n_txq": str(pairs),
        }
        values |= {f"vring_{i}_size": str(size) for i, size in enumerate(state.vring_sizes)}
        if state.numa >= 0:
            values["numa"] = str(state.numa)
    if spec.problems:
        values["problems"] = "; ".join(spec.problems)
    return values


def statistics(counters: Mapping[str, int], connected: bool) -> dict[str, int]:
    """Interface.statistics: the ovs_ keys always, the others while connected.

    Keys as of OVS's netdev_dpdk_vhost_get_stats(). 'counters' is empty for a port that has no
    socket yet.
    """
    def value(name: str) -> int:
        return counters.get(name, 0)

    values = {
        "ovs_tx_retries": value("tx_retries"),
        "ovs_tx_failure_drops": value("tx_failure_drops"),
        "ovs_tx_mtu_exceeded_drops": value("tx_mtu_drops"),
        "ovs_tx_qos_drops": 0,
        "ovs_rx_qos_drops": 0,
        "ovs_tx_invalid_hwol_drops": 0,
    }
    if connected:
        values |= {name: value(name) for name in BASE_STATISTICS}
        values |= {
            "rx_dropped": value("rx_malformed_drops"),
            "tx_dropped": sum(map(value, ("tx_failure_drops", "tx_mtu_drops", "tx_early_drops"))),
        }
    return values


def failed_interface(error: str) -> Columns:
    """The failure record (OVS: iface_clear_db_record)."""
    return {"error": [error], "admin_state": [], "link_state": [], "mtu": [], "mac_in_use": [],
            "status": {}, "statistics": {}}


def local_interface() -> Columns:
    """The bridge's own port. It has no host device, hence is down, as OVS's is at first."""
    return {"error": [], "admin_state": [LINK_DOWN], "link_state": [LINK_DOWN]}


def vhost_interface(spec: PortSpec, state: PortState | None) -> Columns:
    connected = state is not None and state.connected
    ever_connected = state is not None and state.connects > 0
    return {
        "error": [],
        "admin_state": [LINK_UP],
        "link_state": [LINK_UP if connected else LINK_DOWN],
        "mtu": [MTU_BYTES if ever_connected else 0],
        "mac_in_use": [MAC_UNKNOWN],
        "status": status(spec, state),
    }


def interface(bridge: BridgeRow, row: InterfaceRow, spec: PortSpec | None,
              state: PortState | None, error: str | None) -> Columns:
    """Columns of one Interface row but for its number and its statistics."""
    if error is not None:
        return failed_interface(error)
    if spec is None:
        assert validate.is_local(bridge, row)
        return local_interface()
    return vhost_interface(spec, state)


def bridge_interfaces(bridge: BridgeRow, desired: Desired, observed: Observed,
                      errors: Mapping[str, str]) -> dict[str, Columns]:
    """{interface: columns} of one bridge; 'errors' are those of both sides."""
    specs = {spec.name: spec for spec in desired.ports}
    states = {state.name: state for state in observed.ports}
    numbers = ofports(bridge, errors.keys())
    return {
        row.name: {
            "ofport": [numbers[row.name]] if row.name in numbers else [],
            **interface(bridge, row, specs.get(row.name), states.get(row.name),
                        errors.get(row.name)),
        }
        for row in bridge.interfaces
    }
