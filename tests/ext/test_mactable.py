"""The MAC table of a bridge: who may be in it, who makes way, and what is forgotten when."""
from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from tests.ext.conftest import Switch
from tools.frontend import FrontEnd, ethernet
from tools.host import wait_until

ALL = "ff:ff:ff:ff:ff:ff"
A, B, C = (f"02:00:00:00:00:0{x}" for x in "abc")


def number(mac: str) -> int:
    return int(mac.replace(":", ""), 16)


def macs(prefix: int) -> Iterator[str]:
    """Addresses without end."""
    for i in itertools.count():
        yield f"02:{prefix:02x}:{i >> 24:02x}:{i >> 16 & 255:02x}:{i >> 8 & 255:02x}:{i & 255:02x}"


def known(switch: Switch, bridge: str = "br0") -> dict[int, int]:
    """{address: slot}"""
    return {mac: slot for slot, _, mac, _ in switch.runtime.bridges.fdb(bridge)}


def owners(switch: Switch) -> Counter[int]:
    return Counter(known(switch).values())


def counted(switch: Switch, bridge: str = "br0") -> dict[str, int]:
    from pmd_ext.runtime import FDB_COUNTER_NAMES

    entries, statics, events, _ = switch.runtime.bridges.fdb_counters(bridge)
    return {"entries": entries, "statics": statics,
            **dict(zip(FDB_COUNTER_NAMES, events, strict=True))}


def say(switch: Switch, name: str, guest: FrontEnd, addresses: Sequence[str],
        others: Sequence[FrontEnd] = ()) -> None:
    """Sends a frame from each address and waits until the switch is done with them."""
    before = switch.counters(name)["rx_packets"]
    frames = [ethernet(ALL, mac) for mac in addresses]
    while frames:
        frames = frames[guest.send(frames[:200]):]
        for other in others:
            other.recv()
    switch.wait_counter(name, "rx_packets", before + len(addresses))
    rounds = iterations(switch)
    wait_until(lambda: iterations(switch) > rounds + 1, "the round that saw the last is over")


def iterations(switch: Switch) -> int:
    from pmd_ext.runtime import PMD_COUNTER_NAMES

    ((_, *values),) = switch.runtime.readings()[1]
    return int(values[PMD_COUNTER_NAMES.index("iterations")])


def reached(source: FrontEnd, mac: str, *others: FrontEnd) -> tuple[bool, ...]:
    """Which of the others get a frame of 'source' to an address."""
    frame, last = ethernet(mac, C, b"x"), ethernet(ALL, C, b"last")
    source.send([frame, last])
    got: list[list[bytes]] = [[] for _ in others]
    for i, other in enumerate(others):
        def ended(other: FrontEnd = other, frames: list[bytes] = got[i]) -> bool:
            frames += other.recv()
            return last in frames
        wait_until(ended, "the frame after it arrives")
    return tuple(frame in frames for frames in got)


@pytest.fixture
def guests(switch: Switch) -> dict[str, FrontEnd]:
    switch.add("a", "b", "c")
    return {name: switch.attach(name, queue_size=1024) for name in "abc"}


def set_table(switch: Switch, size: int = 8192, aging_s: int = 300, **more: Any) -> None:
    switch.bridges({"br0": {name: {} for name in switch.slots}}, mac_table_size=size,
                   mac_aging_s=aging_s, **more)


# --- size and fairness ----------------------------------------------------------------------------

@pytest.mark.parametrize("size", [10, 33, 512])
def test_full_table_takes_from_the_port_that_owns_most(
        switch: Switch, guests: dict[str, FrontEnd], size: int) -> None:
    a, b, c = guests.values()
    slots = switch.slots
    set_table(switch, size)
    quiet = list(itertools.islice(macs(1), size // 4))
    say(switch, "b", b, quiet, (a, c))
    loud = list(itertools.islice(macs(2), 3 * size))
    say(switch, "a", a, loud, (b, c))
    table = known(switch)
    assert len(table) == size
    assert {number(mac) for mac in quiet} <= table.keys()
    # a newcomer finds its place, at the cost of the one that has most
    say(switch, "c", c, list(itertools.islice(macs(3), size // 4)), (a, b))
    found = owners(switch)
    assert found[slots["c"]] == size // 4
    assert found[slots["b"]] == len(quiet)
    assert counted(switch)["evicted"] == sum(
        (len(quiet), len(loud), size // 4)) - size - counted(switch)["refused"]


def test_flood_of_addresses_evicts_no_neighbour_and_is_limited(
        switch: Switch, guests: dict[str, FrontEnd]) -> None:
    a, b, c = guests.values()
    set_table(switch, 1000)
    say(switch, "b", b, [B], (a, c))
    say(switch, "a", a, list(itertools.islice(macs(2), 6000)), (b, c))
    after = counted(switch)
    assert known(switch)[number(B)] == switch.slots["b"]
    assert after["entries"] == 1000
    assert after["learned"] + after["refused"] == 6001
    # what one port may take is limited by the second: far fewer than came
    assert after["refused"] > 0
    assert reached(c, B, a, b) == (False, True)         # still forwarded to its port alone
    say(switch, "c", c, list(itertools.islice(macs(3), 50)), (a, b))
    assert owners(switch)[switch.slots["c"]] == 51


def test_what_was_not_learned_is_forwarded(switch: Switch, guests: dict[str, FrontEnd]) -> None:
    a, b, c = guests.values()
    set_table(switch, 10)
    for mac in itertools.islice(macs(1), 10):
        assert switch.runtime.bridges.set_fdb("br0", switch.slots["b"], 0, number(mac))
    say(switch, "a", a, list(itertools.islice(macs(2), 100)))
    assert len(b.recv_wait(100)) == len(c.recv_wait(100)) == 100
    assert owners(switch) == {switch.slots["b"]: 10}


def test_changed_size_keeps_what_fits(switch: Switch, guests: dict[str, FrontEnd]) -> None:
    a, b, c = guests.values()
    say(switch, "a", a, list(itertools.islice(macs(1), 3000)), (b, c))
    say(switch, "b", b, list(itertools.islice(macs(2), 40)), (a, c))
    switch.runtime.bridges.set_fdb("br0", switch.slots["c"], 0, number(C))
    before = known(switch)
    set_table(switch, 100_000)
    assert known(switch) == before
    assert counted(switch)["learned"] == 3040
    set_table(switch, 100)
    after = known(switch)
    assert len(after) == 100
    assert after.items() <= before.items()
    assert owners(switch)[switch.slots["b"]] == 40      # the one with most made room
    assert after[number(C)] == switch.slots["c"]
    assert counted(switch)["statics"] == 1
    # the same source within the second: what the PMD remembers is of the old table
    say(switch, "b", b, [B], (a, c))
    switch.runtime.bridges.flush_fdb("br0")
    set_table(switch, 200)
    say(switch, "b", b, [B], (a, c))
    assert number(B) in known(switch)


# --- ageing ---------------------------------------------------------------------------------------

def test_address_ages_and_a_changed_time_holds_at_once(
        switch: Switch, guests: dict[str, FrontEnd]) -> None:
    a, b, c = guests.values()
    say(switch, "a", a, [A], (b, c))
    switch.runtime.bridges.set_fdb("br0", switch.slots["c"], 0, number(C))
    set_table(switch, aging_s=1)
    wait_until(lambda: number(A) not in known(switch), "it is not known any more")
    assert counted(switch)["entries"] == 2              # not shown, but not removed yet
    switch.runtime.bridges.expire_fdb()
    after = counted(switch)
    assert (after["entries"], after["expired"], after["statics"]) == (1, 1, 1)
    say(switch, "a", a, [A], (b, c))
    set_table(switch)
    assert known(switch).keys() == {number(A), number(C)}


# --- static entries -------------------------------------------------------------------------------

def test_static_entry_stays_where_it_was_set(switch: Switch, guests: dict[str, FrontEnd]) -> None:
    a, b, c = guests.values()
    bridges, slots = switch.runtime.bridges, switch.slots
    say(switch, "a", a, [A], (b, c))
    assert bridges.set_fdb("br0", slots["b"], 0, number(A))
    assert bridges.fdb("br0") == [(slots["b"], 0, number(A), -1)]
    assert bridges.fdb_entry("br0", 0, number(A)) == (slots["b"], 0, number(A), -1)
    assert bridges.fdb_entry("br0", 1, number(A)) is None
    say(switch, "a", a, [A, A], (b, c))
    assert counted(switch)["static_none_move"] > 0
    bridges.flush_fdb("br0")
    set_table(switch, aging_s=1, flood_vlans=(7,))
    assert reached(c, A, a, b) == (False, True)
    assert known(switch)[number(A)] == slots["b"]
    assert not bridges.delete_fdb("br0", 0, number(C))
    assert bridges.delete_fdb("br0", 0, number(A))
    assert not bridges.delete_fdb("br0", 0, number(A))
    assert counted(switch)["statics"] == 0
    say(switch, "a", a, [A], (b, c))
    assert known(switch)[number(A)] == slots["a"]


def test_static_entry_goes_with_its_port(switch: Switch, guests: dict[str, FrontEnd]) -> None:
    assert switch.runtime.bridges.set_fdb("br0", switch.slots["b"], 5, number(B))
    switch.bridges({"br0": {"a": {}, "b": {"vlan_mode": "access", "vlan": 5}, "c": {}}})
    assert known(switch)                                # its VLANs changed, it did not
    switch.remove("b")
    assert known(switch) == {}
    assert counted(switch)["entries"] == counted(switch)["statics"] == 0


# --- what is forgotten when -----------------------------------------------------------------------

def test_port_that_leaves_takes_its_addresses_from_other_bridges_too(
        switch: Switch, guests: dict[str, FrontEnd]) -> None:
    a, b, c = guests.values()
    switch.bridges({"br0": {"a": {}, "b": {}}, "br1": {"c": {}}})
    say(switch, "a", a, [A, B], (b,))
    say(switch, "c", c, [A, C])
    switch.bridges({"br0": {"b": {}}, "br1": {"c": {}}})
    assert known(switch) == {}
    assert known(switch, "br1").keys() == {number(C)}
    # that of a bridge that stays is not touched by a change of VLANs elsewhere
    say(switch, "b", b, [C])
    switch.bridges({"br0": {"b": {"vlan_mode": "access", "vlan": 5}}, "br1": {"c": {}}})
    assert known(switch) == {}
    assert known(switch, "br1").keys() == {number(C)}


def test_guest_that_leaves_is_forgotten_and_no_other(
        switch: Switch, guests: dict[str, FrontEnd]) -> None:
    a, b, c = guests.values()
    say(switch, "a", a, [A], (b, c))
    say(switch, "b", b, [B], (a, c))
    switch.runtime.bridges.set_fdb("br0", switch.slots["a"], 0, number(C))
    switch.runtime.bridges.flush_ports([switch.slots["a"]])
    assert known(switch) == {number(B): switch.slots["b"], number(C): switch.slots["a"]}
    say(switch, "a", a, [A], (b, c))                    # learned anew within the same second
    assert number(A) in known(switch)


# --- flaps ----------------------------------------------------------------------------------------

def swap(switch: Switch, guests: dict[str, FrontEnd], times: int) -> None:
    """The address moves between a and b, 'times' frames from each."""
    a, b, c = guests.values()
    for _ in range(times):
        say(switch, "a", a, [A], (b, c))
        say(switch, "b", b, [A], (a, c))


def test_migration_and_failover_are_not_damped(switch: Switch, guests: dict[str, FrontEnd]
                                               ) -> None:
    swap(switch, guests, 3)
    assert known(switch) == {number(A): switch.slots["b"]}
    assert counted(switch)["moved"] == 5
    assert switch.runtime.bridges.fdb_flaps() == []


def test_address_that_flaps_is_held_and_reported(switch: Switch, guests: dict[str, FrontEnd]
                                                 ) -> None:
    a, b, c = guests.values()
    swap(switch, guests, 30)
    after = counted(switch)
    assert after["moved"] <= 10
    assert after["held"] > 0
    (flap,) = switch.runtime.bridges.fdb_flaps()
    assert flap[:3] == ("br0", 0, number(A))
    assert {*flap[3:]} == {switch.slots["a"], switch.slots["b"]}
    for guest in guests.values():
        guest.recv()
    # nobody else is damped
    say(switch, "c", c, [C], (a, b))
    say(switch, "a", a, [C], (b, c))
    assert known(switch)[number(C)] == switch.slots["a"]
    switch.remove("b")                                  # the slot may be another port's next
    assert switch.runtime.bridges.fdb_flaps() == []


# --- as a dictionary would ------------------------------------------------------------------------

@pytest.mark.parametrize("seed", range(3))
def test_table_is_what_a_dictionary_would_be(
        switch: Switch, guests: dict[str, FrontEnd], seed: int) -> None:
    draw = random.Random(seed)
    addresses = list(itertools.islice(macs(seed), 60))
    bridges, slots = switch.runtime.bridges, switch.slots
    model: dict[int, tuple[int, bool]] = {}             # address -> (slot, static)
    moves: Counter[int] = Counter()
    for step in range(250):
        name, mac = draw.choice("abc"), draw.choice(addresses)
        slot, key = slots[name], number(mac)
        what = draw.choices(("frame", "set", "delete", "flush", "leave", "size"),
                            (200, 20, 20, 2, 2, 2))[0]
        match what:
            case "frame":
                before = model.get(key)
                moved = before is not None and before[0] != slot and not before[1]
                if moved and moves[key] == 5:
                    continue                            # one more, and it is damped
                moves[key] += moved
                say(switch, name, guests[name], [mac], [*guests.values()])
                if before is None or not before[1]:
                    model[key] = slot, False
            case "set":
                assert bridges.set_fdb("br0", slot, 0, key)
                model[key] = slot, True
            case "delete":
                static = model.get(key, (0, False))[1]
                assert bridges.delete_fdb("br0", 0, key) == static
                if static:
                    del model[key]
            case "flush":
                bridges.flush_fdb("br0")
                model = {k: v for k, v in model.items() if v[1]}
            case "leave":
                bridges.flush_ports([slot])
                model = {k: v for k, v in model.items() if v[1] or v[0] != slot}
            case "size":
                set_table(switch, draw.choice((200, 1000, 100_000)))
        found = {mac: (slot, age < 0) for slot, _, mac, age in bridges.fdb("br0")}
        assert found == model, (step, what)
    after = counted(switch)
    assert after["entries"] == len(model)
    assert after["statics"] == sum(static for _, static in model.values())
