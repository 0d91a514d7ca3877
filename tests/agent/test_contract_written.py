"""Section 2 of the contract with OVSDB: columns that are written. A test each."""
from __future__ import annotations

import contextlib
import json
import re
import socket
import time

import pytest

import schema
from agent.ifindex import ifindex
from tests.agent.conftest import Contract
from tools.frontend import ethernet
from tools.host import wait_until

A, B = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
CLIENT, SERVER = "type=dpdkvhostuserclient", "type=dpdkvhostuser"
SIX = {"ovs_tx_retries", "ovs_tx_failure_drops", "ovs_tx_mtu_exceeded_drops", "ovs_tx_qos_drops",
       "ovs_rx_qos_drops", "ovs_tx_invalid_hwol_drops"}
BASE = {f"{direction}_{name}" for direction in ("rx", "tx") for name in (
    "packets", "bytes", "dropped", "1_to_64_packets", "65_to_127_packets", "128_to_255_packets",
    "256_to_511_packets", "512_to_1023_packets", "1024_to_1522_packets", "1523_to_max_packets",
    "multicast_packets", "broadcast_packets")}
QUEUE = {"good_packets", "good_bytes", "multicast_packets", "broadcast_packets",
         "undersize_packets", "size_64_packets", "size_65_127_packets", "size_128_255_packets",
         "size_256_511_packets", "size_512_1023_packets", "size_1024_1518_packets",
         "size_1519_max_packets", "guest_notifications", "iotlb_hits", "iotlb_misses",
         "inflight_submitted", "inflight_completed"}
SINCE_24_03 = {"guest_notifications_offloaded", "guest_notifications_error",
               "guest_notifications_suppressed", "mbuf_alloc_failed"}
OFFLOADS = {f"tx_{name}_offload" for name in (
    "ip_csum", "tcp_csum", "udp_csum", "sctp_csum", "tcp_seg", "vxlan_tso", "gre_tso",
    "geneve_tso", "out_ip_csum", "out_udp_csum")}
CLEARED = ("admin_state", "duplex", "link_speed", "link_state", "mac_in_use", "mtu", "ifindex",
           "lacp_current", "cfm_fault", "cfm_health", "cfm_flap_count", "cfm_remote_opstate")


# --- 2.1 transactions and cur_cfg -----------------------------------------------------------------

def test_2_1_cur_cfg_moves_when_the_data_plane_has_it(contract: Contract) -> None:
    contract.server("s0")           # ovs-vsctl has waited for cur_cfg
    assert (contract.host.directory / "s0").is_socket()
    assert contract.host.get("Open_vSwitch", ".", "cur_cfg") == contract.host.get(
        "Open_vSwitch", ".", "next_cfg")


def test_2_1_failed_port_does_not_hold_back_cur_cfg(contract: Contract) -> None:
    assert contract.attempt("a/b", SERVER)
    assert contract.host.get("Open_vSwitch", ".", "cur_cfg") == contract.host.get(
        "Open_vSwitch", ".", "next_cfg")


def test_2_1_ofport_and_first_columns_come_with_cur_cfg(contract: Contract) -> None:
    """In one transaction, for ovs-vsctl and others read them as soon as cur_cfg has moved."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(contract.host.directory / "db.sock"))
        stream = client.makefile("r", encoding="utf-8", newline="")
        columns = ["name", "ofport", "status", "statistics", "mtu", "ifindex"]
        client.sendall(json.dumps({"id": 1, "method": "monitor", "params": ["Open_vSwitch", 1, {
            "Interface": {"columns": columns}, "Open_vSwitch": {"columns": ["cur_cfg"]}}]}
        ).encode())
        contract.client("c0")
        client.sendall(b'{"id": 2, "method": "echo", "params": []}')
        text, messages = "", []
        while not any(message.get("id") == 2 for message in messages):
            text += stream.read(1)
            with contextlib.suppress(ValueError):
                messages.append(json.loads(text))
                text = ""
    moves = [m["params"][1] for m in messages if m.get("method") == "update"
             and "Open_vSwitch" in m["params"][1]]
    (row,) = (r["new"] for r in moves[0]["Interface"].values())
    assert row["ofport"] == 1
    assert ["status", "disconnected"] in row["status"][1]
    assert row["statistics"][1]
    assert row["mtu"] == 0


def test_2_1_changed_mtu_can_be_read_when_ovs_vsctl_returns(contract: Contract) -> None:
    contract.attached("c0")
    for mtu in (9000, 1400, 1500):
        contract.set("c0", f"mtu_request={mtu}")
        assert contract.get("c0", "mtu") == mtu


# --- 2.2, 2.3 Open_vSwitch and Bridge -------------------------------------------------------------

def test_2_2_dpdk_and_types(contract: Contract) -> None:
    def get(column: str) -> object:
        return contract.host.get("Open_vSwitch", ".", column)

    contract.client("c0")
    assert get("dpdk_initialized") is True
    assert re.fullmatch(r"DPDK \d+\.\d+\.\d+", str(get("dpdk_version")))
    assert get("datapath_types") == "netdev"
    assert get("iface_types") == ["dpdk", "dpdkvhostuser", "dpdkvhostuserclient", "internal",
                                  "patch", "system", "tap"]


def test_2_3_datapath_id_of_the_uuid_and_version(contract: Contract) -> None:
    uuid = contract.host.get("Bridge", "br0", "_uuid").replace("-", "")
    octets = [int(uuid[i:i + 2], 16) for i in range(0, 12, 2)]
    mac = [octets[3], octets[2], octets[1], octets[0]]
    word = bytes.fromhex(uuid[8:16])
    mac += [word[3], word[2]]
    mac[0] = mac[0] & ~1 | 2
    assert contract.host.get("Bridge", "br0", "datapath_id") == "0000" + bytes(mac).hex()
    assert contract.host.get("Bridge", "br0", "datapath_version") == "<built-in>"


# --- 2.5.1 ofport ---------------------------------------------------------------------------------

def test_2_5_1_automatic_numbers_go_on_counting(contract: Contract) -> None:
    for name in ("a", "b"):
        contract.client(name)
    assert [contract.get(n, "ofport") for n in ("a", "b")] == [1, 2]
    contract.host.vsctl("del-port", "b")
    contract.client("b")
    assert contract.get("b", "ofport") == 3         # 2 rests for an hour


def test_2_5_1_request_wins_over_who_only_got_the_number(contract: Contract) -> None:
    contract.client("a")
    contract.client("b", "ofport_request=1")
    assert contract.get("b", "ofport") == 1
    assert contract.get("a", "ofport") == 2


def test_2_5_1_request_against_request_changes_nothing(contract: Contract) -> None:
    contract.client("a", "ofport_request=7")
    contract.client("b")
    contract.set("b", "ofport_request=7")
    assert [contract.get(n, "ofport") for n in ("a", "b")] == [7, 1]


def test_2_5_1_changed_request_renumbers_and_the_guest_stays(contract: Contract) -> None:
    a, b = contract.attached("a"), contract.attached("b")
    contract.set("a", "ofport_request=40")
    assert contract.get("a", "ofport") == 40
    a.send([ethernet(B, A)])
    assert b.recv_wait(1)
    contract.host.vsctl("clear", "Interface", "a", "ofport_request")
    assert contract.get("a", "ofport") == 40        # clearing a request changes nothing


def test_2_5_1_local_port(contract: Contract) -> None:
    contract.client("a")
    assert contract.get("br0", "ofport") == 65534


# --- 2.5.2 error and the failure record -----------------------------------------------------------

def test_2_5_2_unknown_type(contract: Contract) -> None:
    error = contract.attempt("p", "type=nonsense")
    assert error.startswith("could not open network device p (Address family not supported by "
                            "protocol): type 'nonsense' is not served")


def test_2_5_2_bridge_is_not_netdev(contract: Contract) -> None:
    contract.host.run("ovs-vsctl", "--timeout=30", "add-br", "br1")
    error = contract.attempt("p", SERVER, bridge="br1")
    assert error.startswith("could not add network device p to ofproto (Invalid argument): bridge "
                            "br1 has datapath_type system")


def test_2_5_2_server_port_whose_socket_cannot_be_made(contract: Contract) -> None:
    (contract.host.directory / "busy").write_text("precious")
    error = contract.attempt("busy", SERVER)
    (contract.host.directory / "busy").unlink()
    assert error.startswith("could not open network device busy (Unknown error -1): socket ")
    assert "in the way" in error


def test_2_5_2_failure_record_clears_what_was_there(contract: Contract) -> None:
    contract.attached("p")
    assert contract.get("p", "mtu") == 1500
    contract.set("p", "type=nonsense")
    assert contract.get("p", "ofport") == -1
    for column in CLEARED:
        assert contract.get("p", column) is None, column
    for column in ("status", "statistics", "bfd_status"):
        assert contract.get("p", column) == {}, column
    contract.set("p", CLIENT)
    assert contract.get("p", "error") is None
    assert contract.get("p", "ofport") == 1


def test_2_5_2_failed_port_is_tried_again_by_itself(contract: Contract) -> None:
    (contract.host.directory / "busy").write_text("")
    assert contract.attempt("busy", SERVER)
    (contract.host.directory / "busy").unlink()
    wait_until(lambda: contract.get("busy", "error") is None, "the port is served")


# --- 2.5.3 simple state ---------------------------------------------------------------------------

@pytest.mark.parametrize("server", [False, True])
def test_2_5_3_state_before_with_and_after_a_guest(contract: Contract, server: bool) -> None:
    (contract.server if server else contract.client)("p")
    for link, mtu in (("down", 0), ("up", 1500), ("down", 1500)):
        if link == "up":
            guest = contract.joined("p", server=server)
        elif mtu:
            guest.close()
            wait_until(lambda: not contract.host.connected("p"), "link_state is down")
        assert {column: contract.get("p", column) for column in (
            "admin_state", "link_state", "link_resets", "link_speed", "duplex", "mac_in_use", "mtu",
            "ifindex", "lacp_current")} == {
            "admin_state": "up", "link_state": link, "link_resets": 0, "link_speed": None,
            "duplex": None, "mac_in_use": "00:00:00:00:00:00", "mtu": mtu, "ifindex": ifindex("p"),
            "lacp_current": None}


def test_2_5_6_ifindex_is_that_of_ovs_vswitchd(contract: Contract) -> None:
    contract.client("vhu0")
    assert contract.get("vhu0", "ifindex") == 15199922


# --- 2.5.4 status ---------------------------------------------------------------------------------

@pytest.mark.parametrize("server", [False, True])
def test_2_5_4_status_disconnected(contract: Contract, server: bool) -> None:
    (contract.server if server else contract.client)("p")
    status = contract.status("p")
    assert status.pop("reason")         # ours
    assert status == {
        "mode": "server" if server else "client", "status": "disconnected",
        **dict.fromkeys(OFFLOADS, "false")}


@pytest.mark.parametrize("server", [False, True])
def test_2_5_4_status_connected(contract: Contract, server: bool) -> None:
    guest = contract.attached("p", server=server, queues=2)
    path = str(contract.host.directory / "p") if server else contract.path("p")
    status = contract.status("p")
    assert status.pop("numa", "0") == "0"
    assert status == {
        "mode": "server" if server else "client", "status": "connected",
        **dict.fromkeys(OFFLOADS, "false"), "socket": path,
        "features": f"0x{guest.features:016x}", "num_of_vrings": "4", "n_rxq": "2", "n_txq": "2",
        **{f"vring_{i}_size": "256" for i in range(4)}}


def test_2_5_4_mtu_is_what_the_guest_was_told(contract: Contract) -> None:
    contract.attached("p", mtu=9000)
    assert contract.status("p")["mtu"] == "9000"
    assert contract.get("p", "mtu") == 1500


# --- 2.5.5 statistics -----------------------------------------------------------------------------

@pytest.mark.parametrize("server", [False, True])
def test_2_5_5_keys_by_situation(contract: Contract, server: bool) -> None:
    (contract.server if server else contract.client)("p")
    assert contract.statistics("p").keys() == SIX
    guest = contract.joined("p", server=server, queues=2)
    keys = contract.statistics("p").keys()
    assert keys >= SIX | BASE
    for queue in ("rx_q0", "rx_q1", "tx_q0", "tx_q1"):
        names = {k.removeprefix(f"{queue}_") for k in keys if k.startswith(f"{queue}_")}
        assert names in (QUEUE, QUEUE | SINCE_24_03)
    assert not any("_q2_" in key for key in keys)
    assert not keys & {"rx_errors", "tx_errors", "rx_crc_err", "collisions"}
    guest.close()
    wait_until(lambda: contract.statistics("p").keys() == SIX, "the six are left")


def test_2_5_5_every_key_is_in_the_contract(contract: Contract) -> None:
    patterns = [re.compile(k.name.replace("<d>", "[rt]x").replace("<q>", r"\d+"))
                for k in schema.keys("Interface", "statistics")]
    contract.attached("p", queues=2)
    for key in contract.statistics("p"):
        assert sum(bool(p.fullmatch(key)) for p in patterns) == 1, key


@pytest.mark.parametrize("server", [False, True])
def test_2_5_5_sums_and_histogram(contract: Contract, server: bool) -> None:
    a, b = (contract.attached(n, server=server) for n in ("p", "q"))
    sizes = (60, 64, 65, 127, 128, 511, 512, 1023, 1024, 1514)
    a.send([ethernet(B, A, b"x" * (size - 14)) for size in sizes])
    assert len(b.recv_wait(len(sizes))) == len(sizes)
    a.send([ethernet("ff:ff:ff:ff:ff:ff", A), ethernet("01:00:5e:00:00:01", A)])
    assert len(b.recv_wait(2)) == 2
    for name, direction in (("p", "rx"), ("q", "tx")):
        values = contract.fresh(name)
        assert values[f"{direction}_packets"] == len(sizes) + 2
        assert values[f"{direction}_bytes"] == sum(sizes) + 120
        expected = {"1_to_64": 4, "65_to_127": 2, "128_to_255": 1, "256_to_511": 1,
                    "512_to_1023": 2, "1024_to_1522": 2, "1523_to_max": 0}
        assert {key: values[f"{direction}_{key}_packets"] for key in expected} == expected
        assert values[f"{direction}_broadcast_packets"] == 1
        assert values[f"{direction}_multicast_packets"] == 1
        assert values[f"{direction}_q0_good_packets"] == len(sizes) + 2
        assert values[f"{direction}_q0_undersize_packets"] == 3
        assert values[f"{direction}_q0_size_64_packets"] == 1


def test_2_5_5_counters_start_again_with_each_connection(contract: Contract) -> None:
    guest = contract.attached("p")
    guest.send([ethernet(B, A)] * 3)
    wait_until(lambda: contract.fresh("p")["rx_packets"] == 3, "three are counted")
    guest.stop()
    wait_until(lambda: not contract.host.connected("p"), "the guest has left")
    contract.guests.remove(guest)
    contract.joined("p")
    assert contract.fresh("p")["rx_packets"] == 0


def test_2_5_5_drops_have_a_reason_that_stays_in_sight(contract: Contract) -> None:
    a, b = contract.attached("p"), contract.attached("q")
    b.send([ethernet(A, B)])
    a.recv_wait(1)
    b.close()
    wait_until(lambda: not contract.host.connected("q"), "q has no guest")
    a.send([ethernet(B, A)] * 4)
    wait_until(lambda: contract.fresh("q").get("tx_disconnected_drops") == 4, "4 are counted")
    a.send([ethernet("01:80:c2:00:00:0e", A)] * 2)
    wait_until(lambda: contract.fresh("p")["rx_reserved_drops"] == 2, "2 are counted")
    a.send([ethernet(A, A)])
    wait_until(lambda: contract.fresh("p")["rx_same_port_drops"] == 1, "1 is counted")
    a.send([b"\1\2\3"])
    wait_until(lambda: contract.fresh("p")["rx_malformed_drops"] == 1, "1 is counted")
    values = contract.fresh("p")
    assert values["rx_dropped"] == values["rx_malformed_drops"] == 1


def test_2_5_5_oversize_frames_are_counted_on_both_sides(contract: Contract) -> None:
    a, b = contract.attached("p", "mtu_request=9000"), contract.attached("q")
    b.send([ethernet(A, B)])
    a.recv_wait(1)
    a.send([ethernet(B, A, b"x" * 5000)] * 3)
    wait_until(lambda: contract.fresh("q")["ovs_tx_mtu_exceeded_drops"] == 3, "3 are counted")
    assert contract.fresh("q")["tx_dropped"] == 3
    assert "q: Too big size 5014 max_packet_len 1518" in contract.log()
    b.send([ethernet(A, B, b"x" * 5000)] * 2)
    wait_until(lambda: contract.fresh("q")["rx_oversize_drops"] == 2, "2 are counted")
    assert contract.fresh("q")["rx_dropped"] == 2


def test_2_5_5_statistics_come_every_interval(contract: Contract) -> None:
    guest = contract.attached("p")
    before = contract.statistics("p")["rx_packets"]
    guest.send([ethernet(B, A)] * 7)
    start_s = time.monotonic()
    wait_until(lambda: contract.statistics("p")["rx_packets"] == before + 7, "they are written", 8)
    assert time.monotonic() - start_s < 7
