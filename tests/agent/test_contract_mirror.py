"""Sections 1.7 and 2.6 of the contract: mirrors as a user makes them, and their statistics."""
from __future__ import annotations

import pytest

from tests.agent.conftest import Contract
from tools.frontend import FrontEnd, ethernet
from tools.host import wait_until

A, B = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
ALL = "ff:ff:ff:ff:ff:ff"
FRAME = ethernet(ALL, A)


def mirror(contract: Contract, *settings: str, output: str = "m", name: str = "m0") -> None:
    """As the manual of ovs-vsctl has it."""
    contract.host.vsctl("--", "--id=@p", "get", "port", output, "--", "--id=@m", "create",
                        "mirror", f"name={name}", *settings, "--", "add", "bridge", "br0",
                        "mirrors", "@m")


def guests(contract: Contract, *names: str) -> list[FrontEnd]:
    return [contract.attached(name) for name in names]


def statistics(contract: Contract, name: str = "m0") -> dict[str, int]:
    return dict(contract.host.get("Mirror", name, "statistics"))


def test_1_7_mirror_of_all_and_2_6_its_statistics(contract: Contract) -> None:
    a, b, m = guests(contract, "a", "b", "m")
    mirror(contract, "select-all=true", "output-port=@p")
    a.send([FRAME] * 3)
    assert m.recv_wait(3) == b.recv_wait(3) == [FRAME] * 3
    contract.host.look()
    assert statistics(contract) == {"tx_packets": 3, "tx_bytes": 180}
    m.send([ethernet(ALL, B)])
    wait_until(lambda: contract.fresh("m").get("rx_mirror_drops") == 1, "the drop is counted")
    contract.host.vsctl("set", "mirror", "m0", "output-port=[]")
    contract.host.look()
    assert statistics(contract) == {}


def test_1_7_changes_of_a_mirror_are_taken_over(contract: Contract) -> None:
    a, b, m = guests(contract, "a", "b", "m")
    mirror(contract, "output-port=@p")
    a.send([FRAME])
    assert b.recv_wait(1) == [FRAME]
    assert m.recv() == []
    contract.host.vsctl("--", "--id=@a", "get", "port", "a", "--", "set", "mirror", "m0",
                        "select-src-port=@a", "snaplen=20")
    a.send([FRAME])
    assert m.recv_wait(1) == [FRAME[:20]]
    contract.host.vsctl("set", "mirror", "m0", "select-vlan=7", "snaplen=[]")
    tagged = ethernet(ALL, A, vlan=7)
    a.send([FRAME, tagged])
    assert m.recv_wait(1) == [tagged]
    contract.host.vsctl("clear", "bridge", "br0", "mirrors")
    a.send([tagged])
    assert m.recv_wait(1) == [tagged]           # the port is one like the others again
    m.send([ethernet(A, B)])
    assert a.recv_wait(1) == [ethernet(A, B)]


def test_1_7_output_port_that_goes_and_comes_back(contract: Contract) -> None:
    a, b, m = guests(contract, "a", "b", "m")
    mirror(contract, "select-all=true", "output-port=@p")
    contract.host.vsctl("del-port", "m")
    assert "mirror m0 does not specify output; ignoring" in contract.log()
    a.send([FRAME])
    assert b.recv_wait(1) == [FRAME]
    m.close()
    (m,) = guests(contract, "m")
    contract.host.vsctl("--", "--id=@p", "get", "port", "m", "--", "set", "mirror", "m0",
                        "output-port=@p")
    a.send([FRAME])
    assert m.recv_wait(1) == [FRAME]


def test_1_7_output_vlan(contract: Contract) -> None:
    a, b, t = guests(contract, "a", "b", "t")
    contract.host.vsctl("set", "port", "a", "tag=10", "--", "set", "port", "b", "tag=10", "--",
                        "set", "port", "t", "trunks=99")
    mirror(contract, "select-all=true", "output-vlan=99", output="t")
    a.send([FRAME])
    assert t.recv_wait(1) == [ethernet(ALL, A)[:12] + b"\x81\x00\x00\x63" + FRAME[12:]]
    assert b.recv_wait(1) == [FRAME]


@pytest.mark.parametrize(("settings", "said"), [
    (["select-all=true"], "mirror m0 does not specify output; ignoring"),
    (["select-all=true", "output-port=@p", "output-vlan=5"],
     "mirror m0 specifies both output port and output vlan; ignoring output vlan"),
    (["output-port=@p"], "mirror m0 selects no port"),
    (["select-src-port=@p", "output-port=@p"], "mirror m0 outputs to port m and selects it"),
])
def test_1_7_wrong_rows_are_said_in_the_log(contract: Contract, settings: list[str], said: str
                                            ) -> None:
    contract.client("m")
    mirror(contract, *settings)
    assert f"bridge br0: {said}" in contract.log()


def test_1_7_output_on_another_bridge(contract: Contract) -> None:
    contract.host.vsctl("add-br", "br1", "--", "set", "Bridge", "br1", "datapath_type=netdev",
                        "--", "add-port", "br1", "m", "--", "set", "Interface", "m",
                        "type=dpdkvhostuser")
    mirror(contract, "select-all=true", "output-port=@p")
    assert ("bridge br0: mirror m0 outputs to port not on bridge: output_port m; the mirror is not "
            "in force") in contract.log()
