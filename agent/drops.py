"""Why packets are dropped: keys of Interface.statistics, and the counters of a port behind them."""
from __future__ import annotations

from collections.abc import Mapping

# Reasons that ovs-vswitchd has a key for -> the counter.
OVS_REASONS = {
    "ovs_tx_failure_drops": "tx_failure_drops",
    "ovs_tx_mtu_exceeded_drops": "tx_mtu_drops",
    "ovs_tx_qos_drops": "tx_qos_drops",
    "ovs_rx_qos_drops": "rx_qos_drops",
    "ovs_tx_invalid_hwol_drops": "tx_offload_drops",
}
# The others: counters under their own names.
REASONS = ("rx_malformed_drops", "rx_oversize_drops", "rx_reserved_drops", "rx_no_bridge_drops",
           "rx_vlan_drops", "rx_same_port_drops", "rx_protected_drops", "rx_no_output_drops",
           "rx_storm_drops", "rx_mirror_drops", "tx_disconnected_drops", "tx_disabled_drops")
PATCH_REASONS = ("tx_loop_drops",)      # only a loop of patch ports has these
# What rx_dropped and tx_dropped sum up; the rest of what is not forwarded was received.
RX_DROPS = ("rx_malformed_drops", "rx_oversize_drops", "rx_qos_drops")
TX_DROPS = ("tx_failure_drops", "tx_mtu_drops", "tx_disconnected_drops", "tx_disabled_drops",
            "tx_qos_drops", "tx_offload_drops")


def dropped(port: Mapping[str, int]) -> dict[str, int]:
    """rx_dropped and tx_dropped of a port with these counters."""
    return {"rx_dropped": sum(port.get(name, 0) for name in RX_DROPS),
            "tx_dropped": sum(port.get(name, 0) for name in TX_DROPS)}


def happened(port: Mapping[str, int]) -> dict[str, int]:
    """Drops by reason, those that there were."""
    reasons = {**OVS_REASONS, **{name: name for name in (*REASONS, *PATCH_REASONS)}}
    return {key: port[name] for key, name in reasons.items() if port.get(name)}
