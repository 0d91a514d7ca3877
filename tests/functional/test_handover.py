"""A host that has Open vSwitch: the agent takes over from ovs-vswitchd, and gives back."""
from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tools.frontend import FrontEnd
from tools.guest import DIE_WITH_PARENT
from tools.host import Host, wait_until


@contextmanager
def vswitchd(host: Host) -> Iterator[None]:
    """The real one, in a network namespace of its own: its taps have names that another one on
    this machine may have."""
    process = subprocess.Popen(
        [*DIE_WITH_PARENT, "unshare", "--net", "ovs-vswitchd", "--pidfile", "--disable-system",
         "-vconsole:off"], env=host.env)
    try:
        wait_until((host.directory / "ovs-vswitchd.pid").exists, "ovs-vswitchd runs")
        yield
        host.check("ovs-appctl", "exit")
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()


def test_there_and_back(host: Host) -> None:
    with vswitchd(host):
        host.vsctl("add-br", "br0", "--", "set", "Bridge", "br0", "datapath_type=netdev")
        # without DPDK it cannot serve the port, but numbers and ids are its own
        host.run("ovs-vsctl", "--timeout=30", "add-port", "br0", "p0", "--", "set", "Interface",
                 "p0", "type=dpdkvhostuserclient", "ofport_request=7",
                 f"options:vhost-server-path={host.directory}/p0")
        datapath_id = host.get("Bridge", "br0", "datapath_id")
        assert "not supported by protocol" in host.interface("p0", "error")

    agent = host.start_agent("--as", "ovs-vswitchd", "--pidfile", "--log-file", wait=False)
    wait_until(lambda: host.interface("p0", "ofport") == 7, "the agent serves the port")
    assert host.get("Bridge", "br0", "datapath_id") == datapath_id
    assert host.interface("p0", "error") is None
    assert host.interface("br0", "ofport") == 65534
    with FrontEnd(str(host.directory / "p0"), listen=True) as guest:
        guest.connect()
        wait_until(lambda: host.connected("p0"), "the guest is connected")
    host.check("ovs-appctl", "exit")
    assert agent.wait(15) == 0
    host.agents.pop()

    with vswitchd(host):
        host.vsctl("set", "Open_vSwitch", ".", "external_ids:x=1")
        assert host.get("Bridge", "br0", "datapath_id") == datapath_id
        assert "not supported by protocol" in host.interface("p0", "error")
