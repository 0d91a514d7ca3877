"""What rows of ports that are devices of the host say."""
from __future__ import annotations

from dataclasses import replace

from agent import plan, report, report_host
from agent.actions import AddPort, RemovePort, SetHostDevice
from agent.host_model import HostDevice, HostState, Link
from agent.model import Counters, Desired, Memory, Observed, PortSpec, PortState

MEMORY = Memory(1500, 2048)
DEVICE = HostDevice("internal", "h0", "02:00:00:00:00:0a")
SPEC = PortSpec("h0", "br0", "internal", DEVICE, 8, MEMORY)
LINK = Link(7, True, False, 1500, "02:00:00:00:00:0a")
STATE = PortState("h0", DEVICE, 8, MEMORY, host=HostState(LINK, ("tun", "1.6", "")))


def test_columns_are_the_kernel_s() -> None:
    assert report.INTERFACES["internal"](SPEC, STATE, ()) == {
        "error": [], "link_resets": [0], "link_speed": [], "duplex": [], "admin_state": ["up"],
        "link_state": ["down"], "mtu": [1500], "mac_in_use": ["02:00:00:00:00:0a"], "ifindex": [7],
        "status": {"driver_name": "tun", "driver_version": "1.6", "firmware_version": "",
                   **{f"tx_{name}_offload": "false" for name in (
                       "ip_csum", "tcp_csum", "udp_csum", "sctp_csum", "tcp_seg", "vxlan_tso",
                       "gre_tso", "geneve_tso", "out_ip_csum", "out_udp_csum")}}}
    assert report_host.host_interface(SPEC, None)["link_state"] == ["down"]


def test_what_does_not_work_is_said() -> None:
    state = replace(STATE, host=replace(STATE.host, unset=("it does not take the MTU 68: no",),
                                        link=replace(LINK, mtu=9000), segmentable=True))
    said = report_host.status(replace(SPEC, problems=("row",)), state, ("plane",))["problems"]
    assert said.startswith(
        "row; it does not take the MTU 68: no; plane; MTU 9000 of the device: frames of more than "
        "1518 bytes are not sent to it (ovs-vsctl set Interface h0 mtu_request=9000); frames came "
        "that are to be cut and are not TCP")


def test_statistics_and_reasons_of_drops() -> None:
    rx = {"good_packets": 3, "good_bytes": 180, "multicast_packets": 1}
    tx = {"good_packets": 2, "good_bytes": 120, "multicast_packets": 0}
    port = {"rx_oversize_drops": 4, "rx_vlan_drops": 5, "tx_failure_drops": 6, "tx_mtu_drops": 0,
            "tx_disabled_drops": 7}
    values = report.statistics_of(SPEC, Counters(port, (rx,), (tx,)), connected=False)
    assert {key: value for key, value in values.items() if value} == {
        "rx_packets": 3, "rx_bytes": 180, "rx_multicast_packets": 1, "tx_packets": 2,
        "tx_bytes": 120, "rx_dropped": 4, "tx_dropped": 13, "rx_oversize_drops": 4,
        "rx_vlan_drops": 5, "ovs_tx_failure_drops": 6, "tx_disabled_drops": 7}
    assert values["collisions"] == values["rx_errors"] == 0


def steps(spec: PortSpec, state: PortState) -> tuple[object, ...]:
    return plan.plan(Desired({"h0": spec}), Observed({"h0": state}), ())


def test_another_address_is_given_while_the_port_works_on() -> None:
    other = HostDevice("internal", "h0", None, 9000)
    assert steps(replace(SPEC, device=other), STATE) == (SetHostDevice("h0", other),)
    assert steps(SPEC, STATE) == ()


def test_lost_device_and_one_of_another_kind_are_made_anew() -> None:
    lost = replace(STATE, host=replace(STATE.host, link=None, lost="gone"))
    assert steps(SPEC, lost) == (RemovePort("h0"), AddPort(SPEC))
    system = replace(SPEC, type="system", device=HostDevice("system", "h0"))
    assert steps(system, STATE) == (RemovePort("h0"), AddPort(system))


def test_no_pmd_polls_a_device_of_the_host() -> None:
    assert STATE.n_rxqs == 0
