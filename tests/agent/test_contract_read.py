"""Section 1 of the contract with OVSDB: columns and keys that are read. A test each."""
from __future__ import annotations

import pytest

import schema
from tests.agent.conftest import Contract
from tests.frontend import ethernet
from tools.guest import is_listening
from tools.host import wait_until

A, B = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
CLIENT = "type=dpdkvhostuserclient"
SERVER = "type=dpdkvhostuser"


# --- 1.0 parsing ----------------------------------------------------------------------------------

@pytest.mark.parametrize(("text", "in_force"), [
    ("true", True), ("TRUE", True), ("false", False), ("False", False)])
def test_1_0_boolean(contract: Contract, text: str, in_force: bool) -> None:
    contract.client("c0", f"options:vhost-iommu-support={text}")
    assert ("vhost-iommu-support" in contract.status("c0")) is in_force
    assert contract.problems("c0") == ""


@pytest.mark.parametrize("text", ["1", "yes", "on"])
def test_1_0_what_is_no_boolean_is_said(contract: Contract, text: str) -> None:
    contract.client("c0", f"options:vhost-iommu-support={text}")
    assert f"vhost-iommu-support: '{text}' is neither true nor false" in contract.problems("c0")
    assert "vhost-iommu-support" not in contract.status("c0")


@pytest.mark.parametrize(("text", "said"), [
    ("0", ""), ("32", ""), ("33", "33 is outside 0..32, using 8"),
    ("-1", "-1 is outside 0..32, using 8"), ("0x1", "'0x1' is not an integer, using 8"),
    ("1.5", "'1.5' is not an integer, using 8"), ("9" * 5000, "is not an integer, using 8")])
def test_1_0_integer(contract: Contract, text: str, said: str) -> None:
    contract.client("c0", f"options:tx-retries-max={text}")
    assert said in contract.problems("c0")
    assert bool(contract.problems("c0")) is bool(said)


# --- 1.1 Open_vSwitch.other_config, DPDK group ----------------------------------------------------

def test_1_1_vhost_sock_dir_is_a_sub_directory(contract: Contract) -> None:
    (contract.host.directory / "sub").mkdir(exist_ok=True)
    contract.config("vhost-sock-dir=sub")
    contract.server("s0")
    assert is_listening(contract.host.directory / "sub" / "s0")


@pytest.mark.parametrize(("text", "said"), [
    ("../up", "contains '..', using "), ("x" * 256, "is longer than 255 characters, using ")])
def test_1_1_unusable_vhost_sock_dir_is_said_and_the_run_directory_used(
        contract: Contract, text: str, said: str) -> None:
    contract.config(f"vhost-sock-dir={text}")
    contract.server("s0")
    contract.client("c0")
    assert said + str(contract.host.directory) in contract.problems("s0")
    assert contract.problems("c0") == ""
    assert is_listening(contract.host.directory / "s0")


def test_1_1_absolute_vhost_sock_dir_is_below_the_run_directory_too(contract: Contract) -> None:
    (contract.host.directory / "sub").mkdir(exist_ok=True)
    contract.config("vhost-sock-dir=/sub")
    contract.server("s0")
    assert (contract.host.directory / "sub" / "s0").is_socket()


def test_1_1_changed_vhost_sock_dir_moves_a_port_when_its_guest_has_left(contract: Contract
                                                                        ) -> None:
    (contract.host.directory / "sub").mkdir(exist_ok=True)
    contract.server("s0")
    contract.server("s1")
    guest = contract.joined("s0", server=True)
    contract.config("vhost-sock-dir=sub")
    assert is_listening(contract.host.directory / "sub" / "s1")
    assert contract.status("s0")["socket"] == str(contract.host.directory / "s0")
    assert contract.status("s0")["pending"] == (
        f"socket {contract.host.directory}/sub/s0: when the guest disconnects")
    guest.close()
    wait_until(lambda: is_listening(contract.host.directory / "sub" / "s0"), "the socket moved")
    wait_until(lambda: "pending" not in contract.status("s0"), "nothing waits")
    assert not (contract.host.directory / "s0").exists()


@pytest.mark.parametrize("key", ["vhost-iommu-support", "vhost-postcopy-support"])
def test_1_1_support_key_of_all_ports_and_of_one(contract: Contract, key: str) -> None:
    contract.config(f"{key}=true")
    contract.client("c0")
    contract.client("c1", f"options:{key}=false")
    contract.server("s0")
    assert contract.status("c0").get(key) == "true"
    assert key not in contract.status("c1")
    assert key not in contract.status("s0")
    contract.config(f"{key}=false")
    contract.set("c1", f"options:{key}=true")
    assert key not in contract.status("c0")
    assert contract.status("c1").get(key) == "true"


@pytest.mark.parametrize("key", ["vhost-iommu-support", "vhost-postcopy-support"])
def test_1_1_support_key_waits_while_a_guest_is_connected(contract: Contract, key: str) -> None:
    contract.client("c0")
    guest = contract.joined("c0")
    contract.set("c0", f"options:{key}=true")
    assert contract.status("c0")["pending"] == f"{key}=true: when the guest disconnects"
    assert contract.status("c0")["status"] == "connected"
    guest.close()
    contract.guests.remove(guest)
    wait_until(lambda: contract.status("c0").get(key) == "true", f"{key} is in force")
    assert "pending" not in contract.status("c0")


def test_1_1_per_port_memory_and_shared_mempool_config_are_live(contract: Contract) -> None:
    contract.client("c0")
    contract.client("c1")
    a, b = contract.joined("c0"), contract.joined("c1")
    for setting in ("per-port-memory=true", "shared-mempool-config=9000,1500:0",
                    "per-port-memory=false"):
        contract.config(setting)
        assert contract.problems("c0") == ""
        a.send([ethernet(B, A)])
        assert b.recv_wait(1)
    assert "Per port memory for DPDK devices enabled." in contract.log()
    assert "User configured shared mempool set for: MTU 9000" in contract.log()


@pytest.mark.parametrize("text", ["x", "-5", "1500:-1", "20000"])
def test_1_1_unusable_shared_mempool_config_is_ignored_whole(contract: Contract, text: str
                                                            ) -> None:
    contract.client("c0")
    contract.config(f"shared-mempool-config=\"9000,{text}\"")
    assert "the whole list is ignored" in contract.problems("c0")


@pytest.mark.parametrize("key", [o.key for o in schema.options_of("Open_vSwitch", "other_config")
                                 if o.takes_effect == "restart"
                                 and o.key != "dpdk-extra"])
def test_1_1_key_that_counts_at_a_start_says_so(contract: Contract, key: str) -> None:
    contract.config(f"{key}=1" if key != "dpdk-probe-at-init" else f"{key}=true")
    assert f"{key}: the change takes effect when the agent is started again" in contract.log()


# --- 1.2 datapath group ---------------------------------------------------------------------------

def test_1_2_pmd_cpu_mask_of_no_core_is_said_on_every_port(contract: Contract) -> None:
    contract.client("c0")
    contract.config("pmd-cpu-mask=0")
    assert "pmd-cpu-mask: names no core of this host" in contract.problems("c0")
    contract.config("pmd-cpu-mask=1")
    assert contract.problems("c0") == ""


def test_1_2_stats_update_interval_below_5000_is_said(contract: Contract) -> None:
    contract.config("stats-update-interval=10")
    assert "stats-update-interval: 10 is outside 5000.., using 5000" in contract.log()


@pytest.mark.parametrize("key", sorted(schema.without_effect("Open_vSwitch", "other_config")))
def test_1_2_key_without_effect_is_said_once(contract: Contract, key: str) -> None:
    contract.config(f"{key}=1")
    contract.host.vsctl("set", "Open_vSwitch", ".", "external_ids:x=1")
    assert contract.log().count(f"{key}: has no effect:") == 1


def test_1_2_misspelt_key_is_said_in_the_log_and_where_it_concerns_ports(contract: Contract
                                                                        ) -> None:
    contract.client("c0")
    contract.config("pmd-cpu-maks=1")
    assert "pmd-cpu-maks: not an option; did you mean pmd-cpu-mask?" in contract.log()
    assert "did you mean pmd-cpu-mask?" in contract.problems("c0")


def test_1_2_value_of_any_length_takes_few_words(contract: Contract) -> None:
    contract.client("c0")
    contract.config(f"pmd-cpu-mask={'f' * 2000}")
    assert len(contract.problems("c0")) < 200
    contract.set("c0", f"options:tx-retries-max={'9' * 3000}")
    assert len(contract.problems("c0")) < 500


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
    contract.client("c0")
    contract.client("c1")
    a, b = contract.joined("c0"), contract.joined("c1")
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
    words = {"mirrors": ["--", "--id=@x", "create", "Mirror", "name=m"],
             "controller": ["--", "--id=@x", "create", "Controller", 'target="ptcp:0:127.0.0.1"']}
    value = "@x" if column in words else "5" if column == "flood_vlans" else "true"
    contract.host.vsctl("set", "Bridge", "br0", f"{column}={value}", *words.get(column, []))
    assert f"bridge br0: {column}: has no effect:" in contract.log()


def test_1_4_protected_port_is_refused_rather_than_left_open(contract: Contract) -> None:
    contract.client("c0")
    contract.host.vsctl("set", "Port", "c0", "protected=true")
    assert "protected of port c0 cannot be served yet" in str(contract.get("c0", "error"))
    contract.host.vsctl("set", "Port", "c0", "protected=false")
    assert contract.get("c0", "error") is None


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
    contract.client("c0")
    contract.client("c1")
    a = contract.joined("c0")
    b = contract.joined("c1", queue_size=4)
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
    contract.client("c0", f"options:{key}=2")
    assert f"{key}: has no effect:" in contract.problems("c0")
    contract.joined("c0")


@pytest.mark.parametrize("key", ["tx-retries-max", "vhost-server-path", "n_rxq", "anything"])
def test_1_5_any_option_of_a_server_port_is_said(contract: Contract, key: str) -> None:
    contract.server("s0", f"options:{key}=4")
    assert contract.problems("s0") == f"{key}: ports of type dpdkvhostuser have no options"
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


@pytest.mark.parametrize("column", sorted(schema.without_effect("Interface")))
def test_1_5_column_without_effect_is_said(contract: Contract, column: str) -> None:
    contract.client("c0", f"{column}=1000")
    assert f"{column}: has no effect:" in contract.problems("c0")


def test_1_6_qos_is_said(contract: Contract) -> None:
    contract.client("c0")
    contract.host.vsctl("set", "port", "c0", "qos=@q", "--", "--id=@q", "create", "qos",
                        "type=egress-policer", "other-config:cir=1000", "other-config:cbs=1000")
    assert "qos: has no effect:" in contract.problems("c0")
    contract.host.vsctl("clear", "Port", "c0", "qos", "--", "--all", "destroy", "QoS")
    assert contract.problems("c0") == ""


@pytest.mark.parametrize("mtu", [68, 576, 1500, 9000, 9702])
def test_1_5_mtu_request_in_range(contract: Contract, mtu: int) -> None:
    contract.client("c0", f"mtu_request={mtu}")
    assert contract.get("c0", "mtu") == 0
    contract.joined("c0")
    assert contract.get("c0", "mtu") == mtu
    assert contract.problems("c0") == ""


@pytest.mark.parametrize("mtu", [1, 67, 9703, 100000])
def test_1_5_mtu_request_out_of_range_is_said(contract: Contract, mtu: int) -> None:
    contract.client("c0", f"mtu_request={mtu}")
    contract.joined("c0")
    assert contract.get("c0", "mtu") == 1500
    assert (f"unsupported MTU {mtu}: mtu_request is outside 68..9702, using 1500"
            in contract.problems("c0"))
    assert f"c0: unsupported MTU {mtu}" in contract.log()
