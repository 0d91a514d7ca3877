"""What rows say: Bridge.datapath_id and the Interface columns."""
from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest

from agent import report
from agent.model import BridgeRow, Desired, InterfaceRow, Observed, PortSpec, PortState

U = UUID("00112233-4455-6677-8899-aabbccddeeff")
FROM_U = "0000322211007766"
CLIENT = PortSpec("p", "br0", True, "/tmp/p", 8)
GUEST = PortState("p", "/tmp/p", True, 8, connects=1, connected=True, features=0x1_3000_8000,
                  numa=1, vring_sizes=(256, 512, 256, 1024))
GONE = replace(GUEST, connected=False, features=0, numa=-1, vring_sizes=())

OVS_KEYS = {"ovs_tx_retries", "ovs_tx_failure_drops", "ovs_tx_mtu_exceeded_drops",
            "ovs_tx_qos_drops", "ovs_rx_qos_drops", "ovs_tx_invalid_hwol_drops"}
# those that ovs-vswitchd writes for a connected port
BASE_KEYS = {f"{direction}_{name}" for direction in ("rx", "tx") for name in (
    "packets", "bytes", "dropped", "1_to_64_packets", "65_to_127_packets", "128_to_255_packets",
    "256_to_511_packets", "512_to_1023_packets", "1024_to_1522_packets", "1523_to_max_packets",
    "multicast_packets", "broadcast_packets")}
DROPS = {"rx_malformed_drops": 1000, "tx_retries": 2000, "tx_failure_drops": 3000,
         "tx_mtu_drops": 40000, "tx_early_drops": 500000}
COUNTERS = DROPS | {key: i for i, key in enumerate(sorted(
    BASE_KEYS - {"rx_dropped", "tx_dropped"}))}


def bridge(*rows: InterfaceRow, uuid: UUID = U, **config: str) -> BridgeRow:
    other_config = {key.replace("_", "-"): value for key, value in config.items()}
    return BridgeRow(uuid, "br0", "netdev", other_config=other_config, interfaces=rows)


@pytest.mark.parametrize(("uuid", "expected"), [
    # by hand: words 00112233 44556677 lie in memory as 33 22 11 00 | 77 66; 33 -> 32 (unicast)
    (U, FROM_U),
    # 45 -> 44 (unicast) -> 46 (local)
    (UUID("aabbcc45-eeff-0123-4567-89abcdef0123"), "000046ccbbaa2301"),
    (UUID("f81d4fae-7dec-11d0-a765-00a0c91e6bf6"), "0000ae4f1df8d011"),
])
def test_datapath_id_has_the_byte_order_of_ovs_vswitchd(uuid: UUID, expected: str) -> None:
    assert report.datapath_id(bridge(uuid=uuid)) == expected


@pytest.mark.parametrize(("text", "expected"), [
    ("00000000000000ff", "00000000000000ff"),
    ("0123456789ABCDEF", "0123456789abcdef"),
    ("0xABCDEF0123456789", "abcdef0123456789"),
    ("0x1", "0000000000000001"),        # with 0x any number of digits will do (dpid_from_string)
    ("", FROM_U), ("0" * 16, FROM_U), ("0x0", FROM_U), ("0x", FROM_U), ("1" * 15, FROM_U),
    ("1" * 17, FROM_U), ("0x" + "1" * 17, FROM_U), ("000000000000000g", FROM_U),
    ("+00000000000000f", FROM_U), ("0x-1", FROM_U),
])
def test_configured_datapath_id(text: str, expected: str) -> None:
    assert report.datapath_id(bridge(datapath_id=text)) == expected


@pytest.mark.parametrize(("text", "expected"), [
    ("0a:00:00:00:00:01", "00000a0000000001"),
    ("AA:BB:CC:DD:EE:FF", "0000aabbccddeeff"),
    ("a:b:c:d:e:f", "00000a0b0c0d0e0f"),
    ("", FROM_U), ("00:00:00:00:00:00", FROM_U), ("01:00:00:00:00:01", FROM_U),
    ("0a:00:00:00:00", FROM_U), ("0a:00:00:00:00:01:02", FROM_U), ("0a:00:00:00:00:zz", FROM_U),
    ("0a:00:00:00:00:100", FROM_U), ("0a:00:00:00:00:-1", FROM_U), ("-2:00:00:00:00:01", FROM_U),
    ("0a:00:00:00:00:1_0", FROM_U), ("0a-00-00-00-00-01", FROM_U),
])
def test_hwaddr_makes_the_datapath_id(text: str, expected: str) -> None:
    assert report.datapath_id(bridge(hwaddr=text)) == expected


def test_datapath_id_wins_over_hwaddr_unless_it_is_bad() -> None:
    good, hwaddr = "00000000000000ff", "0a:00:00:00:00:01"
    assert report.datapath_id(bridge(datapath_id=good, hwaddr=hwaddr)) == good
    assert report.datapath_id(bridge(datapath_id="x", hwaddr=hwaddr)) == "00000a0000000001"


def test_status_of_a_connected_guest() -> None:
    assert report.status(CLIENT, GUEST) == {
        "mode": "client", "status": "connected", "socket": "/tmp/p",
        "features": "0x0000000130008000", "num_of_vrings": "4", "n_rxq": "2", "n_txq": "2",
        "numa": "1", "vring_0_size": "256", "vring_1_size": "512", "vring_2_size": "256",
        "vring_3_size": "1024"}


@pytest.mark.parametrize("state", [None, GONE])
def test_status_without_a_guest_says_no_more_than_that(state: PortState | None) -> None:
    assert report.status(CLIENT, state) == {"mode": "client", "status": "disconnected"}
    server = replace(CLIENT, client=False)
    assert report.status(server, state) == {"mode": "server", "status": "disconnected"}


def test_unknown_numa_node_has_no_key() -> None:
    assert "numa" not in report.status(CLIENT, replace(GUEST, numa=-1))
    assert report.status(CLIENT, replace(GUEST, numa=0))["numa"] == "0"


@pytest.mark.parametrize("state", [None, GUEST])
def test_problems_of_the_row_are_in_its_status(state: PortState | None) -> None:
    spec = replace(CLIENT, problems=("a: bad", "b: worse"))
    assert report.status(spec, state)["problems"] == "a: bad; b: worse"


def test_statistics_without_a_guest_are_exactly_the_six_ovs_keys() -> None:
    assert report.statistics(COUNTERS, connected=False) == {
        "ovs_tx_retries": 2000, "ovs_tx_failure_drops": 3000, "ovs_tx_mtu_exceeded_drops": 40000,
        "ovs_tx_qos_drops": 0, "ovs_rx_qos_drops": 0, "ovs_tx_invalid_hwol_drops": 0}


def test_statistics_of_a_guest_add_the_base_keys() -> None:
    values = report.statistics(COUNTERS, connected=True)
    assert values.keys() == OVS_KEYS | BASE_KEYS
    assert values["rx_dropped"] == 1000
    assert values["tx_dropped"] == 543000       # failure + mtu + early; retries are no drops
    counted = BASE_KEYS - {"rx_dropped", "tx_dropped"}
    assert {key: values[key] for key in counted} == {key: COUNTERS[key] for key in counted}


@pytest.mark.parametrize(("state", "link", "mtu"), [
    (None, "down", 0), (replace(GONE, connects=0), "down", 0), (GUEST, "up", 1500),
    (GONE, "down", 1500),       # kept after the guest has left
])
def test_link_and_mtu_follow_the_guest(state: PortState | None, link: str, mtu: int) -> None:
    columns = report.vhost_interface(CLIENT, state)
    assert (columns["link_state"], columns["mtu"]) == ([link], [mtu])
    assert (columns["admin_state"], columns["error"]) == (["up"], [])
    assert columns["mac_in_use"] == ["00:00:00:00:00:00"]


def test_rows_of_a_bridge_served_refused_and_its_own() -> None:
    rows = (InterfaceRow(U, "bad", "dpdk"), InterfaceRow(U, "br0", "internal"),
            InterfaceRow(U, "p", "dpdkvhostuserclient"))
    columns = report.bridge_interfaces(
        bridge(*rows), Desired(ports=(replace(CLIENT, name="p"),)),
        Observed(ports=(replace(GUEST, name="p"),)), {"bad": "no"})
    assert {name: c["ofport"] for name, c in columns.items()} == {
        "bad": [-1], "br0": [65534], "p": [1]}
    assert columns["br0"] == {"ofport": [65534], "error": [], "admin_state": ["down"],
                              "link_state": ["down"]}
    assert columns["p"] == {"ofport": [1], **report.vhost_interface(CLIENT, GUEST)}


def test_failure_record_clears_whatever_a_served_port_would_say() -> None:
    record = report.failed_interface("why")
    assert record.pop("error") == ["why"]
    assert record.keys() == report.vhost_interface(CLIENT, GUEST).keys() - {"error"} | {
        "statistics"}
    assert not any(record.values())
