"""What `vhost-agent explain` prints, of made-up facts."""
from __future__ import annotations

from dataclasses import replace

import pytest

from agent.eth_values import EthDevice, EthInfo
from agent.explain import WIDTH, View, ordinal, text, unknown
from agent.host_model import HostDevice, HostState, Link
from agent.model import ETH_TYPE, PATCH_TYPE, PatchDevice, PortState
from agent.reason import no_dpdk, reasons
from agent.reason_model import Reason
from tests.unit.test_reason import CASES, CLIENT, MEMORY, UP, connected


def view(case: str = "", **more: object) -> View:
    """Of a case of the reasons, else of a port that works."""
    spec, state, facts = CASES[case] if case else (CLIENT, UP, connected())
    made = View("p", spec.type, "br0", spec=spec, state=state, facts=facts,
                reasons=reasons(spec, state, facts))
    return replace(made, **more)                                    # type: ignore[arg-type]


def test_port_that_works() -> None:
    assert text(view(statistics={"tx_packets": 9, "ovs_tx_failure_drops": 0})) == """\
p is up
  type      dpdkvhostuserclient on bridge br0
  socket    /run/vm/p; the agent connects
  guest     ready, the 1st since the port was added
  features  none
  queues    4 pairs; enabled: rx 0 1 2 3, tx 0 1 2 3
  rings     the guest sends by 256 and receives by 256 descriptors
  MTU       1500
  polled    rx queues 0-3 by core 0 (NUMA node 0)
  drops     none
"""


def test_port_that_is_down() -> None:
    said = text(view("permission-denied", problems=("x: no",), pending="socket /y: later"))
    assert said.startswith("p is down: user ovs, who the agent runs as, may not connect to the "
                           "socket /run/vm/p: it has user libvirt-qemu, group kvm, mode 0755\n"
                           "    do: setfacl -m u:ovs:rw /run/vm/p; for good, ")
    assert "\n  - x: no\n  - waits: socket /y: later\n  type      dpdkvhostuserclient on" in said
    assert "user libvirt-qemu, group kvm, mode 0755; user libvirt-qemu may connect to it" in said


def test_port_that_half_works_says_what_first() -> None:
    said = text(view("queues-disabled", statistics={"tx_disabled_drops": 3, "tx_busy_drops": 0}))
    assert said.startswith("p is up, with something to say:\n  - 1 of 4 queue pairs of the guest "
                           "is enabled\n    do: in the guest: ethtool -L DEVICE combined 4\n  type")
    assert said.endswith("\n  drops     tx_disabled_drops 3 (no guest)\n")


@pytest.mark.parametrize("case", CASES)
def test_lines_are_not_too_long_but_for_the_first(case: str) -> None:
    assert max(map(len, text(view(case)).splitlines()[1:])) <= WIDTH


def test_what_is_not_served() -> None:
    assert text(View("v", "vxlan", "br0", error="no")) == (
        "v is not served: no\n  type      vxlan on bridge br0\n")
    assert text(View("p", "vxlan", "br0", error="no", reasons=(Reason("closed", "a", "b"),))) == (
        "p is not served: no\n  - a\n    do: b\n  type      vxlan on bridge br0\n")
    assert text(View("p", "", "br1", served=False)) == (
        "p is on bridge br1, which another daemon serves\n  type      system on bridge br1\n")
    assert text(View("br0", "internal", "br0", reasons=(no_dpdk(),))).startswith(
        "br0 is down: DPDK has not started\n    do: ovs-vsctl set Open_vSwitch . ")
    assert text(View("p", CLIENT.type, "br0", spec=replace(CLIENT, device=None))).startswith(
        "p is down: it has no socket yet\n")


def test_ports_of_other_types() -> None:
    eth = PortState("e", EthDevice("0000:06:00.0"), 8, MEMORY, eth=EthInfo(
        0, driver_name="net_ixgbe", numa_id=1, mtu=9000, link_up=True))
    assert text(View("e", ETH_TYPE, "br0", spec=replace(CLIENT, name="e"), state=eth)) == (
        "e is up\n  type      dpdk on bridge br0\n"
        "  device    0000:06:00.0, net_ixgbe, 1 rx and 1 tx queues, NUMA node 1\n"
        "  MTU       9000\n")
    tap = PortState("t-vhost", HostDevice("tap", "t"), 8, MEMORY, host=HostState(
        Link(2, True, True, 1500, ""), ("tun", "1.6", "")))
    assert text(View("t-vhost", "tap", "br0", spec=CLIENT, state=tap)) == (
        "t-vhost is up\n  type      tap on bridge br0\n  device    t, tun\n  MTU       1500\n")
    patch = PortState("a", PatchDevice("b"), 8, MEMORY)
    assert text(View("a", PATCH_TYPE, "br0", spec=replace(CLIENT, name="a"), state=patch)) == (
        "a is up\n  type      patch on bridge br0\n  peer      b\n")


def test_names_are_neither_obeyed_nor_torn_apart() -> None:
    said = text(View("a\nb\x1b[31m", "x\x07", "b\rr", error="c\x1b"))
    assert said == "a\\x0ab\\x1b[31m is not served: c\\x1b\n  type      x\\x07 on bridge b\\x0dr\n"
    path = "'/tmp/" + "a b " * 40 + "'"
    assert f" {path}\n" in text(view(problems=(f"x: {path} it is the guest's",)))
    assert unknown("clent\x1b0", ["client\x1b0"]).isprintable()


def test_unknown_port() -> None:
    assert unknown("dpdkvhostclent0", ["dpdkvhostclient0", "dpdkvhostclient1", "br0"]) == (
        "no port 'dpdkvhostclent0' is in the database; did you mean dpdkvhostclient0 or "
        "dpdkvhostclient1?")
    assert unknown("x", []) == "no port 'x' is in the database: 'ovs-vsctl show' lists ports"


def test_ordinals() -> None:
    assert [ordinal(n) for n in (1, 2, 3, 4, 11, 12, 13, 21, 102, 111)] == [
        "1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "102nd", "111th"]
