"""Coverage counters: the bytes of coverage/show as ovs-vswitchd's, and rates over three times."""
from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import coverage
from agent.command import CommandError
from agent.coverage import Coverage

START = 1_000_000


def rates(counters: Coverage, name: str) -> tuple[float, float, float]:
    """A second, over 5 seconds, a minute and an hour; as shown."""
    (line,) = (line for line in counters.show().splitlines() if line.startswith(f"{name} "))
    five, minute, hour = re.findall(r"([\d.]+)/sec", line)
    return float(five), float(minute), float(hour)


def after(steps: dict[int, int], name: str = "netdev_sent") -> Coverage:
    """Counters of which one had these totals, so many seconds after the start."""
    counters = Coverage(START)
    for seconds, total in steps.items():
        counters.sample(START + seconds * 1000, {name: total})
    return counters


def test_nothing_happened_yet() -> None:
    assert Coverage(START).show() == (
        "Event coverage, avg rate over last: 5 seconds, last minute, last hour,  hash=00000000:\n"
        f"{len(coverage.NAMES)} events never hit\n")


def test_counters_that_counted_have_a_line_and_the_others_a_number() -> None:
    counters = Coverage(START)
    counters.sample(START + 5000, {"netdev_sent": 61_728, "vhost_tx_contention": 3,
                                   "netdev_received": 0})
    first, *lines = counters.show().splitlines(keepends=True)
    assert re.fullmatch(r"Event coverage, avg rate over last: 5 seconds, last minute, last hour,  "
                        r"hash=[0-9a-f]{8}:\n", first)
    assert lines == [
        "netdev_sent              12345.6/sec  1028.800/sec       17.1467/sec   total: 61728\n",
        "vhost_tx_contention        0.6/sec     0.050/sec        0.0008/sec   total: 3\n",
        f"{len(coverage.NAMES) - 2} events never hit\n"]


def test_a_name_as_long_as_its_column() -> None:
    counters = after({5: 1}, "datapath_drop_upcall_error")
    assert counters.show().splitlines()[1].startswith("datapath_drop_upcall_error   0.2/sec  ")


def test_hash_tells_which_counters_counted() -> None:
    def shown(counters: Coverage) -> str:
        return counters.show().partition("hash=")[2][:8]

    assert shown(after({5: 1})) == shown(after({5: 2, 10: 7}))
    assert shown(after({5: 1})) != shown(after({5: 1}, "netdev_received"))


def test_names_are_of_the_contract_once_each_and_in_order() -> None:
    assert tuple(sorted([
        "vhost_tx_contention", "datapath_drop_upcall_error", "datapath_drop_lock_error",
        "datapath_drop_rx_invalid_packet", "datapath_drop_invalid_port", "datapath_drop_meter",
        "drop_action_of_pipeline", "netdev_received", "netdev_sent", "bridge_reconfigure",
        *(f"mac_learning_{event}" for event in ("learned", "expired", "evicted", "moved",
                                                "static_none_move", "refused", "held")),
    ])) == coverage.NAMES


def test_rates_fall_as_the_events_get_older() -> None:
    steps = {5: 3600}
    assert rates(after(steps), "netdev_sent") == (720.0, 60.0, 1.0)
    steps[10] = 3600
    assert rates(after(steps), "netdev_sent") == (0.0, 60.0, 1.0)
    steps |= dict.fromkeys(range(15, 65, 5), 3600)
    assert rates(after(steps), "netdev_sent") == (0.0, 60.0, 1.0)
    steps[65] = 3600
    assert rates(after(steps), "netdev_sent") == (0.0, 0.0, 1.0)
    steps |= dict.fromkeys(range(70, 3605, 5), 3600)
    assert rates(after(steps), "netdev_sent") == (0.0, 0.0, 1.0)
    steps[3605] = 3600
    assert rates(after(steps), "netdev_sent") == (0.0, 0.0, 0.0)


def test_totals_are_of_now_and_rates_of_intervals_that_ended() -> None:
    counters = Coverage(START)
    counters.sample(START + 4999, {"netdev_sent": 50})
    assert counters.read_counter("netdev_sent") == "50\n"
    assert rates(counters, "netdev_sent") == (0.0, 0.0, 0.0)
    assert counters.due_ms == START + 5000
    counters.sample(START + 5000, {"netdev_sent": 100})
    assert rates(counters, "netdev_sent")[0] == 20.0
    assert counters.due_ms == START + 10_000


def test_a_late_sample_is_spread_over_the_intervals_it_is_late_for() -> None:
    assert rates(after({5: 0, 24: 30}), "netdev_sent")[:2] == (2.0, 0.5)
    late = after({5: 0, 65: 1200, 70: 1200})        # a minute late; its oldest part is gone
    assert rates(late, "netdev_sent")[:2] == (0.0, round(1100 / 60, 3))


def test_total_that_falls_with_a_port_is_no_event_and_takes_none_away() -> None:
    counters = after({5: 100, 10: 40, 15: 45})
    assert counters.read_counter("netdev_sent") == "105\n"
    assert rates(counters, "netdev_sent")[0] == 1.0
    counters.sample(START + 20_000, {})
    counters.sample(START + 25_000, {"netdev_sent": 5})
    assert counters.read_counter("netdev_sent") == "110\n"


@given(st.lists(st.tuples(st.integers(0, 100_000), st.integers(0, 1000)), max_size=30))
def test_an_hour_has_at_most_what_was_counted(steps: list[tuple[int, int]]) -> None:
    counters, now_ms, total = Coverage(START), START, 0
    for waited_ms, events in steps:
        now_ms, total = now_ms + waited_ms, total + events
        counters.sample(now_ms, {"netdev_sent": total})
        assert counters.read_counter("netdev_sent") == f"{total}\n"
        if total:
            five, minute, hour = rates(counters, "netdev_sent")
            assert five * 5 <= total + 0.5
            assert five * 5 <= minute * 60 + 0.5
            assert minute * 60 <= hour * 3600 + 0.5


@pytest.mark.parametrize("name", coverage.NAMES)
def test_each_counter_can_be_read_and_counted(name: str) -> None:
    assert Coverage(START).read_counter(name) == "0\n"
    assert after({1: 7}, name).read_counter(name) == "7\n"


@pytest.mark.parametrize("name", ["nosuch", "", "NETDEV_SENT"])
def test_an_unknown_counter(name: str) -> None:
    with pytest.raises(CommandError, match=r"^No such counter$"):
        Coverage(START).read_counter(name)


def test_memory_line_is_sorted_by_key() -> None:
    assert coverage.memory_line({"ports": 2, "pmds": 1, "idl-cells-Open_vSwitch": 417}) == (
        "idl-cells-Open_vSwitch:417 pmds:1 ports:2")
    assert coverage.memory_line({}) == ""
