"""Plans, run on a model of the data plane that refuses what the real one refuses."""
from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.model import (
    Action,
    AddPort,
    Desired,
    Observed,
    PollLists,
    PortSpec,
    PortState,
    RemovePort,
    SetBridges,
    SetCores,
    SetPollLists,
    SetTxRetriesMax,
)
from agent.plan import plan

names = st.sampled_from("abcd")


@st.composite
def wishes(draw: st.DrawFn) -> Desired:
    ports = {name: PortSpec(name, draw(st.sampled_from(["br0", "br1"])), draw(st.booleans()),
                            draw(st.sampled_from([None, f"/1/{name}", f"/2/{name}"])),
                            draw(st.integers(0, 2)))
             for name in draw(st.sets(names))}
    bridges = tuple((bridge, tuple(sorted(p.name for p in ports.values() if p.bridge == bridge)))
                    for bridge in sorted(draw(st.sets(st.sampled_from(["br0", "br1"])))))
    cores = tuple(sorted(draw(st.sets(st.integers(0, 2), max_size=2))))
    return Desired(tuple(ports.values()), bridges, cores)


class Model:
    """The data plane's rules: nothing names a port that is not there; a core that polls stays."""

    def __init__(self) -> None:
        self.seen = Observed()

    def apply(self, action: Action, rxqs: dict[str, tuple[int, ...]]) -> None:
        seen = self.seen
        names = {p.name for p in seen.ports}
        named = {n for _, members in seen.bridges for n in members}
        named |= {port for _, polled in seen.polls for port, _ in polled}
        match action:
            case AddPort(spec):
                assert spec.name not in names
                assert spec.path not in {p.path for p in seen.ports}
                state = PortState(spec.name, spec.path or "", spec.client, spec.tx_retries_max,
                                  enabled_rxqs=rxqs.get(spec.name, ()))
                self.seen = replace(seen, ports=(*seen.ports, state))
            case RemovePort(name):
                assert name not in named
                self.seen = replace(seen, ports=tuple(p for p in seen.ports if p.name != name))
            case SetTxRetriesMax(name, retries):
                assert name in names
                self.seen = replace(seen, ports=tuple(
                    replace(p, tx_retries_max=retries) if p.name == name else p
                    for p in seen.ports))
            case SetBridges(bridges):
                assert {n for _, members in bridges for n in members} <= names
                self.seen = replace(seen, bridges=bridges)
            case SetCores(cores):
                assert all(core in cores for core, polled in seen.polls if polled)
                lists = dict(seen.polls)
                self.seen = replace(seen, polls=tuple((c, lists.get(c, ())) for c in cores))
            case SetPollLists(polls):
                self.check_polls(polls, names)
                self.seen = replace(seen, polls=polls)

    def check_polls(self, polls: PollLists, names: set[str]) -> None:
        flat = [rxq for _, polled in polls for rxq in polled]
        assert len(flat) == len(set(flat)), "two pollers"
        assert {port for port, _ in flat} <= names
        assert [core for core, _ in polls] == [core for core, _ in self.seen.polls]


def settle(model: Model, wish: Desired, rxqs: dict[str, tuple[int, ...]]) -> None:
    for _ in range(4):
        model.seen = replace(model.seen, ports=tuple(
            replace(p, enabled_rxqs=rxqs.get(p.name, ())) for p in model.seen.ports))
        actions = plan(wish, model.seen)
        if not actions:
            return
        for action in actions:
            model.apply(action, rxqs)
    raise AssertionError("no fixpoint")


guests = st.dictionaries(names, st.sets(st.integers(0, 3)).map(lambda s: tuple(sorted(s))))


@settings(max_examples=300)
@given(st.lists(st.tuples(wishes(), guests), min_size=1, max_size=4))
def test_any_wish_is_reached_from_any_other(steps: list[tuple[Desired, dict[str, tuple[int, ...]]]]
                                            ) -> None:
    model = Model()
    for wish, rxqs in steps:
        settle(model, wish, rxqs)
        served = {p.name for p in wish.ports if p.path is not None}
        assert {p.name for p in model.seen.ports} == served
        assert model.seen.bridges == tuple(
            (b, tuple(m for m in members if m in served)) for b, members in wish.bridges)
        polled = {rxq for _, queues in model.seen.polls for rxq in queues}
        assert polled == ({(n, q) for n in served for q in rxqs.get(n, ())} if wish.cores
                          else set())


def test_port_with_another_path_is_made_anew_and_its_neighbour_left_alone() -> None:
    a, b = PortSpec("a", "br0", True, "/1", 8), PortSpec("b", "br0", True, "/2", 8)
    model = Model()
    rxqs = {"a": (0,), "b": (0,)}
    settle(model, Desired((a, b), (("br0", ("a", "b")),), (0,)), rxqs)
    moved = Desired((replace(a, path="/3"), b), (("br0", ("a", "b")),), (0,))
    actions = plan(moved, model.seen)
    assert [type(x) for x in actions] == [SetPollLists, SetBridges, RemovePort, AddPort]
    polls = actions[0]
    assert isinstance(polls, SetPollLists)
    assert polls.polls == ((0, (("b", 0),)),)
    assert [x.name for x in actions if isinstance(x, RemovePort)] == ["a"]
