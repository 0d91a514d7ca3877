"""What the row of a port of type dpdk says: pure."""
from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from agent.drops import OVS_REASONS, REASONS, dropped
from agent.eth_values import EthDevice, EthInfo
from agent.ifindex import ifindex
from agent.model import Counters, PortSpec, PortState

IF_TYPE_ETHERNET = 6            # RFC 3635
MBPS = 1_000_000
# As ovs-vswitchd writes the speeds that it has a word for.
SPEEDS = {10: "10Mbps", 100: "100Mbps", 1000: "1Gbps", 2500: "2.5Gbps", 5000: "5Gbps",
          10_000: "10Gbps", 20_000: "20Gbps", 25_000: "25Gbps", 40_000: "40Gbps",
          50_000: "50Gbps", 56_000: "56Gbps", 100_000: "100Gbps"}
SPEED_UNKNOWN = (0, 0xffffffff)     # of a link that is down; RTE_ETH_SPEED_NUM_UNKNOWN

# Keys of status that are facts of the device under DPDK's names.
FACTS = ("port_no", "numa_id", "driver_name", "min_rx_bufsize", "max_rx_queues", "max_tx_queues",
         "max_mac_addrs", "max_hash_mac_addrs", "max_vfs", "max_vmdq_pools", "n_rxq", "n_txq")
# A key of statistics -> the device's counter (OVS: netdev_dpdk_get_stats()).
STATISTICS = {
    "rx_packets": "ipackets", "tx_packets": "opackets", "rx_bytes": "ibytes",
    "tx_bytes": "obytes", "rx_errors": "ierrors", "tx_errors": "oerrors",
    "rx_missed_errors": "imissed",
}
SIZES = ("65_to_127", "128_to_255", "256_to_511", "512_to_1023", "1024_to_1522", "1523_to_max")
# Likewise, of those that only some drivers have.
DRIVER_STATISTICS = {
    key: name for d in ("rx", "tx") for key, name in {
        f"{d}_multicast_packets": f"{d}_multicast_packets",
        f"{d}_broadcast_packets": f"{d}_broadcast_packets",
        f"{d}_1_to_64_packets": f"{d}_size_64_packets",
        **{f"{d}_{size}_packets": f"{d}_size_{size}_packets" for size in SIZES}}.items()}
# What is given on as it is (OVS: netdev_dpdk_configure_xstats()).
CUSTOM = re.compile(r"[rt]x_q[0-9]+_(packets|bytes)|.*_errors|.*_management_.*|.*_dropped")


def interface(spec: PortSpec, state: PortState | None, problems: Collection[str] = ()
              ) -> dict[str, Any]:
    """Columns of an Interface row but for its number and its statistics."""
    info = state.eth if state is not None else None
    speed = info.link_speed_mbps if info is not None else 0
    known = info is not None and info.link_up and speed not in SPEED_UNKNOWN
    return {
        "error": [],
        "admin_state": ["up" if state is None or state.up else "down"],
        "link_state": ["up" if info is not None and info.link_up else "down"],
        "link_resets": [0],
        "link_speed": [speed * MBPS] if known else [],
        "duplex": ["full" if info is not None and info.full_duplex else "half"] if known else [],
        "mtu": [info.mtu] if info is not None else [],
        "mac_in_use": [info.mac] if info is not None else [],
        "ifindex": [ifindex(spec.name)],
        "status": status(spec, info, problems),
    }


def status(spec: PortSpec, info: EthInfo | None, problems: Collection[str] = ()
           ) -> dict[str, str]:
    """Interface.status; keys as of OVS's netdev_dpdk_get_status(), then ours."""
    values: dict[str, str] = {}
    said = [*spec.problems, *problems]
    if info is not None:
        bus = f"bus_name={info.bus_name}" + (f", {info.bus_info}" if info.bus_info else "")
        values = {
            **{name: str(getattr(info, name)) for name in FACTS},
            "max_rx_pktlen": str(info.mtu + 18),
            "rx_csum_offload": "false",
            "if_type": str(IF_TYPE_ETHERNET),
            "if_descr": f"{info.dpdk_version} {info.driver_name}",
            "bus_info": bus,
            "link_speed": SPEEDS.get(info.link_speed_mbps, "Not Defined"),
            "rx-steering": "rss",
            "n_rxq_desc": str(info.n_rxq_desc),
            "n_txq_desc": str(info.n_txq_desc),
            "dpdk-lsc-interrupt": str(info.lsc).lower(),
        }
        said += shortcomings(spec, info)
    if said:
        values["problems"] = "; ".join(said)
    return values


def shortcomings(spec: PortSpec, info: EthInfo) -> Iterator[str]:
    """What was asked for and the device cannot have."""
    device = spec.device
    assert isinstance(device, EthDevice)
    if info.n_rxq < device.n_rxq:
        yield (f"n_rxq: {device.n_rxq} is more than the device has, which is "
               f"{info.max_rx_queues}, using {info.n_rxq}")
    if info.driver_name == "net_af_packet" and info.n_rxq < info.max_rx_queues:
        yield (f"n_rxq: the device shares what it receives out over {info.max_rx_queues} queues "
               f"(qpairs) of which {info.n_rxq} are polled: what is in the others is lost")
    for key, asked, has in (("n_rxq_desc", device.n_rxq_desc, info.n_rxq_desc),
                            ("n_txq_desc", device.n_txq_desc, info.n_txq_desc)):
        if asked != has:
            yield f"{key}: the device cannot have {asked}, using {has}"
    if spec.memory.mtu != info.mtu:
        yield (f"unsupported MTU {spec.memory.mtu}: the device cannot have it, using {info.mtu}")


def statistics(counters: Counters) -> dict[str, int]:
    """Interface.statistics; keys as of OVS's netdev_dpdk_get_stats() and _get_custom_stats()."""
    device, port = counters.device, counters.port
    values = {key: device.get(name, 0) for key, name in STATISTICS.items()}
    values |= {key: device[name] for key, name in DRIVER_STATISTICS.items() if name in device}
    values |= custom(device) | dropped(port)
    values |= {key: port.get(name, 0) for key, name in OVS_REASONS.items()}
    values |= {key: port.get(key, 0) for key in REASONS}
    failures = device.get("sender_drops", 0)
    values["ovs_tx_failure_drops"] += failures
    values["tx_dropped"] += failures
    values["rx_no_buffer_drops"] = device.get("rx_nombuf", 0)
    values["rx_dropped"] += device.get("imissed", 0) + device.get("rx_nombuf", 0)
    return values


def custom(device: Mapping[str, int]) -> dict[str, int]:
    """Counters of the driver's own."""
    return {name: count for name, count in device.items() if CUSTOM.fullmatch(name)}
