"""Guests with many queues, and everything about their queues changed under traffic."""
from __future__ import annotations

import os
import random
import time

from tests.functional.conftest import Site
from tools.frontend import FrontEnd
from tools.guest import Guest
from tools.host import Host, wait_until

CORES = sorted(os.sched_getaffinity(0))[-2:]
BOTH, FIRST, SECOND = (hex(sum(1 << core for core in cores)) for cores in (
    CORES, CORES[:1], CORES[1:]))
QUEUES = 4
CHANGES, CHANGE_S = 200, 0.1


def pause(seconds: float) -> None:
    until = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() >= until, "time passes")


def config(host: Host, **settings: str | None) -> None:
    """other_config of the whole agent; None removes a key."""
    for key, value in settings.items():
        name = key.replace("_", "-")
        if value is None:
            host.vsctl("remove", "Open_vSwitch", ".", "other_config", name)
        else:
            host.vsctl("set", "Open_vSwitch", ".", f'other_config:{name}="{value}"')


def queue_counters(host: Host, port: str, direction: str) -> list[int]:
    host.look()
    statistics = host.interface(port, "statistics")
    return [statistics[f"{direction}_q{q}_good_packets"] for q in range(QUEUES)]


def test_four_queues_on_two_pmds_all_carry_and_add_up(site: Site) -> None:
    host = site.host
    config(host, pmd_cpu_mask=BOTH)
    for name, mode in (("b", "rxonly"), ("a", "txonly")):
        site.add_port(name)
        host.vsctl("set", "Interface", name, "other_config:tx-steering=hash")
        guest = site.guests[name] = Guest(
            name=name, socket=host.directory / name, server=True, queues=QUEUES,
            log=host.directory / f"{name}.log", mac=f"02:00:00:00:00:0{name}", forward=mode,
            extra=["--txonly-multi-flow", "--eth-peer=0,02:00:00:00:00:0b"])
        site.stack.enter_context(guest)
        site.wait_ready(name)
    # what the row says may be of the connection before testpmd started its device anew
    wait_until(lambda: [host.interface(name, "status").get("n_rxq") for name in "ab"] == ["4", "4"],
               "both guests have their queues")
    shown = host.appctl("dpif-netdev/pmd-rxq-show")
    for core in CORES:                              # each of the two has two of a guest's queues
        block = shown.partition(f"core_id {core}:")[2].partition("pmd thread")[0]
        assert [block.count(f"port: {name} ") for name in "ab"] == [2, 2], shown
    wait_until(lambda: min(queue_counters(host, "a", "rx")) > 1000
               and min(queue_counters(host, "b", "tx")) > 1000, "every queue carries")
    site.guests["a"].command("stop")

    def settled() -> bool:
        before = host.counted("b", "tx_packets")
        pause(0.1)              # what is on its way arrives within microseconds
        return host.counted("b", "tx_packets") == before
    wait_until(settled, "all packets are where they went", timeout_s=60)
    sent = site.guests["a"].port_stats()[0].tx_packets
    a, b = host.interface("a", "statistics"), host.interface("b", "statistics")
    assert sum(queue_counters(host, "a", "rx")) == a["rx_packets"] == sent
    assert sum(queue_counters(host, "b", "tx")) == b["tx_packets"]
    assert sent == b["tx_packets"] + b["ovs_tx_failure_drops"]
    received = site.guests["b"].port_stats()[0].rx_packets
    assert received == b["tx_packets"]


class Changes:
    """One thing about queues or PMDs after the other, at random."""

    def __init__(self, site: Site, front_end: FrontEnd, seed: int) -> None:
        self.host = site.host
        self.front_end = front_end
        self.random = random.Random(seed)
        self.done: dict[str, int] = {}

    def step(self) -> None:
        change = self.random.choice([self.toggle, self.toggle, self.mask, self.algorithm,
                                     self.affinity, self.steering, self.rest, self.rebalance,
                                     self.come_back])
        change()
        name = change.__name__
        self.done[name] = self.done.get(name, 0) + 1

    def toggle(self) -> None:
        for _ in range(self.random.randrange(1, 5)):
            self.front_end.enable(self.random.randrange(1, QUEUES), self.random.random() < 0.5)

    def mask(self) -> None:
        """Without pins: a PMD that a queue is pinned to polls no others, and it may be the only."""
        self.host.vsctl("remove", "Interface", "c", "other_config", "pmd-rxq-affinity", "--",
                        "set", "Open_vSwitch", ".", "other_config:pmd-cpu-mask="
                        + self.random.choice([BOTH, BOTH, FIRST, SECOND]))

    def algorithm(self) -> None:
        config(self.host, pmd_rxq_assign=self.random.choice(["cycles", "roundrobin", "group"]))

    def affinity(self) -> None:
        """Some queues pinned to one core of the two, or to one that is not there."""
        core = self.random.choice([*CORES, 99])
        pins = ",".join(f"{q}:{core}" for q in range(self.random.randrange(1, 5)))
        self.host.vsctl("set", "Open_vSwitch", ".", f"other_config:pmd-cpu-mask={BOTH}", "--",
                        "set", "Interface", "c", f'other_config:pmd-rxq-affinity="{pins}"')

    def steering(self) -> None:
        self.host.vsctl("set", "Interface", "c",
                        f"other_config:tx-steering={self.random.choice(['hash', 'thread'])}")

    def rest(self) -> None:
        config(self.host, pmd_idle_mode=self.random.choice(["block", "poll"]),
               pmd_sleep_max=self.random.choice(["0", "100", None]))

    def rebalance(self) -> None:
        self.host.appctl("dpif-netdev/pmd-rxq-rebalance")

    def come_back(self) -> None:
        if self.random.random() < 0.5:
            self.front_end.close()                  # as if killed, in the middle of a change
        else:
            self.front_end.stop()
        self.front_end.connect()


def test_two_hundred_changes_lose_nothing_on_a_port_they_are_not_about(site: Site) -> None:
    host = site.host
    site.guest("a")
    site.guest("b")
    site.add_port("c")
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    with FrontEnd(str(host.directory / "c"), listen=True, queues=QUEUES) as front_end:
        front_end.connect()
        changes = Changes(site, front_end, seed)
        with site.probe("a", "b") as probe:
            for _ in range(CHANGES):
                now = time.monotonic()
                changes.step()
                pause(now + CHANGE_S - time.monotonic())
            report = probe.stop()
    assert len(changes.done) == 8, changes.done
    assert report.sent > 50 * CHANGES
    assert report.lossless, f"{report}\n{changes.done}\n{site.drops()}"
    assert report.longest_gap_ms < 1000, report
    config(host, pmd_cpu_mask=None, pmd_idle_mode=None, pmd_sleep_max=None, pmd_rxq_assign=None)
    host.vsctl("clear", "Interface", "c", "other_config")
    assert site.ping("a", "b")
    wait_until(lambda: "packet-buffers-in-use:0 " in host.appctl("memory/show"),
               "no packet buffer is left behind")
    assert "pmds:1 " in host.appctl("memory/show")
