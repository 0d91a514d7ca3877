"""Values that tests of doctor's checks are made of."""
from __future__ import annotations

from uuid import UUID

from agent import VERSION
from agent.dpdk_values import DpdkFacts, Driver, Library, Loaded
from agent.finding import Finding
from agent.host_values import Daemon, HostFacts, Node, Process, User
from agent.model import Device, InterfaceRow, Memory, PortRow, PortSpec, Registration

ROOT = User("root", 0, frozenset({0}), (1 << 41) - 1)
REMOTE = "unix:/run/ovs/db.sock"
HOST = HostFacts((Node(0, (0, 1), 1 << 34),))
STANDARD = Memory(1500, 2048)

VHOST = Library("/lib/librte_vhost.so.23", "librte_vhost.so.23",
                exports={"rte_vhost_vring_stats_get": "DPDK_23",
                         "rte_vhost_get_monitor_addr": "EXPERIMENTAL"})
EAL = Library("/lib/librte_eal.so.23", "librte_eal.so.23", exports={"rte_eal_init": "DPDK_23"})
DPDK = DpdkFacts(
    "/x/pmd_ext", 2, needed=("librte_eal.so.23", "librte_vhost.so.23"),
    wants=frozenset({"rte_eal_init", "rte_vhost_vring_stats_get"}),
    loaded=Loaded({"librte_eal.so.23": EAL.path, "librte_vhost.so.23": VHOST.path}),
    libraries={EAL.soname: EAL, VHOST.soname: VHOST}, plugins="/lib/dpdk/pmds-23.0",
    plugin_files=1, drivers=(Driver("net_ixgbe", "librte_net_ixgbe.so.23.0"),))


def ids(findings: list[Finding]) -> list[tuple[str, str]]:
    return [(finding.severity, finding.id) for finding in findings]


def port(name: str, device: Device, memory: Memory = STANDARD, **kw: object) -> PortSpec:
    return PortSpec(name, "br0", "", device, 8, memory, **kw)      # type: ignore[arg-type]


def client(name: str = "c0", path: str = "/run/vm/c0", **kw: object) -> PortSpec:
    return port(name, Registration(path, True, **kw))   # type: ignore[arg-type]


def server(name: str = "s0", path: str = "/run/ovs/s0", **kw: object) -> PortSpec:
    return port(name, Registration(path, False), **kw)      # type: ignore[arg-type]


def row(name: str, type_: str = "dpdkvhostuserclient") -> InterfaceRow:
    return InterfaceRow(UUID(bytes=name.encode().rjust(16, b"\0")), name, type_,
                        {"vhost-server-path": f"/tmp/{name}"}, port=PortRow(name))


def daemon(name: str = "vhost-agent", pid: int = 5, version: str | None = "", words: str = "",
           silence: str = "") -> Daemon:
    said = f"{name} (ovs-vhost-agent) {VERSION}" if version == "" else version
    return Daemon(name, pid, f"/run/{name}.{pid}.ctl", Process(pid, tuple(words.split())), said,
                  silence)


VSWITCHD = daemon("ovs-vswitchd", 6, "ovs-vswitchd (Open vSwitch) 3.1.0")
