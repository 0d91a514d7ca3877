"""`make demo`: the main job, end to end, with real packets.

A database, the agent, the two add-port commands of OVS's vhost-user quick example, two testpmd
guests with a network namespace each, a ping, a saturating burst, the commands a person would look
with, and an agent killed under traffic. Exit status 0 only when all of it worked.
"""
from __future__ import annotations

import shlex
import sys
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from tools.ending import interrupt_when_told_to_end
from tools.guest import Guest, GuestError, Namespace, is_listening
from tools.host import Host, HostError, temporary_host, wait_until
from tools.probe import Probe

PORTS = ("dpdkvhostclient0", "dpdkvhostclient1")
SOCKETS = tuple(Path("/tmp") / port for port in PORTS)
BURST_S = 3.0
BURST_LEAST_PACKETS = 10_000      # also where other programs have the cores
PINGS = 5
PROBE_PPS = 1000


class DemoError(Exception):
    """What the demo promises did not happen; the text is the one sentence to print."""


def say(text: str) -> None:
    print(f"\n# {text}", flush=True)


class Demo:
    """The steps, in the order in which they are shown."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.guests: list[Guest] = []
        self.namespaces: list[Namespace] = []

    def typed(self, command: str) -> str:
        """Runs a command as a person would type it, and shows it with its output."""
        print(f"$ {command}", flush=True)
        output = self.host.check(*shlex.split(command))
        print(output, end="" if not output or output.endswith("\n") else "\n", flush=True)
        return output

    def start_switch(self) -> None:
        say(f"A database and the agent, in {self.host.directory}")
        self.host.start_ovsdb()
        self.host.enable_dpdk()
        self.start_agent()
        self.typed("ovs-vsctl add-br br0 -- set Bridge br0 datapath_type=netdev")

    def start_agent(self) -> None:
        print("$ vhost-agent run --pidfile --log-file &", flush=True)
        self.host.start_agent("--pidfile", "--log-file")

    def add_ports(self) -> None:
        say("The two ports of the quick example")
        for port, path in zip(PORTS, SOCKETS, strict=True):
            self.typed(f"ovs-vsctl add-port br0 {port} -- set Interface {port} "
                       f"type=dpdkvhostuserclient options:vhost-server-path={path}")

    def start_guests(self, stack: ExitStack) -> None:
        say("Two guests: testpmd with a virtio-user device, each tied to a network namespace")
        for number, path in enumerate(SOCKETS):
            namespace = stack.enter_context(Namespace(
                name=f"vhostdemo{number}", mac=f"02:00:00:00:00:0{number + 1}",
                address=f"10.10.0.{number + 1}/24"))
            guest = stack.enter_context(Guest(
                name=f"guest{number}", socket=path, server=True, namespace=namespace,
                log=self.host.directory / f"guest{number}.log"))
            self.namespaces.append(namespace)
            self.guests.append(guest)
        for port, guest in zip(PORTS, self.guests, strict=True):
            guest.wait_ready()
            wait_until(partial(self.host.connected, port), f"link_state of {port} is up")
            print(f"{guest.name}: {guest.mac}, on {port}, link up", flush=True)

    def answers(self) -> bool:
        command = ["ping", "-c", "1", "-W", "1", self.namespaces[1].ip]
        return self.namespaces[0].run(command, capture_output=True).returncode == 0

    def ping(self) -> None:
        command = ["ping", "-c", str(PINGS), "-i", "0.2", "-W", "2", self.namespaces[1].ip]
        print(f"$ ip netns exec {self.namespaces[0].name} {' '.join(command)}", flush=True)
        done = self.namespaces[0].run(command, capture_output=True)
        print(done.stdout, end="", flush=True)
        if f"{PINGS} received" not in done.stdout:
            raise DemoError(f"not all of {PINGS} pings between the two guests were answered")

    def burst(self) -> None:
        say(f"A saturating burst: guest0 sends 64-byte frames for {BURST_S:g} s, guest1 takes them")
        sender, taker = self.guests
        for guest, words in ((taker, ["set fwd rxonly"]),
                             (sender, ["set fwd txonly", f"set eth-peer 0 {taker.mac}"])):
            for word in ("stop", "set portlist 0", *words):
                guest.command(word)
        sent_before = sender.port_stats()[0].tx_packets
        taken_before = taker.port_stats()[0].rx_packets
        taker.command("start")
        started = time.monotonic()
        sender.command("start")
        wait_until(lambda: time.monotonic() - started > BURST_S, "the burst is over")
        sender.command("stop")
        seconds = time.monotonic() - started
        sent = sender.port_stats()[0].tx_packets - sent_before
        taken = taker.port_stats()[0].rx_packets - taken_before
        for guest in self.guests:
            for word in ("stop", "set portlist 0,1", "set fwd io", "start"):
                guest.command(word)
        wait_until(lambda: self.host.statistic(PORTS[0], "rx_packets") >= sent,
                   "statistics show the burst")
        switched, delivered, dropped = (self.host.statistic(port, key) for port, key in (
            (PORTS[0], "rx_packets"), (PORTS[1], "tx_packets"), (PORTS[1], "tx_dropped")))
        print(f"The switch took {sent:,} packets from guest0, {sent / seconds / 1e6:.1f} million a "
              f"second.\nguest1 had room for {taken:,} of them; the others are counted as its "
              "ovs_tx_failure_drops.", flush=True)
        if taken < BURST_LEAST_PACKETS:
            raise DemoError(f"the burst brought only {taken} packets to guest1")
        if switched != delivered + dropped:
            raise DemoError(f"of {switched} packets received the counters show {delivered} sent "
                            f"and {dropped} dropped")

    def look(self) -> None:
        say("What a person would look with")
        self.typed("ovs-vsctl show")
        self.typed(f"ovs-vsctl get Interface {PORTS[0]} link_state status statistics")
        self.typed(f"ovs-vsctl get Interface {PORTS[0]} statistics:ovs_tx_retries")
        self.typed(f"ovs-vsctl get Interface {PORTS[1]} statistics:ovs_tx_retries "
                   "statistics:ovs_tx_failure_drops")
        table = self.typed("ovs-appctl -t vhost-agent fdb/show br0")
        for namespace in self.namespaces:
            if namespace.mac not in table:
                raise DemoError(f"fdb/show does not list {namespace.mac}")

    def kill_under_traffic(self) -> None:
        say(f"The agent is killed under traffic ({PROBE_PPS} numbered packets a second)")
        agent = self.host.agents[-1].pid
        with Probe(self.namespaces[0], self.namespaces[1], rate=PROBE_PPS) as probe:
            print(f"$ kill -9 {agent}", flush=True)
            self.host.kill_agent()
            self.start_agent()
            for port in PORTS:
                wait_until(partial(self.host.connected, port), f"{port} is connected")
            # until the guests' backlog is through, a ring may have no room for a ping
            wait_until(self.answers, "the guests reach each other again")
            self.ping()
            report = probe.stop()
        print(f"Both guests carried on. Of {report.sent} packets {report.lost} were lost; the "
              f"longest gap was {report.longest_gap_ms:.0f} ms.", flush=True)
        if report.gap_ended_by_seq is None or not report.received:
            raise DemoError("no packet came through after the agent was started again")
        if not all(guest.running for guest in self.guests):
            raise DemoError("a guest did not survive the agent's death")

    def run(self) -> None:
        with ExitStack() as stack:
            self.start_switch()
            self.add_ports()
            self.start_guests(stack)
            say("They reach each other")
            self.ping()
            self.burst()
            self.look()
            self.kill_under_traffic()


def main() -> int:
    for path in SOCKETS:
        if path.exists() and is_listening(path):
            print(f"demo: {path} is in use: another demo or guest runs on it", file=sys.stderr)
            return 1
    try:
        interrupt_when_told_to_end()
        with temporary_host("vhost-demo") as host:
            try:
                Demo(host).run()
            except (DemoError, HostError, GuestError, OSError) as e:
                print(f"demo: {e}", file=sys.stderr)
                print(host.output()[-3000:], file=sys.stderr)
                return 1
    except KeyboardInterrupt:
        print("demo: interrupted", file=sys.stderr)
        return 130
    say("All of it worked; nothing is left behind")
    return 0


if __name__ == "__main__":
    sys.exit(main())
