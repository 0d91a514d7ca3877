"""Multicast snooping with ovs-vsctl and ovs-appctl."""
from __future__ import annotations

import pytest

from tests.agent.conftest import Contract
from tools import multicast as m
from tools.frontend import FrontEnd
from tools.host import HostError, wait_until

A, B = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
HEADER = " port  VLAN  protocol  GROUP                Age\n"
GROUP = "239.1.2.3"


def served(contract: Contract, *settings: str) -> tuple[FrontEnd, FrontEnd]:
    """Ports 1 and 2 of br0 with their guests; the bridge snoops."""
    contract.host.vsctl("set", "Bridge", "br0", "mcast_snooping_enable=true", *settings)
    return contract.attached("c0"), contract.attached("c1")


def wait_shown(contract: Contract, rows: str, *sent: tuple[FrontEnd, bytes]) -> None:
    """mdb/show says that; what is said of frames that were just sent has age 0."""
    def shown() -> bool:
        for guest, frame in sent:
            guest.send([frame])
        return contract.host.appctl("mdb/show", "br0") == HEADER + rows

    wait_until(shown, f"mdb/show is {rows!r}")


def test_5_3_mdb_show_and_flush(contract: Contract) -> None:
    one, other = served(contract)
    assert contract.host.appctl("mdb/show", "br0") == HEADER
    wait_shown(contract,
               "    1     0  IGMPv2    239.1.2.3           0\n"
               "    1     0  MLDv2     ff0e::1:3           0\n"
               "    2     0  UNKNOWN   querier               0\n",
               (one, m.igmp(A, m.IGMP_V2, GROUP)),
               (one, m.mld(A, m.MLD_V2, entries=[(m.TO_EXCLUDE, "ff0e::1:3", (), 0)])),
               (other, m.igmp(B, m.IGMP_QUERY)))
    assert contract.host.appctl("mdb/flush", "br0") == "table successfully flushed\n"
    assert contract.host.appctl("mdb/show", "br0") == HEADER
    assert contract.host.appctl("mdb/flush") == "table successfully flushed\n"


def test_5_3_mdb_of_a_bridge_without_snooping(contract: Contract) -> None:
    contract.client()
    for command in ("mdb/show", "mdb/flush"):
        with pytest.raises(HostError, match="no such bridge\n"):
            contract.host.appctl(command, "nope")
        with pytest.raises(HostError, match="multicast snooping is disabled\n"):
            contract.host.appctl(command, "br0")
    assert contract.host.appctl("mdb/flush") == "table successfully flushed\n"


def test_1_3_mcast_snooping_is_switched_on_and_off(contract: Contract) -> None:
    one, other = served(contract, "other_config:mcast-snooping-disable-flood-unregistered=true")
    data = m.data(A, GROUP)
    wait_shown(contract, "    2     0  IGMPv2    239.1.2.3           0\n",
               (other, m.igmp(B, m.IGMP_V2, GROUP)))
    one.recv()
    one.send([m.data(A, "239.1.2.4"), data])
    assert other.recv_wait(1) == [data]
    contract.host.vsctl("remove", "Bridge", "br0", "other_config",
                        "mcast-snooping-disable-flood-unregistered")
    one.send([m.data(A, "239.1.2.4")])
    assert other.recv_wait(1) == [m.data(A, "239.1.2.4")]
    contract.host.vsctl("set", "Bridge", "br0", "mcast_snooping_enable=false")
    other.send([m.igmp(B, m.IGMP_V2, GROUP)])
    assert one.recv_wait(1) == [m.igmp(B, m.IGMP_V2, GROUP)]


def test_1_4_ports_that_get_all_multicast_or_reports(contract: Contract) -> None:
    one, other = served(contract, "other_config:mcast-snooping-disable-flood-unregistered=true")
    report, data = m.igmp(A, m.IGMP_V2, GROUP), m.data(A, "239.1.2.4")
    for key, wanted in (("mcast-snooping-flood", data), ("mcast-snooping-flood-reports", report)):
        contract.host.vsctl("set", "Port", "c1", f"other_config:{key}=true")
        one.send([report, data])
        assert other.recv_wait(1) == [wanted]
        contract.host.vsctl("remove", "Port", "c1", "other_config", key)


def test_vlan_of_a_port_that_changes_takes_it_out_of_its_groups(contract: Contract) -> None:
    one, other = served(contract)
    wait_shown(contract,
               "    1     0  IGMPv2    239.1.2.3           0\n"
               "    2     0  IGMPv2    239.1.2.3           0\n",
               (one, m.igmp(A, m.IGMP_V2, GROUP)), (other, m.igmp(B, m.IGMP_V2, GROUP)))
    contract.host.vsctl("set", "Port", "c0", "tag=7")
    shown = contract.host.appctl("mdb/show", "br0")
    assert [line.split()[0] for line in shown.splitlines()[1:]] == ["2"]
    wait_shown(contract, "    1     7  IGMPv2    239.1.2.3           0\n"
               "    2     0  IGMPv2    239.1.2.3           0\n",
               (one, m.igmp(A, m.IGMP_V2, GROUP)), (other, m.igmp(B, m.IGMP_V2, GROUP)))
    contract.host.vsctl("del-port", "c1")
    shown = contract.host.appctl("mdb/show", "br0")
    assert [line.split()[:2] for line in shown.splitlines()[1:]] == [["1", "7"]]
