"""Placement of rxqs on PMDs: ovs-vswitchd's rules by example, and what always holds."""
from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.model import Placing, PmdSpec, RxqLoad
from agent.schedule import Placement, improvement, place, unevenness

CYCLES, ROUNDROBIN, GROUP = ALGORITHMS = ("cycles", "roundrobin", "group")
TWO = (PmdSpec(1), PmdSpec(2))
THREE = (*TWO, PmdSpec(3))


def queues(*cycles: int, node: int = 0, pins: dict[int, int] | None = None) -> list[RxqLoad]:
    """Queues 0, 1, ... of port p with so many cycles."""
    pins = pins or {}
    return [RxqLoad("p", queue, 1, node, pins.get(queue), n) for queue, n in enumerate(cycles)]


def numbers(placement: Placement) -> dict[int, list[int]]:
    """The queues of each core, without their port."""
    return {core: [queue for _, queue in rxqs] for core, rxqs in placement.lists}


def texts(placement: Placement, level: str = "info") -> list[str]:
    return [text for of, text in placement.lines if of == level]


# --- by example -----------------------------------------------------------------------------------

@pytest.mark.parametrize(("algorithm", "cycles", "pmds", "expected"), [
    # the tests of Open vSwitch: nothing is measured yet
    (ROUNDROBIN, [0] * 8, TWO, {1: [0, 2, 4, 6], 2: [1, 3, 5, 7]}),
    (CYCLES, [0] * 8, TWO, {1: [0, 3, 4, 7], 2: [1, 2, 5, 6]}),
    (GROUP, [0] * 8, TWO, {1: [0, 2, 4, 6], 2: [1, 3, 5, 7]}),
    # one PMD, no queue, no PMD
    (CYCLES, [0] * 3, [PmdSpec(4)], {4: [0, 1, 2]}),
    (GROUP, [], TWO, {1: [], 2: []}),
    (GROUP, [0] * 3, [], {}),
    # up and down over three, busiest first
    (CYCLES, [10, 20, 30, 40, 50, 60, 70], THREE, {1: [0, 1, 6], 2: [2, 5], 3: [3, 4]}),
    # round robin is blind to cycles
    (ROUNDROBIN, [10, 20, 30, 40, 50, 60, 70], THREE, {1: [0, 3, 6], 2: [1, 4], 3: [2, 5]}),
    # one heavy queue has a PMD of its own
    (GROUP, [90, 10, 20, 30], TWO, {1: [0], 2: [1, 2, 3]}),
    (CYCLES, [90, 10, 20, 30], TWO, {1: [0, 1], 2: [2, 3]}),
    # the lowest sum; of equal sums the lowest core
    (GROUP, [50, 30, 20, 10], TWO, {1: [0, 3], 2: [1, 2]}),
    # without cycles of its own: the fewest queues, whatever their cycles
    (GROUP, [90, 10, 20, 0, 0, 0], TWO, {1: [0, 3, 4], 2: [1, 2, 5]}),
])
def test_algorithms(algorithm: str, cycles: list[int], pmds: Sequence[PmdSpec],
                    expected: dict[int, list[int]]) -> None:
    assert numbers(place(queues(*cycles), pmds, Placing(algorithm))) == expected


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_queues_alike_go_by_port_number_not_by_name(algorithm: str) -> None:
    rxqs = [RxqLoad("a", 0, 9), RxqLoad("b", 1, 2), RxqLoad("b", 0, 2), RxqLoad("c", 0, 10)]
    lists = place(rxqs, [PmdSpec(core) for core in range(4)], Placing(algorithm)).lists
    assert lists == ((0, (("b", 0),)), (1, (("b", 1),)), (2, (("a", 0),)), (3, (("c", 0),)))


def test_poll_lists_are_in_order_of_port_number_and_queue() -> None:
    rxqs = [RxqLoad("a", 0, 9, cycles=9), RxqLoad("z", 1, 2, cycles=8), RxqLoad("z", 0, 2)]
    assert place(rxqs, [PmdSpec(0)], Placing()).lists == ((0, (("z", 0), ("z", 1), ("a", 0))),)


@pytest.mark.parametrize(("placing", "pins", "expected", "isolated"), [
    # core 1 is isolated, the others go to core 2
    (Placing(CYCLES), {0: 1}, {1: [0], 2: [1, 2, 3]}, {1}),
    (Placing(GROUP), {0: 1}, {1: [0], 2: [1, 2, 3]}, {1}),
    (Placing(ROUNDROBIN), {0: 1}, {1: [0], 2: [1, 2, 3]}, {1}),
    # not isolated, with 'group' alone; a pinned queue counts
    (Placing(GROUP, isolate=False), {0: 1}, {1: [0, 2], 2: [1, 3]}, set()),
    (Placing(CYCLES, isolate=False), {0: 1}, {1: [0], 2: [1, 2, 3]}, {1}),
    (Placing(ROUNDROBIN, isolate=False), {0: 1}, {1: [0], 2: [1, 2, 3]}, {1}),
    # all are pinned; two to one core
    (Placing(CYCLES), {0: 2, 1: 2, 2: 1, 3: 2}, {1: [2], 2: [0, 1, 3]}, {1, 2}),
    # a core without PMD: as if not pinned, and nothing is isolated for it
    (Placing(CYCLES), {0: 3, 1: 7, 2: 2, 3: 8}, {1: [0, 1, 3], 2: [2]}, {2}),
    (Placing(GROUP), {0: 5}, {1: [0, 2], 2: [1, 3]}, set()),
])
def test_pinned_queues(placing: Placing, pins: dict[int, int], expected: dict[int, list[int]],
                       isolated: set[int]) -> None:
    placement = place(queues(0, 0, 0, 0, pins=pins), TWO, placing)
    assert numbers(placement) == expected
    assert placement.isolated == isolated
    assert placement.unpolled == ()


def test_cycles_of_pinned_queues_count_for_group_without_isolation() -> None:
    placement = place(queues(100, 60, 30, pins={0: 1}), TWO, Placing(GROUP, isolate=False))
    assert numbers(placement) == {1: [0], 2: [1, 2]}


def test_walk_passes_isolated_pmds_over() -> None:
    rxqs = queues(*[0] * 6, pins={0: 2})
    assert numbers(place(rxqs, THREE, Placing(CYCLES))) == {1: [1, 4, 5], 2: [0], 3: [2, 3]}
    assert numbers(place(rxqs, THREE, Placing(ROUNDROBIN))) == {1: [1, 3, 5], 2: [0], 3: [2, 4]}


def test_all_pmds_isolated_leave_the_others_unpolled() -> None:
    placement = place(queues(5, 6, 7, pins={1: 1}), [PmdSpec(1)], Placing(CYCLES))
    assert numbers(placement) == {1: [1]}
    assert placement.unpolled == (("p", 2), ("p", 0))
    assert not placement.crossing
    assert texts(placement, "warn") == [
        f"No non-isolated pmd on any numa available for port 'p' rx queue {queue} (measured "
        f"processing cycles {cycles}). This rx queue will not be polled."
        for queue, cycles in ((2, 7), (0, 5))]


# --- NUMA -----------------------------------------------------------------------------------------

NODES = (PmdSpec(1, 1), PmdSpec(2, 2), PmdSpec(3, 1), PmdSpec(4, 2))


@pytest.mark.parametrize(("algorithm", "expected"), [
    (CYCLES, {1: [0, 9], 2: [1, 5, 7], 3: [3, 6], 4: [2, 4, 8]}),
    (ROUNDROBIN, {1: [0, 6], 2: [1, 4, 7], 3: [3, 9], 4: [2, 5, 8]}),
    (GROUP, {1: [0, 6], 2: [1, 4, 7], 3: [3, 9], 4: [2, 5, 8]})])
def test_each_node_has_a_walk_of_its_own(algorithm: str, expected: dict[int, list[int]]) -> None:
    """One queue of node 1, two of node 2, again and again: neither disturbs the other's walk."""
    rxqs = [RxqLoad("p", queue, 1, 2 if queue % 3 else 1) for queue in range(10)]
    placement = place(rxqs, NODES, Placing(algorithm))
    assert not placement.crossing
    assert numbers(placement) == expected


def test_queues_of_a_node_without_pmds_go_to_the_other_nodes_in_turn() -> None:
    placement = place(queues(*[0] * 4), NODES, Placing(CYCLES))
    assert placement.crossing
    assert numbers(placement) == {1: [0], 2: [1], 3: [2], 4: [3]}
    assert texts(placement)[1:3] == [
        "There's no available (non-isolated) pmd thread on numa node 0. Port 'p' rx queue 0 will "
        "be assigned to a pmd on numa node 1. This may lead to reduced performance.",
        "Core  1 on numa node 1 assigned port 'p' rx queue 0 (measured processing cycles 0)."]


def test_queues_go_to_their_own_node_when_it_has_a_pmd_however_full() -> None:
    placement = place(queues(*[9] * 4), [PmdSpec(1, 1), PmdSpec(2, 0)], Placing(GROUP))
    assert numbers(placement) == {1: [], 2: [0, 1, 2, 3]}
    assert not placement.crossing


def test_node_whose_pmds_are_all_isolated_is_as_one_without() -> None:
    pmds = [PmdSpec(1, 0), PmdSpec(2, 1), PmdSpec(3, 2)]
    rxqs = [*queues(0, 0, 0, pins={0: 1}), RxqLoad("q", 0, 2, 1, pin=2)]
    placement = place(rxqs, pmds, Placing(CYCLES))
    assert numbers(placement) == {1: [0], 2: [0], 3: [1, 2]}
    assert placement.crossing


def test_other_nodes_take_their_turns_in_order_of_nodes_not_of_cores() -> None:
    placement = place(queues(*[0] * 4), [PmdSpec(1, 2), PmdSpec(2, 1)], Placing(CYCLES))
    assert numbers(placement) == {1: [1, 3], 2: [0, 2]}


@pytest.mark.parametrize("node", [0, 1, 2])
def test_pin_to_another_node_is_no_crossing(node: int) -> None:
    pmds = [PmdSpec(1, 0), PmdSpec(2, 1)]
    rxqs = [RxqLoad("p", 0, 1, node, pin=2), RxqLoad("p", 1, 1, 0)]
    placement = place(rxqs, pmds, Placing())
    assert numbers(placement) == {1: [1], 2: [0]}
    assert not placement.crossing


# --- log lines ------------------------------------------------------------------------------------

def test_lines_of_pinned_queues_come_first_and_the_heading_before_the_others() -> None:
    placement = place(queues(7, 8, 9, pins={0: 12, 1: 5}), [PmdSpec(2), PmdSpec(12)], Placing())
    assert placement.lines == (
        ("info", "Core 12 on numa node 0 is pinned with port 'p' rx queue 0 (measured processing "
         "cycles 7)"),
        ("warn", "Core  5 cannot be pinned with port 'p' rx queue 1. Use pmd-cpu-mask to enable a "
         "pmd on core 5. An alternative core will be assigned."),
        ("info", "Performing pmd to rx queue assignment using cycles algorithm."),
        ("info", "Core  2 on numa node 0 assigned port 'p' rx queue 2 (measured processing cycles "
         "9)."),
        ("info", "Core  2 on numa node 0 assigned port 'p' rx queue 1 (measured processing cycles "
         "8)."))


def test_round_robin_tells_no_cycles() -> None:
    rxqs = queues(7, 8, pins={0: 1})
    assert place(rxqs, TWO, Placing(ROUNDROBIN)).lines == (
        ("info", "Core  1 on numa node 0 is pinned with port 'p' rx queue 0"),
        ("info", "Performing pmd to rx queue assignment using roundrobin algorithm."),
        ("info", "Core  2 on numa node 0 assigned port 'p' rx queue 1."))
    assert place(rxqs, TWO[:1], Placing(ROUNDROBIN)).lines[-1] == (
        "warn", "No non-isolated pmd on any numa available for port 'p' rx queue 1. This rx queue "
        "will not be polled.")


def test_without_an_unpinned_queue_there_is_no_heading() -> None:
    assert place([], TWO, Placing()).lines == ()
    assert len(place(queues(7, pins={0: 1}), TWO, Placing()).lines) == 1


# --- what always holds ----------------------------------------------------------------------------

rxq_sets = st.lists(
    st.builds(RxqLoad, port=st.sampled_from("abcd"), queue=st.integers(0, 7), number=st.just(0),
              node=st.integers(0, 3), pin=st.none() | st.integers(0, 9),
              cycles=st.integers(0, 4) | st.integers(0, 10**12)),
    max_size=30, unique_by=lambda rxq: rxq.rxq,
).map(lambda rxqs: [RxqLoad(r.port, r.queue, ord(r.port), r.node, r.pin, r.cycles) for r in rxqs])
unpinned_sets = rxq_sets.map(
    lambda rxqs: [RxqLoad(r.port, r.queue, r.number, r.node, None, r.cycles) for r in rxqs])
pmd_sets = st.lists(st.builds(PmdSpec, st.integers(0, 9), st.integers(0, 2)), max_size=6,
                    unique_by=lambda pmd: pmd.core)
placings = st.builds(Placing, st.sampled_from(ALGORITHMS), st.booleans())


@given(rxq_sets, pmd_sets, placings)
def test_every_rxq_exactly_once(rxqs: list[RxqLoad], pmds: list[PmdSpec], placing: Placing) -> None:
    placement = place(rxqs, pmds, placing)
    polled = [rxq for _, on in placement.lists for rxq in on]
    assert sorted([*polled, *placement.unpolled]) == sorted(rxq.rxq for rxq in rxqs)
    assert [core for core, _ in placement.lists] == sorted(pmd.core for pmd in pmds)
    if {pmd.core for pmd in pmds} - placement.isolated:
        assert placement.unpolled == ()


@given(rxq_sets, pmd_sets, placings)
def test_pins_are_honoured_and_isolated_pmds_poll_nothing_else(
        rxqs: list[RxqLoad], pmds: list[PmdSpec], placing: Placing) -> None:
    placement = place(rxqs, pmds, placing)
    lists = dict(placement.lists)
    pins = {rxq.rxq: rxq.pin for rxq in rxqs if rxq.pin in lists}
    for rxq, core in pins.items():
        assert core is not None
        assert rxq in lists[core]
    isolates = placing.isolate or placing.algorithm != GROUP
    assert placement.isolated == (set(pins.values()) if isolates else set())
    for core in placement.isolated:
        assert all(pins.get(rxq) == core for rxq in lists[core])


@given(rxq_sets, pmd_sets, placings)
def test_nothing_leaves_its_node_while_that_has_a_pmd_to_offer(
        rxqs: list[RxqLoad], pmds: list[PmdSpec], placing: Placing) -> None:
    placement = place(rxqs, pmds, placing)
    node_of = {pmd.core: pmd.node for pmd in pmds}
    offered = {node for core, node in node_of.items() if core not in placement.isolated}
    core_of = {rxq: core for core, polled in placement.lists for rxq in polled}
    away = [rxq for rxq in rxqs if rxq.rxq in core_of and rxq.pin != core_of[rxq.rxq]
            and rxq.node != node_of[core_of[rxq.rxq]]]
    assert all(rxq.node not in offered for rxq in away)
    assert placement.crossing == bool(away)


@given(st.data(), rxq_sets, pmd_sets, placings)
def test_input_order_does_not_matter(data: st.DataObject, rxqs: list[RxqLoad],
                                     pmds: list[PmdSpec], placing: Placing) -> None:
    other = place(data.draw(st.permutations(rxqs)), data.draw(st.permutations(pmds)), placing)
    assert place(rxqs, pmds, placing) == other


def sums(placement: Placement, rxqs: list[RxqLoad], node: int, pmds: list[PmdSpec]) -> list[int]:
    cycles = {rxq.rxq: rxq.cycles for rxq in rxqs}
    on_node = {pmd.core for pmd in pmds if pmd.node == node}
    return [sum(cycles[rxq] for rxq in on) for core, on in placement.lists if core in on_node]


@given(unpinned_sets, pmd_sets)
def test_group_leaves_no_pmd_with_more_than_the_least_loaded_and_the_largest_queue(
        rxqs: list[RxqLoad], pmds: list[PmdSpec]) -> None:
    placement = place(rxqs, pmds, Placing(GROUP))
    largest = max((rxq.cycles for rxq in rxqs), default=0)
    for node in {pmd.node for pmd in pmds}:
        loads = sums(placement, rxqs, node, pmds)
        assert max(loads) <= min(loads) + largest


@given(unpinned_sets, pmd_sets, st.sampled_from([CYCLES, ROUNDROBIN]))
def test_walks_leave_no_pmd_of_a_node_with_two_queues_more_than_another(
        rxqs: list[RxqLoad], pmds: list[PmdSpec], algorithm: str) -> None:
    sizes = {core: len(polled) for core, polled in place(rxqs, pmds, Placing(algorithm)).lists}
    by_node = sorted(pmds, key=lambda pmd: pmd.node)
    for _, on in groupby(by_node, key=lambda pmd: pmd.node):
        counts = [sizes[pmd.core] for pmd in on]
        assert max(counts) - min(counts) <= (2 if algorithm == CYCLES else 1)


# --- how even a placement is ----------------------------------------------------------------------

LISTS = ((1, (("a", 0), ("b", 0))), (2, (("c", 0),)), (3, ()))
USED = {("a", 0): 300, ("b", 0): 299, ("c", 0): 200}


@pytest.mark.parametrize(("cores", "isolated", "has", "expected"), [
    ({1, 2}, set(), {1: 1000, 2: 1000}, ((59 - 39) ** 2 + (20 - 39) ** 2) // 2),
    ({1, 2, 3}, set(), {1: 1000, 2: 1000, 3: 1000}, (33 ** 2 + 6 ** 2 + 26 ** 2) // 3),
    ({1, 2, 3}, {3}, {1: 1000, 2: 1000, 3: 1000}, ((59 - 39) ** 2 + (20 - 39) ** 2) // 2),
    ({1, 2}, set(), {1: 1000, 2: 400}, ((59 - 54) ** 2 + (50 - 54) ** 2) // 2),
    ({1, 2}, set(), {1: 1000}, ((59 - 29) ** 2 + (0 - 29) ** 2) // 2),   # core 2 is not known yet
    ({1}, set(), {1: 1000}, 0),
    ({1}, {1}, {1: 1000}, 0),
    (set(), set(), {}, 0),
])
def test_unevenness_is_the_variance_of_whole_percents(
        cores: set[int], isolated: set[int], has: dict[int, int], expected: int) -> None:
    placement = Placement(lists=LISTS, isolated=frozenset(isolated))
    assert unevenness(placement, cores, USED, has) == expected


@pytest.mark.parametrize(("now", "then", "percent"), [
    (100, 75, 25), (100, 76, 24), (3, 2, 33), (7, 0, 100), (0, 0, 0), (0, 5, 0), (5, 6, 0),
    (5, 5, 0)])
def test_improvement(now: int, then: int, percent: int) -> None:
    assert improvement(now, then) == percent


def test_news_are_of_queues_that_are_elsewhere_than_before() -> None:
    every = {p: place(queues(5, 6, pins={0: p, 1: p}), TWO, Placing()) for p in (1, 2)}
    assert every[1].news({}) == every[1].lines
    assert every[1].news(every[1].cores) == ()
    assert len(every[2].news(every[1].cores)) == 2
    alone = place([*queues(0, pins={0: 1}), RxqLoad("q", 0, 2)], TWO[:1], Placing())
    assert alone.unpolled == (("q", 0),)
    assert len([level for level, _ in alone.news({}) if level == "warn"]) == 1
    assert alone.news(alone.cores) == (), "that it is not polled was said"
    free = place([RxqLoad("p", 0, 1), RxqLoad("q", 0, 2)], TWO[:1], Placing())
    assert [text for _, text in free.news(alone.cores)] == [
        "Performing pmd to rx queue assignment using cycles algorithm.",
        "Core  1 on numa node 0 assigned port 'q' rx queue 0 (measured processing cycles 0)."]
