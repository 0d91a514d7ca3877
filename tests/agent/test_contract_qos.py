"""Sections 1.5, 1.6 and 5.5 of the contract with OVSDB: policing, QoS, storms. A test each."""
from __future__ import annotations

import pytest

from tests.agent.conftest import Contract
from tools.frontend import FrontEnd, ethernet
from tools.host import HostError, wait_until

A, B, ALL = "02:00:00:00:00:0a", "02:00:00:00:00:0b", "ff:ff:ff:ff:ff:ff"


def create_qos(contract: Contract, port: str, type_: str, *settings: str) -> None:
    contract.host.vsctl("set", "Port", port, "qos=@q", "--", "--id=@q", "create", "QoS",
                        f"type={type_}", *(f"other_config:{s}" for s in settings))


def qos_of(contract: Contract, port: str) -> str:
    """The UUID of the port's QoS row."""
    return str(contract.host.get("Port", port, "qos"))


def show(contract: Contract, name: str) -> str:
    return contract.host.appctl("qos/show", name)


def guests(contract: Contract, ring: int = 256) -> tuple[FrontEnd, FrontEnd]:
    """Guests of c0 and c1, both known to the switch; rings of that size."""
    a, b = contract.attached("c0", queue_size=ring), contract.attached("c1", queue_size=ring)
    a.send([ethernet(ALL, A)])
    b.recv_wait(1)
    b.send([ethernet(A, B)])
    a.recv_wait(1)
    return a, b


def sent(contract: Contract, guest: FrontEnd, count: int, size: int = 1014) -> None:
    before = guest.sent_back()
    guest.send([ethernet(B, A, bytes(size - 14))] * count)
    wait_until(lambda: guest.sent_back() == before + count, "the switch took them")


def test_1_5_ingress_policing_drops_and_counts(contract: Contract) -> None:
    a, _ = guests(contract)
    contract.set("c0", "ingress_policing_rate=1", "ingress_policing_burst=16")
    sent(contract, a, 10)               # 2000 bytes are two frames; 125 more come in a second
    found = contract.fresh("c0")
    assert found["ovs_rx_qos_drops"] == found["rx_dropped"] == 8
    assert found["rx_packets"] == 11
    assert contract.problems("c0") == ""
    contract.set("c0", "ingress_policing_rate=0", "ingress_policing_burst=0")
    sent(contract, a, 10)
    assert contract.fresh("c0")["ovs_rx_qos_drops"] == 8


def test_1_5_ingress_policing_of_packets_is_served(contract: Contract) -> None:
    a, _ = guests(contract, ring=4096)
    contract.set("c0", "ingress_policing_kpkts_rate=1", "ingress_policing_kpkts_burst=2")
    sent(contract, a, 4000, 60)         # shown to the switch at once
    assert 1000 < contract.fresh("c0")["ovs_rx_qos_drops"] <= 2000


@pytest.mark.parametrize(("setting", "said"), [
    ("ingress_policing_rate=4294967296",
     "ingress_policing_rate: 4294967296 is outside 0..4294967295"),
    ("ingress_policing_burst=5",
     "ingress_policing_burst: has no effect without ingress_policing_rate"),
    ("ingress_policing_kpkts_burst=5",
     "ingress_policing_kpkts_burst: has no effect without ingress_policing_kpkts_rate")])
def test_1_5_unusable_policing_is_said(contract: Contract, setting: str, said: str) -> None:
    contract.client("c0", setting)
    assert said in contract.problems("c0")


def test_1_5_unrelated_change_keeps_the_bucket(contract: Contract) -> None:
    a, _ = guests(contract)
    contract.set("c0", "ingress_policing_rate=1", "ingress_policing_burst=16")
    sent(contract, a, 10)
    contract.set("c0", "other_config:tx-steering=hash", "mtu_request=1400")
    contract.config("pmd-sleep-max=50")
    sent(contract, a, 10)
    assert contract.fresh("c0")["ovs_rx_qos_drops"] >= 17


def test_1_6_egress_policer(contract: Contract) -> None:
    a, b = guests(contract)
    create_qos(contract, "c1", "egress-policer", "cir=1", "cbs=2048")
    assert show(contract, "c1") == "QoS: c1 egress-policer\ncir: 1\ncbs: 2048\n"
    sent(contract, a, 10)
    found = contract.fresh("c1")
    assert found["ovs_tx_qos_drops"] == found["tx_dropped"] == 8
    assert len(b.recv_wait(2)) == 2
    contract.host.vsctl("set", "QoS", qos_of(contract, "c1"), "other_config:cbs=4096")
    assert show(contract, "c1") == "QoS: c1 egress-policer\ncir: 1\ncbs: 4096\n"
    sent(contract, a, 10)
    assert contract.fresh("c1")["ovs_tx_qos_drops"] == 8 + 6
    contract.host.vsctl("clear", "Port", "c1", "qos")
    assert show(contract, "c1") == "QoS not configured on c1\n"
    sent(contract, a, 10)
    assert contract.fresh("c1")["ovs_tx_qos_drops"] == 14


def test_1_6_trtcm_policer_with_queues(contract: Contract) -> None:
    a, _ = guests(contract)
    contract.host.vsctl(
        "set", "Port", "c1", "qos=@q", "--", "--id=@q", "create", "QoS", "type=trtcm-policer",
        "other_config:cir=10000000", "other_config:cbs=2000000", "queues:0=@a", "queues:5=@b", "--",
        "--id=@a", "create", "Queue", "other_config:cir=1", "other_config:cbs=2000",
        "other_config:eir=1", "other_config:ebs=1000", "--", "--id=@b", "create", "Queue",
        "other_config:eir=7", "other_config:ebs=2000")
    sent(contract, a, 10)
    # what is yellow for the queue has to fit into the port's excess bucket, which there is none of
    assert contract.fresh("c1")["ovs_tx_qos_drops"] == 8
    assert contract.problems("c1") == (
        "qos: nothing is sent through queue 5: only OpenFlow chooses another than 0")
    assert show(contract, "c1") == """QoS: c1 trtcm-policer
cir: 10000000
cbs: 2000000
eir: 0
ebs: 0

Default:
  cir: 1
  cbs: 2000
  eir: 1
  ebs: 1000
  tx_packets: 3
  tx_bytes: 3000
  tx_errors: 7

Queue 5:
  cir: 0
  cbs: 0
  eir: 7
  ebs: 2000
  tx_packets: 0
  tx_bytes: 0
  tx_errors: 0
"""
    queue = contract.host.vsctl("get", "QoS", qos_of(contract, "c1"), "queues:0").strip()
    contract.host.vsctl("set", "Queue", queue, "dscp=10", "other_config:cir=x")
    assert "queue 0: dscp: has no effect: packets are not marked" in contract.problems("c1")
    assert ("queue 0: cir: 'x' is not an integer; its rates stay as they were"
            in contract.problems("c1"))
    assert "  tx_packets: 3\n" in show(contract, "c1")      # nothing began anew


@pytest.mark.parametrize(("change", "said"), [
    (("type=linux-htb",), "type 'linux-htb' is none of egress-policer, trtcm-policer"),
    (("other_config:cir=0",), "egress-policer needs cir and cbs, both above 0"),
    (("other_config:cbs=many",), "cbs: 'many' is not an integer"),
    (("type=trtcm-policer", "other_config:eir=5"), "eir=5 needs an ebs above 0")])
def test_1_6_row_that_is_wrong_or_contradicts_itself_keeps_the_policer(
        contract: Contract, change: tuple[str, ...], said: str) -> None:
    a, _ = guests(contract)
    create_qos(contract, "c1", "egress-policer", "cir=1", "cbs=2048")
    sent(contract, a, 10)
    contract.host.vsctl("set", "QoS", qos_of(contract, "c1"), *change)
    assert contract.problems("c1") == (
        f"qos: {said}; egress-policer with cir=1, cbs=2048 stays in force")
    assert show(contract, "c1") == "QoS: c1 egress-policer\ncir: 1\ncbs: 2048\n"
    sent(contract, a, 10)                           # from the same bucket
    assert contract.fresh("c1")["ovs_tx_qos_drops"] == 18
    contract.host.vsctl("clear", "Port", "c1", "qos")
    assert contract.problems("c1") == ""
    assert show(contract, "c1") == "QoS not configured on c1\n"


def test_1_6_wrong_row_on_a_port_without_a_policer(contract: Contract) -> None:
    contract.client("c0")
    create_qos(contract, "c0", "linux-htb", "max-rate=1000")
    assert contract.problems("c0") == (
        "qos: type 'linux-htb' is none of egress-policer, trtcm-policer; sent packets are not "
        "limited")
    assert show(contract, "c0") == "QoS not configured on c0\n"


def test_1_6_two_ports_of_one_row_follow_it_with_buckets_of_their_own(contract: Contract) -> None:
    a, b = guests(contract)
    create_qos(contract, "c1", "egress-policer", "cir=1", "cbs=2048")
    contract.host.vsctl("set", "Port", "c0", f"qos={qos_of(contract, 'c1')}")
    sent(contract, a, 4)
    b.send([ethernet(A, B, bytes(1000))] * 4)
    assert len(a.recv_wait(2)) == 2
    assert contract.fresh("c0")["ovs_tx_qos_drops"] == 2
    assert contract.fresh("c1")["ovs_tx_qos_drops"] == 2
    contract.host.vsctl("set", "QoS", qos_of(contract, "c1"), "other_config:cir=5")
    for name in ("c0", "c1"):
        assert show(contract, name) == f"QoS: {name} egress-policer\ncir: 5\ncbs: 2048\n"
    contract.host.vsctl("clear", "Port", "c0", "qos", "--", "clear", "Port", "c1", "qos", "--",
                        "--all", "destroy", "QoS")
    for name in ("c0", "c1"):
        assert show(contract, name) == f"QoS not configured on {name}\n"


def test_5_5_qos_of_ports_that_are_not_served(contract: Contract) -> None:
    contract.attempt("x0", "type=dpdk")
    contract.host.vsctl("add-port", "br0", "c9", "--", "set", "Interface", "c9",
                        "type=dpdkvhostuserclient")         # no socket yet
    create_qos(contract, "c9", "egress-policer", "cir=1", "cbs=2048")
    assert show(contract, "c9") == "QoS: c9 egress-policer\ncir: 1\ncbs: 2048\n"
    assert show(contract, "br0") == "QoS not configured on br0\n"
    assert contract.host.appctl("qos/show-types", "br0") == (
        "QoS type: egress-policer\nQoS type: trtcm-policer\n")
    assert contract.host.appctl("qos/show-types", "c9") == (
        "QoS type: egress-policer\nQoS type: trtcm-policer\n")
    for command in ("qos/show", "qos/show-types"):
        for name in ("x0", "nobody"):
            with pytest.raises(HostError, match="no such interface"):
                contract.host.appctl(command, name)


def test_storm_rate_is_off_by_default_and_drops_what_is_flooded(contract: Contract) -> None:
    a, b = guests(contract)
    a.send([ethernet(ALL, A)] * 60)
    assert len(b.recv_wait(60)) == 60
    contract.set("c0", "other_config:storm-rate=broadcast:1")
    a.send([ethernet(ALL, A)] * 60)
    a.send([ethernet(B, A)] * 60)
    wait_until(lambda: contract.fresh("c0").get("rx_storm_drops", 0) >= 27, "the storm is limited")
    assert len(b.recv_wait(32 + 60)) <= 60 + 33
    contract.set("c0", "other_config:storm-rate=everything")
    assert "storm-rate: neither PACKETS nor CLASS:PACKETS" in contract.problems("c0")
    assert contract.problems("c0").endswith("'everything'; those in force stay")
