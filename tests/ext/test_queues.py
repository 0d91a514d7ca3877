"""Queues that come, go and are shared: what guests switch, and who sends where."""
from __future__ import annotations

import os
import struct

import pytest

from tests.ext.conftest import CORE, Switch
from tools.frontend import FrontEnd, ethernet
from tools.host import wait_until

A, B = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
CORES = tuple(sorted(os.sched_getaffinity(0)))[-2:]


def udp(source: int, destination: int = 9, number: int = 0) -> bytes:
    """A frame of one of many flows: A's port tells them apart."""
    ip = struct.pack("!BBHHHBBHII", 0x45, 0, 40, 0, 0, 64, 17, 0, 0x0a000001, 0x0a000002)
    return ethernet(B, A, ip + struct.pack("!HHHHI", source, destination, 20, 0, number),
                    ethertype=0x0800)


def all_received(front_end: FrontEnd, queues: int, count: int) -> list[list[bytes]]:
    """Frames of each queue, once there are 'count' in all."""
    got: list[list[bytes]] = [[] for _ in range(queues)]

    def done() -> bool:
        for q in range(queues):
            got[q] += front_end.recv(q)
        return sum(map(len, got)) >= count
    wait_until(done, f"{count} frames arrive")
    return got


def learn(a: FrontEnd, b: FrontEnd) -> None:
    """Each knows where the other is."""
    b.send([ethernet(A, B)])
    a.recv_wait(1)


def only(front_end: FrontEnd, enabled: list[int]) -> FrontEnd:
    """A guest of four pairs with these left on. The library waits for the first pair before it
    takes a guest for ready; afterwards any may be off."""
    for q in set(range(4)) - set(enabled):
        front_end.enable(q, False)
    return front_end


@pytest.mark.parametrize("enabled", [[0], [3], [1, 3], [0, 1, 2, 3]])
def test_queues_that_are_enabled_carry_everything(switch: Switch, enabled: list[int]) -> None:
    switch.add("a", "b")
    a, b = (only(switch.attach(name, queues=4), enabled) for name in "ab")
    for q in enabled:
        b.send([ethernet(A, B)], q)
    all_received(a, 4, len(enabled))
    for q in enabled:
        a.send([ethernet(B, A)] * 5, q)
    got = all_received(b, 4, 5 * len(enabled))
    assert {q for q in range(4) if got[q]} <= set(enabled)
    rx = switch.queues("a")["rx"]
    assert [q["good_packets"] for q in rx] == [5 if q in enabled else 0 for q in range(4)]


def test_guest_switches_queues_without_anybody_publishing_a_table(switch: Switch) -> None:
    switch.add("a", "b")
    a, b = switch.attach("a", queues=2), switch.attach("b")
    learn(a, b)
    for on in (False, True, False, True):
        a.enable(1, on)
        assert a.send([ethernet(B, A)] * 3, 0) == 3
        b.recv_wait(3)
    a.enable(1, False)
    a.send([ethernet(B, A)] * 2, 1)
    a.send([ethernet(B, A)], 0)
    b.recv_wait(1)
    assert b.recv() == []               # what waits in a disabled queue stays there
    a.enable(1, True)
    assert len(b.recv_wait(2)) == 2


def test_pair_set_up_while_the_guest_runs_is_served_and_counted(switch: Switch) -> None:
    switch.add("a", "b")
    a = switch.attach("a", queues=3, late=[1, 2])
    b = switch.attach("b")
    learn(a, b)
    assert len(switch.state("a")["vring_sizes"]) == 2
    a.set_up(1)
    assert (switch.state("a")["vring_sizes"], switch.state("a")["enabled_rxqs"]) == (
        (256,) * 4, (0, 1))
    switch.poll()
    a.set_up(2)
    switch.poll()
    for q in range(3):
        a.send([ethernet(B, A)] * (q + 1), q)
    b.recv_wait(6)
    assert [q["good_packets"] for q in switch.queues("a")["rx"]] == [1, 2, 3]


def test_guest_comes_back_with_another_number_of_queues(switch: Switch) -> None:
    switch.add("a", "b")
    b = switch.attach("b")
    for queues in (1, 4, 2, 8):
        a = switch.attach("a", queues=queues)
        learn(a, b)
        for q in range(queues):
            a.send([ethernet(B, A)] * 2, q)
        b.recv_wait(2 * queues)
        rows = switch.queues("a")["rx"]
        assert [row["good_packets"] for row in rows] == [2] * queues
        a.stop()
        wait_until(lambda: not switch.connected("a"), "the guest is gone")


def test_driver_starts_anew_on_its_connection_with_rings_of_another_size(switch: Switch) -> None:
    switch.add("a", "b")
    a, b = switch.attach("a"), switch.attach("b")
    learn(a, b)
    for size in (512, 64):
        a.restart(size)
        assert switch.state("a")["vring_sizes"] == (size, size)
        a.send([ethernet(B, A)] * 5)
        assert len(b.recv_wait(5)) == 5
        learn(a, b)
    assert switch.state("a")["connections"] == 1


# --- who sends where ------------------------------------------------------------------------------

def test_flows_spread_over_txqs_and_keep_their_order(switch: Switch) -> None:
    switch.add("a", "b", tx_hash=True)
    a, b = switch.attach("a"), switch.attach("b", queues=4)
    learn(a, b)
    frames = [udp(1000 + i % 16, number=i // 16) for i in range(160)]
    assert a.send(frames) == 160
    got = all_received(b, 4, 160)
    assert all(got)                                     # each txq has some of 16 flows
    for q in range(4):
        by_flow: dict[bytes, list[int]] = {}
        for frame in got[q]:
            by_flow.setdefault(frame[34:36], []).append(struct.unpack_from("!I", frame, 42)[0])
        for flow, numbers in by_flow.items():
            assert numbers == list(range(10)), "in order, and all of it on one txq"
            assert not any(f[34:36] == flow for other in range(4) if other != q
                           for f in got[other])


def test_flow_of_a_disabled_txq_takes_another(switch: Switch) -> None:
    switch.add("a", "b", tx_hash=True)
    a, b = switch.attach("a"), switch.attach("b", queues=4)
    learn(a, b)
    only(b, [1, 3])
    a.send([udp(1000 + i) for i in range(64)])
    got = all_received(b, 4, 64)
    assert [bool(frames) for frames in got] == [False, True, False, True]


def test_steering_changes_while_traffic_runs(switch: Switch) -> None:
    switch.add("a", "b")
    a, b = switch.attach("a"), switch.attach("b", queues=4)
    learn(a, b)
    a.send([udp(1000 + i) for i in range(64)])
    assert [len(f) for f in all_received(b, 4, 64)] == [64, 0, 0, 0]    # one thread, one txq
    switch.runtime.ports.set_tx_hash(switch.slots["b"], True)
    a.send([udp(1000 + i) for i in range(64)])
    assert all(all_received(b, 4, 64))


def test_frames_that_are_no_ip_are_hashed_by_their_addresses(switch: Switch) -> None:
    switch.add("a", "b", tx_hash=True)
    a, b = switch.attach("a"), switch.attach("b", queues=4)
    learn(a, b)
    a.send([ethernet(B, f"02:00:00:00:01:{i:02x}") for i in range(64)])
    assert all(all_received(b, 4, 64))


@pytest.mark.parametrize("head", [
    b"\x45" + bytes(13), b"\x4f" + bytes(8) + b"\x06" + bytes(10), b"\x40" + bytes(19),
    b"\x60" + bytes(30), b"\x60" + bytes(5) + b"\x11" + bytes(33)])
def test_headers_that_lie_about_their_length_are_only_bytes(switch: Switch, head: bytes) -> None:
    switch.add("a", "b", tx_hash=True)
    a, b = switch.attach("a"), switch.attach("b", queues=2)
    learn(a, b)
    ether_type = 0x0800 if head[0] >> 4 == 4 else 0x86dd
    frame = ethernet(B, A, head, ethertype=ether_type)[:14 + len(head)]
    tagged = ethernet(B, A, struct.pack("!H", ether_type) + head, ethertype=0x8100)[:16 + len(head)]
    a.send([frame, tagged])
    all_received(b, 2, 1)


def test_two_threads_share_too_few_txqs_evenly(switch: Switch) -> None:
    """Two PMDs and main are three threads: two txqs are too few, and each PMD has one of them."""
    switch.add("a", "b")
    a, b = switch.attach("a", queues=4), switch.attach("b", queues=2)
    learn(a, b)
    switch.poll(CORES)
    for q in range(4):
        a.send([ethernet(B, A)] * 10, q)
    got = all_received(b, 2, 40)
    assert [len(frames) for frames in got] == [20, 20]
    switch.poll()


def test_static_txq_of_each_thread_where_there_are_enough(switch: Switch) -> None:
    switch.add("a", "b")
    a, b = switch.attach("a", queues=2), switch.attach("b", queues=4)
    learn(a, b)
    switch.poll(CORES)
    for q in range(2):
        a.send([ethernet(B, A)] * 10, q)
    assert sorted(len(frames) for frames in all_received(b, 4, 20)) == [0, 0, 10, 10]
    switch.poll((CORE,))                # one thread is left: number 0, whatever it had before
    for q in range(2):
        a.send([ethernet(B, A)] * 10, q)
    assert [len(frames) for frames in all_received(b, 4, 20)] == [20, 0, 0, 0]


def look_anew(switch: Switch) -> None:
    """Returns when the PMD has looked which queues it polls: once in 256 rounds, if it has any."""
    from pmd_ext.runtime import PMD_COUNTER_NAMES

    def rounds() -> int:
        (_, *values), = switch.runtime.readings()[1]
        return int(values[PMD_COUNTER_NAMES.index("iterations")])
    before = rounds()
    wait_until(lambda: rounds() > before + 512, "it has made so many rounds")


def test_port_that_is_down_neither_receives_nor_sends(switch: Switch) -> None:
    switch.add("a", "b")
    a, b = switch.attach("a"), switch.attach("b")
    learn(a, b)
    switch.runtime.ports.set_admin_state(switch.slots["b"], False)
    a.send([ethernet(B, A)] * 3)
    switch.wait_counter("b", "tx_disabled_drops", 3)
    look_anew(switch)
    b.send([ethernet(A, B)])
    a.send([ethernet(B, A)])
    switch.wait_counter("b", "tx_disabled_drops", 4)
    assert a.recv() == []
    switch.runtime.ports.set_admin_state(switch.slots["b"], True)
    a.recv_wait(1)                      # what waited in its ring comes now
    a.send([ethernet(B, A)])
    b.recv_wait(1)


# --- what PMDs and queues did ---------------------------------------------------------------------

def test_cycles_are_the_busy_queues(switch: Switch) -> None:
    from pmd_ext.runtime import PMD_COUNTER_NAMES

    def cycles() -> dict[tuple[int, int], int]:
        return {(slot, queue): value for slot, queue, value in switch.runtime.readings()[2]}

    def counts() -> dict[str, int]:
        (_, *values), = switch.runtime.readings()[1]
        return dict(zip(PMD_COUNTER_NAMES, values, strict=True))

    switch.add("a", "b")
    a, b = switch.attach("a", queues=2, queue_size=1024), switch.attach("b")
    learn(a, b)                         # a round is booked once its frames have arrived
    wait_until(lambda: counts()["rx_packets"] == 1, "the first round is booked")
    before, was = cycles(), counts()
    for _ in range(50):
        a.send([ethernet(B, A)] * 32, 1)
        b.recv_wait(32)
    wait_until(lambda: counts()["rx_packets"] == 1601, "the last round is booked")
    after, now = cycles(), counts()
    slot = switch.slots["a"]
    assert after[slot, 0] == before[slot, 0]
    busy = after[slot, 1] - before[slot, 1]
    assert 0 < busy <= now["busy_cycles"] - was["busy_cycles"] < now["cycles"] - was["cycles"]
    assert now["rx_packets"] - was["rx_packets"] == now["tx_packets"] - was["tx_packets"] == 1600
    assert 50 <= now["tx_batches"] - was["tx_batches"] <= 1600
    switch.poll(CORES)                  # a queue that moves keeps its sum
    assert cycles()[slot, 1] >= after[slot, 1]
    switch.poll()


def test_port_added_in_the_place_of_another_begins_at_zero(switch: Switch) -> None:
    switch.add("a", "b")
    a, b = switch.attach("a"), switch.attach("b")
    learn(a, b)
    slot = switch.slots["b"]

    def cycles() -> int:
        return {s: int(c) for s, _, c in switch.runtime.readings()[2]}[slot]
    wait_until(lambda: cycles() > 0, "the round is booked")
    switch.remove("b")
    switch.add("c")
    assert switch.slots["c"] == slot
    switch.poll()
    assert cycles() == 0
