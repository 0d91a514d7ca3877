"""Section 1.0 to 1.2 of the contract with OVSDB: settings of the whole agent. A test each."""
from __future__ import annotations

import pytest

import schema
from tests.agent.conftest import Contract
from tools.frontend import ethernet
from tools.guest import is_listening
from tools.host import wait_until

A, B = "02:00:00:00:00:0a", "02:00:00:00:00:0b"


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
    guest = contract.attached("c0")
    contract.set("c0", f"options:{key}=true")
    assert contract.status("c0")["pending"] == f"{key}=true: when the guest disconnects"
    assert contract.status("c0")["status"] == "connected"
    guest.close()
    contract.guests.remove(guest)
    wait_until(lambda: contract.status("c0").get(key) == "true", f"{key} is in force")
    assert "pending" not in contract.status("c0")


def test_1_1_per_port_memory_and_shared_mempool_config_are_live(contract: Contract) -> None:
    a, b = contract.attached("c0"), contract.attached("c1")
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


def test_1_1_dpdk_init_cannot_be_undone_and_says_so(contract: Contract) -> None:
    contract.attached("c0")
    contract.config("dpdk-init=false")
    assert "dpdk-init: DPDK has started and goes on until the agent ends" in contract.log()
    assert contract.host.connected("c0")
    assert contract.host.get("Open_vSwitch", ".", "dpdk_initialized") is True


# --- 1.2 datapath group ---------------------------------------------------------------------------

def test_1_2_pmd_cpu_mask_of_no_core_is_said_on_every_port(contract: Contract) -> None:
    contract.client("c0")
    contract.config("pmd-cpu-mask=0")
    assert "pmd-cpu-mask: names no core of this host" in contract.problems("c0")
    contract.config("pmd-cpu-mask=1")
    assert contract.problems("c0") == ""


@pytest.mark.parametrize(("key", "text", "said"), [
    ("pmd-rxq-assign", "Cycles", "'Cycles' is none of cycles, roundrobin, group, using cycles"),
    ("pmd-rxq-isolate", "false", "can only be false with pmd-rxq-assign=group, using true"),
    ("pmd-auto-lb", "1", "'1' is neither true nor false, using false"),
    ("pmd-auto-lb-rebal-interval", "20001", "20001 is outside 1..20000, using 1"),
    ("pmd-auto-lb-load-threshold", "101", "101 is outside 0..100, using 95"),
    ("pmd-auto-lb-improvement-threshold", "-1", "-1 is outside 0..100, using 25"),
    ("pmd-sleep-max", "x", "neither MICROSECONDS nor CORE:MICROSECONDS: 'x', left out"),
    ("pmd-sleep-max", "10001", "more than 10000 us: '10001', using 10000"),
    ("pmd-maxsleep", "10", "is deprecated, use pmd-sleep-max"),
    ("pmd-idle-mode", "halt", "'halt' is none of poll, block, using poll")])
def test_1_2_unusable_setting_of_pmd_threads_is_said_on_every_port(
        contract: Contract, key: str, text: str, said: str) -> None:
    contract.client("c0")
    contract.server("s0")
    contract.config(f"{key}={text}")
    for port in ("c0", "s0"):
        assert contract.problems(port) == f"{key}: {said}"
    contract.host.vsctl("remove", "Open_vSwitch", ".", "other_config", key)
    assert contract.problems("c0") == ""


def test_1_2_default_sleep_is_said_when_it_changes(contract: Contract) -> None:
    contract.config("pmd-sleep-max=50")
    assert "Default PMD thread max sleep:   50 us." in contract.log()


def test_1_2_auto_load_balance_is_said_when_it_changes(contract: Contract) -> None:
    contract.config("pmd-auto-lb=true", "pmd-auto-lb-rebal-interval=5")
    assert ("PMD auto load balance is enabled, interval 5 mins, pmd load threshold 95%, "
            "improvement threshold 25%.") in contract.log()
    contract.config("pmd-auto-lb=false")
    assert "PMD auto load balance is disabled." in contract.log()


def test_1_2_stats_update_interval_below_5000_is_said(contract: Contract) -> None:
    contract.config("stats-update-interval=10")
    assert "stats-update-interval: 10 is outside 5000.., using 5000" in contract.log()


def test_1_2_changed_stats_update_interval_has_statistics_written_at_once(contract: Contract
                                                                         ) -> None:
    guest = contract.attached("c0")
    for sent, interval in ((7, 60_000), (14, 70_000)):
        guest.send([ethernet(B, A)] * 7)
        wait_until(lambda sent=sent: guest.sent_back() == sent, "the switch took them")
        contract.config(f"stats-update-interval={interval}")
        assert contract.statistics("c0")["rx_packets"] == sent


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
