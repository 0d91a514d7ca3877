"""`make bench-idle`: what a PMD thread takes at rest, and what that costs when a packet comes.

One agent with two ports and one PMD thread on the last core; guests and everything else share the
first. The three ways to rest are set in turn while it runs, once in each round. What each case
means is in docs/performance.md.
"""
from __future__ import annotations

import gc
import json
import os
import random
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import click

from tools.bench_numbers import Case, beside, medians, percentile, run_and_wait_ns, table
from tools.ending import interrupt_when_told_to_end
from tools.frontend import FrontEnd, ethernet
from tools.guest import Guest, GuestError, last_cpu
from tools.host import Host, HostError, temporary_host, wait_until

SLEEP_MAX_US = 100
MODES = {"poll": {}, "sleep": {"pmd-sleep-max": str(SLEEP_MAX_US)},
         "block": {"pmd-idle-mode": "block"}}
KEYS = ("pmd-sleep-max", "pmd-idle-mode")
PORTS = ("p0", "p1")
SENDER, TAKER = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
THERE, BACK = ethernet(TAKER, SENDER), ethernet(SENDER, TAKER)
GAP_S = (0.002, 0.020)          # between single frames: a PMD blocks after 0.5 ms
RING = 256                      # as long as the guests' rings are
BURST, BURST_EVERY_S = 32, 0.001
DISTURBED = 1.0                 # percent of its time that a measurement may lack a core; waking
                                # thousands of times a second takes up to 0.7
TURNS = 3                       # of the modes under a saturating guest, within a round
LOST_AFTER_NS = 2 * 10**9

ALONE_PMD = Case("alone_pmd", "no guest connected: PMD thread", "% of a core")
ALONE_MAIN = Case("alone_main", "no guest connected: main thread", "% of a core")
REST_PMD = Case("rest_pmd", "two silent guests: PMD thread", "% of a core")
REST_MAIN = Case("rest_main", "two silent guests: main thread", "% of a core")
SINGLE_50 = Case("single_50", "a single frame, one way: p50", "us")
SINGLE_99 = Case("single_99", "a single frame, one way: p99", "us")
SHOWING_50 = Case("showing_50", "of it, the guest shows it and kicks: p50", "us")
FINDING_50 = Case("finding_50", "of it, the other's look that finds it: p50", "us")
SINGLE_PMD = Case("single_pmd", "single frames: PMD thread", "% of a core")
BURSTS = Case("bursts", f"{BURST} frames every ms: bursts that were sent", "1/s")
BURSTS_PMD = Case("bursts_pmd", f"{BURST} frames every ms: PMD thread", "% of a core")
FULL = Case("full", "a saturating guest", "M packets/s")
CASES = (ALONE_PMD, ALONE_MAIN, REST_PMD, REST_MAIN, SINGLE_50, SINGLE_99, SHOWING_50, FINDING_50,
         SINGLE_PMD, BURSTS, BURSTS_PMD, FULL)
RATIO = (FULL,)                 # beside poll; of the others the difference says more

T = TypeVar("T")
Results = dict[str, dict[str, list[list[float]]]]       # case -> mode -> round -> samples


@dataclass(frozen=True, slots=True)
class Plan:
    """The same for all modes."""

    rounds: int
    rest_s: float
    frames: int                     # sent one by one, in each mode and round
    load_s: float
    tries: int                      # that a measurement may take to be one without a disturbance
    first_cpu: int
    last_cpu: int
    load: float                     # of the machine before, by whatever else ran on it


@dataclass(frozen=True, slots=True)
class Trip:
    """A frame on its way, in microseconds since its guest was about to show it to the switch."""

    shown: float                    # and the switch kicked, if it asked for that
    looked: float                   # when the look began that found it
    arrived: float


@dataclass(frozen=True, slots=True)
class Shares:
    """Percent of some time in which a thread was on a core, or was ready to run and had none."""

    pmd: float
    main: float
    pmd_waited: float
    own_waited: float               # of the guests here; beside testpmd it always does


# --- what is looked at ----------------------------------------------------------------------------

class Threads:
    """The two threads of an agent whose time is measured."""

    def __init__(self, pid: int, core: int) -> None:
        tasks = Path(f"/proc/{pid}/task")
        name = f"pmd-c{core:02}"
        found = [task for task in tasks.iterdir() if (task / "comm").read_text().strip() == name]
        if len(found) != 1:
            raise HostError(f"the agent has {len(found)} threads {name}")
        self._pmd, self._main = found[0] / "schedstat", tasks / str(pid) / "schedstat"
        self._own = Path("/proc/thread-self/schedstat")

    def during(self, work: Callable[[], T]) -> tuple[T, Shares]:
        """What 'work' returns, and what the threads had of its time."""
        before, since = self._times(), time.monotonic_ns()
        value = work()
        after, took = self._times(), time.monotonic_ns() - since
        return value, Shares(*(100 * (b - a) / took for a, b in zip(before, after, strict=True)))

    def _times(self) -> list[int]:
        (pmd, pmd_wait), (main, _), (_, own_wait) = (
            run_and_wait_ns(path.read_text()) for path in (self._pmd, self._main, self._own))
        return [pmd, main, pmd_wait, own_wait]


def set_mode(host: Host, mode: str) -> None:
    """Returns when the PMD rests that way and the agent has nothing more to do."""
    pairs = [f"other_config:{key}={value}" for key, value in MODES[mode].items()]
    host.vsctl("remove", "Open_vSwitch", ".", "other_config", *KEYS,
               *(["--", "set", "Open_vSwitch", ".", *pairs] if pairs else []))
    for _ in range(2):          # it answers once in each round of its loop
        host.appctl("version")


def start(host: Host, plan: Plan) -> Threads:
    host.start_ovsdb()
    host.enable_dpdk()
    host.vsctl("--no-wait", "set", "Open_vSwitch", ".",
               f"other_config:pmd-cpu-mask={1 << plan.last_cpu:x}")
    agent = host.start_agent()
    host.vsctl("add-br", "br0", "--", "set", "Bridge", "br0", "datapath_type=netdev")
    for port in PORTS:
        host.vsctl("add-port", "br0", port, "--", "set", "Interface", port,
                   "type=dpdkvhostuserclient",
                   f"options:vhost-server-path={host.directory}/{port}")
    return Threads(agent.pid, plan.last_cpu)


# --- single frames and bursts ---------------------------------------------------------------------

def meet(a: FrontEnd, b: FrontEnd) -> None:
    """The switch knows afterwards where both are, and every buffer of both rings was used."""
    b.send([BACK])
    a.recv_wait(1)
    for _ in range(2 * RING // BURST):
        a.send([THERE] * BURST)
        b.recv_wait(BURST)


def trip(a: FrontEnd, b: FrontEnd, gap_s: float) -> Trip:
    """Shows one frame after a silence, during which the other guest looks without a pause."""
    now = time.perf_counter_ns
    a.prepare([THERE])
    due = now() + int(1e9 * gap_s)
    while now() < due:
        if b.waiting():
            raise HostError("a frame arrived that nobody sent")
    begun = now()
    a.show()
    shown = looked = now()
    while not b.waiting():
        looked = now()
        if looked - begun > LOST_AFTER_NS:
            raise HostError(f"a frame did not arrive within {LOST_AFTER_NS / 1e9:g} s")
    arrived = now()
    if b.recv() != [THERE]:
        raise HostError("another frame arrived than was sent")
    return Trip(*((at - begun) / 1000 for at in (shown, looked, arrived)))


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def single_frames(a: FrontEnd, b: FrontEnd, plan: Plan) -> list[Trip]:
    with no_garbage_collection():
        return [trip(a, b, random.uniform(*GAP_S)) for _ in range(plan.frames)]


def bursts(a: FrontEnd, b: FrontEnd, plan: Plan) -> float:
    """Sends a burst whenever one is due; after one that is late the next keeps its distance.
    No more frames are under way than the other guest has room for, so all must arrive. Returns
    how many bursts there were a second."""
    sent, received, frames = 0, 0, [THERE] * BURST
    with no_garbage_collection():
        due = time.perf_counter()
        end = due + plan.load_s
        while due < end:
            while time.perf_counter() < due:
                received += len(b.recv())
            if sent - received + BURST <= RING:
                sent += a.send(frames)
            due = max(due + BURST_EVERY_S, time.perf_counter())
        received += len(b.recv_wait(sent - received))
    if received != sent:
        raise HostError(f"{received} frames arrived of {sent}")
    return sent / BURST / plan.load_s


def full(guest: Guest, plan: Plan) -> float:
    """Million packets a second that the switch takes from a guest which sends all it can."""
    before = guest.port_stats()[0].tx_packets
    guest.command("start")
    started = time.monotonic()
    time.sleep(plan.load_s / TURNS)     # the measurement itself, no waiting for something
    guest.command("stop")
    seconds = time.monotonic() - started
    return (guest.port_stats()[0].tx_packets - before) / seconds / 1e6


# --- a round --------------------------------------------------------------------------------------

class Bench:
    """A served host, and what was measured on it."""

    def __init__(self, host: Host, plan: Plan) -> None:
        self.host = host
        self.plan = plan
        self.threads = start(host, plan)
        self.sockets = [host.directory / port for port in PORTS]
        self.results: Results = defaultdict(lambda: defaultdict(list))
        self.arrivals: dict[str, list[list[float]]] = defaultdict(list)     # mode -> round -> us
        self.repeated = self.disturbed = 0      # measurements, and those that stayed so

    def round(self, number: int) -> None:
        """All cases. Modes take turns in each, and every round begins with the next."""
        first = number % len(MODES)
        order = [*MODES][first:] + [*MODES][:first]
        for mode in order:
            set_mode(self.host, mode)
            self.rest(mode, ALONE_PMD, ALONE_MAIN)
        with FrontEnd(str(self.sockets[1]), listen=True, queue_size=RING) as taker:
            taker.connect()
            with FrontEnd(str(self.sockets[0]), listen=True, queue_size=RING) as sender:
                sender.connect()
                meet(sender, taker)
                for mode in order:
                    set_mode(self.host, mode)
                    self.rest(mode, REST_PMD, REST_MAIN)
                    self.single_frames(mode, sender, taker)
                    self.bursts(mode, sender, taker)
            self.full(order)
        wait_until(lambda: not any(self.host.connected(port) for port in PORTS),
                   "the guests are gone")

    def add(self, mode: str, case: Case, number: float) -> None:
        self.results[case.key][mode].append([number])

    def undisturbed(self, work: Callable[[], T], alone: bool = True) -> tuple[T, Shares]:
        """Does it again where others wanted the cores meanwhile, but not for ever. 'alone': no
        testpmd shares the first core."""
        for left in reversed(range(self.plan.tries)):
            value, shares = self.threads.during(work)
            disturbed = max(shares.pmd_waited, shares.own_waited if alone else 0) > DISTURBED
            if not disturbed:
                break
            self.repeated += left > 0
        self.disturbed += disturbed
        return value, shares

    def rest(self, mode: str, pmd_case: Case, main_case: Case) -> None:
        _, shares = self.undisturbed(lambda: time.sleep(self.plan.rest_s))
        self.add(mode, pmd_case, shares.pmd)
        self.add(mode, main_case, shares.main)

    def single_frames(self, mode: str, a: FrontEnd, b: FrontEnd) -> None:
        trips, shares = self.undisturbed(lambda: single_frames(a, b, self.plan))
        arrived = [each.arrived for each in trips]
        self.arrivals[mode].append(arrived)
        self.add(mode, SINGLE_50, percentile(arrived, 50))
        self.add(mode, SINGLE_99, percentile(arrived, 99))
        self.add(mode, SHOWING_50, percentile([each.shown for each in trips], 50))
        self.add(mode, FINDING_50, percentile([each.arrived - each.looked for each in trips], 50))
        self.add(mode, SINGLE_PMD, shares.pmd)

    def bursts(self, mode: str, a: FrontEnd, b: FrontEnd) -> None:
        rate, shares = self.undisturbed(lambda: bursts(a, b, self.plan))
        self.add(mode, BURSTS, rate)
        self.add(mode, BURSTS_PMD, shares.pmd)

    def full(self, order: list[str]) -> None:
        with Guest(name="sender", socket=self.sockets[0], server=True, mac=SENDER,
                   log=self.host.directory / "sender.log", forward="txonly",
                   extra=(f"--eth-peer=0,{TAKER}",)) as guest:
            guest.wait_ready()
            guest.command("stop")
            full(guest, self.plan)              # the first touches every buffer of the guest
            for _ in range(TURNS):
                for mode in order:
                    set_mode(self.host, mode)
                    rate, _ = self.undisturbed(lambda: full(guest, self.plan), alone=False)
                    self.add(mode, FULL, rate)


# --- the whole ------------------------------------------------------------------------------------

def measure(host: Host, plan: Plan) -> Bench:
    bench = Bench(host, plan)
    for number in range(plan.rounds):
        started = time.monotonic()
        bench.round(number)
        print(f"round {number + 1} of {plan.rounds}: {time.monotonic() - started:.0f} s",
              file=sys.stderr, flush=True)
    return bench


def show(bench: Bench) -> None:
    plan, results = bench.plan, bench.results
    print(f"\n{plan.rounds} rounds, {plan.frames} single frames a mode in each; PMD thread on core "
          f"{plan.last_cpu}, the rest on core {plan.first_cpu}; load average before: "
          f"{plan.load:.2f}.\nMade again because others wanted a core: {bench.repeated} "
          f"measurements; disturbed all the same: {bench.disturbed}.\n"
          f"sleep: pmd-sleep-max={SLEEP_MAX_US}; block: pmd-idle-mode=block.\n")
    first, *others = MODES
    heads = ["case", "", *MODES, *(f"{mode} to {first}" for mode in others)]
    print(table(heads, [
        [case.title, case.unit, *beside(results[case.key], list(MODES), case not in RATIO)]
        for case in CASES]))
    print(f"\nMedian (least..most) over the rounds. The last columns are differences to {first} "
          f"within a round;\nof {FULL.title}, which has {TURNS} turns in a round, quotients "
          "within a turn.", flush=True)


def write_json(path: Path, bench: Bench) -> None:
    plan = bench.plan
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({
        "rounds": plan.rounds, "rest_s": plan.rest_s, "load_s": plan.load_s, "load": plan.load,
        "repeated": bench.repeated, "disturbed": bench.disturbed,
        "modes": MODES, "single_frames_us": bench.arrivals,
        "cases": {case.key: {
            "title": case.title, "unit": case.unit,
            "modes": {mode: medians(bench.results[case.key][mode]) for mode in MODES},
        } for case in CASES},
    }, indent=1) + "\n")


@click.command()
@click.option("--rounds", type=click.IntRange(1), help="Times each mode is measured (default: 3).")
@click.option("--quick", is_flag=True, help="One round, and everything shorter.")
@click.option("--tries", type=click.IntRange(1),
              help="Times a measurement is made at most until nobody disturbs it (default: 4).")
@click.option("--json", "path", type=click.Path(path_type=Path), show_default=True,
              default="build/bench-idle.json", help="Where all numbers are written.")
def main(rounds: int | None, quick: bool, tries: int | None, path: Path) -> None:
    """Measures PMD threads at rest: polling, sleeping between rounds, waiting in the kernel."""
    if os.geteuid() != 0:
        raise click.ClickException("polling threads on cores of their own need root")
    plan = Plan(rounds=rounds or (1 if quick else 3), rest_s=1 if quick else 5,
                frames=100 if quick else 500, load_s=1 if quick else 3,
                tries=tries or (1 if quick else 4), first_cpu=min(os.sched_getaffinity(0)),
                last_cpu=last_cpu(), load=os.getloadavg()[0])
    try:
        interrupt_when_told_to_end()
        os.sched_setaffinity(0, {plan.first_cpu})       # and of all that is started here
        with temporary_host("vhost-bench") as host:
            try:
                bench = measure(host, plan)
            except (HostError, GuestError, OSError, ValueError) as e:
                raise click.ClickException(f"{e}\n{host.output()[-2000:]}") from e
    except KeyboardInterrupt:
        print("bench-idle: interrupted", file=sys.stderr)
        sys.exit(130)
    show(bench)
    write_json(path, bench)


if __name__ == "__main__":
    main()
