"""Modules and devices of the kernel that ports of the database need, and no others: pure."""
from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from agent.check_dpdk import drivers_of, modules_asked, vhost_library
from agent.dpdk_values import DpdkFacts
from agent.eth_values import EthDevice
from agent.finding import ERROR, INFO, OK, WARNING, Finding
from agent.host_model import SYSTEM, HostDevice
from agent.host_values import (
    CAP_NET_ADMIN,
    READ,
    SEARCH,
    WRITE,
    FileFacts,
    Kernel,
    PciDevice,
    User,
)
from agent.model import PortSpec, Registration
from agent.reach import CLOSED, MISSING, UNSEEN, obstacle, opening
from agent.vduse import is_vduse

TUN, VDUSE_CONTROL, VFIO = "/dev/net/tun", "/dev/vduse/control", "/dev/vfio/vfio"
PCI_ADDRESS = re.compile(r"(?:pci:)?([0-9a-fA-F]{4}:)?([0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7])"
                         r"(?:,.*)?")
VIRTUAL = re.compile(r"(?:vdev:)?(net_[a-z_]+?)_?\d*(?:,.*)?")
TAKERS = "vfio_pci", "igb_uio", "uio_pci_generic"      # modules that take a device for a program


def pci_address(devargs: str) -> str | None:
    """The whole address that DPDK's words for a device begin with."""
    match = PCI_ADDRESS.fullmatch(devargs)
    return None if match is None else f"{match[1] or '0000:'}{match[2]}".lower()


def pci_addresses(ports: Sequence[PortSpec]) -> dict[str, str]:
    """{port: address}"""
    return {port.name: address for port in ports if isinstance(port.device, EthDevice)
            and (address := pci_address(port.device.devargs)) is not None}


def device_files(ports: Sequence[PortSpec], groups: Sequence[str] = ()) -> list[str]:
    """Files that the agent opens for these ports; 'groups' are those of their PCI devices."""
    found = []
    if taps(ports):
        found.append(TUN)
    if vduse(ports):
        found.append(VDUSE_CONTROL)
    if pci_addresses(ports):
        found += [VFIO, *(f"/dev/vfio/{group}" for group in groups if group)]
    return found


def taps(ports: Sequence[PortSpec]) -> list[str]:
    return [port.name for port in ports
            if isinstance(port.device, HostDevice) and port.device.kind != SYSTEM]


def vduse(ports: Sequence[PortSpec]) -> list[str]:
    return [port.name for port in ports
            if isinstance(port.device, Registration) and is_vduse(port.device.path)]


def check(ports: Sequence[PortSpec], kernel: Kernel, files: Mapping[str, FileFacts],
          devices: Mapping[str, PciDevice], dpdk: DpdkFacts, agent: User) -> list[Finding]:
    """'files' has all device_files(), 'devices' all pci_addresses()."""
    found: list[Finding] = []
    if names := taps(ports):
        found += tap_ports(names, kernel, files, agent)
    if names := vduse(ports):
        found += vduse_ports(names, kernel, files, dpdk, agent)
    for port in ports:
        if isinstance(port.device, EthDevice):
            address = pci_address(port.device.devargs)
            found += (virtual(port.name, port.device.devargs, dpdk) if address is None else
                      physical(port.name, devices[address], kernel, files, dpdk, agent))
    return found


def whom(names: Sequence[str]) -> tuple[str, ...]:
    return (f"concerns {'ports' if len(names) > 1 else 'port'} {', '.join(names)}",)


def file_problem(path: str, module: str, names: Sequence[str], kernel: Kernel,
                 files: Mapping[str, FileFacts], agent: User) -> Iterator[Finding]:
    """Of a device's file that a module makes."""
    stop = obstacle(files, path, agent, READ | WRITE)
    if stop is None:
        return
    why = "the agent needs it for these ports"
    if stop.kind == MISSING:
        loadable = kernel.loadable
        lacking = "" if loadable is None or module in loadable else (
            f": kernel {kernel.release} has no module {module}")
        yield Finding("kernel-module-missing", ERROR, f"{path} is not there{lacking}",
                      f"module {module} makes it; {why}", f"modprobe {module}", whom(names))
    elif stop.kind == CLOSED:
        yield Finding("device-closed", ERROR, stop.text, why, opening(
            stop, agent, READ | WRITE if stop.at == path else SEARCH), whom(names))
    elif stop.kind == UNSEEN:
        yield Finding("not-seen", INFO, stop.text, "nothing is said of it",
                      "sudo vhost-agent doctor")


def tap_ports(names: Sequence[str], kernel: Kernel, files: Mapping[str, FileFacts], agent: User
              ) -> Iterator[Finding]:
    bad = list(file_problem(TUN, "tun", names, kernel, files, agent))
    if not bad and not agent.may(CAP_NET_ADMIN):
        bad.append(Finding(
            "no-net-admin", ERROR, f"user {agent.name} has no CAP_NET_ADMIN",
            "the agent makes devices of the host for bridges and ports of type internal and tap",
            "systemctl edit vhost-agent       # AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW",
            whom(names)))
    yield from bad or [Finding("tap-devices", OK, f"{TUN}: the agent may make devices of the host",
                               details=whom(names))]


def vduse_ports(names: Sequence[str], kernel: Kernel, files: Mapping[str, FileFacts],
                dpdk: DpdkFacts, agent: User) -> Iterator[Finding]:
    library = vhost_library(dpdk)
    bad = []
    if library is not None and not library.serves_vduse:
        bad.append(Finding("vduse-not-in-dpdk", ERROR, f"{library.soname} knows no VDUSE",
                           "ports with a path below /dev/vduse need DPDK 24.11", None, whom(names)))
    bad += file_problem(VDUSE_CONTROL, "vduse", names, kernel, files, agent)
    if not {"virtio_vdpa", "vhost_vdpa"} & kernel.loaded:
        bad.append(Finding(
            "vdpa-bus-missing", WARNING, "neither module virtio_vdpa nor vhost_vdpa is loaded",
            "'vdpa dev add' gives a VDUSE device to nobody without one of them",
            "modprobe virtio_vdpa", whom(names)))
    yield from bad or [Finding("vduse", OK, "VDUSE: DPDK and the kernel have it",
                               details=whom(names))]


def virtual(port: str, devargs: str, dpdk: DpdkFacts) -> Iterator[Finding]:
    """A device of a name that a driver has to know."""
    match = VIRTUAL.fullmatch(devargs)
    if match is None or not dpdk.drivers:
        return
    name = match[1]
    driver = next((driver for driver in dpdk.drivers if driver.name == name), None)
    if driver is None:
        yield Finding("driver-missing", ERROR, f"DPDK has no driver {name} here, which port {port} "
                      "names", "the port has no device", f"ls {dpdk.plugins}")
    else:
        arguments = " ".join(driver.params.split())
        yield Finding("driver", OK, f"port {port}: driver {name} is in {driver.file}",
                      details=(f"arguments: {arguments}",) if arguments else ())


def physical(port: str, device: PciDevice, kernel: Kernel, files: Mapping[str, FileFacts],
             dpdk: DpdkFacts, agent: User) -> Iterator[Finding]:
    """A PCI device: a driver of DPDK's has to know it, and a module of the kernel to lend it."""
    if not device.there:
        yield Finding("pci-device-missing", ERROR, f"no PCI device {device.address} is here, which "
                      f"port {port} names", "the port has no device", "lspci -D | grep -i ethernet")
        return
    known = drivers_of(device.ids, dpdk.drivers)
    ids = f"{device.ids[0]:04x}:{device.ids[1]:04x}"
    if dpdk.drivers and not known:
        yield Finding("driver-missing", ERROR, f"no driver of DPDK's knows PCI device "
                      f"{device.address} ({ids}) of port {port}", "the port has no device",
                      f"lspci -nn -s {device.address}")
        return
    yield from lent(port, device, kernel, files, dpdk, agent)


def lent(port: str, device: PciDevice, kernel: Kernel, files: Mapping[str, FileFacts],
         dpdk: DpdkFacts, agent: User) -> Iterator[Finding]:
    """Whether the kernel's modules are as the device's driver needs them."""
    known = drivers_of(device.ids, dpdk.drivers)
    kmod = next((driver.kmod for driver in known if driver.kmod), "")
    wanted = [[module.replace("-", "_") for module in together] for together in modules_asked(kmod)]
    bound = device.driver.replace("-", "_")
    if not wanted or any(bound in together for together in wanted):
        if any(module not in kernel.loaded for together in wanted if bound in together
               for module in together):
            yield missing_modules(port, device, wanted, kernel)
        elif bound == "vfio_pci":
            yield from vfio(port, device, kernel, files, agent)
        else:
            yield Finding("pci-device", OK, f"port {port}: {device.address} is there, with module "
                          f"{device.driver or 'none'}", details=tuple(d.name for d in known))
        return
    usable = [together for together in wanted if all(m in kernel.loaded for m in together)]
    if not usable:
        yield missing_modules(port, device, wanted, kernel)
    taker = next((m for together in usable or wanted for m in together if m in TAKERS), None)
    if taker is not None:
        yield Finding(
            "pci-device-not-bound", ERROR, f"PCI device {device.address} of port {port} is with "
            f"{device.driver or 'no module of the kernel'}", "DPDK gets it only from "
            + " or ".join("+".join(together) for together in wanted),
            f"dpdk-devbind.py --bind={taker.replace('_', '-') if taker == 'vfio_pci' else taker} "
            f"{device.address}")


def missing_modules(port: str, device: PciDevice, wanted: Sequence[Sequence[str]], kernel: Kernel
                    ) -> Finding:
    best = next((t for t in wanted if "vfio_pci" in t), wanted[0])
    modules = [module for module in best if module not in kernel.loaded]
    return Finding(
        "kernel-module-missing", ERROR, f"the kernel has not loaded {', '.join(modules)}, which "
        f"DPDK's driver of {device.address} needs", f"port {port} has no device without",
        f"modprobe -a {' '.join(modules)}")


def vfio(port: str, device: PciDevice, kernel: Kernel, files: Mapping[str, FileFacts], agent: User
         ) -> Iterator[Finding]:
    bad = []
    if not kernel.iommu_groups:
        bad.append(Finding(
            "no-iommu", WARNING, f"there is no IOMMU, and PCI device {device.address} of port "
            f"{port} is with vfio-pci", "vfio-pci lends a device only behind an IOMMU, unless told "
            "to do without, when the device may write anywhere",
            "grubby --update-kernel=ALL --args='intel_iommu=on iommu=pt'     # then reboot"))
    paths = [VFIO, *([f"/dev/vfio/{device.iommu_group}"] if device.iommu_group else [])]
    for path in paths:
        bad += file_problem(path, "vfio_pci", [port], kernel, files, agent)
    yield from bad or [Finding("pci-device", OK, f"port {port}: {device.address} is there, with "
                               "vfio-pci")]
