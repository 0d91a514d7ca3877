"""Real guests: testpmd behind virtio-user, each with a network namespace inside."""
from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

import pytest

from tools.guest import Guest, Namespace
from tools.host import Host, wait_until
from tools.probe import Probe


class Site:
    """A served bridge br0 and the guests on it."""

    def __init__(self, host: Host, stack: ExitStack) -> None:
        self.host = host
        self.stack = stack
        self.guests: dict[str, Guest] = {}
        self.namespaces: dict[str, Namespace] = {}

    def add_port(self, name: str, client: bool = True) -> None:
        words = ["add-port", "br0", name, "--", "set", "Interface", name,
                 f"type=dpdkvhostuser{'client' if client else ''}"]
        if client:
            words.append(f"options:vhost-server-path={self.host.directory}/{name}")
        self.host.vsctl(*words)

    def guest(self, name: str, *, client: bool = True, port: bool = True) -> Guest:
        """A port, unless it is there, and a running guest on it with a namespace of its own."""
        number = len(self.namespaces) + 1
        if port and not client:
            self.add_port(name, client)
        self.namespaces[name] = self.stack.enter_context(Namespace(
            name=f"vt{os.getpid() % 100_000}{name}"[:13], mac=f"02:00:00:00:01:{number:02x}",
            address=f"10.20.0.{number}/24"))
        guest = self.guests[name] = self.stack.enter_context(Guest(
            name=name, socket=self.host.directory / name, server=client,
            log=self.host.directory / f"{name}.log", namespace=self.namespaces[name]))
        if port and client:         # a guest that listens is connected at once, not within a second
            guest.wait_listening()
            self.add_port(name)
        self.wait_ready(name)
        return guest

    def wait_ready(self, *names: str) -> None:
        for name in names:
            self.guests[name].wait_ready()
            wait_until(partial(self.host.connected, name), f"{name} is connected")

    def ping(self, source: str, target: str, count: int = 3, within_s: int = 2) -> bool:
        # All at once: for the last it waits an interval, or twice as long as the others took.
        done = self.namespaces[source].run(
            ["ping", "-c", str(count), "-l", str(count), "-i", str(within_s), "-W", str(within_s),
             self.namespaces[target].ip], capture_output=True)
        print(done.stdout)              # shown when a test fails
        return f"{count} received" in done.stdout

    def cut_off(self, source: str, target: str) -> bool:
        """Whether no answer comes, for a thousand times as long as one takes.

        The source forgets whom it asked for in vain: it would ask three times and then, for as
        long as a second, fail whatever waits for the answer, reachable or not.
        """
        answered = self.ping(source, target, count=1, within_s=1)
        self.namespaces[source].forget_neighbours()
        return not answered

    def arrived(self, name: str) -> int:
        """Packets that came to a namespace so far."""
        return int(self.namespaces[name].run(
            ["cat", "/sys/class/net/eth0/statistics/rx_packets"], capture_output=True).stdout)

    def drops(self) -> str:
        """Where packets went missing: the switch's counters and the guests' own."""
        lines = [f"{name}: {self.host.appctl('memory/show').strip()} "
                 f"{self.host.interface(name, 'statistics')}" for name in self.guests]
        lines += [guest.command("show fwd stats all") for guest in self.guests.values()
                  if guest.running]
        return "\n".join(lines)

    def probe(self, source: str, target: str, rate: int = 500) -> Probe:
        """A ring has room for a second of it: on a busy machine a polling thread waits for the CPU
        for two thirds of one now and then."""
        return Probe(self.namespaces[source], self.namespaces[target], rate=rate)


@pytest.fixture
def site(served: Host) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(served, stack)
