"""`make profile`: where a PMD thread's time goes while guests send all they can.

One agent with ports of type dpdkvhostuser and one PMD thread on the last core; the load and all
else share the first. perf samples the thread twice: before guests send anything, and while they do.
"""
from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from tools.bench_numbers import run_and_wait_ns, table
from tools.cores import distance
from tools.ending import interrupt_when_told_to_end
from tools.guest import DIE_WITH_PARENT, last_cpu
from tools.host import Host, HostError, temporary_host, wait_until
from tools.load import MOST_ENDPOINTS, TEMPLATE_BYTES, Load, LoadError, Run, Stream
from tools.profile_stages import Cycles, Place, pmd_cycles, rows, shares, stages, unknown
from tools.profile_symbols import output, parse_maps, parse_samples, places

WARM_S = 1.0                    # rings and MAC tables are as they stay
SILENT_S = 1.0
MARGIN_S = 3.0                  # the load runs longer than it is looked at: commands wait for it
MAC_TABLE = 8192                # addresses: as without a word
FREQUENCY = 4000                # samples a second
NAMED = 0.001                   # share of all samples from which on an unknown place is named


@dataclass(frozen=True, slots=True)
class Plan:
    """What is sent, and who runs where."""

    ports: int
    bytes: int
    macs: int
    flows: int
    seconds: float
    first_cpu: int
    last_cpu: int

    @property
    def streams(self) -> list[Stream]:
        """From each port to the next, from the last to the first: with two in both directions."""
        return [Stream(source=port, destination=(port + 1) % self.ports, bytes=self.bytes,
                       macs=self.macs, flows=self.flows) for port in range(self.ports)]


class Window:
    """The PMD's own account of the time in which it is sampled under load."""

    def __init__(self, host: Host, plan: Plan, schedstat: Path) -> None:
        self._host = host
        self._plan = plan
        self._schedstat = schedstat
        self.cycles = Cycles(0, 0, 0)
        self.waited = 0.0           # part of the time in which the thread was ready without a core

    def measure(self) -> None:
        self._host.appctl("dpif-netdev/pmd-stats-clear")
        ran, waited = run_and_wait_ns(self._schedstat.read_text())
        time.sleep(self._plan.seconds)      # the measurement itself, no waiting for something
        ran_since, waited_since = run_and_wait_ns(self._schedstat.read_text())
        self.cycles = pmd_cycles(self._host.appctl("dpif-netdev/pmd-stats-show"),
                                 self._plan.last_cpu)
        if not self.cycles.packets:
            raise HostError("the PMD thread received nothing")
        ran, waited = ran_since - ran, waited_since - waited
        self.waited = waited / max(1, ran + waited)


@dataclass(frozen=True, slots=True)
class Profile:
    """What was measured."""

    event: str
    silent: list[Place]
    loaded: list[Place]
    window: Window              # of 'loaded'
    run: Run


# --- perf -----------------------------------------------------------------------------------------

class Perf:
    """perf record on a thread, told when to begin and to end."""

    def __init__(self, thread: int, data: Path, log: Path) -> None:
        self._data = data
        self._log = log
        theirs, self._tell = os.pipe()
        self._answers, theirs_back = os.pipe()
        with log.open("wb") as errors:
            # without hardware counters it takes cpu-clock by itself
            self._process = subprocess.Popen(
                [*DIE_WITH_PARENT, "perf", "record", "--quiet", "--no-buildid", "--event=cycles",
                 f"--freq={FREQUENCY}", f"--tid={thread}", "--delay=-1",
                 f"--control=fd:{theirs},{theirs_back}", f"--output={data}"],
                pass_fds=(theirs, theirs_back), stdin=subprocess.DEVNULL, stdout=errors,
                stderr=errors)
        os.close(theirs)
        os.close(theirs_back)

    def wait_ready(self) -> None:
        """HostError when it cannot sample."""
        self._ask("ping")

    def during(self, work: Callable[[], None]) -> None:
        """Samples while 'work' runs, and ends."""
        self._ask("enable")
        work()
        self._ask("disable")
        os.write(self._tell, b"stop\n")
        if self._process.wait(30) != 0:
            raise HostError(f"perf: {self._log.read_text(errors='replace')}")

    def places(self, maps: str) -> list[Place]:
        script = output("perf", "script", f"--input={self._data}", "--fields=ip,sym,dso")
        return places(parse_samples(script), parse_maps(maps))

    def event(self) -> str:
        """What it counted."""
        return output("perf", "evlist", f"--input={self._data}").split()[0]

    def close(self) -> None:
        for pipe in (self._tell, self._answers):
            os.close(pipe)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def _ask(self, word: str) -> None:
        try:
            os.write(self._tell, f"{word}\n".encode())
            answered = os.read(self._answers, 64)
        except BrokenPipeError:
            answered = b""
        if not answered.startswith(b"ack"):
            raise HostError(f"perf: {self._log.read_text(errors='replace')}")


@contextmanager
def perf(thread: int, host: Host, name: str) -> Iterator[Perf]:
    recorder = Perf(thread, host.directory / f"{name}.data", host.directory / f"{name}.log")
    try:
        recorder.wait_ready()
        yield recorder
    finally:
        recorder.close()


# --- the measurement ------------------------------------------------------------------------------

def start(host: Host, plan: Plan) -> int:
    """Serves the ports; returns the agent's process id."""
    host.start_ovsdb()
    host.enable_dpdk()
    host.vsctl("--no-wait", "set", "Open_vSwitch", ".",
               f"other_config:pmd-cpu-mask={1 << plan.last_cpu:x}")
    agent = host.start_agent()
    host.vsctl("add-br", "br0", "--", "set", "Bridge", "br0", "datapath_type=netdev",
               f"other_config:mac-table-size={max(MAC_TABLE, plan.ports * plan.macs * 5 // 4)}")
    for number in range(plan.ports):
        host.vsctl("add-port", "br0", f"p{number}", "--", "set", "Interface", f"p{number}",
                   "type=dpdkvhostuser")
    return agent.pid


def pmd_thread(pid: int, core: int) -> int:
    name = f"pmd-c{core:02}"
    found = [int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()
             if (task / "comm").read_text().strip() == name]
    if len(found) != 1:
        raise HostError(f"the agent has {len(found)} threads {name}")
    return found[0]


def measure(host: Host, plan: Plan) -> Profile:
    pid = start(host, plan)
    ports = [f"p{number}" for number in range(plan.ports)]
    with Load(sockets=[host.directory / port for port in ports], cpu=plan.first_cpu,
              log=host.directory / "load.log") as load:
        wait_until(lambda: all(host.connected(port) for port in ports), "the guests are there")
        thread = pmd_thread(pid, plan.last_cpu)
        with perf(thread, host, "silent") as silent, perf(thread, host, "loaded") as loaded:
            silent.during(lambda: time.sleep(SILENT_S))     # the measurement itself
            load.begin(plan.streams, plan.seconds + MARGIN_S, WARM_S)
            ends = time.monotonic() + WARM_S + plan.seconds + MARGIN_S
            time.sleep(WARM_S)
            window = Window(host, plan, Path(f"/proc/{pid}/task/{thread}/schedstat"))
            loaded.during(window.measure)
            if time.monotonic() > ends:
                raise HostError("the load ended while it was looked at: the machine is too busy")
            run = load.result()
            maps = Path(f"/proc/{pid}/maps").read_text()
            return Profile(loaded.event(), silent.places(maps), loaded.places(maps), window, run)


# --- the whole ------------------------------------------------------------------------------------

def arrived(run: Run) -> float:
    """The share of what was sent."""
    return (sum(stream.received for stream in run.streams)
            / max(1, sum(stream.after.sent - stream.before.sent for stream in run.streams)))


def show(plan: Plan, profile: Profile, before: int, after: int) -> None:
    """'before' and 'after': how far the two cores were from each other then."""
    window, run = profile.window, profile.run
    cycles, whole = window.cycles, arrived(run)
    print(f"\n{plan.ports} ports, {plan.bytes} bytes, addresses at each end: {plan.macs}, "
          f"flows: {plan.flows}; PMD thread on core {plan.last_cpu}, load on core "
          f"{plan.first_cpu}.\n"
          f"A word takes {before} cycles from one core to the other before, {after} after.\n"
          f"{run.rate / 1e6:.2f} million packets/s arrived, {100 * whole:.1f} % of all; the load "
          f"was idle for {100 * run.idle:.1f} % of the time.\n"
          f"The PMD was in rounds with packets for {100 * cycles.busy_share:.1f} % of its time, "
          f"and waited for a core for {100 * window.waited:.1f} %.\n"
          f"{len(profile.loaded)} samples of {profile.event}.")
    if run.wrong:
        print(f"WRONG: {run.wrong}")
    loaded = stages(profile.loaded)
    parts = shares(loaded, stages(profile.silent), cycles.busy_share)
    each = cycles.used * (1 - window.waited) / max(1, cycles.packets * whole)
    heads = ["stage", "% of samples", "% of time", "cycles per packet"]
    print("\n" + table(heads, rows(loaded, parts, each)), flush=True)
    others = [f"{place} {100 * n / len(profile.loaded):.1f} %"
              for place, n in unknown(profile.loaded).most_common()
              if n >= NAMED * len(profile.loaded)]
    if others:
        print(f"\nother: {', '.join(others)}", flush=True)


@click.command()
@click.option("--ports", type=click.IntRange(2, MOST_ENDPOINTS), default=2, show_default=True,
              help="Each sends to the next, the last to the first.")
@click.option("--bytes", "size", type=click.IntRange(TEMPLATE_BYTES, 2030), default=64,
              show_default=True, help="Length of a frame, without FCS.")
@click.option("--macs", type=click.IntRange(1), default=1, show_default=True,
              help="Addresses at each end that take turns.")
@click.option("--flows", type=click.IntRange(1), default=1, show_default=True,
              help="Pairs of UDP ports that take turns in each direction.")
@click.option("--seconds", type=click.FloatRange(1), default=5, show_default=True)
def main(ports: int, size: int, macs: int, flows: int, seconds: float) -> None:
    """Samples a PMD thread under load and says what each stage takes of its time."""
    if os.geteuid() != 0:
        raise click.ClickException("polling threads on cores of their own need root")
    plan = Plan(ports=ports, bytes=size, macs=macs, flows=flows, seconds=seconds,
                first_cpu=min(os.sched_getaffinity(0)), last_cpu=last_cpu())
    try:
        interrupt_when_told_to_end()
        os.sched_setaffinity(0, {plan.first_cpu})       # and of all that is started here
        before = distance(plan.last_cpu)
        with temporary_host("vhost-profile") as host:
            try:
                profile = measure(host, plan)
            except (HostError, LoadError, OSError, ValueError, subprocess.SubprocessError) as e:
                raise click.ClickException(f"{e}\n{host.output()[-2000:]}") from e
    except KeyboardInterrupt:
        print("profile: interrupted", file=sys.stderr)
        sys.exit(130)
    show(plan, profile, before, distance(plan.last_cpu))


if __name__ == "__main__":
    main()
