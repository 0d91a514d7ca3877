"""Whole virtual machines on the agent's ports, and the table of what was seen with them.

A test names the place in the document and what it says there (`says`); its docstring tells how it
is shown. Parameters may stand in both, as in str.format.
"""
from __future__ import annotations

import inspect
import re
import shlex
import textwrap
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tools.host import AGENT, Host, temporary_host, wait_until
from tools.qemu import Machine

PING = "/usr/bin/ping -n"           # by its path: busybox's shell prefers its own
NUMBERS = count(1)                  # of hosts: each has a directory of its own
WIDTHS = (26, 46, 62)               # of the table's columns of words


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

    def boot(self, *names: str, options: tuple[str, ...] = (), **more: Any) -> list[Machine]:
        """Machines of these names, each on the port of its name, with an address each."""
        machines = [self.machine(name, self.qemu_args(*options, name), **more) for name in names]
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
        """How many of so many pings were answered."""
        _, said = source.attempt(f"{PING} -c {number} -i 0.2 -W 2 {words} {self.address(target)}")
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


@pytest.fixture
def lab() -> Iterator[Lab]:
    with new_lab() as lab:
        yield lab


# --- the table ------------------------------------------------------------------------------------

def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "document(section, promise): what the document says where")


says = pytest.mark.document


def row_of(item: pytest.Item) -> tuple[str, str, str]:
    """Section, promise and how it is shown, of a test."""
    mark = item.get_closest_marker("document")
    assert mark is not None, f"{item.nodeid} says of nothing what the document promises"
    section, promise = mark.args
    how = inspect.getdoc(getattr(item, "function", None))
    assert how, f"{item.nodeid} does not say how it shows that"
    given = item.callspec.params if hasattr(item, "callspec") else {}
    section, promise, how = (text.format(**given) for text in (section, promise, how))
    return section, promise, " ".join(how.split())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.user_properties.append(("row", row_of(item)))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Each test's row, in the order in which they ran, with its result and seconds."""
    rows: dict[str, tuple[tuple[str, str, str], str, float]] = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            row = dict(getattr(report, "user_properties", ())).get("row")
            if row is None or not isinstance(report, pytest.TestReport):
                continue                # what -k left out is an item, without a result
            _, result, seconds = rows.get(report.nodeid, (row, "passed", 0.0))
            if report.outcome != "passed":
                result = report.outcome
            rows[report.nodeid] = (row, result, seconds + report.duration)
    if not rows:
        return
    terminalreporter.section("what the document says, and what was seen")
    write = terminalreporter.write_line
    write(line(("section", "what it says", "how it was shown"), "result", "s"))
    for words, result, seconds in rows.values():
        columns = [textwrap.wrap(text, width) for text, width in zip(words, WIDTHS, strict=True)]
        for number in range(max(map(len, columns))):
            cells = tuple(column[number] if number < len(column) else "" for column in columns)
            write(line(cells, *((result, f"{seconds:.0f}") if number == 0 else ("", ""))),
                  red=result != "passed")
    passed = sum(result == "passed" for _, result, _ in rows.values())
    write(f"{passed} of {len(rows)} rows passed")


def line(cells: tuple[str, ...], result: str, seconds: str) -> str:
    words = "  ".join(f"{cell:{width}}" for cell, width in zip(cells, WIDTHS, strict=True))
    return f"{words}  {result:7} {seconds:>4}".rstrip()
