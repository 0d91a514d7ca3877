"""Guests of a companion and namespaces on a bridge of ovs-vswitchd, joined by a link."""
from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.agent.test_companion import bridge, companion
from tests.functional.conftest import Site
from tools.guest import Namespace
from tools.host import AGENT, Host, temporary_host, wait_until
from tools.vswitchd import Vswitchd

TAP = "br0-ovs0"


class Beside(Site):
    """Guests on the companion's br0, namespaces on ovs0, and a link between the two: from a to x at
    least."""

    def __init__(self, host: Host, stack: ExitStack) -> None:
        super().__init__(host, stack)
        self.vswitchd = stack.enter_context(Vswitchd(host))
        bridge(host, "ovs0", "netdev")
        companion(host)
        bridge(host, "br0", "vhost")

    def link(self) -> None:
        done = self.host.run(*self.host.netns.command(AGENT, "link", "br0", "ovs0"))
        # on a busy machine it says that it waits
        assert done.returncode == 0, f"{done.stderr}\n{self.state()}"
        wait_until(lambda: self.ping("a", "x"), "the link works")

    def state(self) -> str:
        """What both switches and the kernel know of the link."""
        return "\n".join((
            self.host.vsctl("list", "Interface"), self.host.inside("ip", "-s", "link"),
            self.host.inside("cat", "/proc/net/packet"), self.host.appctl("vhost/state"),
            self.vswitchd.log(), self.host.output()))

    def on_ovs(self, name: str) -> None:
        """A namespace that is a port of ovs0."""
        number = len(self.namespaces) + 1
        namespace = self.namespaces[name] = self.stack.enter_context(Namespace(
            name=f"vt{os.getpid() % 100_000}{name}"[:13], mac=f"02:00:00:00:02:{number:02x}",
            address=f"10.20.0.{number}/24"))
        self.host.check("ip", "link", "set", namespace.outer, "netns", self.host.netns.path)
        self.host.inside("ip", "link", "set", namespace.outer, "up")
        self.host.vsctl("add-port", "ovs0", namespace.outer)

    def flows(self, name: str, more: int = 500) -> None:
        """Returns when so many more packets have come to a namespace."""
        before = self.arrived(name)
        wait_until(lambda: self.arrived(name) > before + more, "packets flow")

    def numbers(self) -> tuple[object, ...]:
        """What each switch calls the link, and the kernel."""
        return (self.host.interface(f"{TAP}-vhost", "ofport"), self.host.interface(TAP, "ofport"),
                self.host.inside("ip", "-o", "link", "show", TAP).partition(":")[0])


@pytest.fixture
def beside() -> Iterator[Beside]:
    with temporary_host("vhost-beside") as host:
        host.start_ovsdb()
        with ExitStack() as stack:
            yield Beside(host, stack)
        assert "Traceback" not in host.output()


def test_a_guest_reaches_a_namespace_on_a_bridge_of_ovs(beside: Beside) -> None:
    beside.guest("a")
    beside.on_ovs("x")
    assert beside.cut_off("a", "x")
    beside.link()
    assert beside.ping("x", "a")
    # so few that none is lost while a process waits for a busy machine
    with beside.probe("a", "x", rate=25) as there, beside.probe("x", "a", rate=25) as back:
        beside.flows("x", 50)
        reports = there.stop(), back.stop()
    assert all(report.lossless for report in reports), f"{reports}\n{beside.state()}"
    for name in ("a", "x"):
        assert beside.namespaces[name].mac in beside.host.appctl("fdb/show", "br0")
    beside.host.vsctl("set", "Port", "a", "tag=5")
    assert beside.cut_off("a", "x")
    beside.host.vsctl("set", "Port", beside.namespaces["x"].outer, "tag=5")
    wait_until(lambda: beside.ping("a", "x", count=1), "both are on VLAN 5")
    assert beside.ping("a", "x"), beside.drops()    # the link is a trunk
    done = beside.host.run(*beside.host.netns.command(AGENT, "unlink", "br0", "ovs0"))
    assert done.returncode == 0
    assert beside.cut_off("a", "x")


def test_ovs_vswitchd_killed(beside: Beside) -> None:
    for name in ("a", "b"):
        beside.guest(name)
    beside.on_ovs("x")
    beside.link()
    before = beside.numbers()
    with beside.probe("a", "b") as probe:
        beside.flows("b")
        beside.vswitchd.stop()
        beside.vswitchd.start()
        wait_until(lambda: beside.ping("a", "x", count=1), "the link works again")
        beside.flows("b")
        report = probe.stop()
    assert report.lossless, f"{report}\n{beside.drops()}"
    assert beside.numbers() == before


def test_the_link_works_again_when_the_bridge_comes_back(beside: Beside) -> None:
    beside.guest("a")
    beside.on_ovs("x")
    beside.link()
    for datapath_type, state in (("netdev", "down"), ("vhost", "up")):
        beside.host.vsctl("--no-wait", "set", "Bridge", "br0", f"datapath_type={datapath_type}")
        wait_until(lambda state=state: beside.host.interface(       # type: ignore[misc]
            TAP, "link_state") == state, "the bridge has changed hands")
    wait_until(lambda: beside.ping("a", "x", count=1), "the guest is reached again")


def test_companion_killed(beside: Beside) -> None:
    beside.guest("a")
    for name in ("x", "y"):
        beside.on_ovs(name)
    beside.link()
    before = beside.numbers()
    with beside.probe("x", "y", rate=200) as probe:
        beside.flows("y", 100)
        beside.host.kill_agent()
        assert beside.numbers() == before           # nobody's device went
        companion(beside.host)
        wait_until(lambda: beside.ping("a", "x", count=1), "the link works again")
        beside.flows("y", 100)
        report = probe.stop()
    assert report.lossless, report
    assert beside.numbers() == before
