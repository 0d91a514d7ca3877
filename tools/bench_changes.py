"""What neighbours notice of changes, and TCP between devices of the host: the cases of `make bench`
that are measured with a daemon's own commands."""
from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial

from tools.bench_numbers import weighted_percentile
from tools.bench_switches import BRIDGE, Daemon, Layout, started
from tools.frontend import FrontEnd
from tools.host import Host, HostError, wait_until
from tools.load import Load, Run, Stream
from tools.netns import Netns

PORTS_A_TIME = 10
GUESTS = 10                     # that connect and leave, of the ports that come and go
NEIGHBOUR_RATE = 50_000.0       # frames a second each way
NEIGHBOURS = tuple(Stream(source=port, destination=port ^ 1, rate=NEIGHBOUR_RATE)
                   for port in range(2))
TAPS = ("t0", "t1")
TSO = "other_config:userspace-tso-enable=true"


def lots(names: Sequence[str]) -> Iterator[Sequence[str]]:
    return (names[i:i + PORTS_A_TIME] for i in range(0, len(names), PORTS_A_TIME))


def come_and_go(host: Host, ports: int) -> None:
    """Adds and removes so many ports; to some of them a guest comes and leaves again."""
    names = [f"c{number}" for number in range(ports)]
    for some in lots(names):
        host.vsctl(*[word for name in some for word in Daemon.port(name)][1:])
    for name in names[::max(1, ports // GUESTS)]:
        with FrontEnd(str(host.directory / name), listen=False) as guest:
            guest.connect()
            wait_until(partial(host.connected, name), f"{name} has its guest")
    for some in lots(names):
        host.vsctl(*[word for name in some for word in ("--", "del-port", BRIDGE, name)][1:])


def neighbours(kind: type[Daemon], layout: Layout, ports: int, seconds: float) -> tuple[int, float]:
    """Frames that a pair of guests loses while ports come and go beside them, and p99 of their way
    in us. The load gives way to others on its core: they are what is to be measured."""
    with ExitStack() as stack:
        switch, sockets = stack.enter_context(started(kind, layout))
        assert isinstance(switch, kind)
        load = stack.enter_context(Load(sockets=sockets, log=switch.directory / "load.log",
                                        cpu=layout.first_core, nice=0))
        wait_until(lambda: load.run(NEIGHBOURS, 0.5, 0.0).lost == 0,
                   f"{kind.name} knows its guests")
        load.begin(NEIGHBOURS, seconds, 0.2, stamped=True)
        come_and_go(switch.host, ports)
        run: Run = load.result()
        if run.wrong:
            raise HostError(f"{kind.name}: {run.wrong}")
        return run.lost, weighted_percentile(run.delays, 99)


def tcp(kind: type[Daemon], layout: Layout, tso: bool, seconds: int) -> float:
    """Gbit/s of one TCP connection between two namespaces, each with a tap of the switch."""
    with ExitStack() as stack:
        switch, _ = stack.enter_context(started(kind, layout, [TSO] if tso else []))
        assert isinstance(switch, kind)
        host, places = switch.host, [stack.enter_context(Netns()) for _ in TAPS]
        for number, (tap, place) in enumerate(zip(TAPS, places, strict=True)):
            host.vsctl("add-port", BRIDGE, tap, "--", "set", "Interface", tap, "type=internal")
            host.inside("ip", "link", "set", tap, "netns", place.path)
            for words in (f"link set {tap} up", f"address add 10.9.0.{number + 1}/24 dev {tap}"):
                place.run("ip", *words.split())
        server = subprocess.Popen(places[1].command("iperf3", "-s", "-1"),
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        stack.callback(server.wait)
        stack.callback(server.kill)
        command = places[0].command("iperf3", "-c", "10.9.0.2", "-t", str(seconds), "-J",
                                    "--connect-timeout", "500")
        done: list[dict[str, object]] = []

        def answered() -> bool:
            found = subprocess.run(command, capture_output=True, text=True, check=False)
            done.append(json.loads(found.stdout or "{}"))
            return "end" in done[-1] and "error" not in done[-1]

        wait_until(answered, f"{kind.name} carries TCP")
        end = done[-1]["end"]
        assert isinstance(end, dict)
        return float(end["sum_received"]["bits_per_second"]) / 1e9
