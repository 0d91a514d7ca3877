"""Drops by reason: every type of port says all of them."""
from __future__ import annotations

from collections.abc import Callable

import pytest

import schema
from agent import drops, report, report_eth, report_host
from agent.model import Counters

# counter of a port -> its key
REASONS = {
    "tx_failure_drops": "ovs_tx_failure_drops", "tx_mtu_drops": "ovs_tx_mtu_exceeded_drops",
    "tx_qos_drops": "ovs_tx_qos_drops", "rx_qos_drops": "ovs_rx_qos_drops",
    "tx_offload_drops": "ovs_tx_invalid_hwol_drops",
    **{name: name for name in (
        "rx_malformed_drops", "rx_oversize_drops", "rx_reserved_drops", "rx_no_bridge_drops",
        "rx_vlan_drops", "rx_same_port_drops", "rx_protected_drops", "rx_no_output_drops",
        "rx_storm_drops", "rx_mirror_drops", "tx_disconnected_drops", "tx_disabled_drops",
        "tx_no_buffer_drops", "tx_busy_drops")}}
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


def counts_drops(key: str) -> bool:
    """Of one reason; sums and drivers' own counters are not."""
    return ((key.endswith(("_drops", "_alloc_failed")) and "<name>" not in key)
            or key == "rx_missed_errors")


def test_each_drop_has_a_blame_and_nothing_else_has() -> None:
    keys = schema.keys("Interface", "statistics")
    assert {key.name for key in keys if key.blame} == {
        key.name for key in keys if counts_drops(key.name)}
    assert {key.blame for key in keys} - {""} <= drops.BLAMES.keys()


def test_every_reason_is_a_key_with_a_blame() -> None:
    assert {key for key in REASONS.values() if not drops.blame(key)} == set()


@pytest.mark.parametrize(("key", "blame"), [
    ("ovs_tx_failure_drops", "guest too slow"), ("rx_missed_errors", "switch too busy"),
    ("rx_no_buffer_drops", "no buffer"), ("rx_malformed_drops", "bad descriptor"),
    ("tx_disconnected_drops", "no guest"), ("ovs_rx_qos_drops", "policy"),
    ("rx_q12_mbuf_alloc_failed", "bad descriptor"), ("rx_dropped", ""), ("tx_packets", ""),
    ("rx_phy_dropped", ""), ("rx_q_mbuf_alloc_failed", "")])
def test_blame_of_a_key(key: str, blame: str) -> None:
    assert drops.blame(key) == blame
