"""Limits of the agent's process against its ports: pure."""
from __future__ import annotations

from collections.abc import Iterator, Sequence

from agent.check_kernel import pci_addresses
from agent.finding import ERROR, INFO, OK, WARNING, Finding
from agent.host_values import CAP_IPC_LOCK, Process
from agent.model import PortSpec, Registration

ALWAYS = 128                        # descriptors of DPDK, the database, logs
PER_QUEUE = 3                       # of a guest's queue
QUEUES = 2                          # of a guest with one pair
SOCKETS_MOST = 1022                 # librte_vhost's 1024, less the agent's own


def check(ports: Sequence[PortSpec], process: Process, runs: bool) -> list[Finding]:
    """'process' is the agent's, or this one in place of it when none 'runs'."""
    return [*descriptors(ports, process, runs), *sockets(ports), *locked(ports, process, runs)]


def whose(runs: bool) -> str:
    return "the agent" if runs else "this shell, and an agent that is started from it,"


def descriptors(ports: Sequence[PortSpec], process: Process, runs: bool) -> Iterator[Finding]:
    most = process.descriptors
    if most is None:
        yield Finding("not-seen", INFO, f"the limits of process {process.pid} cannot be seen",
                      "nothing is said of descriptors", "sudo vhost-agent doctor")
        return
    guests = sum(isinstance(port.device, Registration) for port in ports)
    needed = ALWAYS + len(ports) + guests * QUEUES * PER_QUEUE
    details = (f"one for a port and {PER_QUEUE} for each queue of a guest; counted are guests "
               "with one pair of queues",)
    if most != -1 and most < needed:
        yield Finding(
            "descriptors-short", ERROR, f"{whose(runs)} may have {most} files open, {len(ports)} "
            f"ports need about {needed}", "guests cannot connect when they are used up",
            f"systemctl edit vhost-agent      # LimitNOFILE={round_up(needed)}; in a shell: "
            f"ulimit -Hn {round_up(needed)}", details)
    else:
        said = "any number of" if most == -1 else str(most)
        who = f"{len(ports)} ports need" if ports else "the agent needs"
        yield Finding("descriptors", OK, f"{said} files may be open, {who} about {needed}",
                      details=details)


def round_up(number: int) -> int:
    """With room for more queues, and more ports."""
    return 1 << (2 * number).bit_length()


def sockets(ports: Sequence[PortSpec]) -> Iterator[Finding]:
    number = sum(isinstance(port.device, Registration) for port in ports)
    if number > SOCKETS_MOST:
        yield Finding("too-many-sockets", ERROR, f"{number} ports want a vhost-user socket",
                      f"DPDK serves {SOCKETS_MOST} in one process besides the agent's own; the "
                      "others have an error", "ovs-vsctl del-port PORT")


def locked(ports: Sequence[PortSpec], process: Process, runs: bool) -> Iterator[Finding]:
    """Memory that is locked: all of it with --mlockall, and what a device may write to."""
    everything = runs and process.has("--mlockall")
    if not everything and not pci_addresses(ports):
        return
    user, most = process.user, process.locked_bytes
    if user is None or user.may(CAP_IPC_LOCK) or most in (None, -1):
        return
    yield Finding(
        "memlock-short", ERROR if everything else WARNING,
        f"{whose(runs)} may lock {most // 1024 if most else 0} KiB of memory",
        "--mlockall locks all of it" if everything else
        "memory that a physical device writes to is locked",
        "systemctl edit vhost-agent      # LimitMEMLOCK=infinity; in a shell: ulimit -Hl unlimited")
