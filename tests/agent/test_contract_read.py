"""Section 1.3 to 1.6 of the contract with OVSDB: rows that are read. A test each."""
from __future__ import annotations

import pytest

import schema
from tests.agent.conftest import Contract
from tools.frontend import FrontEnd, ethernet
from tools.guest import is_listening
from tools.host import wait_until

A, B = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
CLIENT = "type=dpdkvhostuserclient"
SERVER = "type=dpdkvhostuser"


# --- 1.3 Bridge -----------------------------------------------------------------------------------

def test_1_3_name_with_a_slash_is_ignored_with_a_warning(contract: Contract) -> None:
    contract.host.vsctl("--no-wait", "add-br", "b/0")
    contract.client("c0")
    assert "ignoring bridge with invalid name 'b/0'" in contract.log()


def test_1_3_datapath_type_changes_while_ports_are_there(contract: Contract) -> None:
    contract.server("s0")
    contract.host.vsctl("set", "Bridge", "br0", "datapath_type=system")
    assert "datapath_type system" in str(contract.get("s0", "error"))
    assert not (contract.host.directory / "s0").exists()
    contract.host.vsctl("set", "Bridge", "br0", "datapath_type=netdev")
    assert contract.get("s0", "error") is None
    assert is_listening(contract.host.directory / "s0")


def test_1_3_fail_mode_secure_forwards_nothing_and_counts_it(contract: Contract) -> None:
    a, b = contract.attached("c0"), contract.attached("c1")
    a.send([ethernet(B, A)])
    b.recv_wait(1)
    contract.host.vsctl("set-fail-mode", "br0", "secure")
    a.send([ethernet(B, A)] * 5)
    wait_until(lambda: contract.fresh("c0")["rx_no_bridge_drops"] == 5, "the drops are counted")
    assert b.recv() == []
    contract.host.vsctl("del-fail-mode", "br0")
    a.send([ethernet(B, A)])
    assert b.recv_wait(1)


@pytest.mark.parametrize(("setting", "expected"), [
    ("hwaddr=0a:00:00:00:00:01", "00000a0000000001"),
    ("datapath-id=0123456789abcdef", "0123456789abcdef"),
    ("datapath-id=0x12", "0000000000000012")])
def test_1_3_hwaddr_and_datapath_id(contract: Contract, setting: str, expected: str) -> None:
    key, _, text = setting.partition("=")
    contract.host.vsctl("set", "Bridge", "br0", f'other_config:{key}="{text}"')
    assert contract.host.get("Bridge", "br0", "datapath_id") == expected


@pytest.mark.parametrize("key", sorted(schema.without_effect("Bridge", "other_config")))
def test_1_3_key_without_effect_is_said(contract: Contract, key: str) -> None:
    contract.host.vsctl("set", "Bridge", "br0", f"other_config:{key}=1")
    assert f"bridge br0: {key}: has no effect:" in contract.log()


@pytest.mark.parametrize("column", sorted(schema.without_effect("Bridge")))
def test_1_3_column_without_effect_is_said(contract: Contract, column: str) -> None:
    words = {"controller": ["--", "--id=@x", "create", "Controller", 'target="ptcp:0:127.0.0.1"']}
    value = "@x" if column in words else "true"
    contract.host.vsctl("set", "Bridge", "br0", f"{column}={value}", *words.get(column, []))
    assert f"bridge br0: {column}: has no effect:" in contract.log()


def test_1_4_columns_that_contradict_each_other_are_said(contract: Contract) -> None:
    contract.client("c0")
    contract.host.vsctl("set", "Port", "c0", "tag=10", "trunks=1,2", "cvlans=3")
    said = str(contract.get("c0", "status"))
    assert "trunks: has no effect on a port with tag=10" in said
    assert "cvlans: has no effect on a port with tag=10" in said
    contract.host.vsctl("set", "Port", "c0", "trunks=[]", "cvlans=[]")
    assert "problems" not in str(contract.get("c0", "status"))


@pytest.mark.parametrize("key", sorted(schema.without_effect("Port", "other_config")))
def test_1_4_key_without_effect_is_said(contract: Contract, key: str) -> None:
    contract.client("c0")
    contract.host.vsctl("set", "Port", "c0", f"other_config:{key}=true")
    assert f"{key}: has no effect:" in contract.problems("c0")


# --- 1.5 Interface --------------------------------------------------------------------------------

@pytest.mark.parametrize("name", ["a/b", r"a\b"])
def test_1_5_name_of_a_server_port_has_no_slash(contract: Contract, name: str) -> None:
    error = contract.attempt(name, SERVER)
    assert error.startswith(f"could not open network device {name} (Invalid argument)")


def test_1_5_name_of_a_client_port_may_be_any(contract: Contract) -> None:
    path = contract.path("odd")
    assert contract.attempt("a/b", CLIENT, f"options:vhost-server-path={path}") == ""


@pytest.mark.parametrize("name", ["ovs-netdev", "ovs-system", "vxlan_sys_4789", "genev_sys_6081"])
def test_1_5_reserved_name(contract: Contract, name: str) -> None:
    assert contract.attempt(name, SERVER) == f"could not create interface {name}, name is reserved"
    assert contract.get(name, "ofport") == -1


def test_1_5_type_changes_make_the_port_anew(contract: Contract) -> None:
    contract.server("p")
    contract.set("p", CLIENT, f"options:vhost-server-path={contract.path('p')}")
    assert not (contract.host.directory / "p").exists()
    contract.joined("p")
    contract.set("p", SERVER)
    assert contract.status("p")["mode"] == "server"
    assert is_listening(contract.host.directory / "p")


def test_1_5_vhost_server_path_absent_set_changed_removed(contract: Contract) -> None:
    contract.host.vsctl("add-port", "br0", "c0", "--", "set", "Interface", "c0", CLIENT)
    assert contract.get("c0", "ofport") == 1
    assert "vhost-server-path is not set" in contract.problems("c0")
    for name in ("one", "two"):
        contract.set("c0", f"options:vhost-server-path={contract.path(name)}")
        contract.guest(contract.path(name))
        wait_until(lambda name=name: contract.status("c0").get("socket") == contract.path(name),
                   "the port is on the new path")
    contract.host.vsctl("remove", "Interface", "c0", "options", "vhost-server-path")
    assert contract.status("c0")["status"] == "disconnected"
    assert contract.get("c0", "ofport") == 1


def test_1_5_tx_retries_max_is_live_and_heard_by_the_next_burst(contract: Contract) -> None:
    a = contract.attached("c0")
    b = contract.attached("c1", queue_size=4)
    b.send([ethernet(A, B)])
    a.recv_wait(1)

    def retries_of_a_flood() -> int:
        before = contract.fresh("c1")
        a.send([ethernet(B, A)] * 200)
        wait_until(lambda: a.sent_back() and contract.fresh("c1")["ovs_tx_failure_drops"]
                   > before["ovs_tx_failure_drops"], "some are dropped")
        b.recv()
        return contract.fresh("c1")["ovs_tx_retries"] - before["ovs_tx_retries"]

    contract.set("c1", "options:tx-retries-max=0")
    assert retries_of_a_flood() == 0
    contract.set("c1", "options:tx-retries-max=32")
    assert "Max Tx retries for vhost device 'c1' set to 32" in contract.log()
    assert retries_of_a_flood() > 0


def test_1_5_vhost_max_queue_pairs_off_vduse_is_said(contract: Contract) -> None:
    contract.client("c0", "options:vhost-max-queue-pairs=4")
    assert "vhost-max-queue-pairs: only a VDUSE device" in contract.problems("c0")
    contract.joined("c0", queues=2)
    assert contract.status("c0")["n_rxq"] == "2"


@pytest.mark.parametrize("key", sorted(schema.without_effect("Interface", "options")))
def test_1_5_option_without_effect_is_said(contract: Contract, key: str) -> None:
    contract.attached("c0", f"options:{key}=2")
    assert f"{key}: has no effect:" in contract.problems("c0")


@pytest.mark.parametrize(("key", "said"), [
    ("tx-retries-max", "not an option of type dpdkvhostuser"),
    ("vhost-server-path", "not an option of type dpdkvhostuser"),
    ("anything", "not an option of type dpdkvhostuser")])
def test_1_5_option_that_a_server_port_does_not_have_is_said(contract: Contract, key: str,
                                                            said: str) -> None:
    contract.server("s0", f"options:{key}=4")
    assert contract.problems("s0") == f"{key}: {said}"
    assert contract.get("s0", "error") is None


def test_1_5_unknown_option_of_a_client_port_gets_the_nearest(contract: Contract) -> None:
    contract.client("c0", "options:tx-retry-max=4", "options:zzz=1")
    assert ("tx-retry-max: not an option of type dpdkvhostuserclient; did you mean tx-retries-max?"
            in contract.problems("c0"))
    assert "zzz: not an option of type dpdkvhostuserclient" in contract.problems("c0")


@pytest.mark.parametrize("key", sorted(schema.without_effect("Interface", "other_config")))
def test_1_5_other_config_without_effect_is_said(contract: Contract, key: str) -> None:
    contract.client("c0", f"other_config:{key}=0")
    assert f"{key}: has no effect:" in contract.problems("c0")


@pytest.mark.parametrize(("setting", "said"), [
    ("pmd-rxq-affinity=\"0:0,x\"", "'x' is not QUEUE:CORE, the whole list is ignored"),
    ("pmd-rxq-affinity=\"9:1000\"", "this host has no core 1000: another core is used"),
    ("tx-steering=Hash", "'Hash' is none of thread, hash, using thread")])
def test_1_5_unusable_setting_of_queues_is_said_of_either_type(
        contract: Contract, setting: str, said: str) -> None:
    contract.client("c0", f"other_config:{setting}")
    contract.server("s0", f"other_config:{setting}")
    for port in ("c0", "s0"):
        assert contract.problems(port) == f"{setting.partition('=')[0]}: {said}"
        assert contract.get(port, "error") is None


def test_1_5_mtu_request_in_range(contract: Contract) -> None:
    mtus = {f"c{mtu}": mtu for mtu in (68, 576, 1500, 9000, 9702)}
    for name, mtu in mtus.items():
        contract.client(name, f"mtu_request={mtu}")
        assert contract.get(name, "mtu") == 0
    contract.guests += (FrontEnd(contract.path(name), listen=True) for name in mtus)
    for guest, (name, mtu) in zip(contract.guests, mtus.items(), strict=True):
        guest.connect()
        wait_until(lambda: contract.host.connected(name), f"{name} is connected")  # noqa: B023
        assert contract.get(name, "mtu") == mtu
        assert contract.problems(name) == ""


@pytest.mark.parametrize("mtu", [1, 67, 9703, 100000])
def test_1_5_mtu_request_out_of_range_is_said(contract: Contract, mtu: int) -> None:
    contract.attached("c0", f"mtu_request={mtu}")
    assert contract.get("c0", "mtu") == 1500
    assert (f"unsupported MTU {mtu}: mtu_request is outside 68..9702, using 1500"
            in contract.problems("c0"))
    assert f"c0: unsupported MTU {mtu}" in contract.log()
