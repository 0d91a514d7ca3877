"""A host that has Open vSwitch: the agent takes over from ovs-vswitchd, and gives back."""
from __future__ import annotations

from tests.frontend import FrontEnd
from tools.host import Host, wait_until

# in a network namespace of its own: its taps have names that another one here may have
VSWITCHD = ("unshare", "--net", "ovs-vswitchd", "--detach", "--pidfile", "--disable-system",
            "-vconsole:off")
AGENT = ("run", "--as", "ovs-vswitchd", "--detach", "--pidfile", "--log-file", "-vconsole:off")


def test_there_and_back(host: Host) -> None:
    def ended() -> bool:
        return not (host.directory / "ovs-vswitchd.pid").exists()

    host.check(*VSWITCHD)
    host.vsctl("add-br", "br0", "--", "set", "Bridge", "br0", "datapath_type=netdev")
    # without DPDK it cannot serve the port, but numbers and ids are its own
    host.run("ovs-vsctl", "--timeout=30", "add-port", "br0", "p0", "--", "set", "Interface", "p0",
             "type=dpdkvhostuserclient", "ofport_request=7",
             f"options:vhost-server-path={host.directory}/p0")
    datapath_id = host.get("Bridge", "br0", "datapath_id")
    assert "not supported by protocol" in host.interface("p0", "error")
    host.check("ovs-appctl", "exit")
    wait_until(ended, "ovs-vswitchd has ended")

    host.check(*host.agent_command(), *AGENT)
    assert host.get("Bridge", "br0", "datapath_id") == datapath_id
    assert host.interface("p0", "error") is None
    assert host.interface("br0", "ofport") == 65534
    assert host.interface("p0", "ofport") == 7
    with FrontEnd(str(host.directory / "p0"), listen=True) as guest:
        guest.connect()
        wait_until(lambda: host.connected("p0"), "the guest is connected")
    host.check("ovs-appctl", "exit")
    wait_until(ended, "the agent has ended")

    host.check(*VSWITCHD)
    host.run("ovs-vsctl", "--timeout=30", "set", "Open_vSwitch", ".", "external_ids:x=1")
    assert host.get("Bridge", "br0", "datapath_id") == datapath_id
    assert "not supported by protocol" in host.interface("p0", "error")
    host.check("ovs-appctl", "exit")
    wait_until(ended, "ovs-vswitchd has ended")
