"""Columns of ports of type dpdk."""
from __future__ import annotations

from dataclasses import replace

import pytest

from agent import report_eth
from agent.eth_values import EthDevice, EthInfo
from agent.model import ETH_TYPE, Counters, Memory, PortSpec, PortState

DEVICE = EthDevice("net_x0")
SPEC = PortSpec("p", "br0", ETH_TYPE, DEVICE, 8, Memory(1500, 2048))
INFO = EthInfo(3, "DPDK 22.11.11", "net_x", "vdev", "", -1, max_rx_queues=4, n_rxq=1, n_txq=2,
               n_rxq_desc=2048, n_txq_desc=2048, mac="02:00:00:00:00:01", mtu=1500, link_up=True,
               full_duplex=True, link_speed_mbps=10_000)
STATE = PortState("p", DEVICE, 8, SPEC.memory, eth=INFO)


def columns(info: EthInfo = INFO) -> dict[str, object]:
    return report_eth.interface(SPEC, replace(STATE, eth=info))


def test_device_with_a_link() -> None:
    said = columns()
    assert said["link_state"] == ["up"]
    assert (said["link_speed"], said["duplex"]) == ([10_000_000_000], ["full"])
    assert (said["mtu"], said["mac_in_use"]) == ([1500], ["02:00:00:00:00:01"])
    assert said["status"] == {
        "port_no": "3", "numa_id": "-1", "driver_name": "net_x", "min_rx_bufsize": "0",
        "max_rx_pktlen": "1518", "max_rx_queues": "4", "max_tx_queues": "0", "max_mac_addrs": "0",
        "max_hash_mac_addrs": "0", "max_vfs": "0", "max_vmdq_pools": "0", "n_rxq": "1",
        "n_txq": "2", "rx_csum_offload": "false", "if_type": "6",
        "if_descr": "DPDK 22.11.11 net_x", "bus_info": "bus_name=vdev", "link_speed": "10Gbps",
        "rx-steering": "rss", "n_rxq_desc": "2048", "n_txq_desc": "2048",
        "dpdk-lsc-interrupt": "false"}


@pytest.mark.parametrize("change", [{"link_up": False}, {"link_speed_mbps": 0xffffffff},
                                    {"link_speed_mbps": 0}])
def test_speed_and_duplex_are_of_a_link_that_knows_them(change: dict[str, int]) -> None:
    said = columns(replace(INFO, **change))     # type: ignore[arg-type]
    assert (said["link_speed"], said["duplex"]) == ([], [])
    assert said["link_state"] == ["up" if "link_up" not in change else "down"]


def test_port_that_is_not_there_yet() -> None:
    said = report_eth.interface(SPEC, None)
    assert (said["link_state"], said["mtu"], said["status"]) == (["down"], [], {})


def problems(spec: PortSpec, info: EthInfo) -> str:
    return report_eth.status(spec, info).get("problems", "")


@pytest.mark.parametrize(("device", "info", "said"), [
    ({"n_rxq": 8}, {"n_rxq": 4},
     "n_rxq: 8 is more than the device has, which is 4, using 4"),
    ({"n_rxq_desc": 1}, {"n_rxq_desc": 64}, "n_rxq_desc: the device cannot have 1, using 64"),
    ({"n_txq_desc": 4096}, {}, "n_txq_desc: the device cannot have 4096, using 2048"),
    ({}, {"mtu": 1400}, "unsupported MTU 1500: the device cannot have it, using 1400"),
    ({}, {"driver_name": "net_af_packet"},
     "n_rxq: the device shares what it receives out over 4 queues (qpairs) of which 1 are polled: "
     "what is in the others is lost"),
])
def test_what_the_device_cannot_have_is_said(device: dict[str, int], info: dict[str, int], said: str
                                             ) -> None:
    spec = replace(SPEC, device=replace(DEVICE, **device))
    assert problems(spec, replace(INFO, **info)) == said        # type: ignore[arg-type]


def test_problems_of_all_sides() -> None:
    said = report_eth.status(replace(SPEC, problems=("a",)), INFO, ("b",))["problems"]
    assert said == "a; b"


def test_statistics_are_the_device_s_and_the_driver_s_that_matter() -> None:
    said = report_eth.statistics(Counters(
        {"tx_failure_drops": 1, "tx_mtu_drops": 10, "tx_disabled_drops": 100,
         "rx_malformed_drops": 1000, "rx_vlan_drops": 5},
        device={"ipackets": 1, "opackets": 2, "ibytes": 3, "obytes": 4, "imissed": 5, "ierrors": 6,
                "oerrors": 7, "rx_nombuf": 8, "sender_drops": 20, "rx_good_packets": 1,
                "rx_q0_packets": 9, "rx_crc_errors": 10, "rx_size_64_packets": 11}))
    assert (said["rx_packets"], said["tx_packets"], said["rx_bytes"], said["tx_bytes"]) == (
        1, 2, 3, 4)
    assert (said["rx_missed_errors"], said["rx_errors"], said["tx_errors"]) == (5, 6, 7)
    assert (said["rx_dropped"], said["tx_dropped"]) == (1013, 131)
    assert said["ovs_tx_failure_drops"] == 21
    assert (said["rx_q0_packets"], said["rx_crc_errors"], said["rx_1_to_64_packets"]) == (9, 10, 11)
    assert said["rx_vlan_drops"] == 5
    assert not {"rx_good_packets", "rx_size_64_packets", "ovs_tx_retries"} & said.keys()
