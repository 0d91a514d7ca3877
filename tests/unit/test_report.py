"""What rows say: Bridge.datapath_id and the Interface columns."""
from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest

from agent import report
from agent.ifindex import ifindex
from agent.model import (
    CLIENT_TYPE,
    SERVER_TYPE,
    BridgeRow,
    Counters,
    InterfaceRow,
    Memory,
    PortSpec,
    PortState,
    Registration,
    Snapshot,
)

U = UUID("00112233-4455-6677-8899-aabbccddeeff")
FROM_U = "0000322211007766"
MEMORY = Memory(1500, 2048)
CLIENT = PortSpec("p", "br0", CLIENT_TYPE, Registration("/tmp/p", True), 8, MEMORY)
SERVER = PortSpec("p", "br0", SERVER_TYPE, Registration("/run/p", False), 8, MEMORY)
READY = PortState("p", Registration("/tmp/p", True), 8, MEMORY)
GUEST = replace(READY, connections=1, attached=True, connects=1, connected=True,
                features=0x1_3000_8000, numa=1, vring_sizes=(256, 512, 256, 1024),
                enabled_rxqs=(0,), enabled_txqs=(0,))
GONE = replace(READY, connections=1, connects=1)
ATTACHED = replace(READY, connections=1, attached=True)


def bridge(*rows: InterfaceRow, uuid: UUID = U, **config: str) -> BridgeRow:
    other_config = {key.replace("_", "-"): value for key, value in config.items()}
    return BridgeRow(uuid, "br0", "netdev", other_config=other_config, interfaces=rows)


# --- the bridge and the host ----------------------------------------------------------------------

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


def test_columns_of_a_bridge() -> None:
    assert report.bridge(bridge()) == {"datapath_id": [FROM_U], "datapath_version": "<built-in>"}


@pytest.mark.parametrize(("initialized", "types"), [
    (True, ["dpdk", "dpdkvhostuser", "dpdkvhostuserclient", "internal", "patch", "system", "tap"]),
    (False, ["internal", "patch", "system", "tap"])])
def test_columns_of_the_host(initialized: bool, types: list[str]) -> None:
    assert report.host(Snapshot(next_cfg=7), "DPDK 24.11.2", initialized) == {
        "cur_cfg": 7, "dpdk_initialized": initialized, "dpdk_version": ["DPDK 24.11.2"],
        "datapath_types": ["netdev"], "iface_types": types}


# --- status ---------------------------------------------------------------------------------------

CHECKSUMS = ("tx_ip_csum_offload", "tx_tcp_csum_offload", "tx_udp_csum_offload",
             "tx_sctp_csum_offload")
NO_OFFLOADS = dict.fromkeys((*CHECKSUMS, "tx_tcp_seg_offload", "tx_vxlan_tso_offload",
                             "tx_gre_tso_offload", "tx_geneve_tso_offload",
                             "tx_out_ip_csum_offload", "tx_out_udp_csum_offload"), "false")


def test_status_of_a_connected_guest() -> None:
    assert report.status(CLIENT, GUEST) == {
        **NO_OFFLOADS, "mode": "client", "status": "connected", "socket": "/tmp/p",
        "features": "0x0000000130008000", "num_of_vrings": "4", "n_rxq": "2", "n_txq": "2",
        "numa": "1", "vring_0_size": "256", "vring_1_size": "512", "vring_2_size": "256",
        "vring_3_size": "1024"}


@pytest.mark.parametrize("state", [None, READY, ATTACHED, GONE])
def test_status_without_a_guest_says_no_more_than_that(state: PortState | None) -> None:
    assert report.status(CLIENT, state) == {**NO_OFFLOADS, "mode": "client",
                                            "status": "disconnected"}


def test_mode_of_a_server_port() -> None:
    state = replace(GUEST, device=SERVER.device or GUEST.device)
    for mode, status in (("server", report.status(SERVER, None)),
                         ("server", report.status(SERVER, state)),
                         ("client", report.status(replace(CLIENT, device=None), None))):
        assert status["mode"] == mode


def test_checksums_are_offloaded_to_a_guest_that_completes_them_while_it_is_there() -> None:
    completes = replace(GUEST, features=GUEST.features | 2)
    values = report.status(CLIENT, completes)
    assert {key for key in NO_OFFLOADS if values[key] == "true"} == set(CHECKSUMS)
    gone = report.status(CLIENT, replace(GONE, features=2))
    assert {key: gone[key] for key in NO_OFFLOADS} == NO_OFFLOADS


@pytest.mark.parametrize(("change", "key", "text"), [
    ({"numa": -1}, "numa", None), ({"numa": 0}, "numa", "0"),
    ({"guest_mtu": 0}, "mtu", None), ({"guest_mtu": 9000}, "mtu", "9000"),
    ({"features": 0}, "features", "0x0000000000000000"),
    ({"features": 2**64 - 1}, "features", "0xffffffffffffffff"),
    # the control queue of a VDUSE device is a vring, not a pair
    ({"vring_sizes": (1024,) * 5}, "num_of_vrings", "5"),
    ({"vring_sizes": (1024,) * 5}, "n_rxq", "2"), ({"vring_sizes": (1024,) * 5}, "n_txq", "2"),
    ({"vring_sizes": (1024,) * 5}, "vring_4_size", "1024"),
    ({"vring_sizes": (256, 256)}, "vring_2_size", None),
])
def test_key_of_a_guest(change: dict[str, object], key: str, text: str | None) -> None:
    state = replace(GUEST, **change)                # type: ignore[arg-type]
    assert report.status(CLIENT, state).get(key) == text


@pytest.mark.parametrize("state", [READY, GUEST])
@pytest.mark.parametrize(("field", "key"), [("iommu", "vhost-iommu-support"),
                                            ("postcopy", "vhost-postcopy-support")])
def test_what_the_registration_offers_is_said_as_it_is_in_force(state: PortState, field: str,
                                                                key: str) -> None:
    assert key not in report.status(CLIENT, state)
    offers = replace(state, device=replace(
        state.device, **{field: True}))       # type: ignore[arg-type]
    assert report.status(CLIENT, offers)[key] == "true"


@pytest.mark.parametrize(("wanted", "has", "text"), [
    (Registration("/a", True), Registration("/a", True), None),
    (None, Registration("/a", True), None),
    (Registration("/a", True, iommu=True), Registration("/a", True), "vhost-iommu-support=true"),
    (Registration("/a", True), Registration("/a", True, postcopy=True),
     "vhost-postcopy-support=false"),
    (Registration("/a", True, max_queue_pairs=4), Registration("/a", True),
     "vhost-max-queue-pairs=4"),
    (Registration("/run/x/s", False), Registration("/run/s", False), "socket /run/x/s"),
    (Registration("/b", True, iommu=True, postcopy=True, max_queue_pairs=2),
     Registration("/a", True), "socket /b, vhost-iommu-support=true, vhost-postcopy-support=true, "
     "vhost-max-queue-pairs=2"),
])
def test_what_waits_for_the_guest_to_leave(wanted: Registration | None, has: Registration,
                                           text: str | None) -> None:
    said = report.status(replace(CLIENT, device=wanted), replace(GUEST, device=has))
    assert said.get("pending") == (None if text is None else f"{text}: when the guest disconnects")


@pytest.mark.parametrize("state", [None, GUEST])
def test_problems_of_both_sides_are_in_the_status(state: PortState | None) -> None:
    spec = replace(CLIENT, problems=("a: bad", "b: worse"))
    assert report.status(spec, state, ("c: short",))["problems"] == "a: bad; b: worse; c: short"
    assert report.status(spec, state)["problems"] == "a: bad; b: worse"
    assert report.status(CLIENT, state, ("c: short",))["problems"] == "c: short"
    assert "problems" not in report.status(CLIENT, state)


# --- statistics -----------------------------------------------------------------------------------

# those that ovs-vswitchd writes always, for a connected port, and for each of its queues
OVS_KEYS = {"ovs_tx_retries", "ovs_tx_failure_drops", "ovs_tx_mtu_exceeded_drops",
            "ovs_tx_qos_drops", "ovs_rx_qos_drops", "ovs_tx_invalid_hwol_drops"}
BASE_KEYS = {f"{direction}_{name}" for direction in ("rx", "tx") for name in (
    "packets", "bytes", "dropped", "1_to_64_packets", "65_to_127_packets", "128_to_255_packets",
    "256_to_511_packets", "512_to_1023_packets", "1024_to_1522_packets", "1523_to_max_packets",
    "multicast_packets", "broadcast_packets")}
QUEUE_NAMES = (
    "good_packets", "good_bytes", "multicast_packets", "broadcast_packets", "undersize_packets",
    "size_64_packets", "size_65_127_packets", "size_128_255_packets", "size_256_511_packets",
    "size_512_1023_packets", "size_1024_1518_packets", "size_1519_max_packets",
    "guest_notifications", "guest_notifications_offloaded", "guest_notifications_error",
    "guest_notifications_suppressed", "iotlb_hits", "iotlb_misses", "inflight_submitted",
    "inflight_completed", "mbuf_alloc_failed")
REASONS = {"rx_malformed_drops": 1, "rx_oversize_drops": 20, "rx_reserved_drops": 300,
           "rx_no_bridge_drops": 4000, "rx_same_port_drops": 50000, "rx_no_output_drops": 600000,
           "rx_vlan_drops": 7, "rx_protected_drops": 8, "tx_disconnected_drops": 1,
           "tx_disabled_drops": 20, "rx_storm_drops": 9, "rx_mirror_drops": 10,
           "tx_no_buffer_drops": 300000, "tx_busy_drops": 2000000}
PORT = {**REASONS, "tx_qos_drops": 50000, "rx_qos_drops": 300, "tx_retries": 7,
        "tx_failure_drops": 300, "tx_mtu_drops": 4000, "tx_oversize_bytes": 9014}


def queue(times: int) -> dict[str, int]:
    """Counters that are told apart by their digits; 'times' tells queues apart."""
    return {name: times * 100**i for i, name in enumerate(QUEUE_NAMES)}


TWO_QUEUES = Counters(PORT, (queue(1), queue(2)), (queue(3), queue(4)))


def test_statistics_of_a_port_that_never_had_a_guest_are_exactly_the_six_ovs_keys() -> None:
    for counters in (Counters(), Counters(dict.fromkeys(PORT, 0))):
        assert report.statistics(counters, connected=False) == dict.fromkeys(OVS_KEYS, 0)


def test_statistics_without_a_guest_keep_drops_that_happened() -> None:
    assert report.statistics(TWO_QUEUES, connected=False) == {
        "ovs_tx_retries": 7, "ovs_tx_failure_drops": 300, "ovs_tx_mtu_exceeded_drops": 4000,
        "ovs_tx_qos_drops": 50000, "ovs_rx_qos_drops": 300, "ovs_tx_invalid_hwol_drops": 0,
        **REASONS}
    one = Counters({**dict.fromkeys(PORT, 0), "rx_same_port_drops": 5})
    assert report.statistics(one, connected=False).keys() == {*OVS_KEYS, "rx_same_port_drops"}


def test_statistics_of_a_guest_have_all_keys() -> None:
    keys = {f"{d}_q{q}_{name}" for d in ("rx", "tx") for q in (0, 1) for name in QUEUE_NAMES}
    values = report.statistics(TWO_QUEUES, connected=True)
    assert values.keys() == OVS_KEYS | BASE_KEYS | REASONS.keys() | keys
    assert all(type(value) is int for value in values.values())


def test_keys_of_queues_are_their_counters() -> None:
    values = report.statistics(TWO_QUEUES, connected=True)
    for prefix, times in (("rx_q0", 1), ("rx_q1", 2), ("tx_q0", 3), ("tx_q1", 4)):
        assert {name: values[f"{prefix}_{name}"] for name in QUEUE_NAMES} == queue(times)


@pytest.mark.parametrize(("direction", "times"), [("rx", 3), ("tx", 7)])
@pytest.mark.parametrize(("key", "names"), [
    ("packets", ["good_packets"]), ("bytes", ["good_bytes"]),
    ("1_to_64_packets", ["undersize_packets", "size_64_packets"]),
    ("65_to_127_packets", ["size_65_127_packets"]),
    ("128_to_255_packets", ["size_128_255_packets"]),
    ("256_to_511_packets", ["size_256_511_packets"]),
    ("512_to_1023_packets", ["size_512_1023_packets"]),
    ("1024_to_1522_packets", ["size_1024_1518_packets"]),
    ("1523_to_max_packets", ["size_1519_max_packets"]),
    ("multicast_packets", ["multicast_packets"]), ("broadcast_packets", ["broadcast_packets"]),
])
def test_base_keys_are_sums_over_the_queues(direction: str, times: int, key: str, names: list[str]
                                            ) -> None:
    values = report.statistics(TWO_QUEUES, connected=True)
    assert values[f"{direction}_{key}"] == sum(queue(times)[name] for name in names)


def test_dropped_is_the_sum_of_the_reasons_that_ovs_counts() -> None:
    values = report.statistics(TWO_QUEUES, connected=True)
    assert values["rx_dropped"] == 321      # malformed, oversize, policed; the rest was received
    # failure, MTU, QoS, early, no buffer, busy; retries are no drops
    assert values["tx_dropped"] == 2354321


def test_queue_counters_of_an_older_dpdk_are_fewer() -> None:
    old = dict.fromkeys(QUEUE_NAMES[:13] + QUEUE_NAMES[16:20], 1)
    values = report.statistics(Counters(PORT, (old,), (old,)), connected=True)
    assert sum(key.startswith("rx_q0_") for key in values) == 17
    assert "rx_q0_mbuf_alloc_failed" not in values


def test_guest_whose_queues_are_not_counted_yet_has_zeros() -> None:
    values = report.statistics(Counters(), connected=True)
    assert values == dict.fromkeys(OVS_KEYS | BASE_KEYS | REASONS.keys(), 0)


# --- whole rows -----------------------------------------------------------------------------------

@pytest.mark.parametrize(("state", "link", "mtu"), [
    (None, "down", 0), (READY, "down", 0), (ATTACHED, "down", 0), (GUEST, "up", 1500),
    (GONE, "down", 1500),       # kept after the guest has left
    (replace(GUEST, memory=Memory(9000, 9216)), "up", 9000),
])
def test_columns_of_a_vhost_port(state: PortState | None, link: str, mtu: int) -> None:
    assert report.vhost_interface(CLIENT, state, ("x",)) == {
        "error": [], "admin_state": ["up"], "link_state": [link], "link_resets": [0],
        "mtu": [mtu], "mac_in_use": ["00:00:00:00:00:00"], "ifindex": [ifindex("p")],
        "link_speed": [], "duplex": [], "status": report.status(CLIENT, state, ("x",))}


def test_mtu_is_the_one_in_force_not_the_wanted_one() -> None:
    wanted = replace(CLIENT, memory=Memory(9000, 9216))
    assert report.vhost_interface(wanted, GUEST)["mtu"] == [1500]


def test_rows_of_a_bridge_served_refused_and_its_own() -> None:
    own, p = InterfaceRow(U, "br0", "internal"), InterfaceRow(U, "p", "dpdkvhostuserclient")
    on = bridge(own, p)
    assert report.interface(on, own, None, None, None) == {
        "error": [], "admin_state": ["down"], "link_state": ["down"]}
    assert report.interface(on, p, CLIENT, GUEST, None, ("x",)) == report.vhost_interface(
        CLIENT, GUEST, ("x",))
    for spec in (CLIENT, None):
        assert report.interface(on, p, spec, None, "no") == report.failed_interface("no")
    assert report.interface(on, own, None, None, "no") == report.failed_interface("no")


def test_failure_record_clears_whatever_a_served_port_would_say() -> None:
    record = report.failed_interface("why")
    assert record.pop("error") == ["why"]
    assert not any(record.values())
    # as iface_clear_db_record does: all but link_resets
    assert record.keys() == {
        "status", "admin_state", "duplex", "link_speed", "link_state", "mac_in_use", "mtu",
        "statistics", "ifindex", "lacp_current", "cfm_fault", "cfm_fault_status", "cfm_flap_count",
        "cfm_health", "cfm_remote_mpids", "cfm_remote_opstate", "bfd_status"}
    served = report.vhost_interface(CLIENT, GUEST).keys() | {"statistics"}
    assert served - record.keys() == {"error", "link_resets"}
