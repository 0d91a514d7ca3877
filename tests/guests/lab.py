"""Virtual machines on a bridge that the agent serves."""
from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import count
from typing import Any

import pytest

from tools.host import AGENT, Host, temporary_host, wait_until
from tools.qemu import Machine

# The section of the document, and what it promises there: one row of the table.
says = pytest.mark.document

PING = "/usr/bin/ping -n"           # by its path: busybox's shell prefers its own
NUMBERS = count(1)                  # of hosts: each has a directory of its own


class Lab:
    """A host that serves bridge br0, and virtual machines on its ports."""

    def __init__(self, host: Host, stack: ExitStack) -> None:
        self.host = host
        self.stack = stack
        self.machines: dict[str, Machine] = {}

    def add_port(self, name: str, *settings: str, client: bool = True) -> None:
        """A vhost-user port; 'settings' are more of the Interface: "mtu_request=9000"."""
        words = [f"type=dpdkvhostuser{'client' if client else ''}", *settings]
        if client:
            words.append(f"options:vhost-server-path={self.host.directory}/{name}")
        self.host.vsctl("add-port", "br0", name, "--", "set", "Interface", name, *words)

    def qemu_args(self, *words: str) -> list[str]:
        """What `vhost-agent qemu-args` prints, word for word."""
        return shlex.split(self.host.check(AGENT, "qemu-args", "--memory", "256M", *words))

    def machine(self, name: str, arguments: list[str], **more: Any) -> Machine:
        """A machine that is not started yet, and gone with the lab."""
        machine = Machine(name, self.host.directory, arguments, **more)
        self.stack.callback(machine.kill)
        self.machines[name] = machine
        return machine

    def boot(self, *names: str, options: tuple[str, ...] = (), more: tuple[str, ...] = (),
             change: tuple[str, str] | None = None, **settings: Any) -> list[Machine]:
        """Machines of these names, each on the port of its name, with an address each. 'options'
        are qemu-args', 'more' are QEMU's own, 'change' is a word to have in place of another."""
        machines = []
        for name in names:
            words = self.qemu_args(*options, name)
            if change is not None:
                assert any(change[0] in word for word in words)
                words = [word.replace(*change) for word in words]
            machines.append(self.machine(name, [*words, *more], **settings))
        for machine in machines:
            machine.start()
        for machine in machines:
            self.wait_up(machine)
        return machines

    def wait_up(self, machine: Machine, *settings: str) -> None:
        """It has booted and its eth0 is up, with its address ('address') and 'settings' of ip
        link; the agent says so, too."""
        machine.wait_ready()
        self.set_up(machine, *settings)

    def set_up(self, machine: Machine, *settings: str) -> None:
        machine.run(f"ip link set eth0 {' '.join(settings)} up; "
                    f"ip addr replace {self.address(machine)}/24 dev eth0")
        wait_until(partial(self.host.connected, machine.name), f"{machine.name} is connected")

    def address(self, machine: Machine) -> str:
        return f"10.30.0.{list(self.machines).index(machine.name) + 1}"

    def ping(self, source: Machine, target: Machine, *, number: int = 5, words: str = "") -> int:
        """How many of so many pings were answered. All are sent at once: for the last answers it
        waits an interval, or twice as long as the others took."""
        _, said = source.attempt(
            f"{PING} -c {number} -l {number} -i 2 -W 2 {words} {self.address(target)}")
        return received(said)


def received(said: str) -> int:
    """How many answers ping counted."""
    found = re.search(r"(\d+) received", said)
    return int(found[1]) if found else 0


@contextmanager
def new_lab(*agent_options: str, other_config: tuple[str, ...] = ()) -> Iterator[Lab]:
    with temporary_host(f"vhost-guests{next(NUMBERS)}") as host, ExitStack() as stack:
        host.start_ovsdb()
        host.enable_dpdk()
        if other_config:
            host.vsctl("--no-wait", "set", "Open_vSwitch", ".",
                       *(f"other_config:{setting}" for setting in other_config))
        host.start_agent(*agent_options)
        host.vsctl("add-br", "br0", "--", "set", "Bridge", "br0", "datapath_type=netdev")
        yield Lab(host, stack)
