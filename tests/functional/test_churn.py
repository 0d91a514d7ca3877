"""A hundred random changes under traffic: no loss on an untouched pair, no deadlock, no leak."""
from __future__ import annotations

import os
import random
from functools import partial
from pathlib import Path

from tests.functional.conftest import Site
from tools.frontend import FrontEnd
from tools.host import Host, wait_until

CYCLES = 100
NAMES = [f"x{i}" for i in range(6)]


def threads_and_files(host: Host) -> tuple[int, int]:
    process = Path(f"/proc/{host.agents[-1].pid}")
    return len(os.listdir(process / "task")), len(os.listdir(process / "fd"))


class Churn:
    """Ports that come and go, with guests that come and go on them."""

    def __init__(self, site: Site, seed: int) -> None:
        self.site = site
        self.random = random.Random(seed)
        self.guests: dict[str, FrontEnd] = {}
        self.connects = 0

    def add(self, name: str) -> None:
        self.guests[name] = FrontEnd(str(self.site.host.directory / name), listen=True)
        self.site.add_port(name)

    def delete(self, name: str) -> None:
        guest = self.guests.pop(name)
        if self.random.random() < 0.5:
            guest.close()                           # the guest dies first, or finds out
        self.site.host.vsctl("del-port", name)
        guest.close()
        (self.site.host.directory / name).unlink()

    def reconnect(self, name: str) -> None:
        guest = self.guests[name]
        guest.close()
        guest.connect()
        wait_until(partial(self.site.host.connected, name), f"{name} is connected")
        self.connects += 1

    def step(self) -> None:
        name = self.random.choice(NAMES)
        if name not in self.guests:
            self.add(name)
        elif self.random.random() < 0.4:
            self.delete(name)
        else:
            self.reconnect(name)

    def end(self) -> None:
        for name in list(self.guests):
            self.delete(name)


def test_hundred_cycles(site: Site) -> None:
    site.guest("a")
    site.guest("b")
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    churn = Churn(site, seed)
    churn.add("x0")                                 # the library's threads start with the first
    churn.reconnect("x0")
    churn.end()
    assert site.ping("a", "b")
    for name in ("a", "b"):     # the agent keeps files of a guest's memory until it saw it used
        wait_until(lambda n=name: site.host.statistic(n, "rx_packets") > 2, f"{name} was looked at")
    before = threads_and_files(site.host)
    in_use = site.host.appctl("memory/show")
    assert "packet-buffers-in-use:0 " in in_use
    with site.probe("a", "b") as probe:
        for _ in range(CYCLES):
            churn.step()
        churn.end()
        report = probe.stop()
    assert churn.connects > 10
    assert report.sent > 1000
    assert report.lossless, f"{report}\n{site.drops()}"
    wait_until(lambda: threads_and_files(site.host) == before, f"threads, files back at {before}")
    assert site.ping("a", "b")
    wait_until(lambda: site.host.appctl("memory/show") == in_use,
               f"slots, PMDs and packet buffers back at {in_use}")
    assert site.host.vsctl("list-ports", "br0").split() == ["a", "b"]
