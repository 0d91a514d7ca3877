"""What would be done is what is done."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from uuid import UUID

import pytest

from agent import loglines, plan_words
from agent.actions import Action, AddPort, SetPollLists
from agent.hostconfig import host_config
from agent.model import (
    BridgeRow,
    Desired,
    InterfaceRow,
    Observed,
    PortRow,
    Snapshot,
)
from agent.rehearsal import Placed, affinities, rehearse
from agent.validate import desired
from tests.unit.conftest import RUNDIR, OneBridge
from tests.unit.pictures import guest, seen

CORES = {0: (0, 1, 2)}
Change = Callable[[OneBridge], object]


@pytest.fixture
def host(lines: list[loglines.Line]) -> OneBridge:
    """Three ports on two PMDs."""
    host = OneBridge(lines)
    host.reconciler._numa_cores = CORES
    host.other_config["pmd-cpu-mask"] = "3"
    for name in ("a", "b", "c"):
        host.client(name)
    host.step()
    del host.plane.tried[:]
    return host


def rehearsed(host: OneBridge) -> tuple[Desired, list[Action], Observed]:
    """What a rehearsal makes of the host's rows as they are now."""
    before = host.reconciler.desired
    bridge = BridgeRow(UUID(int=1), "br0", "netdev", interfaces=tuple(host.rows.values()))
    config = host_config(host.other_config, rundir=RUNDIR, numa_cores=CORES,
                         dpdk_initialized=True, at_start=host.other_config)
    wanted = desired(Snapshot(1, dict(host.other_config), (bridge,)), config, dict)
    return wanted, *rehearse(wanted, host.plane.observe(),
                             Placed(before.placing, affinities(before)), set(), 0)


def row(host: OneBridge, name: str, **changes: object) -> None:
    host.rows[name] = replace(host.rows[name], **changes)       # type: ignore[arg-type]


CHANGES: dict[str, Change] = {
    "nothing": lambda host: None,
    "port comes": lambda host: host.client("d"),
    "port goes": lambda host: host.rows.pop("a"),
    "port moves": lambda host: host.client("a", vhost_server_path="/tmp/elsewhere"),
    "mtu": lambda host: host.client("a", mtu=9000),
    "retries": lambda host: host.client("a", tx_retries_max="3"),
    "vlan": lambda host: row(host, "b", port=PortRow(tag=7)),
    "policing": lambda host: row(host, "b", ingress_policing=(1000, 100, 0, 0)),
    "pin": lambda host: row(host, "b", other_config={"pmd-rxq-affinity": "0:1"}),
    "fewer threads": lambda host: host.other_config.update({"pmd-cpu-mask": "1"}),
    "other threads": lambda host: host.other_config.update({"pmd-cpu-mask": "6"}),
    "sleep": lambda host: host.other_config.update({"pmd-sleep-max": "50"}),
    "placing": lambda host: host.other_config.update({"pmd-rxq-assign": "roundrobin"}),
    "all at once": lambda host: (
        host.client("d"), host.rows.pop("a"), host.client("b", tx_retries_max="3"),
        host.other_config.update({"pmd-cpu-mask": "4"})),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_rehearsal_does_what_the_agent_then_does(host: OneBridge, change: Change) -> None:
    change(host)
    _, actions, then = rehearsed(host)
    host.step()
    assert actions == host.plane.tried
    assert then.bridges == host.plane.bridges
    assert (then.polls, then.pmds) == (host.plane.polls, tuple(
        spec for _, spec in sorted(host.plane.pmds.items())))
    assert {name: (state.device, state.memory, state.limits) for name, state in then.ports.items()
            } == {name: (state.device, state.memory, state.limits)
                  for name, state in host.plane.ports.items()}
    assert rehearsed(host)[1] == []


def test_queues_stay_where_loads_put_them(host: OneBridge) -> None:
    """They may be elsewhere than a placement without loads has them."""
    polls = tuple(reversed([rxqs for _, rxqs in host.plane.polls]))
    host.plane.apply(SetPollLists(tuple((core, ()) for core in (0, 1))))
    host.plane.apply(SetPollLists(tuple(zip((0, 1), polls, strict=True))))
    assert rehearsed(host)[1] == []


# --- in words -------------------------------------------------------------------------------------

def words(host: OneBridge) -> list[str]:
    before = host.plane.observe()
    wanted, actions, then = rehearsed(host)
    return list(plan_words.lines(wanted, before, actions, then))


@pytest.mark.parametrize(("change", "said"), [
    ("nothing", []),
    ("port comes", ["+ port d on bridge br0: dpdkvhostuserclient, connects to /tmp/d",
                    "~ 4 rx queues are placed anew, on the PMD threads of cores 0, 1"]),
    ("port moves", ["-+ port a is made anew: connects to /tmp/a -> connects to /tmp/elsewhere"]),
    ("mtu", ["~ port a: mtu 1500 -> 9000, room bytes 2048 -> 9216"]),
    ("retries", ["~ port a: tx-retries-max 8 -> 3"]),
    ("vlan", ["~ port b: vlan mode trunk -> access, vlan 0 -> 7"]),
    ("fewer threads", ["~ 3 rx queues are placed anew, on the PMD thread of core 0",
                       "- PMD thread on core 1"]),
    ("sleep", ["~ PMD thread on core 0: sleep max us 0 -> 50",
               "~ PMD thread on core 1: sleep max us 0 -> 50"]),
])
def test_changes_in_words(host: OneBridge, change: str, said: list[str]) -> None:
    CHANGES[change](host)
    assert words(host) == said


def test_limits_in_words(host: OneBridge) -> None:
    CHANGES["policing"](host)
    (line,) = words(host)
    assert line.startswith("~ port b: rx bytes none -> (rate ")


def test_guests_that_lose_their_port_are_named() -> None:
    of = guest(seen("a", "b"), "b", attached=False)
    actions, then = rehearse(Desired(), of.observed, Placed(), set(), 0)
    assert list(plan_words.lines(Desired(), of.observed, actions, then)) == [
        "- port a: a guest is connected and loses its link", "- port b",
        "- PMD thread on core 3"]


def test_what_waits_for_a_guest_is_said() -> None:
    of = seen("a")
    spec = of.desired.ports["a"]
    wanted = replace(of.desired, ports={
        "a": replace(spec, device=replace(spec.device, iommu=True))},    # type: ignore[type-var]
        pmds=of.observed.pmds, bridges=())
    actions, then = rehearse(wanted, of.observed, Placed(), set(), 0)
    assert not any(isinstance(action, AddPort) for action in actions)
    assert list(plan_words.lines(wanted, of.observed, actions, then)) == [
        "> port a: vhost-iommu-support=true: when the guest disconnects"]


def problems() -> Iterator[InterfaceRow]:
    for number, name in enumerate("abcdef", 1):
        yield InterfaceRow(UUID(int=number), name, "dpdkvhostuserclient",
                           options={"vhost-server-path": f"/tmp/{name}", "colour": "1"})
    yield InterfaceRow(UUID(int=9), "g", "gre")


def test_what_cannot_be_used_is_told_once() -> None:
    config = host_config({}, rundir=RUNDIR, numa_cores=CORES, dpdk_initialized=True)
    rows = BridgeRow(UUID(int=99), "br0", "netdev", interfaces=tuple(problems()))
    told = plan_words.told(desired(Snapshot(bridges=(rows,)), config, dict))
    assert len(told) == 2
    assert told[0].startswith("g: not served: ")
    assert told[1].startswith("a, b, c, d and 2 more: colour: ")
