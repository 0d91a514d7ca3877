"""What is counted, where, and since when."""
from __future__ import annotations

import os

import pytest

from agent import drops
from tests.ext.conftest import Switch
from tools.frontend import FrontEnd, ethernet
from tools.host import wait_until

A, B, C = (f"02:00:00:00:00:0{x}" for x in "abc")
ALL = "ff:ff:ff:ff:ff:ff"
CORES = tuple(sorted(os.sched_getaffinity(0)))[-2:]

# the library's size classes, and the lengths at their edges
SIZES = {
    "undersize_packets": (14, 63), "size_64_packets": (64,), "size_65_127_packets": (65, 127),
    "size_128_255_packets": (128, 255), "size_256_511_packets": (256, 511),
    "size_512_1023_packets": (512, 1023), "size_1024_1518_packets": (1024, 1518),
    "size_1519_max_packets": (1519, 2018)}


def frame(dst: str, src: str, size: int) -> bytes:
    return ethernet(dst, src, bytes(max(0, size - 14)))[:size]


def pair(switch: Switch, **options: object) -> tuple[FrontEnd, FrontEnd]:
    """Guests a and b, both known to the switch; frames so far are counted."""
    switch.add("a", "b", **options)
    a, b = switch.attach("a"), switch.attach("b")
    a.send([ethernet(ALL, A)])
    b.recv_wait(1)
    b.send([ethernet(A, B)])
    a.recv_wait(1)
    switch.wait_counter("a", "tx_packets", 1)
    return a, b


def grown(switch: Switch, name: str, before: dict[str, int]) -> dict[str, int]:
    now = switch.counters(name)
    return {key: now[key] - before[key] for key in now if now[key] != before[key]}


def test_each_reason_of_a_drop_is_told() -> None:
    from pmd_ext.runtime import PORT_COUNTER_NAMES

    assert {name for name in PORT_COUNTER_NAMES if name.endswith("_drops")} == {
        *drops.OVS_REASONS.values(), *drops.REASONS, *drops.PATCH_REASONS}


def test_sizes_and_kinds_of_both_directions(switch: Switch) -> None:
    a, b = pair(switch, mtu=2000)
    before = {name: switch.counters(name) for name in "ab"}
    frames = [frame(B, A, size) for sizes in SIZES.values() for size in sizes]
    frames += [frame(ALL, A, 64)] * 2 + [frame("01:00:5e:00:00:01", A, 64)] * 3
    a.send(frames)
    assert sorted(b.recv_wait(len(frames))) == sorted(frames)
    switch.wait_counter("b", "tx_packets", before["b"]["tx_packets"] + len(frames))
    expected = {"packets": len(frames), "bytes": sum(map(len, frames)), "broadcast_packets": 2,
                "multicast_packets": 3, **{name: len(sizes) for name, sizes in SIZES.items()}}
    expected["size_64_packets"] += 5
    assert grown(switch, "a", before["a"]) == {f"rx_{k}": v for k, v in expected.items()}
    assert grown(switch, "b", before["b"]) == {f"tx_{k}": v for k, v in expected.items()}


def test_runt_is_received_but_its_address_is_nobodys(switch: Switch) -> None:
    a, _ = pair(switch)
    before = switch.counters("a")
    a.send([b"\xff" * 13])
    switch.wait_counter("a", "rx_malformed_drops", 1)
    assert grown(switch, "a", before) == {
        "rx_malformed_drops": 1, "rx_packets": 1, "rx_bytes": 13, "rx_undersize_packets": 1}


def test_queues_are_counted_apart_whoever_polls_them(switch: Switch) -> None:
    switch.add("a", "b")
    a, b = (switch.attach(name, queues=4, queue_size=1024) for name in "ab")
    switch.poll(CORES)
    wait_until(lambda: all(tid for _, tid in switch.runtime.threads()), "all PMDs run")
    sent, got = [300, 200, 100, 50], [0] * 4
    for round_ in range(4):
        for queue, count in enumerate(sent):
            assert a.send([frame(ALL, A, 64 + queue)] * count, queue) == count
        wait_until(lambda n=round_ + 1: switch.counters("b")["tx_packets"] >= n * sum(sent),
                   "all are sent")
        got = [n + len(b.recv(queue)) for queue, n in enumerate(got)]
    rx, tx = switch.queues("a")["rx"], switch.queues("b")["tx"]
    assert [q["good_packets"] for q in rx] == [4 * n for n in sent]
    assert [q["good_bytes"] for q in rx] == [4 * n * (64 + q) for q, n in enumerate(sent)]
    assert [q["good_packets"] for q in tx] == got
    assert sum(got) == 4 * sum(sent)
    assert len([n for n in got if n]) == len(CORES)     # each PMD has a txq of its own
    assert [q["good_packets"] for q in switch.queues("a")["tx"]] == [0] * 4
    switch.poll()


def test_queues_begin_at_zero_with_each_front_end_and_ports_do_not(switch: Switch) -> None:
    a, b = pair(switch)
    a.send([frame(B, A, 1519), frame(B, A, 64)])
    b.recv_wait(1)
    switch.wait_counter("b", "tx_mtu_drops", 1)
    b.close()
    wait_until(lambda: not switch.connected("b"), "b is seen to leave")
    assert switch.queues("b") == {"rx": [], "tx": []}
    b = switch.attach("b", queues=2)
    assert [set(q.values()) for q in switch.queues("b")["tx"]] == [{0}, {0}]
    assert switch.counters("b")["tx_mtu_drops"] == 1
    a.send([frame(B, A, 64)])
    b.recv_wait(1)
    switch.wait_counter("b", "tx_packets", 1)
    assert sum(q["good_packets"] for q in switch.queues("b")["tx"]) == 1


def test_counters_of_a_new_port_begin_at_zero(switch: Switch) -> None:
    a, _ = pair(switch)
    a.send([frame(B, A, 1519)])
    switch.wait_counter("b", "tx_mtu_drops", 1)
    slot = switch.slots["b"]
    switch.remove("b")
    switch.add("c")
    assert switch.slots["c"] == slot
    assert set(switch.counters("c").values()) == {0}


def test_interrupts_are_counted_where_they_are_raised(switch: Switch) -> None:
    a, b = pair(switch)
    for guest in (a, b):
        assert guest.interrupts() == 0
    a.send([ethernet(B, A)])
    b.recv_wait(1)
    switch.wait_counter("b", "tx_packets", 2)
    wait_until(lambda: switch.counters("a")["rx_guest_notifications"], "a's ring is given back")
    assert a.interrupts() == b.interrupts() == 1
    assert switch.counters("a")["rx_guest_notifications"] == 1
    assert switch.counters("b")["tx_guest_notifications"] == 1
    assert switch.counters("a")["tx_guest_notifications"] == 0
    assert switch.counters("b")["rx_guest_notifications"] == 0


# --- nothing is dropped without a counter ---------------------------------------------------------

@pytest.mark.parametrize(("dst", "counter"), [
    ("01:80:c2:00:00:0e", "rx_reserved_drops"), (A, "rx_same_port_drops")])
def test_frames_that_are_not_for_another_port(switch: Switch, dst: str, counter: str) -> None:
    a, b = pair(switch)
    before = switch.counters("a")
    a.send([ethernet(dst, C)] * 3 + [ethernet(B, A)])
    b.recv_wait(1)
    assert grown(switch, "a", before)[counter] == 3
    assert sum(n for name, n in grown(switch, "a", before).items() if "drops" in name) == 3


def test_frames_that_have_nowhere_to_go(switch: Switch) -> None:
    switch.add("a")
    a = switch.attach("a")
    a.send([ethernet(ALL, A)] * 2)
    switch.wait_counter("a", "rx_no_output_drops", 2)
    switch.runtime.set_bridges([])
    a.send([ethernet(ALL, A)] * 3)
    switch.wait_counter("a", "rx_no_bridge_drops", 3)
    counters = switch.counters("a")
    assert (counters["rx_no_output_drops"], counters["rx_no_bridge_drops"]) == (2, 3)


def test_frames_to_a_guest_that_cannot_take_them(switch: Switch) -> None:
    a, b = pair(switch)
    b.enable(0, False)
    a.send([ethernet(B, A)] * 2)
    switch.wait_counter("b", "tx_disabled_drops", 2)
    b.enable(0, True)
    a.send([frame(B, A, 1600), frame(B, A, 1519), frame(B, A, 64)])
    b.recv_wait(1)
    switch.wait_counter("b", "tx_mtu_drops", 2)
    b.close()
    wait_until(lambda: not switch.connected("b"), "b is seen to leave")
    a.send([ethernet(B, A)] * 3)
    switch.wait_counter("b", "tx_disconnected_drops", 3)
    counters = switch.counters("b")
    assert counters["tx_disabled_drops"] == 2
    assert counters["tx_mtu_drops"] == 2
    assert counters["tx_oversize_bytes"] == 1519
    assert counters["tx_disconnected_drops"] == 3


@pytest.mark.parametrize("burst", ["X", "Xo", "oX", "ooXoo", "XX", "oXXoX" * 10])
def test_frames_longer_than_a_buffer(switch: Switch, burst: str) -> None:
    a, b = pair(switch, mtu=9000)                   # the buffers have room for 2048 bytes
    before = switch.counters("a")
    a.send([frame(B, A, 5000 if kind == "X" else 64) for kind in burst])
    assert len(b.recv_wait(burst.count("o"))) == burst.count("o")
    switch.wait_counter("a", "rx_oversize_drops", burst.count("X"))
    a.send([frame(B, A, 2048)])                     # just fits
    assert b.recv_wait(1)
    change = grown(switch, "a", before)
    assert change["rx_oversize_drops"] == burst.count("X")
    assert change["rx_packets"] == burst.count("o") + 1


def test_ordinary_traffic_has_no_oversize_drops_whoever_connects_and_polls(switch: Switch) -> None:
    a, b = pair(switch)
    sent = 1
    while sent < 0xffff:                            # the ring's index is as far from 0 as it can be
        sent += a.send([ethernet(ALL, A)] * min(200, 0xffff - sent))
        b.recv()
    switch.wait_counter("a", "rx_packets", 0xffff)
    b.recv()
    switch.poll(CORES[:1])
    switch.poll()
    for _ in range(3):
        a.close()
        wait_until(lambda: not switch.connected("a"), "a is seen to leave")
        a = switch.attach("a")                      # with an index of 0 again, one further
        a.send([ethernet(B, A)])
        assert b.recv_wait(1)
        b.recv()
    assert switch.counters("a")["rx_oversize_drops"] == 0
    assert switch.counters("b")["rx_oversize_drops"] == 0


# --- what the library counts ----------------------------------------------------------------------

def test_address_translations_of_a_port_with_an_iommu(switch: Switch) -> None:
    switch.add("a", iommu=True)
    switch.add("b")
    a, b = switch.attach("a", iommu=True), switch.attach("b")
    assert switch.state("a")["features"] >> 33 & 1
    for _ in range(2):
        before = switch.queues("a")
        a.send([ethernet(ALL, A)] * 10)
        assert len(b.recv_wait(10)) == 10
        b.send([ethernet(A, B)] * 20)
        assert len(a.recv_wait(20)) == 20
        now = switch.queues("a")
        assert now["rx"][0]["iotlb_hits"] - before["rx"][0]["iotlb_hits"] >= 10
        assert now["tx"][0]["iotlb_hits"] - before["tx"][0]["iotlb_hits"] >= 20
    assert switch.counters("b")["rx_iotlb_hits"] == 0


def test_port_without_an_iommu_does_not_offer_one(switch: Switch) -> None:
    switch.add("a")
    with pytest.raises(ConnectionError):
        FrontEnd(switch.path("a"), listen=False, iommu=True).connect()


def test_counters_are_read_while_guests_come_and_go(switch: Switch) -> None:
    switch.add("a", iommu=True)
    for _ in range(30):
        a = switch.attach("a", iommu=True, queues=2)
        a.send([ethernet(ALL, A)])
        a.close()
        while switch.connected("a"):
            assert len(switch.queues("a")["rx"]) in (0, 2)
