"""`make soak`: hours of changes under traffic, and whether anything grew or was lost.

An agent with two steady neighbours that send each other numbered frames all the time. Beside them,
in rounds: random changes (tools/soak_churn.py), then all of them are taken away and a sample is
taken, so that samples can be compared to the last descriptor. What is judged, and what is allowed,
is in tools/soak_numbers.py. The polling thread has the last core, all else the others.

Exit status 0 when nothing grew and nothing was lost, 1 with a sentence for each that is not so.
Ctrl-C ends it with the report so far, and with 130 when that is good.
"""
from __future__ import annotations

import json
import os
import platform
import random
import shutil
import socket
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from subprocess import SubprocessError

import click

from agent.machine import free_hugepage_bytes
from tools.bench_numbers import run_and_wait_ns, table
from tools.bench_switches import machine
from tools.ending import interrupt_when_told_to_end
from tools.guest import last_cpu
from tools.host import Host, HostError, temporary_host, wait_until
from tools.soak_churn import ATTACH_S, Churn
from tools.soak_numbers import (
    MIB,
    QUANTITIES,
    Sample,
    Soak,
    Traffic,
    document,
    faults,
    rollup_mib,
    trends,
    with_unit,
)
from tools.soak_traffic import Neighbours

STEADY = ("steady0", "steady1")         # a server port and a client port
METRICS_PORT = 9108                     # in the host's own network namespace
DPDK_MEGABYTES = 1024                   # reserved at the start, whatever else uses hugepages
PACE_S = 0.15                           # between changes, at least; longer where they take longer
SETTLE_S, STILL_S = 10.0, 1.5           # for what a removal leaves for later
ROUNDS, SHORTEST_ROUND_S, LONGEST_ROUND_S = 30, 2.0, 15.0       # unless told
SAY_EVERY_S = 60.0


class Observer:
    """Takes samples of an agent. All that is counted is read from the outside."""

    def __init__(self, host: Host, steps: int) -> None:
        """'steps' were done before."""
        self._host = host
        self._process = Path(f"/proc/{host.agents[-1].pid}")
        self._settled = self.counts()
        self._steps = steps
        self._log, self._main_ms = self._spent()

    def counts(self) -> dict[str, float]:
        """What is exactly as much as before once all is as before."""
        host = self._host
        descriptors = len(os.listdir(self._process / "fd"))     # before we are connected, too
        usage = dict(word.split(":") for word in host.appctl("memory/show").split())
        return {
            "descriptors": descriptors,
            "threads": len(os.listdir(self._process / "task")),
            "packet_buffers": int(usage["packet-buffers-in-use"]), "ports": int(usage["ports"]),
            "devices": len(host.netns.call(socket.if_nameindex)),
            "files": len(os.listdir(host.directory))}

    def sample(self, at_s: float, steps: int, traffic: Traffic) -> Sample:
        """Waits until counts are those of the sample before, or others that stay, for a while."""
        now, since = self.counts(), time.monotonic()
        deadline = since + SETTLE_S
        while now != self._settled and time.monotonic() < min(since + STILL_S, deadline):
            time.sleep(0.1)
            before, now = now, self.counts()
            since = since if now == before else time.monotonic()
        self._settled = now
        rollup = (self._process / "smaps_rollup").read_text()
        memory = json.loads(self._host.appctl("vhost/state"))["memory"]
        log, main_ms = self._spent()
        since = max(1, steps - self._steps)
        values: dict[str, float] = {
            **self._settled,
            "own_mib": rollup_mib(rollup, "Anonymous"), "rss_mib": rollup_mib(rollup, "Rss"),
            "hugepages_mib": rollup_mib(rollup, "Private_Hugetlb", "Shared_Hugetlb"),
            "heap_mib": memory["used_bytes"] / MIB,
            "log_per_step": (log - self._log) / since,
            "main_ms_per_step": (main_ms - self._main_ms) / since}
        self._log, self._main_ms, self._steps = log, main_ms, steps
        return Sample(at_s, steps, traffic.received, values)

    def _spent(self) -> tuple[int, float]:
        """Bytes of log, and ms of the main thread, since the start."""
        main = self._process / "task" / self._process.name / "schedstat"
        return ((self._host.directory / "vhost-agent.log").stat().st_size,
                run_and_wait_ns(main.read_text())[0] / 1e6)


class Run:
    """One run on a host. ``soak`` is what it brought so far, at any time."""

    def __init__(self, host: Host, seed: int, about: Mapping[str, object], core: int) -> None:
        """'core': of the polling thread."""
        self.host, self.core = host, core
        self.about = {**about, "seed": seed}
        self.churn = Churn(host, seed, STEADY[0], METRICS_PORT)
        self.samples: list[Sample] = []
        self.traffic = Traffic()
        self.broken: list[str] = []
        self._started = time.monotonic()
        self._said = 0.0

    def start(self) -> None:
        host = self.host
        host.start_ovsdb()
        host.enable_dpdk("")
        host.vsctl("--no-wait", "set", "Open_vSwitch", ".",
                   f"other_config:dpdk-socket-mem={DPDK_MEGABYTES}",
                   f"other_config:pmd-cpu-mask={1 << self.core:x}")
        host.start_agent("--log-file", "-vconsole:off", f"--metrics=127.0.0.1:{METRICS_PORT}")
        host.vsctl("add-br", "br0", "--", "set", "Bridge", "br0", "datapath_type=netdev",
                   "--", "add-port", "br0", STEADY[0], "--", "set", "Interface", STEADY[0],
                   "type=dpdkvhostuser", "--", "add-port", "br0", STEADY[1], "--", "set",
                   "Interface", STEADY[1], "type=dpdkvhostuserclient",
                   f"options:vhost-server-path={host.directory}/{STEADY[1]}")

    def run(self, seconds: float, every_s: float, after_each: Callable[[], None] = lambda: None
            ) -> None:
        """Rounds for so long, with a sample so often. What goes wrong ends it and is in ``broken``;
        KeyboardInterrupt ends it, too, and is passed on. ``soak`` has all that was seen."""
        with ExitStack() as stack:
            directory = self.host.directory
            neighbours = stack.enter_context(Neighbours(*(directory / name for name in STEADY)))
            try:
                neighbours.wait_ready()
                for name in STEADY:
                    wait_until(partial(self.host.connected, name), f"{name} is connected", ATTACH_S)
                self.churn.every_kind()
                self.churn.rest()
                observer = Observer(self.host, self.churn.steps)
                self._started = time.monotonic()
                while self.elapsed < seconds:
                    self.round(every_s, observer, neighbours)
                    after_each()
            except (HostError, OSError, SubprocessError) as e:
                self.broken.append(self._why(e))
            finally:
                with suppress(HostError, OSError):
                    self.traffic = neighbours.end()
                if count := self._tracebacks():
                    self.broken.append(f"The agent logged {count} internal errors.")

    def round(self, seconds: float, observer: Observer, neighbours: Neighbours) -> None:
        """Changes for so long, and a sample at rest."""
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            began = time.monotonic()
            self.churn.step()
            time.sleep(max(PACE_S, time.monotonic() - began))
        self.churn.rest()
        self.traffic = neighbours.so_far()
        self.samples.append(observer.sample(self.elapsed, self.churn.steps, self.traffic))
        if self.elapsed - self._said >= SAY_EVERY_S:
            self._said = self.elapsed
            print(progress(self.samples[-1], self.traffic), flush=True)

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self._started

    @property
    def soak(self) -> Soak:
        return Soak(self.about, self.elapsed, dict(self.churn.done), self.churn.slowest,
                    self.samples, self.traffic, self.broken)

    def _tracebacks(self) -> int:
        log = (self.host.directory / "vhost-agent.log").read_text(errors="replace")
        return (log + self.host.output()).count("Traceback (most recent call last)")

    def _why(self, error: Exception) -> str:
        status = self.host.agents[-1].poll() if self.host.agents else None
        ended = "" if status is None else f" The agent has ended with status {status}."
        return f"After {self.elapsed:.0f} s, {self.churn.steps} changes: {error}.{ended}"


def progress(sample: Sample, traffic: Traffic) -> str:
    values = sample.values
    return (f"{sample.at_s:6.0f} s: {sample.steps:,} changes, {traffic.received:,} frames, "
            f"{values['descriptors']:.0f} descriptors, {values['threads']:.0f} threads, "
            f"{values['rss_mib']:.1f} MiB, {values['heap_mib']:.2f} MiB of DPDK's heap")


def report(soak: Soak) -> str:
    rows = [(each.quantity.title, *(with_unit(value, each.quantity) for value in (
        each.first, each.last, each.growth, each.tolerance))) for each in trends(soak.samples)]
    traffic = soak.traffic
    lines = [
        f"{soak.seconds:,.0f} s, {sum(soak.steps.values()):,} changes: " + ", ".join(
            f"{count:,} {kind}" for kind, count in sorted(soak.steps.items())) +
        f"; the slowest: {soak.slowest[1]}, {soak.slowest[0]:.1f} s",
        f"{traffic.sent:,} numbered frames, {traffic.lost:,} lost, {traffic.duplicated:,} twice; "
        f"the switch kept none for longer than about {traffic.longest_wait_ms:.1f} ms",
        table(("", "after the warm-up", "at the end", "trend", "allowed"), rows)]
    if rows and (left := [quantity.title for quantity in QUANTITIES[len(rows):]]):
        lines.append(f"from {len(soak.samples)} samples not judged: {', '.join(left)}")
    return "\n".join(lines)


@click.command(help=__doc__)
@click.option("--seconds", type=click.FloatRange(1), default=3600.0, show_default=True)
@click.option("--every", "every_s", type=click.FloatRange(0.1), default=None,
              help="Seconds of changes before each sample; 15, or less in a run of minutes.")
@click.option("--seed", type=int, default=None, help="Of the choices; a random one unless given.")
@click.option("--json", "path", type=click.Path(dir_okay=False, path_type=Path),
              default=Path("build/soak.json"), show_default=True)
def main(seconds: float, every_s: float | None, seed: int | None, path: Path) -> None:
    if free_hugepage_bytes() < DPDK_MEGABYTES * MIB:
        raise click.ClickException(f"{DPDK_MEGABYTES} MiB of hugepages are needed, and not free")
    interrupt_when_told_to_end()
    if seed is None:
        seed = random.randrange(1 << 32)
    print(f"seed {seed}", flush=True)
    about = {"machine": machine(), "kernel": platform.release(), "load_before": os.getloadavg()[0]}
    cores, core = os.sched_getaffinity(0), last_cpu()
    if len(cores) > 1:
        os.sched_setaffinity(0, cores - {core})             # and of all that is started here
    if every_s is None:
        every_s = min(max(seconds / ROUNDS, SHORTEST_ROUND_S), LONGEST_ROUND_S)
    path.parent.mkdir(parents=True, exist_ok=True)
    status = 0
    try:
        with temporary_host("vhost-soak") as host:
            run = Run(host, seed, about, core)
            try:
                run.start()
                run.run(seconds, every_s, lambda: write(run.soak, path))
            except KeyboardInterrupt:
                status = 130
            except (HostError, OSError, SubprocessError) as e:
                run.broken.append(f"It did not start: {e}")
            write(run.soak, path)
            print(report(run.soak))
            if found := faults(run.soak):
                status = 1
                print(*(f"soak: {each}" for each in (*found, host.output()[-3000:])), sep="\n",
                      file=sys.stderr)
                with suppress(FileNotFoundError):
                    log = shutil.copy(host.directory / "vhost-agent.log", path.with_suffix(".log"))
                    print(f"soak: the agent's log is in {log}", file=sys.stderr)
    except (KeyboardInterrupt, HostError) as e:
        print(f"soak: interrupted while cleaning up: {e!r}", file=sys.stderr)
        status = 1
    sys.exit(status)


def write(soak: Soak, path: Path) -> None:
    """In place of what is there, whole at any time."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps(document(soak), indent=1) + "\n")
    new.replace(path)


if __name__ == "__main__":
    main()
