"""Plans, run on a model of the data plane that refuses what the real one refuses."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.access import AS_MADE, SocketAccess
from agent.actions import (
    Action,
    AddPort,
    RemovePort,
    SetBridges,
    SetMemory,
    SetPollLists,
    SetSocketAccess,
    SetTxRetriesMax,
)
from agent.model import (
    CLIENT_TYPE,
    SERVER_TYPE,
    BridgeSpec,
    Desired,
    Membership,
    Memory,
    PmdSpec,
    PortSpec,
    PortState,
    Registration,
)
from agent.placing import Placer
from agent.plan import plan
from tests.unit.fake_datapath import FakeDatapath, name_of

STANDARD, JUMBO = Memory(1500, 2048), Memory(9000, 9216)
# port -> rxqs and NUMA node; None: its driver is stopped, the front end there
Guests = Mapping[str, tuple[tuple[int, ...], int] | None]

names = st.sampled_from("abcd")
memories = st.sampled_from([STANDARD, JUMBO, replace(STANDARD, own=True)])
accesses = st.sampled_from([AS_MADE, SocketAccess("qemu", "kvm", 0o660), SocketAccess(mode=0o600)])
bridge_names = st.sampled_from(["br0", "br1"])


@st.composite
def specs(draw: st.DrawFn, name: str) -> PortSpec:
    client = draw(st.booleans())
    registration = None
    if not client or draw(st.booleans()):
        path = draw(st.sampled_from([f"/1/{name}", f"/2/{name}"]))
        registration = Registration(path, client)
        if client:
            registration = replace(
                registration, iommu=draw(st.booleans()), postcopy=draw(st.booleans()),
                max_queue_pairs=draw(st.integers(1, 2)))
    return PortSpec(name, draw(bridge_names),
                    CLIENT_TYPE if client else SERVER_TYPE, registration, draw(st.integers(0, 2)),
                    draw(memories), tx_hash=draw(st.booleans()),
                    membership=draw(st.sampled_from([Membership(), Membership(protected=True)])),
                    access=AS_MADE if client else draw(accesses))


@st.composite
def wishes(draw: st.DrawFn) -> Desired:
    return wish(*(draw(specs(name)) for name in sorted(draw(st.sets(names)))),
                bridges=draw(st.sets(bridge_names)),
                pmds=tuple(PmdSpec(core, core % 2, draw(st.integers(0, 1)), draw(st.booleans()))
                           for core in sorted(draw(st.sets(st.integers(0, 2), max_size=2)))),
                numa_nodes=draw(st.integers(1, 2)))


def wish(*ports: PortSpec, bridges: set[str] | None = None,
         pmds: tuple[PmdSpec, ...] = (PmdSpec(0),), numa_nodes: int = 1) -> Desired:
    members = tuple(
        BridgeSpec(bridge, tuple((p.name, p.membership) for p in ports if p.bridge == bridge))
        for bridge in sorted({"br0"} if bridges is None else bridges))
    return Desired({p.name: p for p in ports}, members, pmds, numa_nodes=numa_nodes)


def next_actions(wanted: Desired, datapath: FakeDatapath) -> tuple[Action, ...]:
    """The plan, with the rxqs where a first look at them would place them."""
    observed, placer = datapath.observe(), Placer(main_node=0)
    placer.place(wanted, observed)
    return plan(wanted, observed, placer.placement.lists)


guests = st.dictionaries(names, st.none() | st.tuples(
    st.sets(st.integers(0, 3)).map(lambda s: tuple(sorted(s))), st.integers(-1, 1)))


def settle(datapath: FakeDatapath, wanted: Desired) -> list[Action]:
    """What it takes until nothing is left to do."""
    done: list[Action] = []
    for _ in range(4):
        actions = next_actions(wanted, datapath)
        if not actions:
            return done
        for action in actions:
            datapath.apply(action)
        done += actions
    raise AssertionError("no fixpoint")


def come_and_go(datapath: FakeDatapath, present: Guests) -> None:
    for name in datapath.ports:
        datapath.leave(name)
        if name in present:
            guest = present[name]
            datapath.guest(name, *(guest or ((), -1)))
            if guest is None:
                datapath.stop(name)


def may_wait(spec: PortSpec, state: PortState) -> bool:
    """Whether a port may have another registration than it should: a front end is there, and it is
    not a client port with another path."""
    assert spec.device is not None
    return (state.attached and spec.client == state.device.client
            and (not spec.client or spec.device.path == state.device.path))


def check(datapath: FakeDatapath, wanted: Desired) -> None:
    served = {name for name, spec in wanted.ports.items() if spec.device is not None}
    assert datapath.ports.keys() == served
    for name in served:
        spec, state = wanted.ports[name], datapath.ports[name]
        assert state.device == spec.device or may_wait(spec, state)
        assert (state.tx_retries_max, state.memory, state.tx_hash) == (
            spec.tx_retries_max, spec.memory, spec.tx_hash)
        if state.numa >= 0 and wanted.numa_nodes > 1:
            assert state.node == state.numa
    assert datapath.bridges == tuple(
        replace(b, members=tuple(m for m in b.members if m[0] in served)) for b in wanted.bridges)
    polled = {rxq for _, queues in datapath.polls for rxq in queues}
    assert polled == ({(n, q) for n in served for q in range(datapath.ports[n].n_rxqs)}
                      if wanted.pmds else set())
    assert datapath.observe().pmds == wanted.pmds


@settings(max_examples=300)
@given(st.lists(st.tuples(wishes(), guests), min_size=1, max_size=4))
def test_any_wish_is_reached_from_any_other(steps: list[tuple[Desired, Guests]]) -> None:
    datapath = FakeDatapath()
    for wanted, present in steps:
        settle(datapath, wanted)
        check(datapath, wanted)
        come_and_go(datapath, present)
        settle(datapath, wanted)
        check(datapath, wanted)
    come_and_go(datapath, {})
    settle(datapath, wanted)
    assert {name: state.device for name, state in datapath.ports.items()} == {
        name: spec.device for name, spec in wanted.ports.items() if spec.device}


@given(wishes(), guests)
def test_no_port_is_touched_for_the_sake_of_another(wanted: Desired, present: Guests) -> None:
    datapath = FakeDatapath()
    settle(datapath, wanted)
    come_and_go(datapath, present)
    settle(datapath, wanted)
    for gone in wanted.ports:
        rest = {name: spec for name, spec in wanted.ports.items() if name != gone}
        actions = next_actions(replace(wanted, ports=rest), datapath)
        assert {name_of(action) for action in actions} <= {gone, ""}


# --- moving and changing --------------------------------------------------------------------------

A = PortSpec("a", "br0", CLIENT_TYPE, Registration("/1", True), 8, STANDARD)
B = PortSpec("b", "br0", CLIENT_TYPE, Registration("/2", True), 8, STANDARD)
SERVER = PortSpec("a", "br0", SERVER_TYPE, Registration("/run/a", False), 8, STANDARD)


def with_guest(*ports: PortSpec, numa: int = -1) -> FakeDatapath:
    """A data plane that serves these ports, each with a guest."""
    datapath = FakeDatapath()
    settle(datapath, wish(*ports))
    for port in ports:
        datapath.guest(port.name, numa=numa)
    settle(datapath, wish(*ports))
    return datapath


def registered(spec: PortSpec, **changes: object) -> PortSpec:
    assert spec.device is not None
    return replace(spec, device=replace(
        spec.device, **changes))      # type: ignore[arg-type]


def test_port_with_another_path_is_made_anew_and_its_neighbour_left_alone() -> None:
    datapath = with_guest(A, B)
    actions = next_actions(wish(registered(A, path="/3"), B), datapath)
    assert [type(x) for x in actions] == [SetPollLists, SetBridges, RemovePort, AddPort]
    polls = actions[0]
    assert isinstance(polls, SetPollLists)
    assert polls.polls == ((0, (("b", 0),)),)
    assert [x.name for x in actions if isinstance(x, RemovePort)] == ["a"]


WAITING = [
    (A, registered(A, iommu=True)),
    (A, registered(A, postcopy=True)),
    (A, registered(A, max_queue_pairs=2)),
    (SERVER, registered(SERVER, path="/run/sub/a")),
]


@pytest.mark.parametrize(("old", "new"), WAITING)
def test_registration_waits_for_the_guest_to_leave(old: PortSpec, new: PortSpec) -> None:
    datapath = with_guest(old)
    assert next_actions(wish(new), datapath) == ()
    datapath.leave("a")
    assert [type(x) for x in settle(datapath, wish(new))] == [
        SetPollLists, SetBridges, RemovePort, AddPort, SetBridges, SetPollLists]
    assert datapath.ports["a"].device == new.device


@pytest.mark.parametrize(("old", "new"), WAITING)
def test_guest_that_restarts_its_driver_finds_back(old: PortSpec, new: PortSpec) -> None:
    datapath = with_guest(old)
    datapath.stop("a")
    settle(datapath, wish(new))
    assert datapath.ports["a"].device == old.device
    datapath.leave("a")
    settle(datapath, wish(new))
    assert datapath.ports["a"].device == new.device


@pytest.mark.parametrize(("old", "new"), [
    (A, registered(A, path="/3")), (A, registered(A, path="/3", iommu=True)), (A, SERVER),
    (SERVER, A)])
def test_client_port_moves_and_a_type_changes_at_once(old: PortSpec, new: PortSpec) -> None:
    datapath = with_guest(old)
    settle(datapath, wish(new))
    assert datapath.ports["a"].device == new.device
    assert not datapath.ports["a"].connected


@pytest.mark.parametrize("access", [SocketAccess("qemu", mode=0o660), AS_MADE])
def test_socket_is_opened_to_others_under_its_guest(access: SocketAccess) -> None:
    datapath = with_guest(replace(SERVER, access=SocketAccess("root", "kvm")))
    new = replace(SERVER, access=access)
    assert settle(datapath, wish(new)) == [SetSocketAccess("a", access)]
    assert datapath.ports["a"].access == access
    assert datapath.ports["a"].connected


def test_socket_that_could_not_be_given_away_when_it_was_made_is_tried_again() -> None:
    datapath = FakeDatapath()
    datapath.refused[SetSocketAccess, "a"] = "no such user"
    wanted = wish(replace(SERVER, access=SocketAccess("qemu")))
    for action in next_actions(wanted, datapath):
        datapath.apply(action)
    assert SetSocketAccess("a", SocketAccess("qemu")) in next_actions(wanted, datapath)


def test_everything_else_changes_while_a_registration_waits() -> None:
    datapath = with_guest(A)
    new = replace(registered(A, iommu=True), tx_retries_max=0, memory=JUMBO)
    assert settle(datapath, wish(new)) == [SetTxRetriesMax("a", 0), SetMemory("a", JUMBO, -1)]


def test_port_without_a_path_any_more_is_removed_though_its_guest_is_there() -> None:
    datapath = with_guest(A)
    settle(datapath, wish(replace(A, device=None)))
    assert datapath.ports == {}


def test_path_goes_from_one_port_to_another_in_one_plan() -> None:
    datapath = with_guest(A)
    actions = settle(datapath, wish(registered(B, path="/1")))
    assert datapath.ports.keys() == {"b"}
    kinds = [type(x) for x in actions]
    assert kinds.index(RemovePort) < kinds.index(AddPort)


def test_server_ports_have_their_sockets_before_client_ports_look_for_any() -> None:
    server = PortSpec("z", "br0", SERVER_TYPE, Registration("/z", False), 8, STANDARD)
    actions = next_actions(wish(A, server), FakeDatapath())
    assert [x.spec.name for x in actions if isinstance(x, AddPort)] == ["z", A.name]


# --- memory ---------------------------------------------------------------------------------------

def test_mtu_changes_under_a_guest_with_nothing_else() -> None:
    datapath = with_guest(A, B)
    assert next_actions(wish(replace(A, memory=JUMBO), B), datapath) == (
        SetMemory("a", JUMBO, -1),)


@pytest.mark.parametrize(("numa_nodes", "numa", "expected"), [
    (1, 0, ()), (1, -1, ()), (2, -1, ()), (2, 0, (SetMemory("a", STANDARD, 0),)),
    (2, 1, (SetMemory("a", STANDARD, 1),))])
def test_buffers_follow_the_guest_where_there_are_several_nodes(
        numa_nodes: int, numa: int, expected: tuple[Action, ...]) -> None:
    datapath = with_guest(A, numa=numa)
    assert next_actions(wish(A, numa_nodes=numa_nodes), datapath) == expected


def test_buffers_stay_where_the_last_guest_was() -> None:
    datapath = with_guest(A)
    datapath.guest("a", numa=1)
    settle(datapath, wish(A, numa_nodes=2))
    datapath.leave("a")
    settle(datapath, wish(A, numa_nodes=2))
    assert datapath.ports["a"].node == 1
    assert next_actions(wish(replace(A, memory=JUMBO), numa_nodes=2), datapath) == (
        SetMemory("a", JUMBO, 1),)
