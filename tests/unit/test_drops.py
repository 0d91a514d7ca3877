"""Drops by reason: every type of port says all of them."""
from __future__ import annotations

from collections.abc import Callable

import pytest

from agent import report, report_eth, report_host
from agent.model import Counters

# counter of a port -> its key
REASONS = {
    "tx_failure_drops": "ovs_tx_failure_drops", "tx_mtu_drops": "ovs_tx_mtu_exceeded_drops",
    "tx_qos_drops": "ovs_tx_qos_drops", "rx_qos_drops": "ovs_rx_qos_drops",
    "tx_offload_drops": "ovs_tx_invalid_hwol_drops",
    **{name: name for name in (
        "rx_malformed_drops", "rx_oversize_drops", "rx_reserved_drops", "rx_no_bridge_drops",
        "rx_vlan_drops", "rx_same_port_drops", "rx_protected_drops", "rx_no_output_drops",
        "rx_storm_drops", "rx_mirror_drops", "tx_disconnected_drops", "tx_disabled_drops")}}
# those that OVS counts in rx_dropped; of those that were to be sent, all
RX_DROPPED = {"rx_malformed_drops", "rx_oversize_drops", "rx_qos_drops"}

QUEUE = dict.fromkeys(("good_packets", "good_bytes", "multicast_packets"), 0)

Statistics = Callable[[Counters], dict[str, int]]

TYPES: dict[str, Statistics] = {
    "guest": lambda counters: report.statistics(Counters(counters.port), connected=True),
    "no guest": lambda counters: report.statistics(counters, connected=False),
    "dpdk": report_eth.statistics, "host": report_host.statistics,
    "patch": report.patch_statistics}


@pytest.mark.parametrize("of", TYPES.values(), ids=TYPES)
@pytest.mark.parametrize(("counter", "key"), REASONS.items(), ids=REASONS)
def test_every_type_of_port_has_every_reason(of: Statistics, counter: str, key: str) -> None:
    none = of(Counters({}, (QUEUE,), (QUEUE,)))
    said = of(Counters({counter: 5}, (QUEUE,), (QUEUE,)))
    changed = {name for name, count in said.items() if count != none.get(name, 0)}
    assert changed >= {key}
    assert said[key] == 5
    if "rx_dropped" in none:
        dropped = {"rx_dropped": counter in RX_DROPPED, "tx_dropped": counter.startswith("tx_")}
        assert {name: said[name] == 5 for name in dropped} == dropped
        assert changed == {key, *(name for name, is_sum in dropped.items() if is_sum)}
