"""QEMU and libvirt against what OVS's document on vhost-user ports demands of them: pure."""
from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from agent.finding import ERROR, INFO, OK, WARNING, Finding
from agent.host_values import Kernel, Program, version_text
from agent.model import PortSpec, Registration

Demand = tuple[tuple[int, ...], str, str]       # least version, severity below it, for what

VHOST: Demand = ((2, 2), ERROR, "vhost-user ports")
CLIENT: Demand = ((2, 7), ERROR, "ports of type dpdkvhostuserclient")
IOMMU: Demand = ((2, 9, 1), ERROR, "vhost-iommu-support (2.7 to 2.9.0 answer its messages wrongly)")
POSTCOPY: Demand = ((2, 12), ERROR, "vhost-postcopy-support")
POSTCOPY_BETTER: Demand = ((3, 0, 1), WARNING, "vhost-postcopy-support that recovers from a "
                           "failed migration")
RINGS: Demand = ((2, 7), WARNING, "rx_queue_size=1024, for guests that are late now and then")
LIBVIRT_RINGS: Demand = ((2, 3), WARNING, "rx_queue_size='1024' of an <interface>")
POSTCOPY_KERNEL = (4, 11)
NUMBERS = re.compile(r"(\d+)\.(\d+)")


def demands(ports: Sequence[PortSpec]) -> list[Demand]:
    """Of QEMU, by what ports have."""
    devices = [port.device for port in ports if isinstance(port.device, Registration)]
    found = [VHOST, RINGS]
    if any(device.client for device in devices):
        found.append(CLIENT)
    if any(device.iommu for device in devices):
        found.append(IOMMU)
    if any(device.postcopy for device in devices):
        found += [POSTCOPY, POSTCOPY_BETTER]
    return found


def check(programs: Sequence[Program], ports: Sequence[PortSpec], kernel: Kernel) -> list[Finding]:
    found: list[Finding] = []
    for program in programs:
        found += one(program, demands(ports) if program.name == "QEMU" else [LIBVIRT_RINGS])
    if not any(program.name == "QEMU" for program in programs):
        found.append(Finding("no-qemu", INFO, "QEMU is not installed", "virtual machines on this "
                             "host need it; containers and other front ends do not",
                             "apt-get install qemu-system-x86"))
    if any(isinstance(p.device, Registration) and p.device.postcopy for p in ports):
        found += userfault(kernel)
    return found


def one(program: Program, wanted: Sequence[Demand]) -> Iterator[Finding]:
    if not program.version:
        yield Finding("not-seen", INFO, f"the version of {program.name} is not known: "
                      f"{program.problem}", "nothing is said of it")
        return
    said = f"{program.name} {version_text(program.version)}"
    old = [(least, severity, what) for least, severity, what in wanted if program.version < least]
    for least, severity, what in old:
        yield Finding("program-old", severity, f"{said} is older than {version_text(least)}",
                      f"that is needed for {what}", f"apt-get install {package(program)}")
    if not old:
        most = max(wanted)
        yield Finding("program", OK, f"{said}: {version_text(most[0])} or newer is asked for",
                      details=tuple(f"{version_text(least)} for {what}"
                                    for least, _, what in wanted))


def package(program: Program) -> str:
    return "qemu-system-x86" if program.name == "QEMU" else "libvirt-daemon-system"


def userfault(kernel: Kernel) -> Iterator[Finding]:
    match = NUMBERS.match(kernel.release)
    if match and (int(match[1]), int(match[2])) < POSTCOPY_KERNEL:
        yield Finding("kernel-old", ERROR, f"kernel {kernel.release} is older than "
                      f"{version_text(POSTCOPY_KERNEL)}", "vhost-postcopy-support needs its "
                      "userfaultfd for hugepages", "apt-get install linux-image-amd64")
