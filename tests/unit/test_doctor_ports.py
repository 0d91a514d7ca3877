"""What doctor says of facts about sockets, the kernel and limits."""
from __future__ import annotations

import errno
from dataclasses import replace

import pytest

from agent import check_kernel, check_limits, check_sockets
from agent.access import SocketAccess
from agent.check_sockets import Qemu
from agent.dpdk_values import DpdkFacts, Driver, Library
from agent.eth_values import EthDevice
from agent.finding import Finding
from agent.host_model import HostDevice
from agent.host_values import (
    CAP_DAC_OVERRIDE,
    CAP_IPC_LOCK,
    CAP_NET_ADMIN,
    FileFacts,
    Kernel,
    PciDevice,
    Process,
    User,
)
from agent.model import PortSpec, Registration
from agent.reach import obstacle
from tests.unit.doctor_values import DPDK, ROOT, client, ids, port, server

AGENT = User("agent", 100, frozenset({100, 50}))
QEMU = User("libvirt-qemu", 64055, frozenset({64055}))


# --- sockets --------------------------------------------------------------------------------------

def tree(*files: FileFacts) -> dict[str, FileFacts]:
    """These, on a host whose other directories are root's and open, and other files missing."""
    found = {path: FileFacts(path, 0, "directory", 0o755, 0, 0, "root", "root")
             for path in ("/", "/run", "/run/ovs", "/run/vm")}
    found |= {path: FileFacts(path, errno.ENOENT) for path in ("/run/ovs/s0", "/run/vm/c0")}
    return found | {file.path: file for file in files}


def a_socket(path: str, mode: int, uid: int = 0, gid: int = 0) -> FileFacts:
    return FileFacts(path, 0, "socket", mode, uid, gid, f"u{uid}", f"g{gid}")


def folder(path: str, mode: int, uid: int = 0, gid: int = 0) -> FileFacts:
    return FileFacts(path, 0, "directory", mode, uid, gid, f"u{uid}", f"g{gid}")


@pytest.mark.parametrize(("file", "user", "need", "free"), [
    (a_socket("/run/vm/c0", 0o755), ROOT, 2, True),
    (a_socket("/run/vm/c0", 0o755), AGENT, 2, False),
    (a_socket("/run/vm/c0", 0o755, 100), AGENT, 2, True),
    (a_socket("/run/vm/c0", 0o077, 100), AGENT, 2, False),      # the owner's bits alone count
    (a_socket("/run/vm/c0", 0o770, 0, 50), AGENT, 2, True),
    (a_socket("/run/vm/c0", 0o702, 0, 50), AGENT, 2, False),    # then the group's
    (replace(a_socket("/run/vm/c0", 0o700), acl=True), AGENT, 2, True),
    (a_socket("/run/vm/c0", 0o700), replace(AGENT, capabilities=1 << CAP_DAC_OVERRIDE), 2, True)])
def test_who_may_use_a_file(file: FileFacts, user: User, need: int, free: bool) -> None:
    assert (obstacle(tree(file), file.path, user, need) is None) == free


def test_first_obstacle_on_the_way_is_named() -> None:
    files = tree(folder("/run/vm", 0o750, 1, 2), a_socket("/run/vm/c0", 0o777))
    stop = obstacle(files, "/run/vm/c0", AGENT, 2)
    assert stop is not None
    assert stop.text == ("user agent may not pass through /run/vm (owner u1, group g2, mode 0750)")


def sockets(*ports: PortSpec, files: dict[str, FileFacts], agent: User = AGENT,
            qemus: tuple[Qemu, ...] = ()) -> list[Finding]:
    return check_sockets.check(ports, files, agent, qemus)


def test_sockets_that_nothing_is_wrong_with() -> None:
    assert sockets(files=tree()) == []
    files = tree(folder("/run/ovs", 0o755, 100), a_socket("/run/vm/c0", 0o777))
    assert ids(sockets(client(), server(), files=files)) == [("ok", "sockets")]


@pytest.mark.parametrize(("port_", "file", "severity", "id_", "fix"), [
    (server(), FileFacts("/run/ovs", errno.ENOENT), "error", "socket-directory-missing",
     "mkdir -p /run/ovs"),
    (server(), folder("/run/ovs", 0o755), "error", "socket-closed-to-agent",
     "setfacl -m u:agent:wx /run/ovs"),
    (server(), FileFacts("/run/ovs", errno.EACCES), "info", "not-seen", "sudo vhost-agent doctor"),
    (server(), FileFacts("/run/ovs", errno.ELOOP), "error", "socket-link-loop",
     "namei -l /run/ovs"),
    (client(), FileFacts("/run/vm/c0", errno.ELOOP), "error", "socket-link-loop",
     "namei -l /run/vm/c0"),
    (replace(server(), device=Registration("/run/vm/c0", False)),
     {"/run/vm": folder("/run/vm", 0o1777)}, "warning", "socket-directory-open",
     "chmod o-w /run/vm"),
    (client(), FileFacts("/run/vm", errno.ENOENT), "warning", "socket-directory-missing",
     "mkdir -p /run/vm"),
    (client(), folder("/run/vm", 0o700), "error", "socket-closed-to-agent",
     "setfacl -m u:agent:x /run/vm"),
    (client(), a_socket("/run/vm/c0", 0o755), "error", "socket-closed-to-agent",
     "setfacl -m u:agent:w /run/vm/c0"),
    (replace(server(), device=Registration("/run/vm/c0", False)),
     {"/run/vm": folder("/run/vm", 0o777), "/run/vm/c0": FileFacts("/run/vm/c0", 0, "file", 0o666)},
     "error", "socket-path-taken", "rm -i /run/vm/c0"),
    (client(), FileFacts("/run/vm/c0", 0, "file", 0o666), "error", "socket-path-taken",
     "rm -i /run/vm/c0")])
def test_sockets_that_the_agent_cannot_use(
        port_: PortSpec, file: FileFacts | dict[str, FileFacts], severity: str, id_: str, fix: str
        ) -> None:
    there = file.values() if isinstance(file, dict) else [file]
    (finding,) = sockets(port_, files=tree(*there))
    assert (finding.severity, finding.id, finding.fix) == (severity, id_, fix)
    assert finding.details in ((f"concerns port {port_.name}",), ())


def test_both_users_are_named_where_a_guest_cannot_connect() -> None:
    files = tree(a_socket("/run/ovs/s0", 0o755))
    (finding,) = sockets(server(), files=files, agent=ROOT, qemus=(Qemu(QEMU),))
    assert (finding.severity, finding.id) == ("warning", "socket-closed-to-qemu")
    assert "user libvirt-qemu may not use /run/ovs/s0" in finding.title
    assert "the agent runs as root" in finding.why
    assert "vhost-sock-owner=libvirt-qemu" in str(finding.fix)
    running = Qemu(QEMU, ("qemu", "-chardev", "socket,path=/run/ovs/s0"))
    assert ids(sockets(server(), files=files, agent=ROOT, qemus=(running,))) == [
        ("error", "socket-closed-to-qemu")]
    given = server(access=SocketAccess("libvirt-qemu"))
    assert ids(sockets(given, files=files, agent=ROOT, qemus=(Qemu(QEMU),))) == [("ok", "sockets")]


def test_directory_that_libvirts_qemu_makes_no_socket_in() -> None:
    (finding,) = sockets(client(), files=tree(), agent=ROOT, qemus=(Qemu(QEMU),))
    assert (finding.severity, finding.id) == ("warning", "socket-closed-to-qemu")
    assert finding.fix == "setfacl -m u:libvirt-qemu:wx /run/vm"


def test_a_thousand_ports_with_one_fault_are_one_finding() -> None:
    ports = [client(f"c{i}") for i in range(1000)]
    (finding,) = sockets(*ports, files=tree(FileFacts("/run/vm", errno.ENOENT)))
    assert finding.details[0].startswith("concerns ports c0, c1")


# --- the kernel -----------------------------------------------------------------------------------

NIC = "0000:06:00.0"
IDS = (0x8086, 0x10fb, 0x8086, 0x7a11)
IXGBE = replace(DPDK, drivers=(
    Driver("net_ixgbe", "f", "", "* igb_uio | uio_pci_generic | vfio-pci",
           ((0x8086, 0x10fb, 0xffff, 0xffff),)),
    Driver("net_mlx5", "f", "", "* ib_uverbs & mlx5_core & mlx5_ib",
           ((0x15b3, 0x1019, 0xffff, 0xffff),)),
    Driver("net_af_packet", "librte_net_af_packet.so", "iface=<string>")))
VFIO_FILES = {path: FileFacts(path, 0, "device", 0o666)
              for path in ("/dev/vfio/vfio", "/dev/vfio/9")}
VFIO_FILES |= {path: folder(path, 0o755) for path in ("/", "/dev", "/dev/vfio")}
NET = {"/": folder("/", 0o755), "/dev": folder("/dev", 0o755),
       "/dev/net": folder("/dev/net", 0o755),
       "/dev/vduse": FileFacts("/dev/vduse", errno.ENOENT),
       "/dev/vduse/control": FileFacts("/dev/vduse/control", errno.ENOENT),
       "/dev/net/tun": FileFacts("/dev/net/tun", 0, "device", 0o666)}


def kernel(*ports: PortSpec, loaded: str = "", loadable: frozenset[str] | None = None,
           groups: int = 0, files: dict[str, FileFacts] = NET, device: PciDevice | None = None,
           dpdk: DpdkFacts = IXGBE, agent: User = ROOT) -> list[Finding]:
    facts = Kernel("6.1.0", frozenset(loaded.split()), loadable, groups)
    return check_kernel.check(ports, facts, files, {NIC: device} if device else {}, dpdk, agent)


def nic(devargs: str = NIC) -> PortSpec:
    return port("up", EthDevice(devargs))


@pytest.mark.parametrize(("devargs", "address"), [
    ("0000:06:00.0", NIC), ("06:00.0", NIC), ("0000:06:00.0,txq_inline=1", NIC),
    ("pci:0000:06:00.0", NIC), ("net_null0", None), ("class=eth,mac=00:11", None)])
def test_pci_addresses_in_devargs(devargs: str, address: str | None) -> None:
    assert check_kernel.pci_address(devargs) == address


@pytest.mark.parametrize(("device", "loaded", "groups", "expected"), [
    (PciDevice(NIC), "", 0, [("error", "pci-device-missing")]),
    (PciDevice(NIC, True, (0x1234, 1, 0, 0)), "", 0, [("error", "driver-missing")]),
    (PciDevice(NIC, True, IDS, "ixgbe"), "ixgbe", 0,
     [("error", "kernel-module-missing"), ("error", "pci-device-not-bound")]),
    (PciDevice(NIC, True, IDS, "ixgbe"), "vfio_pci", 0, [("error", "pci-device-not-bound")]),
    (PciDevice(NIC, True, IDS), "vfio_pci", 0, [("error", "pci-device-not-bound")]),
    (PciDevice(NIC, True, IDS, "vfio-pci", "9"), "vfio_pci", 0, [("warning", "no-iommu")]),
    (PciDevice(NIC, True, IDS, "vfio-pci", "9"), "vfio_pci", 3, [("ok", "pci-device")]),
    (PciDevice(NIC, True, IDS, "uio_pci_generic"), "uio_pci_generic", 0, [("ok", "pci-device")]),
    (PciDevice(NIC, True, (0x15b3, 0x1019, 0, 0), "mlx5_core"), "mlx5_core", 0,
     [("error", "kernel-module-missing")]),
    (PciDevice(NIC, True, (0x15b3, 0x1019, 0, 0), "mlx5_core"), "mlx5_core mlx5_ib ib_uverbs", 0,
     [("ok", "pci-device")])])
def test_pci_devices(device: PciDevice, loaded: str, groups: int,
                     expected: list[tuple[str, str]]) -> None:
    assert ids(kernel(nic(), loaded=loaded, groups=groups, device=device,
                      files=VFIO_FILES)) == expected


def test_command_that_lends_a_device() -> None:
    found = kernel(nic(), loaded="vfio_pci", device=PciDevice(NIC, True, IDS, "ixgbe"))
    assert found[0].fix == f"dpdk-devbind.py --bind=vfio-pci {NIC}"


def test_group_of_a_device_that_the_agent_may_not_open() -> None:
    files = VFIO_FILES | {"/dev/vfio/9": FileFacts("/dev/vfio/9", 0, "device", 0o600)}
    found = kernel(nic(), loaded="vfio_pci", groups=3, files=files, agent=AGENT,
                   device=PciDevice(NIC, True, IDS, "vfio-pci", "9"))
    assert ids(found) == [("error", "device-closed")]
    assert found[0].fix == "setfacl -m u:agent:rw /dev/vfio/9"


def test_virtual_devices() -> None:
    assert ids(kernel(nic("net_af_packet0,iface=eth1"))) == [("ok", "driver")]
    assert ids(kernel(nic("net_af_paket0,iface=eth1"))) == [("error", "driver-missing")]


def test_taps() -> None:
    tap = port("br0", HostDevice("internal", "br0"))
    assert ids(kernel(tap)) == [("ok", "tap-devices")]
    assert ids(kernel(tap, agent=AGENT)) == [("error", "no-net-admin")]
    able = replace(AGENT, capabilities=1 << CAP_NET_ADMIN)
    assert ids(kernel(tap, agent=able)) == [("ok", "tap-devices")]
    gone = NET | {"/dev/net/tun": FileFacts("/dev/net/tun", errno.ENOENT)}
    (finding,) = kernel(tap, files=gone)
    assert finding.fix == "modprobe tun"
    assert kernel(port("eth1", HostDevice("system", "eth1")), files=gone) == []


def test_vduse_is_asked_for_by_ports_alone() -> None:
    vduse = client("v0", "/dev/vduse/v0")
    assert ids(kernel(vduse)) == [
        ("error", "vduse-not-in-dpdk"), ("error", "kernel-module-missing"),
        ("warning", "vdpa-bus-missing")]
    newer = replace(IXGBE, libraries={"librte_vhost.so.25": Library("/l", "librte_vhost.so.25",
                                                                    serves_vduse=True)})
    there = NET | {"/dev/vduse": folder("/dev/vduse", 0o755),
                   "/dev/vduse/control": FileFacts("/dev/vduse/control", 0, "device", 0o600)}
    assert ids(kernel(vduse, files=there, dpdk=newer, loaded="vduse virtio_vdpa")) == [
        ("ok", "vduse")]
    assert kernel(client()) == []


def test_module_that_this_kernel_does_not_have() -> None:
    found = kernel(client("v0", "/dev/vduse/v0"), loadable=frozenset({"tun"}))
    assert "kernel 6.1.0 has no module vduse" in found[1].title


# --- limits ---------------------------------------------------------------------------------------

def limits(number: int, descriptors: int | None = 1024, user: User = ROOT, locked: int = 0,
           words: tuple[str, ...] = (), *more: PortSpec) -> list[tuple[str, str]]:
    ports = [client(f"c{i}", f"/run/vm/{i}") for i in range(number)]
    return ids(check_limits.check([*ports, *more],
                                  Process(1, words, user, descriptors, locked), True))


def test_descriptors_against_ports() -> None:
    assert limits(100) == [("ok", "descriptors")]
    assert limits(200) == [("error", "descriptors-short")]
    assert limits(200, -1) == [("ok", "descriptors")]
    assert limits(0, None) == [("info", "not-seen")]
    assert limits(1023, -1) == [("ok", "descriptors"), ("error", "too-many-sockets")]


def test_locked_memory_is_asked_for_by_mlockall_and_physical_devices() -> None:
    assert limits(1, user=AGENT) == [("ok", "descriptors")]
    assert limits(1, 1024, AGENT, 0, ("--mlockall",)) == [
        ("ok", "descriptors"), ("error", "memlock-short")]
    able = replace(AGENT, capabilities=1 << CAP_IPC_LOCK)
    assert limits(1, 1024, able, 0, ("--mlockall",)) == [("ok", "descriptors")]
    assert limits(0, 1024, AGENT, 65536, (), nic()) == [
        ("ok", "descriptors"), ("warning", "memlock-short")]
    assert limits(0, 1024, AGENT, -1, (), nic()) == [("ok", "descriptors")]
