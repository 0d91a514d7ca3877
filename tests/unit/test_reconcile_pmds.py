"""PMD threads and placement from two snapshots: what is refused, what is remembered."""
from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from agent import loglines
from agent.actions import StartPmd, StopPmd
from agent.model import CLIENT_TYPE, ETH_TYPE, InterfaceRow, PmdCounters, Readings
from tests.unit.conftest import OneBridge

HZ = 1_000_000_000
INTERVAL = 5 * HZ


@pytest.fixture
def host(lines: list[loglines.Line]) -> OneBridge:
    """Two ports on cores 0 and 1."""
    host = OneBridge(lines)
    host.reconciler._numa_cores = {0: (0, 1)}
    host.other_config["pmd-cpu-mask"] = "3"
    host.client("a")
    host.client("b")
    host.step()
    return host


def test_threads_are_said(host: OneBridge) -> None:
    assert [p.core for p in host.plane.pmds.values()] == [0, 1]
    host.other_config["pmd-cpu-mask"] = "2"
    said = host.step()
    assert ("info", "PMD thread on numa_id: 0, core id:  0 destroyed.") in said
    assert ("info", "There are 1 pmd threads on numa node 0") in said
    assert host.step() == []


def test_core_that_cannot_be_had_is_left_out_and_said_once(lines: list[loglines.Line]) -> None:
    host = OneBridge(lines)
    host.reconciler._numa_cores = {0: (0, 1, 2)}
    host.other_config["pmd-cpu-mask"] = "7"
    host.plane.refused = {(StartPmd, f"core {core}"): "not yours" for core in (0, 2)}
    host.client("a")
    host.client("b")
    said = host.step()
    for core in (0, 2):
        assert said.count(("err", f"no PMD thread on core {core}: not yours")) == 1
    assert host.plane.polls == ((1, (("a", 0), ("b", 0))),)
    why = ("no PMD thread on core 0: not yours", "no PMD thread on core 2: not yours")
    assert host.reconciler.problems == {"a": why, "b": why}
    assert host.step(changed=False) == []
    host.tried(StartPmd)
    host.client("c")
    host.step()
    assert host.tried(StartPmd) == 0                    # not for the sake of a port
    host.other_config["pmd-sleep-max"] = "10"
    assert not [text for level, text in host.step() if level == "err"]      # tried, and known
    assert host.tried(StartPmd) == 2
    host.plane.refused.clear()
    host.other_config["pmd-sleep-max"] = "0"
    host.step()
    assert (host.reconciler.problems, len(host.plane.pmds)) == ({}, 3)


def test_core_that_cannot_be_had_is_a_problem_of_all_ports_that_have_queues(host: OneBridge
                                                                            ) -> None:
    types = {"tap": "tap", "patch": "patch", "eth": ETH_TYPE, "waits": CLIENT_TYPE}
    options = {"patch": {"peer": "other"}, "eth": {"dpdk-devargs": "net_x"}}
    host.rows |= {name: InterfaceRow(UUID(int=i), name, type_, options.get(name, {}))
                  for i, (name, type_) in enumerate(types.items())}
    host.plane.refused[StartPmd, "core 1"] = "not yours"
    host.other_config["pmd-cpu-mask"] = "1"
    host.step()
    host.other_config["pmd-cpu-mask"] = "3"
    host.step()
    why = "no PMD thread on core 1: not yours"
    assert {name for name, texts in host.reconciler.problems.items() if why in texts} == {
        "a", "b", "eth", "waits"}


def test_queue_that_nobody_polls_is_its_ports_problem(host: OneBridge) -> None:
    host.other_config["pmd-cpu-mask"] = "1"
    host.rows["a"] = replace(host.rows["a"], other_config={"pmd-rxq-affinity": "0:0"})
    host.step()
    assert host.plane.polls == ((0, (("a", 0),)),)
    assert list(host.reconciler.problems) == ["b"]
    assert host.reconciler.problems["b"][0].startswith("rx queue 0 is not polled: ")
    host.plane.guest("b", rxqs=(0, 1, 2))
    host.step()
    assert host.reconciler.problems["b"][0].startswith("rx queues 0-2 are not polled: ")
    host.other_config["pmd-cpu-mask"] = "3"
    host.step()
    assert host.reconciler.problems == {}


def test_admin_state_is_kept_until_the_row_goes(host: OneBridge) -> None:
    host.reconciler.set_admin_state(["a"], up=False)
    host.step(changed=False)
    assert [host.plane.ports[name].up for name in "ab"] == [False, True]
    host.client("a", vhost_server_path="/tmp/other")    # made anew
    host.step()
    assert not host.plane.ports["a"].up
    row = host.rows.pop("a")
    host.step()
    host.rows["a"] = row
    host.step()
    assert host.plane.ports["a"].up


def read(host: OneBridge, second: int, busy: dict[Any, int]) -> bool:
    """Readings after so many seconds in which rxqs took 'busy' percent of a core each."""
    cycles = second * HZ
    of_core = {core: sum(busy[rxq] for rxq in rxqs) for core, rxqs in host.plane.polls}
    return host.reconciler.sample(Readings(
        HZ, {core: PmdCounters(cycles=cycles, busy_cycles=cycles * percent // 100)
             for core, percent in of_core.items()},
        {rxq: cycles * percent // 100 for rxq, percent in busy.items()}), second * 1000)


def test_measured_loads_place_queues_when_somebody_asks(host: OneBridge) -> None:
    host.plane.guest("a", rxqs=(0, 1, 2))
    host.step(changed=False)
    before = dict(host.plane.polls)
    busy = {("a", 0): 5, ("a", 1): 80, ("a", 2): 10, ("b", 0): 70}
    for second in range(0, 60, 5):
        assert not read(host, second, busy)
    assert host.step(changed=True) == []                # loads alone move nothing
    assert dict(host.plane.polls) == before
    host.reconciler.placer.ask()
    said = host.step(changed=False)
    assert dict(host.plane.polls) == {0: (("a", 0), ("a", 1)), 1: (("a", 2), ("b", 0))}
    moved = {rxq for core, rxqs in host.plane.polls for rxq in rxqs if rxq not in before[core]}
    assert len([text for _, text in said if "assigned port" in text]) == len(moved)


def test_uneven_load_asks_by_itself(host: OneBridge) -> None:
    host.other_config["pmd-auto-lb"] = "true"
    host.other_config["pmd-rxq-assign"] = "group"
    host.plane.guest("a", rxqs=(0, 1, 2))
    host.step()
    lists = dict(host.plane.polls)
    # the queues of one core are busy, those of the other are not
    busy = {rxq: 49 if rxq in lists[0] else 0 for rxqs in lists.values() for rxq in rxqs}
    asked = [second for second in range(0, 130, 5) if read(host, second, busy)]
    assert asked[:1] in ([60], [65])
    host.step(changed=False)
    assert all(sum(busy[rxq] for rxq in rxqs) == 49 for _, rxqs in host.plane.polls)


def test_last_port_takes_the_threads_with_it(host: OneBridge) -> None:
    host.rows.clear()
    host.step()
    assert (host.plane.pmds, host.plane.polls) == ({}, ())
    assert host.tried(StopPmd) == 2
