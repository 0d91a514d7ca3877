"""`make gap`: how long guests of client ports are without a switch when the agent dies.

Two testpmd guests, of which one sends numbered packets to the other all the while; the agent gets
SIGKILL and is started again at once, over and over, and then others that run with --monitor, which
starts them again, as the service does. The gap is what the receiver saw, from the last packet
before to the first after; its parts are told apart by the agent's log.
"""
from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from pathlib import Path

import click

from tools.bench_numbers import spread, table
from tools.ending import interrupt_when_told_to_end
from tools.guest import Guest, GuestError, Namespace
from tools.host import Host, HostError, temporary_host, wait_until
from tools.probe import Probe, ProbeReport

RESTARTS = 10
RATE_PPS = 1000
PORTS = ("vm0", "vm1")
LOG = "vhost-agent.log"
AS_SERVICE = ("nice", "-n", "-10")      # of vhost-agent.service

# Each part ends when a line like this is logged; the first when the process is gone, the last with
# the gap.
DIED, LOADED, SEEN, STARTED, SERVED = (
    "died, killed", "connecting\\.\\.\\.", "DPDK Enabled - initializing",
    "DPDK Enabled - initialized", f"device '{PORTS[-1]}' created")
PARTS = {
    "died": "the old process ends, its memory is unmapped",
    "loaded": "Python starts, and loads what DPDK's start needs",
    "seen": "the database is connected and read",
    "started": "DPDK starts",
    "served": "the rest is loaded, ports are registered",
    "back": "guests connect again, to the first packet",
}
OURS = ("loaded", "seen", "served")     # the others are the kernel's, DPDK's and the guests'
Measured = tuple[ProbeReport, dict[str, float]]


def logged_ms(log: str, line: str, since_s: float) -> float:
    """When a line that matches was first logged, since a time of day (UTC)."""
    match = re.search(rf"^(\S+)Z\|[^\n]*{line}", log, re.MULTILINE)
    if match is None:
        raise HostError(f"the agent logged no line like '{line}'")
    at = datetime.fromisoformat(match[1]).replace(tzinfo=UTC).timestamp()
    return 1000 * (at - since_s)


def parts(log: str, killed_s: float, died_ms: float | None, gap_ms: float) -> dict[str, float]:
    """Milliseconds of each of PARTS. Without 'died_ms' the log of --monitor tells it."""
    if died_ms is None:
        died_ms = logged_ms(log, DIED, killed_s)
    ends = [0.0, died_ms,
            *(logged_ms(log, line, killed_s) for line in (LOADED, SEEN, STARTED, SERVED)), gap_ms]
    return {part: end - begin for part, (begin, end) in zip(PARTS, pairwise(ends), strict=True)}


class Site:
    """The host, its two guests, and what was measured."""

    def __init__(self, host: Host, stack: ExitStack) -> None:
        self._host = host
        host.start_ovsdb()
        host.enable_dpdk()
        self._start()
        host.vsctl("add-br", "br0", "--", "set", "Bridge", "br0", "datapath_type=netdev")
        self._namespaces = []
        for number, port in enumerate(PORTS):
            path = host.directory / f"{port}.sock"
            host.vsctl("add-port", "br0", port, "--", "set", "Interface", port,
                       "type=dpdkvhostuserclient", f"options:vhost-server-path={path}")
            namespace = stack.enter_context(Namespace(
                name=f"vhostgap{number}", mac=f"02:00:00:00:00:0{number + 1}",
                address=f"10.10.0.{number + 1}/24"))
            guest = stack.enter_context(Guest(
                name=port, socket=path, server=True, namespace=namespace,
                log=host.directory / f"{port}.log"))
            guest.wait_ready()
            self._namespaces.append(namespace)
        self._wait_connected()

    def _wait_connected(self) -> None:
        for port in PORTS:
            wait_until(partial(self._host.connected, port), f"{port} is connected")
        wait_until(self._answers, "the guests reach each other")

    def _answers(self) -> bool:
        command = ["ping", "-c", "1", "-W", "1", self._namespaces[1].ip]
        return self._namespaces[0].run(command, capture_output=True).returncode == 0

    def _start(self, *options: str) -> None:
        self._host.start(*AS_SERVICE, *self._host.agent_command(), "run", "--log-file", *options)

    def killed(self) -> Measured:
        """SIGKILL to the agent, which is started again at once, under traffic."""
        def kill() -> float:
            begun = time.monotonic()
            self._host.kill_agent()
            died_ms = 1000 * (time.monotonic() - begun)
            self._start()
            return died_ms

        return self._measure(kill)

    def killed_monitored(self) -> Measured:
        """SIGKILL to an agent that runs with --monitor, under traffic. Another one each time:
        the monitor starts none again within ten seconds."""
        self._host.kill_agent()
        self._start("--monitor")
        self._wait_connected()
        monitor = self._host.agents[-1]

        def agent() -> int:
            children = Path(f"/proc/{monitor.pid}/task/{monitor.pid}/children").read_text()
            return int(children.split()[0])

        measured = self._measure(lambda: os.kill(agent(), signal.SIGKILL))
        os.kill(agent(), signal.SIGTERM)            # which ends the monitor, too
        monitor.wait()
        self._host.agents.remove(monitor)
        self._start()
        self._wait_connected()
        return measured

    def _measure(self, end: Callable[[], float | None]) -> Measured:
        """'end' makes the agent die; it returns how many milliseconds that took, if it knows."""
        log = self._host.directory / LOG
        with Probe(*self._namespaces, rate=RATE_PPS) as probe:
            begun = time.monotonic()
            wait_until(lambda: time.monotonic() - begun > 1, "traffic flows for a second")
            os.truncate(log, 0)
            killed_s = time.time()
            died_ms = end()
            wait_until(lambda: re.search(SERVED, log.read_text()), "ports are served")
            self._wait_connected()
            report = probe.stop()
        return report, parts(log.read_text(), killed_s, died_ms, report.longest_gap_ms)


def rows(measured: list[dict[str, float]], gaps: list[float]) -> list[list[str]]:
    def row(title: str, whose: str, values: list[float]) -> list[str]:
        return [title, whose, str(spread(values))]

    by_part: Mapping[str, list[float]] = {part: [m[part] for m in measured] for part in PARTS}
    return [*(row(title, "agent" if part in OURS else "", by_part[part])
              for part, title in PARTS.items()),
            row("the agent's own share", "", [sum(m[part] for part in OURS) for m in measured]),
            row("the gap", "", gaps)]


def say(title: str, done: list[Measured]) -> None:
    reports = [report for report, _ in done]
    print(table([title, "whose", "ms"], rows(
        [measured for _, measured in done], [report.longest_gap_ms for report in reports])))
    print(f"\nMedian (least..most) of {len(done)}. Of {sum(report.sent for report in reports):,} "
          f"packets {sum(report.lost for report in reports):,} were lost, "
          f"{sum(report.duplicated for report in reports):,} came twice.\n")


@click.command()
@click.option("--restarts", type=click.IntRange(1), default=RESTARTS, show_default=True,
              help="How often the agent dies, of each way.")
def main(restarts: int) -> None:
    """Measures how long guests are without a switch when the agent dies."""
    if os.geteuid() != 0:
        raise click.ClickException("network namespaces need root")
    interrupt_when_told_to_end()
    load = os.getloadavg()[0]
    with temporary_host("vhost-gap") as host, ExitStack() as stack:
        try:
            site = Site(host, stack)
            done: dict[str, list[Measured]] = {}
            for title, die in (("from SIGKILL on", site.killed),
                               ("from SIGKILL on, with --monitor", site.killed_monitored)):
                done[title] = []
                for number in range(restarts):
                    report, _ = measured = die()
                    done[title].append(measured)
                    print(f"{title}, {number + 1} of {restarts}: {report.longest_gap_ms:.0f} ms",
                          file=sys.stderr, flush=True)
        except (HostError, GuestError, OSError) as e:
            raise click.ClickException(f"{e}\n{host.output()[-2000:]}") from e
    print(f"Under {RATE_PPS} packets a second, on {len(os.sched_getaffinity(0))} cores; load "
          f"average before: {load:.2f}.\n")
    for title, all_measured in done.items():
        say(title, all_measured)


if __name__ == "__main__":
    main()
