"""What limits a port, with real frames over the real clock: rates, buckets, and who is dropped."""
from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable

import pytest

from tests.ext.conftest import Switch
from tools.frontend import FrontEnd, ethernet
from tools.host import wait_until

A, B, C = (f"02:00:00:00:00:0{x}" for x in "abc")
ALL, GROUP = "ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01"
CORES = tuple(sorted(os.sched_getaffinity(0)))[-2:]
DURATION_S = 0.4
RING = 1024                     # of guest a
TOLERANCE = 0.02                # of a rate; librte_meter rounds up by up to 1 %
HEADER_BYTES = 14


def frame(dst: str, size: int = 1014) -> bytes:
    return ethernet(dst, A, bytes(size - HEADER_BYTES))


def pair(switch: Switch, **kw: object) -> tuple[FrontEnd, FrontEnd]:
    """Guests a and b, both known to the switch."""
    switch.add("a", "b")
    a, b = switch.attach("a", queue_size=RING, **kw), switch.attach("b")
    a.send([ethernet(ALL, A)])
    b.recv_wait(1)
    b.send([ethernet(A, B)])
    a.recv_wait(1)
    return a, b


def limit(switch: Switch, name: str, **limits: tuple[int, ...]) -> None:
    switch.runtime.ports.set_limits(switch.slots[name], limits)


def grown(switch: Switch, name: str, before: dict[str, int]) -> dict[str, int]:
    now = switch.counters(name)
    return {key: now[key] - before[key] for key in now if now[key] != before[key]}


def forwarded(switch: Switch) -> int:
    """Frames that PMDs are done with."""
    from pmd_ext.runtime import PMD_COUNTER_NAMES

    at = 1 + PMD_COUNTER_NAMES.index("rx_packets")
    return sum(values[at] for values in switch.runtime.readings()[1])


class Load:
    """What guest a sends, and when the switch is done with it."""

    def __init__(self, switch: Switch, guest: FrontEnd) -> None:
        self.switch, self.guest = switch, guest
        self.due = switch.counters("a")["rx_packets"]

    def send(self, frames: list[bytes], queue: int = 0) -> int:
        sent = self.guest.send(frames, queue=queue)
        self.due += sent
        return sent

    def send_all(self, frames: list[bytes]) -> None:
        """At once as far as the ring holds them; returns when all are forwarded or dropped."""
        while frames:
            frames = frames[self.send(frames):]
        self.switch.wait_counter("a", "rx_packets", self.due)
        received = sum(self.switch.counters(name)["rx_packets"] for name in self.switch.slots)
        wait_until(lambda: forwarded(self.switch) >= received, "the PMDs are done with them")


def send_all(switch: Switch, guest: FrontEnd, frames: list[bytes]) -> None:
    Load(switch, guest).send_all(frames)


def check_rate(switch: Switch, guest: FrontEnd, port: str, key: str, of: str, burst: int,
               rate: int, queues: int = 1, **limits: tuple[int, ...]) -> int:
    """Sends more than 'rate' frames a second: the burst passes, and from when the bucket is empty
    the rate. What does not pass is counted as 'key' of 'port'. Returns how many passed.

    The bucket has to outlast the pauses that a busy machine makes: burst / rate.
    """
    frames = [frame(of)] * RING
    before = {name: switch.counters(name) for name in "ab"}

    def drops() -> int:
        return switch.counters(port)[key] - before[port][key]

    def passed() -> int:
        return switch.counters("a")["rx_packets"] - before["a"]["rx_packets"] - drops()

    def empty() -> tuple[int, float, float]:
        """How many passed when the bucket was empty, and the times that this was between."""
        while True:
            dropped, since = drops(), time.monotonic()
            load.send_all(frames)       # more than came meanwhile: the last one is dropped
            if drops() > dropped:
                return passed(), since, time.monotonic()

    def send() -> None:
        for queue in range(queues):
            load.send(frames, queue)

    load = Load(switch, guest)
    begun = time.monotonic()
    limit(switch, port, **limits)
    while not drops():
        send()
        assert time.monotonic() - begun < 30, "the limit is not reached"
    first, since, until = empty()
    assert burst <= first <= burst + rate * (until - begun) * (1 + TOLERANCE) + 1
    while time.monotonic() - until < DURATION_S:
        send()
    second, again_since, again_until = empty()
    assert (rate * (again_since - until) * (1 - TOLERANCE) - 1 <= second - first
            <= rate * (again_until - since) * (1 + TOLERANCE) + 1)
    return second


# --- rates ----------------------------------------------------------------------------------------

@pytest.mark.parametrize(("rate", "burst"), [(1, 10), (100, 60), (2_000, 1_200)])
def test_received_bytes_are_policed(switch: Switch, rate: int, burst: int) -> None:
    a, _ = pair(switch)
    check_rate(switch, a, "a", "rx_qos_drops", B, burst, rate,
               rx_bytes=(rate * 1000, burst * 1000))


def test_header_is_not_counted_and_the_burst_passes_to_the_byte(switch: Switch) -> None:
    a, b = pair(switch)
    limit(switch, "a", rx_bytes=(1, 3_000))
    send_all(switch, a, [frame(B)] * 5)
    assert switch.counters("a")["rx_qos_drops"] == 2
    assert len(b.recv_wait(3)) == 3
    limit(switch, "a", rx_bytes=(1, 2_999))
    send_all(switch, a, [frame(B)] * 5)
    assert switch.counters("a")["rx_qos_drops"] == 2 + 3


def test_shorter_frame_passes_where_a_longer_one_does_not_and_order_stays(switch: Switch) -> None:
    a, b = pair(switch)
    limit(switch, "a", rx_bytes=(1, 1_200))
    sizes = [1014, 1014, 114, 1014, 113, 64]        # 1000 pass, then 100, then 99
    send_all(switch, a, [frame(B, size) for size in sizes])
    assert [len(f) for f in b.recv_wait(3)] == [1014, 114, 113]


@pytest.mark.parametrize(("rate", "burst"), [(1, 4), (2_000, 1_200)])
def test_received_packets_are_policed(switch: Switch, rate: int, burst: int) -> None:
    a, _ = pair(switch)
    check_rate(switch, a, "a", "rx_qos_drops", B, burst, rate, rx_packets=(rate, burst))


def test_both_limits_hold(switch: Switch) -> None:
    a, _ = pair(switch)
    limit(switch, "a", rx_bytes=(1, 10_000), rx_packets=(1, 4))
    send_all(switch, a, [frame(B)] * 12)
    assert switch.counters("a")["rx_qos_drops"] == 8
    limit(switch, "a", rx_bytes=(1, 2_000), rx_packets=(1, 4))
    send_all(switch, a, [frame(B)] * 12)            # the other bucket kept being empty
    assert switch.counters("a")["rx_qos_drops"] == 8 + 12


def test_hundred_gigabits_let_everything_pass_and_idle_time_fills_no_more_than_the_bucket(
        switch: Switch) -> None:
    a, _ = pair(switch)
    limit(switch, "a", rx_bytes=(12_500_000_000, 64_000))
    for _ in range(50):
        send_all(switch, a, [frame(B)] * 32)
    assert switch.counters("a")["rx_qos_drops"] == 0
    # twice what the bucket holds in one burst: the clock stands still for it
    limit(switch, "a", rx_bytes=(12_500_000_000, 2_000))
    drops = 0
    for _ in range(50):
        before = switch.counters("a")["rx_qos_drops"]
        send_all(switch, a, [frame(B)] * 4)
        drops += switch.counters("a")["rx_qos_drops"] > before
    assert drops


def test_two_pmds_share_a_port_s_bucket(switch: Switch) -> None:
    a, _ = pair(switch, queues=2)
    switch.poll(CORES)
    check_rate(switch, a, "a", "rx_qos_drops", B, 1_200, 2_000, queues=2,
               rx_packets=(2_000, 1_200))
    assert all(q["good_packets"] for q in switch.queues("a")["rx"])
    switch.poll()


def test_sent_bytes_are_policed(switch: Switch) -> None:
    a, _ = pair(switch)
    check_rate(switch, a, "b", "tx_qos_drops", B, 1_200, 2_000,
               tx_bytes=(2_000_000, 1_200_000))


@pytest.mark.parametrize("rates", [(2_000_000, 1_200_000, 0, 0), (0, 0, 2_000_000, 1_200_000)])
def test_each_of_two_rates_is_kept_and_the_queue_counts(switch: Switch, rates: tuple[int, ...]
                                                        ) -> None:
    a, _ = pair(switch)
    passed = check_rate(switch, a, "b", "tx_qos_drops", B, 1_200, 2_000, tx_port=rates,
                        tx_queue=rates)
    packets, size, red = switch.runtime.ports.queue_counters(switch.slots["b"])
    assert size == packets * 1000
    assert packets + red == passed + switch.counters("b")["tx_qos_drops"]
    # both buckets are alike, but one was made a moment after the other
    assert 0 <= packets - passed <= 2


@pytest.mark.parametrize(("port", "queue"), [
    ((1, 4_000, 0, 0), (1, 2_000, 0, 0)), ((1, 2_000, 0, 0), (1, 4_000, 0, 0)),
    ((1, 1_000, 1, 1_000), (1, 9_000, 1, 9_000)),   # green for the queue, yellow for the port
    ((1, 9_000, 1, 2_000), (0, 0, 1, 9_000)),       # yellow is never green again
])
def test_port_s_meter_has_the_last_word(switch: Switch, port: tuple[int, ...],
                                        queue: tuple[int, ...]) -> None:
    a, b = pair(switch)
    limit(switch, "b", tx_port=port, tx_queue=queue)
    send_all(switch, a, [frame(B)] * 8)
    assert len(b.recv_wait(2)) == 2
    assert switch.counters("b")["tx_qos_drops"] == 6


# --- who is not dropped ---------------------------------------------------------------------------

def test_policed_frame_teaches_the_switch_nothing_and_is_counted_as_received(switch: Switch
                                                                            ) -> None:
    a, _ = pair(switch)
    switch.runtime.bridges.flush_fdb("br0")
    limit(switch, "a", rx_packets=(1, 1))
    before = switch.counters("a")
    send_all(switch, a, [ethernet(B, A), ethernet(B, C)])
    assert grown(switch, "a", before)["rx_qos_drops"] == 1
    assert {e[2] for e in switch.runtime.bridges.fdb("br0")} == {int(A.replace(":", ""), 16)}


def test_other_ports_and_the_other_direction_are_not_limited(switch: Switch) -> None:
    a, b = pair(switch)
    limit(switch, "a", rx_packets=(1, 1), tx_bytes=(1, 1_000_000))
    b.send([ethernet(A, B)] * 40)
    assert len(a.recv_wait(40)) == 40
    limit(switch, "a")
    a.send([ethernet(B, A)] * 40)
    assert len(b.recv_wait(40)) == 40


def test_flooded_frame_is_policed_where_it_goes(switch: Switch) -> None:
    a, _ = pair(switch)
    switch.add("c")
    c = switch.attach("c")
    limit(switch, "b", tx_bytes=(1, 1_000))
    send_all(switch, a, [frame(ALL)] * 4)
    assert len(c.recv_wait(4)) == 4
    assert switch.counters("b")["tx_qos_drops"] == 3


# --- what a change keeps --------------------------------------------------------------------------

def test_bucket_whose_numbers_stay_is_kept_and_another_is_full(switch: Switch) -> None:
    a, _ = pair(switch)
    drops = 0
    for changed in ((1, 4), (1, 4), (1, 5)):
        limit(switch, "a", rx_packets=changed, broadcast=(100, 100 + drops))
        before = switch.counters("a")["rx_qos_drops"]
        send_all(switch, a, [frame(B)] * 8)
        drops += switch.counters("a")["rx_qos_drops"] - before
        assert drops == {(0, (1, 4)): 4, (4, (1, 4)): 12, (12, (1, 5)): 15}[before, changed]


def test_queue_keeps_its_bucket_and_counts_when_the_port_s_numbers_change(switch: Switch) -> None:
    a, _ = pair(switch)
    queue = (1, 2_000, 0, 0)
    limit(switch, "b", tx_port=(1, 9_000, 0, 0), tx_queue=queue)
    send_all(switch, a, [frame(B)] * 4)
    limit(switch, "b", tx_port=(1, 8_000, 0, 0), tx_queue=queue)
    send_all(switch, a, [frame(B)] * 4)
    assert switch.runtime.ports.queue_counters(switch.slots["b"]) == (2, 2_000, 6)
    limit(switch, "b")
    assert switch.runtime.ports.queue_counters(switch.slots["b"]) == (0, 0, 0)


@pytest.mark.parametrize("wrong", [
    {"rx_packets": (0, 1)}, {"rx_packets": (1, 0)}, {"tx_port": (1, 1, 0, 0)},
    {"tx_port": (1, 0, 0, 0), "tx_queue": (1, 1, 0, 0)}, {"nonsense": (1, 1)}])
def test_what_is_refused_leaves_the_working_limit(switch: Switch, wrong: dict[str, tuple[int, ...]]
                                                  ) -> None:
    from pmd_ext.runtime import DatapathError

    a, _ = pair(switch)
    limit(switch, "a", rx_packets=(1, 4))
    send_all(switch, a, [frame(B)] * 4)
    with pytest.raises(DatapathError) as caught:
        limit(switch, "a", **wrong)
    assert (caught.value.errno, caught.value.port) == (errno.EINVAL, "a")
    send_all(switch, a, [frame(B)] * 4)
    assert switch.counters("a")["rx_qos_drops"] == 4


def test_limits_change_under_traffic_and_a_new_port_in_the_slot_has_none(switch: Switch) -> None:
    a, _ = pair(switch)
    for i in range(200):
        limit(switch, "a", rx_packets=(1_000, 1 + i % 3), tx_bytes=(1_000, 1_000 + i))
        a.send([frame(B)] * 16)
    assert switch.counters("a")["rx_qos_drops"] > 0
    a.close()
    switch.remove("a")
    switch.add("a")
    again = switch.attach("a", queue_size=256)
    send_all(switch, again, [frame(ALL)] * 64)
    assert switch.counters("a")["rx_qos_drops"] == 0


# --- storms ---------------------------------------------------------------------------------------

STORMS: dict[str, Callable[[], bytes]] = {
    "broadcast": lambda: frame(ALL), "multicast": lambda: frame(GROUP),
    "unknown_unicast": lambda: frame(C)}


@pytest.mark.parametrize("kind", STORMS)
def test_storm_of_one_class_is_limited_and_the_others_pass(switch: Switch, kind: str) -> None:
    a, b = pair(switch)
    limit(switch, "a", **{kind: (1, 3)})
    frames = [make() for make in STORMS.values()] * 5
    send_all(switch, a, frames)
    assert switch.counters("a")["rx_storm_drops"] == 2
    kept, seen = [], 0
    for f in frames:
        seen += f == STORMS[kind]()
        if f != STORMS[kind]() or seen <= 3:
            kept.append(f)
    assert list(b.recv_wait(13)) == kept


@pytest.mark.parametrize("plain", [True, False])
def test_known_unicast_is_no_storm(switch: Switch, plain: bool) -> None:
    a, b = pair(switch)
    if not plain:
        switch.bridges({"br0": {"a": {"protected": True}, "b": {}}})
        b.send([ethernet(A, B)])
        a.recv_wait(1)
    limit(switch, "a", **dict.fromkeys(STORMS, (1, 1)))
    send_all(switch, a, [frame(B)] * 20)
    assert len(b.recv_wait(20)) == 20
    send_all(switch, a, [frame(C)] * 20)
    assert switch.counters("a")["rx_storm_drops"] == 19
    assert len(b.recv_wait(1)) == 1


def test_rate_of_a_storm(switch: Switch) -> None:
    a, _ = pair(switch)
    check_rate(switch, a, "a", "rx_storm_drops", ALL, 1_200, 2_000, broadcast=(2_000, 1_200))
