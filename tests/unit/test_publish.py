"""Which rows are written, and when: only what changed, and never less than a fresh look says."""
from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent import report
from agent.model import (
    CLIENT_TYPE,
    BridgeRow,
    Counters,
    Desired,
    InterfaceRow,
    Memory,
    Observed,
    PortSpec,
    PortState,
    Registration,
    Snapshot,
)
from agent.publish import Publisher, Updates

MEMORY = Memory(1500, 2048)
INTERVAL_MS = 5000


def uuid_of(name: str) -> UUID:
    return UUID(bytes=name.encode().rjust(16, b"\0"))


def spec(name: str, **kw: object) -> PortSpec:
    return PortSpec(name, "br0", CLIENT_TYPE, Registration(f"/{name}", True), 8, MEMORY,
                    **kw)                                       # type: ignore[arg-type]


def state(name: str, guests: int = 0, connected: bool = False) -> PortState:
    return PortState(name, Registration(f"/{name}", True), 8, MEMORY, connections=guests,
                     connects=guests, connected=connected, attached=connected)


class World:
    """Both sides, as few ports as a test needs; and a database that takes what is written."""

    def __init__(self, *names: str) -> None:
        self.publisher = Publisher()
        self.rows = {name: InterfaceRow(uuid_of(name), name, "dpdkvhostuserclient")
                     for name in names}
        self.bridge = BridgeRow(UUID(int=1), "br0", "netdev")
        self.specs = {name: spec(name) for name in names}
        self.states = {name: state(name) for name in names}
        self.errors: dict[str, str] = {}
        self.problems: dict[str, tuple[str, ...]] = {}
        self.counters: dict[str, Counters] = {}
        self.read: list[str] = []           # ports whose counters were read
        self.interval_ms = INTERVAL_MS
        self.now_ms = 1_000_000

    def snapshot(self) -> Snapshot:
        rows = tuple(self.rows[name] for name in sorted(self.rows))
        if list(map(id, rows)) != list(map(id, self.bridge.interfaces)):
            self.bridge = replace(self.bridge, interfaces=rows)
        return Snapshot(bridges=(self.bridge,))

    def columns(self) -> Updates:
        return self.publisher.columns(
            self.snapshot(), Desired(self.specs), Observed(self.states), self.errors,
            self.problems, self.now_ms)

    def statistics(self) -> Updates:
        self.read = []
        return self.publisher.statistics(
            Desired(self.specs, stats_interval_ms=self.interval_ms),
            Observed(self.states), self.errors, self._counters, self.now_ms)

    def _counters(self, name: str) -> Counters:
        self.read.append(name)
        return self.counters.get(name, Counters())

    def settled(self) -> World:
        """After everything was written once."""
        self.columns()
        self.statistics()
        return self


def interfaces(updates: Mapping[tuple[str, UUID], object]) -> set[str]:
    """Names of the Interface rows among the updates."""
    return {uuid.bytes.lstrip(b"\0").decode() for table, uuid in updates if table == "Interface"}


def columns_of(updates: Updates, name: str) -> report.Columns:
    return updates["Interface", uuid_of(name)]


# --- columns --------------------------------------------------------------------------------------

def test_first_look_writes_everything() -> None:
    world = World("a", "b")
    assert world.columns() == {
        ("Bridge", UUID(int=1)): report.bridge(world.bridge),
        ("Interface", uuid_of("a")): {
            "ofport": [1], **report.vhost_interface(world.specs["a"], world.states["a"])},
        ("Interface", uuid_of("b")): {
            "ofport": [2], **report.vhost_interface(world.specs["b"], world.states["b"])}}


def test_look_at_what_did_not_change_writes_nothing() -> None:
    world = World("a", "b").settled()
    assert (world.columns(), world.statistics(), world.read) == ({}, {}, [])


@pytest.mark.parametrize("change", [
    lambda w: w.specs.update(a=spec("a", problems=("x",))),
    lambda w: w.states.update(a=state("a", 1, connected=True)),
    lambda w: w.errors.update(a="no"),
    lambda w: w.problems.update(a=("short",)),
    lambda w: w.rows.update(a=replace(w.rows["a"], ofport_request=7)),
], ids=["spec", "state", "error", "problem", "row"])
def test_only_the_row_that_changed_is_written(change: object) -> None:
    world = World("a", "b", "c").settled()
    change(world)                                               # type: ignore[operator]
    updates = world.columns()
    assert interfaces(updates) == {"a"}
    assert world.columns() == {}


def test_row_whose_number_was_taken_is_written_too() -> None:
    world = World("a", "b", "c").settled()
    world.rows["a"] = replace(world.rows["a"], ofport_request=2)
    updates = world.columns()
    assert interfaces(updates) == {"a", "b"}
    assert columns_of(updates, "a")["ofport"] == [2]
    assert columns_of(updates, "b")["ofport"] == [4]


@pytest.mark.parametrize(("before", "after"), [((), ("x",)), (("x",), ("y",)), (("x",), ())])
def test_text_that_changes_is_written_and_an_equal_one_is_not(
        before: tuple[str, ...], after: tuple[str, ...]) -> None:
    world = World("a")
    world.problems["a"] = before
    world.settled()
    world.problems["a"] = (*before,)
    assert world.columns() == {}
    world.problems["a"] = after
    assert interfaces(world.columns()) == {"a"}


def test_bridge_is_written_when_its_row_changed() -> None:
    world = World("a").settled()
    world.bridge = replace(world.bridge, other_config={"datapath-id": "0x1"})
    assert world.columns() == {("Bridge", UUID(int=1)): report.bridge(world.bridge)}
    assert world.columns() == {}


def test_failed_port_gets_the_failure_record_and_all_its_columns_back_afterwards() -> None:
    world = World("a").settled()
    world.errors["a"] = "no"
    assert columns_of(world.columns(), "a") == {"ofport": [-1], **report.failed_interface("no")}
    assert world.statistics() == {}
    del world.errors["a"]
    updates = world.columns()
    assert columns_of(updates, "a") == {
        "ofport": [1], **report.vhost_interface(world.specs["a"], world.states["a"])}
    # equal to those before the failure, which has emptied the column
    assert interfaces(world.statistics()) == {"a"}


def test_port_that_was_deleted_and_made_anew_is_written_in_its_new_row() -> None:
    world = World("a", "b").settled()
    gone = world.rows.pop("a")
    assert world.columns() == {("Bridge", UUID(int=1)): report.bridge(world.bridge)}
    assert world.publisher.ofports() == {"b": ("br0", 2)}
    world.rows["a"] = replace(gone, uuid=UUID(int=77))
    assert ("Interface", UUID(int=77)) in world.columns()
    assert ("Interface", UUID(int=77)) in world.statistics()
    assert world.publisher.ofports() == {"a": ("br0", 3), "b": ("br0", 2)}


def test_numbers_of_a_bridge_go_with_it() -> None:
    world = World("a").settled()
    world.publisher.columns(Snapshot(), Desired(), Observed(), {}, {}, world.now_ms)
    assert world.publisher.ofports() == {}
    assert columns_of(world.columns(), "a")["ofport"] == [1]


# --- statistics -----------------------------------------------------------------------------------

def test_statistics_are_written_when_they_are_due_and_have_changed() -> None:
    world = World("a", "b").settled()
    assert world.publisher.stats_at_ms == world.now_ms + INTERVAL_MS
    world.counters["a"] = Counters({"tx_retries": 5})
    world.now_ms += INTERVAL_MS - 1
    assert (world.statistics(), world.read) == ({}, [])
    assert world.publisher.counters("a") == Counters()
    world.now_ms += 1
    updates = world.statistics()
    assert interfaces(updates) == {"a"}
    assert columns_of(updates, "a") == {
        "statistics": report.statistics(world.counters["a"], connected=False)}
    assert world.read == ["a", "b"]
    assert world.publisher.counters("a") == world.counters["a"]
    assert world.publisher.stats_at_ms == world.now_ms + INTERVAL_MS


@pytest.mark.parametrize("interval_ms", [60_000, 6000, 5001])
def test_another_interval_counts_at_once(interval_ms: int) -> None:
    world = World("a").settled()
    world.counters["a"] = Counters({"tx_retries": 5})
    world.interval_ms = interval_ms
    world.now_ms += 1
    assert interfaces(world.statistics()) == {"a"}
    assert world.publisher.stats_at_ms == world.now_ms + interval_ms
    assert world.statistics() == {}


def test_guest_that_comes_or_goes_is_in_the_statistics_at_once_and_no_other_port() -> None:
    world = World("a", "b").settled()
    world.counters = dict.fromkeys("ab", Counters({"tx_retries": 5}))
    for now in (state("a", 1, connected=True), state("a", 1), state("a", 2, connected=True),
                state("a", 3, connected=True)):
        world.states["a"] = now
        world.columns()
        updates = world.statistics()
        assert columns_of(updates, "a") == {
            "statistics": report.statistics(world.counters["a"], now.connected)}
        assert world.read == ["a"]


def test_guest_is_stuck_that_took_nothing_of_what_came_for_a_whole_interval() -> None:
    world = World("a")
    world.states["a"] = state("a", 1, connected=True)

    def after(taken: int, dropped: int, later_ms: int = INTERVAL_MS) -> set[str]:
        world.counters["a"] = Counters({"tx_failure_drops": dropped}, tx_queues=(
            defaultdict(int, good_packets=taken), defaultdict(int)))
        world.now_ms += later_ms
        world.columns()
        world.statistics()
        return set(world.publisher.stuck())
    assert after(64, 100) == set()
    assert after(64, 100) == set()          # nothing came
    assert after(65, 200) == set()          # it took one
    assert after(65, 300, 1) == set()       # not yet an interval
    assert after(65, 400) == {"a"}
    assert after(65, 500, 1) == {"a"}
    assert after(66, 500) == set()
    assert after(66, 600) == {"a"}
    world.states["a"] = state("a", 1)
    assert after(66, 700, 1) == set()       # it has gone


def test_port_without_a_state_has_the_six_zeros_and_is_not_asked_for_counters() -> None:
    world = World("a")
    world.states.clear()
    world.columns()
    values = columns_of(world.statistics(), "a")["statistics"]
    assert values == report.statistics(Counters(), connected=False)
    assert world.read == []
    assert world.publisher.counters("a") == world.publisher.counters("never") == Counters()


def test_failed_port_and_the_bridge_s_own_have_no_statistics() -> None:
    world = World("a", "br0")
    world.rows["br0"] = replace(world.rows["br0"], type="internal")
    del world.specs["br0"], world.states["br0"]
    world.errors["a"] = "no"
    assert interfaces(world.columns()) == {"a", "br0"}
    assert world.statistics() == {}


# --- any sequence of changes ----------------------------------------------------------------------

@dataclass(frozen=True)
class Port:
    """What a step makes of a port."""

    bridge: str
    request: int | None
    error: str | None
    problems: tuple[str, ...]
    variant: int            # of its spec
    guests: int | None      # None: no state
    connected: bool
    retries: int            # its counters


ports = st.builds(
    Port, st.sampled_from(["br0", "br1"]), st.sampled_from([None, None, 1, 2, 9]),
    st.sampled_from([None, None, "no", "never"]), st.sampled_from([(), (), ("short",)]),
    st.integers(0, 1), st.sampled_from([None, 0, 1, 2]), st.booleans(), st.integers(0, 1))
steps = st.tuples(st.dictionaries(st.sampled_from("abcd"), ports, max_size=4),
                  st.sampled_from([5000, 9000]), st.integers(0, 6000))
# one object for each value, as of the two sides
SPECS = {(name, variant): replace(spec(name), tx_retries_max=variant, problems=("p",) * variant)
         for name in "abcd" for variant in (0, 1)}
STATES = {(name, guests, on): state(name, guests, connected=on)
          for name in "abcd" for guests in (0, 1, 2) for on in (False, True)}


class Database:
    """What the rows say, and a look at them: rows that did not change are the same objects."""

    def __init__(self) -> None:
        self.said: dict[tuple[str, UUID], report.Columns] = {}
        self.seen: dict[object, InterfaceRow | BridgeRow] = {}

    def write(self, updates: Updates) -> None:
        for key, columns in updates.items():
            self.said.setdefault(key, {}).update(columns)

    def look(self, wanted: Mapping[str, Port]) -> Snapshot:
        bridges = []
        for bridge in sorted({port.bridge for port in wanted.values()}):
            rows = []
            for name in sorted(n for n, port in wanted.items() if port.bridge == bridge):
                ofport = self.said.get(("Interface", uuid_of(name)), {}).get("ofport")
                rows.append(self.same(InterfaceRow(
                    uuid_of(name), name, "dpdkvhostuserclient",
                    ofport=ofport[0] if ofport else None, ofport_request=wanted[name].request)))
            bridges.append(self.same(BridgeRow(uuid_of(bridge), bridge, "netdev",
                                               interfaces=tuple(rows))))
        keys = {row.uuid for bridge in bridges for row in (bridge, *bridge.interfaces)}
        self.said = {key: columns for key, columns in self.said.items() if key[1] in keys}
        return Snapshot(bridges=tuple(bridges))

    def same(self, row: InterfaceRow | BridgeRow) -> InterfaceRow | BridgeRow:
        if self.seen.get(row.uuid) != row:
            self.seen[row.uuid] = row
        return self.seen[row.uuid]


def publish(publisher: Publisher, database: Database, wanted: Mapping[str, Port],
            interval_ms: int, now_ms: int) -> Updates:
    desired = Desired({name: SPECS[name, port.variant] for name, port in wanted.items()},
                      stats_interval_ms=interval_ms)
    observed = Observed({name: STATES[name, port.guests, port.connected]
                         for name, port in wanted.items() if port.guests is not None})
    errors = {name: port.error for name, port in wanted.items() if port.error is not None}
    problems = {name: port.problems for name, port in wanted.items()}
    snapshot = database.look(wanted)
    updates = publisher.columns(snapshot, desired, observed, errors, problems, now_ms)
    for key, columns in publisher.statistics(
            desired, observed, errors,
            lambda name: Counters({"tx_retries": wanted[name].retries}), now_ms).items():
        updates.setdefault(key, {}).update(columns)
    return updates


@settings(max_examples=300)
@given(st.lists(steps, min_size=1, max_size=5))
def test_what_is_written_little_by_little_is_what_a_fresh_look_writes_at_once(
        steps: list[tuple[dict[str, Port], int, int]]) -> None:
    publisher, database, now_ms = Publisher(), Database(), 0
    for wanted, interval_ms, passed_ms in steps:
        now_ms += passed_ms
        updates = publish(publisher, database, wanted, interval_ms, now_ms)
        database.write(updates)
    # the database's echo of the numbers, and the time for all statistics
    now_ms += interval_ms
    database.write(publish(publisher, database, wanted, interval_ms, now_ms))
    fresh = publish(Publisher(), database, wanted, interval_ms, now_ms)
    assert {key: {name: database.said[key][name] for name in columns}
            for key, columns in fresh.items()} == fresh
    assert database.said.keys() == fresh.keys()
    # and then nothing is left to write
    assert publish(publisher, database, wanted, interval_ms, now_ms) == {}


def test_new_rows_have_their_numbers_before_anything_else_is_known() -> None:
    publisher = Publisher()
    rows = tuple(InterfaceRow(uuid_of(name), name, "dpdkvhostuserclient") for name in "ab")
    snapshot = Snapshot(bridges=(BridgeRow(UUID(int=1), "br0", "vhost", interfaces=rows),))
    first = publisher.first_columns(snapshot, {"b": "why"}, 0)
    assert first["Interface", uuid_of("a")] == {"ofport": [1], "error": []}
    assert first["Interface", uuid_of("b")] == {"ofport": [-1], "error": ["why"]}
    assert first["Bridge", UUID(int=1)] == report.bridge(snapshot.bridges[0])
    assert publisher.first_columns(snapshot, {"b": "why"}, 0) == {}
    rest = publisher.columns(snapshot, Desired(ports={"a": spec("a")}), Observed(), {"b": "why"},
                             {}, 0)
    assert rest["Interface", uuid_of("a")]["ofport"] == [1]
    assert publisher.next_numbers(3) == [2, 3, 4]


def test_rows_that_are_not_there_any_more_are_released_once() -> None:
    publisher = Publisher()
    row = InterfaceRow(uuid_of("a"), "a", "dpdkvhostuserclient")
    wanted = Desired(ports={"a": spec("a")})
    snapshot = Snapshot(bridges=(BridgeRow(UUID(int=1), "br0", "vhost", interfaces=(row,)),))
    publisher.columns(snapshot, wanted, Observed(), {}, {}, 0)
    assert publisher.released() == set()
    publisher.columns(Snapshot(), Desired(), Observed(), {}, {}, 0)
    assert publisher.released() == {("Interface", uuid_of("a")), ("Bridge", UUID(int=1))}
    assert publisher.released() == set()
