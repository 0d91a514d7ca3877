"""Ports of type dpdk, typed as a person does: a veth pair (net_af_packet), and net_null."""
from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.agent.conftest import Contract
from tools.frontend import ethernet
from tools.host import wait_until

A, ALL = "02:00:00:00:00:0a", "ff:ff:ff:ff:ff:ff"


@pytest.fixture
def veth(contract: Contract) -> Iterator[str]:
    run, name = contract.host.netns.run, "vea"
    run("ip", "link", "add", name, "type", "veth", "peer", "name", f"{name}p")
    try:
        for end in (name, f"{name}p"):
            run("ip", "link", "set", end, "addrgenmode", "none")
            run("ip", "link", "set", end, "up")
        yield name
    finally:
        run("ip", "link", "del", name)


def add(contract: Contract, name: str, devargs: str, *settings: str) -> str:
    """Adds a port; its Interface.error."""
    return contract.attempt(name, "type=dpdk", f'options:dpdk-devargs="{devargs}"', *settings)


def test_port_is_served_and_says_what_it_is(contract: Contract, veth: str) -> None:
    assert add(contract, "e0", f"net_af_packet0,iface={veth}") == ""
    wait_until(lambda: contract.get("e0", "link_state") == "up", "the link is up")
    status = contract.status("e0")
    assert "problems" not in status
    assert (status["driver_name"], status["n_rxq"], status["n_txq"]) == ("net_af_packet", "1", "1")
    assert status["if_descr"].startswith("DPDK ")
    assert status["bus_info"].startswith("bus_name=vdev")
    link = json.loads(contract.host.netns.run("ip", "-j", "link", "show", veth))[0]
    assert contract.get("e0", "mac_in_use") == link["address"]
    assert contract.get("e0", "mtu") == 1500
    assert contract.fresh("e0").keys() >= {"rx_packets", "tx_packets", "rx_dropped",
                                           "ovs_tx_failure_drops", "rx_q0_packets"}
    assert "dpdk" in str(contract.host.get("Open_vSwitch", ".", "iface_types"))


def test_frames_of_a_guest_are_counted_on_the_device(contract: Contract, veth: str) -> None:
    path = contract.client()
    assert add(contract, "e0", f"net_af_packet0,iface={veth}") == ""
    guest = contract.guest(path)
    wait_until(lambda: contract.host.connected("c0"), "the guest is there")
    guest.send([ethernet(ALL, A)])
    wait_until(lambda: contract.fresh("e0")["tx_packets"] == 1, "the frame went out")


def test_changed_options_start_the_device_anew_and_neighbours_work_on(
        contract: Contract) -> None:
    path = contract.client()
    guest = contract.guest(path)
    wait_until(lambda: contract.host.connected("c0"), "the guest is there")
    connections = contract.status("c0")
    assert add(contract, "n0", "net_null0,no-rx=1") == ""
    contract.set("n0", "options:n_rxq=2", "options:n_rxq_desc=512", "mtu_request=1400")
    wait_until(lambda: contract.status("n0").get("n_rxq") == "2", "two queues")
    assert contract.status("n0")["n_rxq_desc"] == "512"
    assert contract.get("n0", "mtu") == 1400
    shown = contract.host.appctl("dpif-netdev/pmd-rxq-show")
    assert [line.split()[3] for line in shown.splitlines() if "port: n0" in line] == ["0", "1"]
    assert contract.status("c0") == connections
    assert guest is not None


@pytest.mark.parametrize(("devargs", "error"), [
    ("nonsense", "Error attaching device 'nonsense': Bad address"),
    ("0000:99:00.0", "Error attaching device '0000:99:00.0': No such device"),
    ("net_af_packet9,iface=none", "Error attaching device 'net_af_packet9,iface=none': unknown"),
    ("net_tap0", "Error attaching device 'net_tap0': it is not served"),
    ("class=eth,mac=02:00:00:00:00:99", "Error attaching device 'class=eth,"),
])
def test_bad_words_cost_their_own_port_alone(contract: Contract, devargs: str, error: str) -> None:
    assert add(contract, "n0", "net_null0,no-rx=1") == ""
    assert add(contract, "bad", devargs).startswith(error)
    assert contract.get("bad", "ofport") == -1
    assert contract.get("n0", "error") is None
    contract.set("bad", "options:dpdk-devargs=net_null1")
    wait_until(lambda: contract.get("bad", "error") is None, "it is mended")


def test_device_that_another_port_has(contract: Contract) -> None:
    assert add(contract, "n0", "net_null0,no-rx=1") == ""
    for devargs in ("net_null0,no-rx=1", "net_null0,size=128"):
        assert add(contract, "n1", devargs) == (
            f"'n1' is trying to use device '{devargs}' which is already in use by 'n0'")
        contract.host.vsctl("del-port", "n1")
    assert contract.attempt("n1", "type=dpdk").startswith("'n1' is missing 'options:dpdk-devargs'")
    assert contract.get("n0", "error") is None


def test_administratively_down_and_packet_buffers(contract: Contract) -> None:
    assert add(contract, "n0", "net_null0") == ""
    assert contract.host.appctl("netdev-dpdk/set-admin-state", "n0", "down") == "OK\n"
    wait_until(lambda: contract.get("n0", "admin_state") == "down", "it is down")
    assert "size=" in contract.host.appctl("netdev-dpdk/get-mempool-info", "n0")
