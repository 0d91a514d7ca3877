"""`make bench-control`: the control plane beside that of OVS's own daemon with DPDK.

Both serve the same rows from an ovsdb-server each, one after the other and in turn, with the same
settings: polling threads on the last core, everything else, clients included, on the first. What
each case means is in docs/performance.md.
"""
from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from agent.machine import free_hugepage_bytes
from tools.bench_numbers import Case, compare, kib, medians, shares, table, thread_time
from tools.ending import interrupt_when_told_to_end
from tools.guest import last_cpu
from tools.host import AGENT, ORDINARY_MEMORY, Host, HostError, temporary_host
from tools.ovsdb_client import Client

BRIDGE = "br0"
TYPE = "dpdkvhostuserclient"
PEER = Path("/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk")
PEER_HUGEPAGE_BYTES = 1 << 30
# ovs-vswitchd adds --in-memory, which does not go with --no-huge, unless it finds --legacy-mem
WITHOUT_HUGEPAGES = f"{ORDINARY_MEMORY} --legacy-mem"
WAIT_MS = 55_000                 # less than a command may take
FIRST_ADDS = 20                 # add-port commands timed on an empty bridge,
MORE_ADDS = 10                  # and on one with many ports
STATISTICS_S = 5                # as stats-update-interval is unless set

ADD_FIRST = Case("add_first", "add a port, bridge empty", "ms")
ADD_MANY = Case("add_many", "add {ports} ports at once", "ms")
ADD_MORE = Case("add_more", "add a port to {ports}", "ms")
ADD_OPEN = Case("add_open", "the same, over an open connection", "ms")
ADD_MANY_OPEN = Case("add_many_open", "add {ports} at once, over an open connection", "ms")
START = Case("start", "start with {ports} ports", "ms")
CPU_MAIN = Case("cpu_main", "idle, main thread", "% of a core")
CPU_ALL = Case("cpu_all", "idle, all threads but PMDs", "% of a core")
RSS = Case("rss", "resident, without hugepages", "MiB")
RSS_HUGE = Case("rss_huge", "resident, with hugepages", "MiB")
CASES = (ADD_FIRST, ADD_MANY, ADD_MANY_OPEN, ADD_MORE, ADD_OPEN, START, CPU_MAIN, CPU_ALL, RSS,
         RSS_HUGE)

Samples = dict[str, list[float]]                # case -> what one side had in one pair


@dataclass(frozen=True, slots=True)
class Side:
    """Who serves the ports; nobody, where there is no command: that is the floor, the time that
    ovs-vsctl and ovsdb-server need by themselves."""

    name: str
    command: tuple[str, ...] = ()


# A network namespace each: both are entitled to devices whose names are taken on this machine.
CONTROL = "daemon.ctl"          # in the run directory
ALIKE = ("--pidfile", "--log-file", "-vconsole:off", f"--unixctl={CONTROL}")
OURS = Side("agent", ("unshare", "--net", AGENT, "run", *ALIKE))
THEIRS = Side("OVS", ("unshare", "--net", str(PEER), "--disable-system", *ALIKE))
FLOOR = Side("floor")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is the same for both sides."""

    ports: int
    pairs: int
    idle_s: int
    first_cpu: int
    last_cpu: int
    hugepages: bool
    load: float                     # of the machine before, by whatever else ran on it


# --- on one host ----------------------------------------------------------------------------------

def add_port(host: Host, number: int) -> list[str]:
    return ["add-port", BRIDGE, f"p{number}", "--", "set", "Interface", f"p{number}",
            f"type={TYPE}", f"options:vhost-server-path={host.directory}/p{number}"]


def add_ports(host: Host, ports: int) -> list[str]:
    words = [word for number in range(ports) for word in ("--", *add_port(host, number))]
    return words[1:]


def wait_op(table: str, column: str, where: list[Any], rows: list[Any]) -> dict[str, Any]:
    """The server's own wait: until the rows of 'table' that match are these and no others."""
    return {"op": "wait", "table": table, "where": where, "columns": [column], "until": "==",
            "rows": [{column: value} for value in rows], "timeout": WAIT_MS}


def prepare(host: Host, plan: Plan) -> None:
    """A database with the settings and an empty bridge, which nobody serves yet."""
    host.start_ovsdb()
    host.enable_dpdk("" if plan.hugepages else WITHOUT_HUGEPAGES)
    host.vsctl("--no-wait", "set", "Open_vSwitch", ".",
               f"other_config:pmd-cpu-mask={1 << plan.last_cpu:x}",
               "--", "add-br", BRIDGE, "--", "set", "Bridge", BRIDGE, "datapath_type=netdev")


def must_serve(host: Host, ports: int) -> None:
    """Raises HostError unless so many ports have a number and no error."""
    found = host.transact({"op": "select", "table": "Interface", "where": [["type", "==", TYPE]],
                           "columns": ["name", "ofport", "error"]})[0]["rows"]
    failed = [row for row in found if not isinstance(row["ofport"], int) or row["ofport"] < 1]
    if failed or len(found) != ports:
        raise HostError(f"of {ports} ports {len(found) - len(failed)} are served: {failed[:1]}")


def timed(host: Host, words: list[str]) -> float:
    """Milliseconds that ovs-vsctl takes, which waits for the daemon to be done unless told not
    to."""
    started = time.perf_counter()
    host.check("ovs-vsctl", f"--timeout={WAIT_MS // 1000}", *words)
    return 1000 * (time.perf_counter() - started)


def settle(host: Host) -> None:
    """Returns when the daemon has dealt with all that it was told: it answers once in each round
    of its loop, the second time after all that followed the first."""
    if host.agents:
        for _ in range(2):
            host.check("ovs-appctl", "-t", f"{host.directory}/{CONTROL}", "version")


def add_cases(host: Host, side: Side, plan: Plan) -> Samples:
    """The times of adding ports; on the floor nobody serves them and ovs-vsctl does not wait."""
    prepare(host, plan)
    mode = [] if side.command else ["--no-wait"]
    if side.command:
        host.start(*side.command)
        host.transact(wait_op("Open_vSwitch", "dpdk_initialized", [], [True]),
                      wait_op("Interface", "ofport", [["ofport", "==", ["set", []]]], []))

    def once(number: int, served: int) -> float:
        settle(host)
        took = timed(host, [*mode, *add_port(host, number)])
        if side.command:
            must_serve(host, served)
        host.vsctl(*mode, "del-port", f"p{number}")
        return took

    first = [once(0, 1) for _ in range(FIRST_ADDS)]
    settle(host)
    many = timed(host, [*mode, *add_ports(host, plan.ports)])
    more = [once(plan.ports, plan.ports + 1) for _ in range(MORE_ADDS)]
    with Client(host.directory / "db.sock") as client:
        opened = [timed_open(host, client, plan.ports + i, 1, bool(side.command))
                  for i in range(MORE_ADDS)]
        host.vsctl(*mode, "del-br", BRIDGE, "--", "add-br", BRIDGE, "--", "set", "Bridge", BRIDGE,
                   "datapath_type=netdev")
        many_open = timed_open(host, client, 0, plan.ports, bool(side.command))
    if side.command:
        must_serve(host, plan.ports)
    return {ADD_FIRST.key: first, ADD_MANY.key: [many], ADD_MORE.key: more, ADD_OPEN.key: opened,
            ADD_MANY_OPEN.key: [many_open]}


def timed_open(host: Host, client: Client, first: int, count: int, served: bool) -> float:
    """Milliseconds from sending a transaction that adds ports until cur_cfg has caught up, seen by
    a client that was connected already and knows all that it needs."""
    settle(host)
    names = [f"p{number}" for number in range(first, first + count)]
    operations: list[dict[str, Any]] = []
    for name in names:
        operations += [
            {"op": "insert", "table": "Interface", "uuid-name": f"i_{name}", "row": {
                "name": name, "type": TYPE, "options": ["map", [
                    ["vhost-server-path", f"{host.directory}/{name}"]]]}},
            {"op": "insert", "table": "Port", "uuid-name": f"p_{name}", "row": {
                "name": name, "interfaces": ["named-uuid", f"i_{name}"]}}]
    operations += [
        {"op": "mutate", "table": "Bridge", "where": [["name", "==", BRIDGE]], "mutations": [
            ["ports", "insert", ["set", [["named-uuid", f"p_{name}"] for name in names]]]]},
        {"op": "mutate", "table": "Open_vSwitch", "where": [],
         "mutations": [["next_cfg", "+=", 1]]},
        {"op": "select", "table": "Open_vSwitch", "where": [], "columns": ["next_cfg"]}]
    started = time.perf_counter()
    wanted = client.transact(*operations)[-1]["rows"][0]["next_cfg"]
    if served:
        client.transact(wait_op("Open_vSwitch", "cur_cfg", [], [wanted]))
    return 1000 * (time.perf_counter() - started)


def threads(pid: int) -> dict[int, tuple[str, int]]:
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            found[int(task.name)] = thread_time((task / "stat").read_text())
        except (FileNotFoundError, ProcessLookupError):
            continue                    # it ended meanwhile
    return found


def start_cases(host: Host, side: Side, plan: Plan) -> Samples:
    """The time to start on a database full of ports, and then what being idle takes."""
    prepare(host, plan)
    host.vsctl("--no-wait", "set", "Open_vSwitch", ".", "next_cfg=1",
               "--", *add_ports(host, plan.ports))
    started = time.perf_counter()
    pid = host.start(*side.command).pid
    host.transact(wait_op("Open_vSwitch", "cur_cfg", [], [1]),
                  wait_op("Interface", "ofport", [["ofport", "==", ["set", []]]], []))
    took = 1000 * (time.perf_counter() - started)
    must_serve(host, plan.ports)
    host.transact(wait_op("Interface", "name", [["type", "==", TYPE],
                                                ["statistics", "==", ["map", []]]], []))
    settle(host)

    before, since = threads(pid), time.perf_counter()
    time.sleep(plan.idle_s)             # the measurement itself, no waiting for something
    after, seconds = threads(pid), time.perf_counter() - since
    main, others = shares(before, after, pid, seconds * os.sysconf("SC_CLK_TCK"))
    status = Path(f"/proc/{pid}/status").read_text()
    resident, huge = kib(status, "VmRSS") / 1024, kib(status, "HugetlbPages") / 1024
    return {START.key: [took], CPU_MAIN.key: [main], CPU_ALL.key: [others], RSS.key: [resident],
            RSS_HUGE.key: [resident + huge]}


def measure(side: Side, plan: Plan) -> Samples:
    """Every case once, each group on a fresh host."""
    samples: Samples = {}
    for cases in (add_cases, start_cases) if side.command else (add_cases,):
        with temporary_host("vhost-bench") as host:
            try:
                samples |= cases(host, side, plan)
            except (HostError, OSError, subprocess.TimeoutExpired) as e:
                raise HostError(f"{side.name}: {e}\n{host.output()[-2000:]}") from e
    return samples


# --- the whole ------------------------------------------------------------------------------------

def measure_pairs(sides: list[Side], plan: Plan) -> dict[str, dict[str, list[list[float]]]]:
    """case -> side -> for each pair its samples. Sides take turns."""
    results: dict[str, dict[str, list[list[float]]]] = defaultdict(lambda: defaultdict(list))
    for pair in range(plan.pairs):
        for side in sides:
            started = time.monotonic()
            for key, values in measure(side, plan).items():
                results[key][side.name].append(values)
            print(f"pair {pair + 1} of {plan.pairs}: {side.name}, "
                  f"{time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    return results


def version(*command: str) -> str:
    """First line of what a program says of itself."""
    return subprocess.run(command, capture_output=True, text=True,
                          check=True).stdout.partition("\n")[0]


def show(results: dict[str, dict[str, list[list[float]]]], plan: Plan,
         versions: dict[str, str]) -> None:
    memory = "hugepages" if plan.hugepages else "no hugepages (--no-huge)"
    print(f"\n{plan.ports} ports, {plan.pairs} pairs, {memory}, polling threads on core "
          f"{plan.last_cpu}, the rest on core {plan.first_cpu}; load average before: "
          f"{plan.load:.2f}.")
    for side, text in versions.items():
        print(f"{side}: {text}")
    heads = ["case", "", "agent", "OVS", "OVS/agent", "floor"]
    print("\n" + table(heads, [
        [case.title.format(ports=plan.ports), case.unit,
         *compare(results[case.key], OURS.name, THEIRS.name, FLOOR.name)] for case in CASES]))
    print("\nMedian (least..most) over the pairs. The floor is the same ovs-vsctl command with "
          "--no-wait and\nno daemon: the client's and the database's own time, which is in both.",
          flush=True)


def write_json(path: Path, results: dict[str, dict[str, list[list[float]]]], plan: Plan,
               versions: dict[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({
        "ports": plan.ports, "pairs": plan.pairs, "idle_s": plan.idle_s,
        "hugepages": plan.hugepages, "load": plan.load, "versions": versions,
        "cases": {case.key: {
            "title": case.title.format(ports=plan.ports), "unit": case.unit,
            "sides": {side: {"pairs": medians(pairs), "samples": pairs}
                      for side, pairs in results[case.key].items()},
        } for case in CASES},
    }, indent=1) + "\n")


@click.command()
@click.option("--pairs", type=click.IntRange(1), help="Times each side is measured (default: 3).")
@click.option("--ports", type=click.IntRange(1, 1000), help="Size of the host (default: 1000).")
@click.option("--quick", is_flag=True, help="One pair, 200 ports, a shorter look at being idle.")
@click.option("--no-peer", is_flag=True, help="Without OVS's daemon.")
@click.option("--json", "path", type=click.Path(path_type=Path), show_default=True,
              default="build/bench-control.json", help="Where all samples are written.")
def main(pairs: int | None, ports: int | None, quick: bool, no_peer: bool, path: Path) -> None:
    """Times the control plane beside that of OVS's own daemon with DPDK."""
    if os.geteuid() != 0:
        raise click.ClickException("network namespaces and polling threads need root")
    if not no_peer and not PEER.exists():
        raise click.ClickException(f"{PEER} is missing: tools/install-packages bench installs "
                                   "it, --no-peer does without")
    plan = Plan(
        ports=ports or (200 if quick else 1000), pairs=pairs or (1 if quick else 3),
        idle_s=STATISTICS_S * (1 if quick else 4),
        first_cpu=min(os.sched_getaffinity(0)), last_cpu=last_cpu(),
        hugepages=free_hugepage_bytes() >= PEER_HUGEPAGE_BYTES, load=os.getloadavg()[0])
    sides = [OURS, FLOOR] if no_peer else [OURS, THEIRS, FLOOR]
    versions = {side.name: version(side.command[2], "--version") for side in sides if side.command}
    try:
        interrupt_when_told_to_end()
        os.sched_setaffinity(0, {plan.first_cpu})       # and of all that is started here
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        results = measure_pairs(sides, plan)
    except HostError as e:
        raise click.ClickException(str(e)) from e
    except KeyboardInterrupt:
        print("bench-control: interrupted", file=sys.stderr)
        sys.exit(130)
    show(results, plan, versions)
    write_json(path, results, plan, versions)


if __name__ == "__main__":
    main()
