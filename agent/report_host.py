"""What the row of a port of the host's kernel should say: pure (OVS: netdev_linux)."""
from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import schema
from agent.drops import dropped, happened
from agent.host_model import HostDevice
from agent.model import Counters, PortSpec, PortState
from agent.shell import quoted

# Kept by ovs-vswitchd of every such port; here nothing of the kind can happen.
NEVER = ("rx_errors", "tx_errors", "rx_frame_err", "rx_over_err", "rx_crc_err", "collisions")
# What the kernel does of a device with TSO.
OFFLOADS = ("tx_tcp_csum_offload", "tx_udp_csum_offload", "tx_tcp_seg_offload")
BASE = {"packets": "good_packets", "bytes": "good_bytes"}


def up_or_down(up: bool) -> str:
    return "up" if up else "down"


def status(spec: PortSpec, state: PortState, problems: Collection[str]) -> dict[str, str]:
    driver, version, firmware = state.host.driver
    values = {"driver_name": driver, "driver_version": version, "firmware_version": firmware}
    offloads = isinstance(state.device, HostDevice) and state.device.tso
    values |= {key.name: str(offloads and key.name in OFFLOADS).lower()
               for key in schema.keys("Interface", "status")
               if key.name.startswith("tx_") and key.name.endswith("_offload")}
    if said := [*spec.problems, *state.host.unset, *problems, *shortcomings(spec, state)]:
        values["problems"] = "; ".join(said)
    return values


def shortcomings(spec: PortSpec, state: PortState) -> Iterator[str]:
    """What of the device does not fit."""
    mtu, link = spec.memory.mtu, state.host.link
    if link is not None and link.mtu > mtu:
        yield (f"MTU {link.mtu} of the device: frames of more than {mtu + 18} bytes are not sent "
               f"to it (ovs-vsctl set Interface {quoted(spec.name)} mtu_request={link.mtu})")
    if state.host.segmentable:
        yield ("frames came that are to be cut and are not TCP, which is not served: they are "
               "dropped, counted as rx_oversize_drops (ethtool -K DEVICE tx-udp-segmentation off "
               "on the side that sends, rx-udp-gro-forwarding off here)")


def host_interface(spec: PortSpec, state: PortState | None, problems: Collection[str] = ()
                   ) -> dict[str, Any]:
    """Columns of a port's row but for its number and its statistics."""
    columns: dict[str, Any] = {"error": [], "link_resets": [0], "link_speed": [], "duplex": []}
    if state is None or state.host.link is None:
        return {**columns, "admin_state": ["down"], "link_state": ["down"], "mtu": [],
                "mac_in_use": [], "ifindex": [], "status": {}}
    link = state.host.link
    return {**columns, "admin_state": [up_or_down(link.up)],
            "link_state": [up_or_down(link.running)], "mtu": [link.mtu], "mac_in_use": [link.mac],
            "ifindex": [link.ifindex], "status": status(spec, state, problems)}


def statistics(counters: Counters) -> dict[str, int]:
    """Interface.statistics; drops by reason where there were any."""
    port = counters.port
    values = dict.fromkeys(NEVER, 0)
    for direction, queues in (("rx", counters.rx_queues), ("tx", counters.tx_queues)):
        for key, name in BASE.items():
            values[f"{direction}_{key}"] = sum(queue[name] for queue in queues)
    values["rx_multicast_packets"] = sum(q["multicast_packets"] for q in counters.rx_queues)
    missed = counters.device.get("missed", 0)
    values |= dropped(port) | happened(port)
    return {**values, "rx_missed_errors": missed, "rx_dropped": values["rx_dropped"] + missed}
