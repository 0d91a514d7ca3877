"""PMD auto load balance: when it looks, when it acts, and what it says."""
from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import pytest

from agent.balance import AutoBalancer
from agent.load import Loads
from agent.loglines import Line
from agent.model import AutoBalance, Placing, PmdCounters, PmdSpec, Readings, RxqLoad
from agent.schedule import Placement, place

MINUTE = 60_000
ON = AutoBalance()
GROUP = Placing("group")
PMDS = (PmdSpec(1), PmdSpec(2))
REQUEST = ("info", "PMD auto load balance dry run. Requesting datapath reconfigure.")
DRY_RUN = ("dbg", "PMD auto load balance performing dry run.")
TOO_FEW = ("dbg", "PMD auto load balance nothing to do, not enough non-isolated PMDs or RxQs.")

# Queues of port p, in percent of a PMD: core 1 polls 0 and 1, core 2 polls 2.
LOADS = (60, 38, 10)
UNEVEN = Placement(lists=((1, (("p", 0), ("p", 1))), (2, (("p", 2),))))


def queues(percents: Sequence[int] = LOADS, node: int = 0) -> list[RxqLoad]:
    """Queues with cycles of a minute of 12 times 1000 cycles."""
    return [RxqLoad("p", queue, 1, node, None, 120 * percent)
            for queue, percent in enumerate(percents)]


def loads(busy: Mapping[int, Sequence[int]]) -> Loads:
    """Of PMDs that were busy for so many percent in each interval, oldest first."""
    made = Loads()
    for n in range(len(next(iter(busy.values()))) + 1):
        made.sample(Readings(1, {core: PmdCounters(1000 * n, 10 * sum(percents[:n]))
                                 for core, percents in busy.items()}), ())
    return made


FULL = {1: [98] * 12, 2: [10] * 12}


def look(config: AutoBalance = ON, placing: Placing = GROUP, pmds: Collection[PmdSpec] = PMDS,
         current: Placement = UNEVEN, rxqs: Sequence[RxqLoad] = tuple(queues()),
         busy: Mapping[int, Sequence[int]] = FULL) -> tuple[bool, list[Line]]:
    """One look at the end of the first interval."""
    balancer = AutoBalancer()
    none, _ = balancer.run(0, config, placing, pmds, current, list, loads(busy))
    assert not none
    yes, lines = balancer.run(config.interval_ms, config, placing, pmds, current, lambda: rxqs,
                              loads(busy))
    return yes, list(lines)


# --- when it looks --------------------------------------------------------------------------------

class Host:
    """A balancer whose every look says yes."""

    def __init__(self) -> None:
        self.balancer = AutoBalancer()
        self.dry_runs = 0

    def rxqs(self) -> list[RxqLoad]:
        self.dry_runs += 1
        return queues()

    def run(self, now_ms: int, config: AutoBalance | None) -> tuple[bool, list[Line]]:
        yes, lines = self.balancer.run(now_ms, config, GROUP, PMDS, UNEVEN, self.rxqs, loads(FULL))
        return yes, [line for line in lines if line[0] != "dbg"]


def test_it_looks_once_an_interval_counted_from_when_it_was_enabled() -> None:
    host = Host()
    assert host.run(5000, ON) == (False, [])
    assert host.run(5000 + MINUTE - 1, ON) == (False, [])
    assert host.dry_runs == 0
    assert host.run(5000 + MINUTE, ON) == (True, [REQUEST])
    assert host.run(5000 + 2 * MINUTE - 1, ON) == (False, [])
    assert host.run(5000 + 2 * MINUTE + 70, ON) == (True, [REQUEST])
    assert host.run(5000 + 3 * MINUTE, ON) == (False, [])
    assert host.dry_runs == 2


def test_it_counts_anew_when_it_is_enabled() -> None:
    host = Host()
    for now_ms, config in ((0, None), (MINUTE, None), (2 * MINUTE, ON), (3 * MINUTE - 1, None),
                           (3 * MINUTE, ON)):
        assert host.run(now_ms, config) == (False, [])
    assert host.run(4 * MINUTE, ON) == (True, [REQUEST])


def test_a_changed_setting_does_not_put_the_look_off() -> None:
    host = Host()
    host.run(0, AutoBalance(10 * MINUTE))
    config = AutoBalance(2 * MINUTE, load_percent=0, improvement_percent=100)
    assert host.run(MINUTE, config) == (False, [])
    host.run(2 * MINUTE, config)
    assert host.dry_runs == 1


# --- when it acts ---------------------------------------------------------------------------------

def test_dry_run_tells_what_it_found() -> None:
    assert look() == (True, [
        DRY_RUN,
        ("dbg", "Core  1 on numa node 0 assigned port 'p' rx queue 0 (measured processing cycles "
         "7200)."),
        ("dbg", "Core  2 on numa node 0 assigned port 'p' rx queue 1 (measured processing cycles "
         "4560)."),
        ("dbg", "Core  2 on numa node 0 assigned port 'p' rx queue 2 (measured processing cycles "
         "1200)."),
        # 98 and 10 percent become 60 and 48
        ("dbg", "Numa node 0. Current variance 1936 Estimated variance 36. Variance improvement "
         "98%."),
        ("dbg", "PMD load variance improvement threshold 25% is met."),
        REQUEST])


@pytest.mark.parametrize(("improvement", "yes"), [(0, True), (98, True), (99, False)])
def test_improvement_threshold(improvement: int, yes: bool) -> None:
    found, lines = look(AutoBalance(improvement_percent=improvement))
    assert found == yes
    assert (REQUEST in lines) == yes
    assert ("dbg", f"PMD load variance improvement threshold {improvement}% is "
            f"{'met' if yes else 'not met'}.") in lines


def test_placement_that_is_as_good_as_it_gets_stays() -> None:
    rxqs = queues([100, 90, 5])
    best = place(rxqs, PMDS, GROUP)
    yes, lines = look(current=best, rxqs=rxqs)
    assert not yes
    assert lines[-2:] == [
        ("dbg", "Numa node 0. Current variance 6 Estimated variance 6. Variance improvement 0%."),
        ("dbg", "PMD load variance improvement threshold 25% is not met.")]


@pytest.mark.parametrize(("busy", "threshold", "yes"), [
    ({1: [95] * 12, 2: [10] * 12}, 95, True),
    ({1: [10] * 12, 2: [95] * 12}, 95, True),
    ({1: [94] * 12, 2: [94] * 12}, 95, False),
    ({1: [100] * 11, 2: [100] * 11}, 95, False),                  # not for a minute yet
    ({1: [100] * 6 + [94] + [100] * 5, 2: [0] * 12}, 95, False),   # one interval below
    ({1: [0, *[95] * 12], 2: [0] * 13}, 95, True),
    ({1: [*[95] * 12, 0], 2: [0] * 13}, 95, False),
    ({1: [100, 0] * 6, 2: [0, 100] * 6}, 95, False),              # each for half of it
    ({1: [0] * 12, 2: [0] * 12}, 0, True),
])
def test_load_threshold_in_twelve_intervals_running(busy: Mapping[int, Sequence[int]],
                                                    threshold: int, yes: bool) -> None:
    found, lines = look(AutoBalance(load_percent=threshold), busy=busy)
    assert found == yes
    assert (DRY_RUN in lines) == yes


def test_load_of_isolated_pmds_does_not_count() -> None:
    pmds = [*PMDS, PmdSpec(3)]
    current = replace(UNEVEN, lists=(*UNEVEN.lists, (3, ())), isolated=frozenset({1}))
    assert look(pmds=pmds, current=current, busy={**FULL, 3: [0] * 12}) == (False, [])


def test_round_robin_is_blind_to_load() -> None:
    assert look(placing=Placing("roundrobin")) == (False, [
        ("dbg", "PMD auto load balance nothing to do, pmd-rxq-assign=roundrobin assignment type "
         "configured.")])


@pytest.mark.parametrize(("current", "pmds"), [
    (Placement(lists=((1, (("p", 0), ("p", 1), ("p", 2))),)), PMDS[:1]),
    (Placement(lists=((1, (("p", 0),)), (2, (("p", 1),)))), PMDS),
    (replace(UNEVEN, isolated=frozenset({2})), PMDS),
    # the only PMD with two queues is isolated
    (Placement(((1, (("p", 2),)), (2, (("p", 3),)), (3, (("p", 0), ("p", 1)))), frozenset({3})),
     (*PMDS, PmdSpec(3))),
])
def test_too_few_pmds_or_queues(current: Placement, pmds: Collection[PmdSpec]) -> None:
    busy = {pmd.core: [100] * 12 for pmd in pmds}
    assert look(pmds=pmds, current=current, busy=busy) == (False, [TOO_FEW])


# --- NUMA -----------------------------------------------------------------------------------------

def test_queues_polled_from_another_node_make_it_guesswork() -> None:
    pmds = [PmdSpec(1, 0), PmdSpec(2, 1)]
    yes, lines = look(pmds=pmds, rxqs=queues(node=2))
    assert not yes
    assert lines[-1] == (
        "dbg", "PMD auto load balance detected cross-numa polling with multiple numa nodes. "
        "Unable to accurately estimate.")


def test_queues_polled_from_another_node_do_not_hinder_when_there_is_but_one_with_pmds() -> None:
    yes, lines = look(rxqs=queues(node=2))
    assert yes
    assert lines[-1] == REQUEST


@pytest.mark.parametrize("better", [0, 1])
def test_one_node_that_gets_better_is_enough_and_isolated_pmds_stay_out_of_it(better: int) -> None:
    other = 1 - better
    pmds = [PmdSpec(1, better), PmdSpec(2, better), PmdSpec(3, other), PmdSpec(4, other)]
    rxqs = [*queues(node=better), RxqLoad("q", 0, 2, other, 3, 12_000),
            RxqLoad("r", 0, 3, other, None, 1200)]
    current = Placement(lists=(*UNEVEN.lists, (3, (("q", 0),)), (4, (("r", 0),))),
                        isolated=frozenset({3}))
    yes, lines = look(pmds=pmds, current=current, rxqs=rxqs,
                      busy={**FULL, 3: [100] * 12, 4: [10] * 12})
    assert yes
    found = {
        better: "Current variance 1936 Estimated variance 36. Variance improvement 98%.",
        other: "Current variance 0 Estimated variance 0. Variance improvement 0%."}
    assert [text for _, text in lines if text.startswith("Numa")] == [
        f"Numa node {node}. {found[node]}" for node in (0, 1)]
