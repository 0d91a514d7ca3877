"""`make bench`: packets a second and delays beside testpmd, the library's own limit, and OVS.

All switches are set up at the same time with the same front ends and take turns, the others paused:
one core polls, the other is the load's. What each case means is in docs/performance.md.
"""
from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import click

from tools.bench_cases import (
    ALL,
    DAEMON_CASES,
    KEYS,
    LOST,
    NEIGHBOURS_99,
    PERCENTILES,
    QUICK,
    SETUPS,
    SHARES,
    TCP,
    TRIPS,
    Case,
    Setup,
    all_cases,
    delay_case,
)
from tools.bench_changes import neighbours, tcp
from tools.bench_numbers import (
    against,
    run_and_wait_ns,
    short,
    spread,
    table,
    weighted_percentile,
)
from tools.bench_switches import (
    OVS_DAEMON,
    Agent,
    Daemon,
    Layout,
    Other,
    Ovs,
    Switch,
    Testpmd,
    machine,
    started,
    versions,
)
from tools.cores import distance
from tools.ending import interrupt_when_told_to_end
from tools.guest import last_cpu
from tools.host import HostError
from tools.load import MOST_ENDPOINTS, Load, LoadError, Run, Stream
from tools.wait import wait_for

KINDS: dict[str, type[Switch]] = {kind.name: kind for kind in (Agent, Testpmd, Ovs, Other)}
OURS, LIMIT, _ = ALL
KEPT = Path(__file__).with_name("bench_quick.json")     # what `make bench-quick` compares with
KEPT_SLACK = 0.05               # by which a ratio differs from run to run
MEET_RATE = 2000.0              # frames a second and stream, until a switch has found its guests
MEET_S = 20.0                   # that it may take
LEARN_S = 10.0                  # to know many addresses
CHANGED_PORTS, CHANGES_S = 100, 8.0     # that come and go beside a pair of guests, in that time
TCP_S = 2
# A virtual machine's cores are gone for a millisecond now and then: the shorter a measurement of
# delays, the more of them are without. It is in so many parts.
DELAY_TURNS = 5
WARM_S = 0.1                    # before it counts
TRIES = 4                       # that a turn may take to be one without a disturbance
NEAR = 2.5                      # times the shortest way between two cores counts as near
NEAR_S = 10.0                   # that they may take to come back
DISTURBED = 0.01                # of its time that it may lack a core
PRESSED = 0.1                   # of the tries to send find a full ring, else the load is the limit
MAY_LOSE = 0.02                 # of the frames may be lost, else it takes them too slowly


@dataclass(frozen=True, slots=True)
class Plan:
    """The same for all sides."""

    sides: tuple[str, ...]      # ours first
    turns: int
    fresh_turns: int            # of what begins with a fresh daemon
    seconds: float              # of a measurement
    first_core: int
    core: int                   # the switch's
    load: float                 # of the machine before, by whatever else ran on it
    machine: str


# --- a switch and its guests ----------------------------------------------------------------------

class Side:
    """One switch with front ends attached, paused unless it is measured."""

    def __init__(self, switch: Switch, core: int, loads: Sequence[Load]) -> None:
        self.switch = switch
        self.core = core            # of its polling thread
        self.loads = loads

    @property
    def name(self) -> str:
        return self.switch.name

    def turn(self, streams: Sequence[Stream], seconds: float, stamped: bool = False
             ) -> tuple[list[Run], bool]:
        """What the same streams of every load at the same time bring, and whether somebody else
        wanted a core meanwhile; the switch runs for that time alone."""
        self.switch.resume()
        before, since = self._waited_ns(), time.monotonic_ns()
        for load in self.loads:
            load.begin(streams, seconds, WARM_S, stamped)
        runs = [load.result() for load in self.loads]
        waited = (self._waited_ns() - before) / (time.monotonic_ns() - since)
        self.switch.pause()
        wrong = next((run.wrong for run in runs if run.wrong), "")
        if wrong or not any(run.rate for run in runs):
            raise HostError(f"{self.name}: {wrong or 'nothing came through'}")
        return runs, waited > DISTURBED

    def _waited_ns(self) -> int:
        """Time that the polling thread and the load were ready to run and had no core. Loads that
        share one wait for each other."""
        polling = [task for pid in self.switch.pids() for task in os.listdir(f"/proc/{pid}/task")
                   if os.sched_getaffinity(int(task)) == {self.core}]
        pids = [*polling, *(load.pid for load in self.loads if len(self.loads) == 1)]
        return sum(run_and_wait_ns(Path(f"/proc/{pid}/schedstat").read_text())[1] for pid in pids)

    def meet(self, streams: Sequence[Stream]) -> None:
        """Returns when frames come through. HostError."""
        slow = [replace(stream, rate=MEET_RATE, macs=1, returns=False) for stream in streams]
        if not wait_for(lambda: self._lost(slow) == 0, MEET_S):
            raise HostError(f"{self.name}: frames do not come through as they should")

    def learn(self, streams: Sequence[Stream]) -> None:
        """Returns when the switch knows the addresses and keeps up, or had time enough."""
        every = [replace(stream, rate=2.0 * stream.macs) for stream in streams]
        wait_for(lambda: self._lost(every) == 0, LEARN_S)

    def _lost(self, streams: Sequence[Stream]) -> int:
        """Frames of half a second that did not arrive, or came out at wrong ports as well."""
        for load in self.loads:
            load.begin(streams, 0.5, 0.0)
        runs = [load.result() for load in self.loads]
        return sum(run.lost + sum(stream.end.stray for stream in run.streams) for run in runs)


def attach(stack: ExitStack, name: str, setup: Setup, plan: Plan) -> Side:
    """A switch with as many guests as it has ports; it is paused then."""
    switch, sockets = stack.enter_context(started(
        KINDS[name], Layout(setup.ports, setup.mtu, plan.core, plan.first_core)))
    parts = [sockets[i:i + MOST_ENDPOINTS] for i in range(0, len(sockets), MOST_ENDPOINTS)]
    loads = [stack.enter_context(Load(
        sockets=part, log=switch.directory / "load.log", cpu=plan.first_core, group=group,
        ring=setup.ring, options=setup.options, room=max(2048, setup.mtu + 256),
        alone=len(parts) == 1)) for group, part in enumerate(parts)]
    side = Side(switch, plan.core, loads)
    side.meet(setup.cases[0].streams)
    switch.pause()
    return side


# --- measuring ------------------------------------------------------------------------------------

class Bench:
    """What was measured."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        self.began = time.monotonic()
        self.nearest = distance(plan.core)
        self.repeated = self.disturbed = 0      # turns, and those that stayed so
        self.lost: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        self.failed: list[str] = []             # why there are no numbers of something
        self.load_limited: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))

    def tell(self, what: str) -> None:
        """How far it is, on standard error."""
        seconds = time.monotonic() - self.began
        print(f"{seconds // 60:02.0f}:{seconds % 60:02.0f} {what}", file=sys.stderr, flush=True)

    def measure(self, setup: Setup) -> None:
        with ExitStack() as stack:
            sides = [attach(stack, name, setup, self.plan) for name in self.plan.sides
                     if name in (*setup.sides, Other.name)]
            for case in setup.cases:
                self.rates(case, sides)
            if setup.delays:
                self.rates(TRIPS, sides)
                for share in SHARES:
                    self.delays(share, sides)

    def daemons(self, number: int) -> None:
        """What needs a daemon's own commands, each with a fresh one, in turn."""
        layout = Layout(2, core=self.plan.core, first_core=self.plan.first_core)
        for kind in (KINDS[name] for name in self.plan.sides):
            if not issubclass(kind, Daemon):
                continue
            lost, way = neighbours(kind, layout, CHANGED_PORTS, CHANGES_S)
            self.values[LOST.key][kind.name].append(lost)
            self.values[NEIGHBOURS_99.key][kind.name].append(way)
            for case, tso in zip(TCP, (False, True), strict=True):
                self.values[case.key][kind.name].append(
                    tcp(kind, replace(layout, ports=0), tso, TCP_S))
            self.tell(f"changes and TCP, {number + 1} of {self.plan.fresh_turns}, {kind.name}")

    def turn(self, side: Side, streams: Sequence[Stream], seconds: float, stamped: bool = False
             ) -> list[Run]:
        """Once more where others wanted the cores meanwhile, or the cores moved apart, but not for
        ever."""
        for left in reversed(range(TRIES)):
            near = wait_for(self.are_near, NEAR_S)
            runs, disturbed = side.turn(streams, seconds, stamped)
            disturbed = disturbed or not near or not self.are_near()
            if not disturbed:
                break
            self.repeated += left > 0
        self.disturbed += disturbed
        return runs

    def are_near(self) -> bool:
        """Whether the two cores are as near to each other as they were at their best. All switches
        are paused."""
        cycles = distance(self.plan.core)
        self.nearest = min(self.nearest, cycles)
        return cycles < NEAR * self.nearest

    def rates(self, case: Case, sides: Sequence[Side]) -> None:
        for side in sides:
            if any(stream.macs > 1 for stream in case.streams):
                side.switch.resume()
                side.learn(case.streams)
                side.switch.pause()
        for _ in range(self.plan.turns):
            for side in sides:
                runs = self.turn(side, case.streams, self.plan.seconds)
                self.values[case.key][side.name].append(sum(run.rate for run in runs) / 1e6)
                self.load_limited[case.key][side.name] += case is not TRIPS and limited(runs)
                self.lost[case.key][side.name].append(
                    sum(run.lost for run in runs) / max(1, sum(run.sent for run in runs)))
        self.tell(case.title)

    def delays(self, share: int, sides: Sequence[Side]) -> None:
        for _ in range(DELAY_TURNS * self.plan.turns):
            for side in sides:
                most = 1e6 * statistics.median(self.values[TRIPS.key][side.name])
                streams = [replace(stream, rate=most * share / 100) for stream in TRIPS.streams]
                run, = self.turn(side, streams, self.plan.seconds / DELAY_TURNS, stamped=True)
                for percent in PERCENTILES:
                    self.values[delay_case(share, percent).key][side.name].append(
                        weighted_percentile(run.delays, percent))
        self.tell(f"round trips at {share} %")


def limited(runs: Sequence[Run]) -> bool:
    """Whether the load core could not do more, so that the switch perhaps could."""
    lost, sent = sum(run.lost for run in runs), sum(run.sent for run in runs)
    return min(run.pressed for run in runs) < PRESSED or lost > MAY_LOSE * sent


# --- the whole ------------------------------------------------------------------------------------

def show(bench: Bench, cases: Sequence[Case]) -> None:
    plan = bench.plan
    print(f"\n{plan.turns} turns of {plan.seconds:g} s; the switch's thread on core {plan.core}, "
          f"load and all else on core {plan.first_core}; load average before: {plan.load:.2f}.\n"
          f"Made again because others wanted a core, or the two shared no cache for a while: "
          f"{bench.repeated} turns; disturbed all the same: {bench.disturbed}.\n")
    ours, *others = plan.sides
    heads = ["case", "", *plan.sides, *(f"{ours}/{other}" for other in others)]
    rows, notes = [], []
    for case in cases:
        values = bench.values[case.key]
        cells = [str(spread(values[name]) or "-") for name in plan.sides]
        cells += [str(spread(against(values[ours], values[other])) or "-") for other in others]
        rows.append([case.title, case.unit, *cells])
        notes += [f"{case.title}, {name}: the load core was the limit in {n} of {plan.turns} turns."
                  for name, n in bench.load_limited[case.key].items() if n]
        notes += [f"{case.title}, {name}: up to {short(100 * max(shares))} % of frames were lost."
                  for name, shares in bench.lost[case.key].items() if max(shares) > 0]
    print(table(heads, rows))
    print("\nMedian (least..most) over the turns; the last columns are quotients within a turn.")
    print("\n".join(notes), flush=True)


def write_json(path: Path, bench: Bench, cases: Sequence[Case]) -> None:
    plan = bench.plan
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({
        "about": {"machine": plan.machine, "versions": versions([KINDS[s] for s in plan.sides]),
                  "turns": plan.turns, "seconds": plan.seconds, "load": plan.load,
                  "repeated": bench.repeated, "disturbed": bench.disturbed},
        "cases": [{
            "key": case.key, "title": case.title, "unit": case.unit, "group": case.group,
            "better": case.better, "values": bench.values[case.key],
            "lost": bench.lost[case.key],
            "load_limited": {k: n for k, n in bench.load_limited[case.key].items() if n},
        } for case in cases],
    }, indent=1) + "\n")


def compare_with_kept(bench: Bench) -> int:
    """`make bench-quick`: the one number, beside the one in the repository; 1 when it fell."""
    values = bench.values[QUICK.key]
    found = against(values[OURS], values[LIMIT])
    ratio, kept = statistics.median(found), json.loads(KEPT.read_text())["ratio"]
    print(f"{QUICK.title}: {short(statistics.median(values[OURS]))} M packets/s, "
          f"{spread(found)} of testpmd's; kept in the repository: {short(kept)}.")
    if ratio < kept - KEPT_SLACK:
        print(f"bench-quick: that is slower by more than {KEPT_SLACK:g}, by which runs differ.")
        return 1
    return 0


def measure(setups: Sequence[Setup], plan: Plan) -> Bench:
    """What fails is said, and does not cost what was measured before."""
    bench = Bench(plan)
    parts = [*(partial(bench.measure, setup) for setup in setups),
             *(partial(bench.daemons, number) for number in range(plan.fresh_turns))]
    for part in parts:
        try:
            part()
        except (HostError, LoadError) as e:
            bench.failed.append(str(e))
            bench.tell(str(e))
    return bench


@click.command()
@click.option("--turns", type=click.IntRange(1), help="Times each case is measured (default: 7).")
@click.option("--seconds", type=click.FloatRange(0.05), default=0.5, show_default=True,
              help="Of each measurement.")
@click.option("--quick", is_flag=True, help="One case, beside testpmd and the ratio that is kept.")
@click.option("--case", "keys", multiple=True, type=click.Choice(KEYS), metavar="KEY",
              help="This case alone: " + ", ".join(KEYS) + ".")
@click.option("--beside", type=click.Path(path_type=Path, exists=True, file_okay=False),
              help="Measure the agent of another checkout, built there, in place of the peers.")
@click.option("--json", "path", type=click.Path(path_type=Path), show_default=True,
              default="build/bench.json", help="Where all numbers are written.")
def main(turns: int | None, seconds: float, quick: bool, keys: tuple[str, ...],
         beside: Path | None, path: Path) -> None:
    """Measures the agent's packets a second and delays beside testpmd's and OVS's."""
    if os.geteuid() != 0:
        raise click.ClickException("polling threads on cores of their own need root")
    if len(os.sched_getaffinity(0)) < 2:
        raise click.ClickException("a switch and its load need a core each; here is one")
    sides: tuple[str, ...] = (OURS, LIMIT) if quick else ALL
    if beside:
        Other.checkout, sides = beside.absolute(), (OURS, Other.name)
    if quick and (keys or beside):
        raise click.UsageError("--quick is one case, beside testpmd")
    if Ovs.name in sides and not OVS_DAEMON.exists():
        raise click.ClickException(f"{OVS_DAEMON} is missing: `make bench` installs it")
    chosen_daemons = not keys or bool({*keys} & {case.key for case in DAEMON_CASES})
    plan = Plan(sides=sides, turns=turns or (15 if quick else 7), seconds=seconds,
                fresh_turns=min(turns or 3, 3) if chosen_daemons and not quick else 0,
                first_core=min(os.sched_getaffinity(0)), core=last_cpu(), load=os.getloadavg()[0],
                machine=machine())
    setups = [Setup(cases=(QUICK,))] if quick else list(SETUPS)
    if keys:
        setups = [replace(setup, delays=setup.delays and TRIPS.key in keys,
                          cases=chosen or setup.cases[:1])
                  for setup in setups
                  for chosen in [tuple(case for case in setup.cases if case.key in keys)]
                  if chosen or (setup.delays and TRIPS.key in keys)]
    try:
        interrupt_when_told_to_end()
        os.sched_setaffinity(0, {plan.first_core})      # and of all that is started here
        bench = measure(setups, plan)
    except OSError as e:
        raise click.ClickException(str(e)) from e
    except KeyboardInterrupt:
        print("bench: interrupted", file=sys.stderr)
        sys.exit(130)
    cases = [case for case in (*all_cases(setups), *DAEMON_CASES) if bench.values[case.key]]
    show(bench, cases)
    write_json(path, bench, cases)
    if bench.failed:
        raise click.ClickException("not all was measured: " + "; ".join(bench.failed))
    if quick:
        sys.exit(compare_with_kept(bench))


if __name__ == "__main__":
    main()
