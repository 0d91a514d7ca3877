"""Patch ports and the commands that show the datapath, as a user meets them."""
from __future__ import annotations

import pytest

from tests.agent.conftest import Contract
from tools.frontend import ethernet
from tools.host import HostError, wait_until

A, B = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
ALL = "ff:ff:ff:ff:ff:ff"


@pytest.fixture
def two_bridges(contract: Contract) -> Contract:
    """br0 with a guest on port a, br1 with one on port b, and patch ports between them."""
    contract.host.vsctl(
        "add-br", "br1", "--", "set", "Bridge", "br1", "datapath_type=netdev",
        "--", "add-port", "br0", "p", "--", "set", "Interface", "p", "type=patch", "options:peer=q",
        "--", "add-port", "br1", "q", "--", "set", "Interface", "q", "type=patch", "options:peer=p")
    contract.attached("a")
    contract.attached("b", bridge="br1")
    return contract


def test_guests_of_two_bridges_meet(two_bridges: Contract) -> None:
    a, b = two_bridges.guests
    a.send([ethernet(ALL, A)])
    assert b.recv_wait(1) == [ethernet(ALL, A)]
    b.send([ethernet(A, B)])
    assert a.recv_wait(1) == [ethernet(A, B)]
    assert two_bridges.get("p", "error") is None
    assert two_bridges.get("p", "link_state") == "up"
    statistics = two_bridges.fresh("p")
    assert (statistics["tx_packets"], statistics["rx_packets"]) == (1, 1)
    assert statistics["tx_bytes"] == statistics["rx_bytes"] == 60


def test_qos_limits_what_is_sent_to_a_patch_port(two_bridges: Contract) -> None:
    a, b = two_bridges.guests
    two_bridges.host.vsctl(
        "set", "Port", "p", "qos=@q", "--", "--id=@q", "create", "QoS", "type=egress-policer",
        "other_config:cir=1", "other_config:cbs=1000")
    sent = [ethernet(ALL, A, bytes([i] * 486)) for i in range(4)]
    a.send(sent)
    assert b.recv_wait(2) == sent[:2]
    assert two_bridges.fresh("p")["ovs_tx_qos_drops"] == 2
    assert two_bridges.problems("p") == ""
    two_bridges.host.vsctl("clear", "Port", "p", "qos", "--", "--all", "destroy", "QoS")


def test_peer_that_goes_is_said_and_one_that_comes_back_works(two_bridges: Contract) -> None:
    a, b = two_bridges.guests
    two_bridges.host.vsctl("del-port", "q")
    assert "peer q: no such port is served" in two_bridges.problems("p")
    two_bridges.host.vsctl("add-port", "br1", "q", "--", "set", "Interface", "q", "type=patch",
                           "options:peer=p")
    assert two_bridges.problems("p") == ""
    a.send([ethernet(ALL, A)])
    assert b.recv_wait(1) == [ethernet(ALL, A)]


def test_row_without_a_peer_costs_nobody_else(contract: Contract) -> None:
    assert "requires valid 'peer'" in contract.attempt("p", "type=patch")
    assert "must not be self" in contract.attempt("q", "type=patch", "options:peer=q")
    contract.attached("a")


def test_what_there_is_is_shown(two_bridges: Contract) -> None:
    a, b = two_bridges.guests
    a.send([ethernet(ALL, A)])
    assert b.recv_wait(1)
    appctl = two_bridges.host.appctl
    wait_until(lambda: "hit:1 " in appctl("dpif/show"), "the packet is counted")
    shown = appctl("dpif/show").splitlines()
    path = two_bridges.path("a")
    assert "    p 1/none: (patch: peer=q)" in shown
    assert [line for line in shown if not line.startswith("    ")] == [
        "netdev@ovs-netdev: hit:1 missed:0", "  br0:", "  br1:"]
    assert any(line.startswith("    a 2/") and line.endswith(
        f": (dpdkvhostuserclient: vhost-server-path={path})") for line in shown)
    assert f"a (dpdkvhostuserclient: vhost-server-path={path})" in appctl("dpctl/show")
    assert "RX packets:1 errors:?" in appctl("dpctl/show", "-s")
    assert appctl("ofproto/list") == "br0\nbr1\n"
    with pytest.raises(HostError, match="opening datapath ovs-system failed"):
        appctl("dpctl/show", "ovs-system")
