"""Why packets are dropped, and whose fault it is: keys of Interface.statistics, and the counters of
a port behind them."""
from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache

import schema

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
           "rx_storm_drops", "rx_mirror_drops", "tx_disconnected_drops", "tx_disabled_drops",
           "tx_no_buffer_drops", "tx_busy_drops")
PATCH_REASONS = ("tx_loop_drops",)      # only a loop of patch ports has these
# What rx_dropped and tx_dropped sum up; the rest of what is not forwarded was received.
RX_DROPS = ("rx_malformed_drops", "rx_oversize_drops", "rx_qos_drops")
TX_DROPS = ("tx_failure_drops", "tx_mtu_drops", "tx_disconnected_drops", "tx_disabled_drops",
            "tx_qos_drops", "tx_offload_drops", "tx_no_buffer_drops", "tx_busy_drops")

# Whose fault a drop is (schema/keys.toml has it of each key), and what that means.
BLAMES = {
    "guest too slow": "the guest, or the device, does not take what is sent to it fast enough",
    "switch too busy": "the agent's threads do not come round fast enough",
    "no buffer": "the agent has no packet buffer left",
    "bad descriptor": "what the sender handed over cannot be taken: a descriptor that makes no "
                      "sense, a frame that is too short or too long, a request for a checksum or "
                      "for segmentation that cannot be met",
    "no guest": "no guest is there to take it, or none of its queues is enabled",
    "policy": "what is configured, or the rules of bridges, has it so",
}
PARTS = {"<d>": "(rx|tx)", "<q>": "[0-9]+", "<i>": "[0-9]+", "<name>": ".+"}


def blame(key: str) -> str:
    """Whose fault the drops are that a key of Interface.statistics counts: a word of BLAMES; "" for
    a key that counts no drops, a sum of several reasons, or a driver's own counter."""
    return next((found for pattern, found in _blames() if pattern.fullmatch(key)), "")


@cache
def _blames() -> tuple[tuple[re.Pattern[str], str], ...]:
    def pattern(name: str) -> re.Pattern[str]:
        return re.compile("".join(PARTS.get(part, re.escape(part))
                                  for part in re.split("(<[a-z]+>)", name)))
    return tuple((pattern(key.name), key.blame)
                 for key in schema.keys("Interface", "statistics") if key.blame)


def dropped(port: Mapping[str, int]) -> dict[str, int]:
    """rx_dropped and tx_dropped of a port with these counters."""
    return {"rx_dropped": sum(port.get(name, 0) for name in RX_DROPS),
            "tx_dropped": sum(port.get(name, 0) for name in TX_DROPS)}


def happened(port: Mapping[str, int]) -> dict[str, int]:
    """Drops by reason, those that there were."""
    reasons = {**OVS_REASONS, **{name: name for name in (*REASONS, *PATCH_REASONS)}}
    return {key: port[name] for key, name in reasons.items() if port.get(name)}
