"""Replies of dpif-netdev/pmd-*: the bytes of the contract's examples, and the edges of each."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from agent import pmd_show
from agent.command import CommandError
from agent.model import PmdCounters, PmdSpec, PollLists, Readings, Rxq
from agent.pmd_show import Asked, Cleared

ALL = Asked()
TWO, THREE = PmdSpec(2), PmdSpec(3, node=1)
HZ = 1_000_000_000
WALL_MS = (14 * 3600 + 3 * 60 + 9) * 1000 + 512


# --- words ----------------------------------------------------------------------------------------

@pytest.mark.parametrize(("words", "expected"), [
    ("", ALL),
    ("ovs-netdev", ALL),
    ("-pmd 3", Asked(3)),
    ("-pmd 0 ovs-netdev", Asked(0)),
    ("-pmd 4294967295", Asked(4294967295)),
    ("-pmd 3 -secs 10 ovs-netdev", Asked(3, 10)),
    ("ovs-netdev -secs 10 -pmd 3", Asked(3, 10)),
    ("-nh -it 5 -ms 1000 -pmd 2 ovs-netdev", Asked(2)),
    # what says nothing, while there is one datapath
    ("nosuch", ALL), ("netdev@ovs-netdev", ALL),
    ("-pmd", ALL), ("-secs", ALL), ("-secs 5 -pmd", Asked(None, 5)),
    ("-pmd x", ALL), ("-pmd -1", ALL), ("-pmd 0x3", ALL), ("-pmd 3x", ALL), ("-pmd 1_0", ALL),
    ("-pmd 4294967296", ALL), (f"-pmd {'9' * 5000}", ALL),
    ("-pmd -secs 5", ALL),          # '-secs' is the core, and '5' a datapath
])
def test_words(words: str, expected: Asked) -> None:
    assert pmd_show.parse(words.split(), datapath=True) == expected


@pytest.mark.parametrize(("text", "secs"), [
    ("1", 5), ("5", 5), ("6", 10), ("51", 55), ("55", 55), ("56", 60), ("60", 60), ("61", 60),
    ("0", 60), ("-1", 60), ("x", 60), ("", 60), ("5.5", 60), ("4294967300", 60), ("+7", 10),
    (" 7", 10), ("7 ", 60),
])
def test_seconds_are_whole_intervals_and_a_minute_at_most(text: str, secs: int) -> None:
    assert pmd_show.parse(["-secs", text], datapath=True).secs == secs


@pytest.mark.parametrize("words", [[], ["ovs-netdev"], ["-pmd", "2"]])
def test_without_a_datapath_there_is_nothing_to_show(words: Sequence[str]) -> None:
    with pytest.raises(CommandError, match=r"^please specify an existing datapath$"):
        pmd_show.parse(words, datapath=False)
    with pytest.raises(CommandError, match=r"^please specify an existing datapath$"):
        pmd_show.parse_datapath(words, datapath=False)


def test_rebalance_takes_the_datapath_or_nothing() -> None:
    pmd_show.parse_datapath([], datapath=True)
    pmd_show.parse_datapath(["ovs-netdev"], datapath=True)
    for wrong in ("nosuch", "netdev@ovs-netdev", "-pmd"):
        with pytest.raises(CommandError, match=r"^please specify an existing datapath$"):
            pmd_show.parse_datapath([wrong], datapath=True)


# --- pmd-rxq-show ---------------------------------------------------------------------------------

POLLS: PollLists = ((2, (("vhu1", 0), ("vhu0", 0))), (3, (("vhu2", 0),)))
USAGE: dict[Rxq, float | None] = {("vhu0", 0): 4.2, ("vhu1", 0): 0.0, ("vhu2", 0): None}


def rxq_show(asked: Asked = ALL, pmds: Sequence[PmdSpec] = (PmdSpec(3), TWO),
             polls: PollLists = POLLS) -> str:
    return pmd_show.rxq_show(
        asked, pmds, polls, {3}, lambda rxq: rxq[0] != "vhu1", lambda rxq, _: USAGE.get(rxq),
        lambda core, _: {2: 1.4}.get(core))


def test_rxq_show() -> None:
    assert rxq_show() == (
        "Displaying last 60 seconds pmd usage %\n"
        "pmd thread numa_id 0 core_id 2:\n"
        "  isolated : false\n"
        "  port: vhu0              queue-id:  0 (enabled)   pmd usage:  4 %\n"
        "  port: vhu1              queue-id:  0 (disabled)  pmd usage:  0 %\n"
        "  overhead:  1 %\n"
        "pmd thread numa_id 0 core_id 3:\n"
        "  isolated : true\n"
        "  port: vhu2              queue-id:  0 (enabled)   pmd usage: NOT AVAIL\n"
        "  overhead: NOT AVAIL\n")


def test_rxq_show_of_one_pmd_and_of_none() -> None:
    head = "Displaying last 60 seconds pmd usage %\n"
    assert rxq_show(Asked(3)) == head + rxq_show().partition("  overhead:  1 %\n")[2]
    assert rxq_show(Asked(4)) == ""
    assert rxq_show(pmds=()) == head
    assert rxq_show(Asked(4), pmds=()) == ""


def test_rxq_show_of_a_pmd_without_rxqs_has_no_overhead() -> None:
    for polls in ((), ((2, ()),)):
        assert rxq_show(Asked(2), polls=polls) == (
            "Displaying last 60 seconds pmd usage %\n"
            "pmd thread numa_id 0 core_id 2:\n"
            "  isolated : false\n")


def test_rxq_show_orders_ports_by_name_and_queues_by_number() -> None:
    rxqs = (("b", 10), ("b", 9), ("port-with-a-long-name", 0), ("B", 1), ("b", 100))
    lines = rxq_show(polls=((2, rxqs),)).splitlines()[3:8]
    assert [line.partition(" (")[0] for line in lines] == [
        "  port: B                 queue-id:  1",
        "  port: b                 queue-id:  9",
        "  port: b                 queue-id: 10",
        "  port: b                 queue-id: 100",
        "  port: port-with-a-long-name  queue-id:  0"]


def test_rxq_show_asks_for_the_seconds_that_it_names() -> None:
    asked: list[int] = []

    def percent(_: object, secs: int) -> float:
        asked.append(secs)
        return 99.6

    shown = pmd_show.rxq_show(Asked(None, 15), [THREE], POLLS, (), lambda _: True, percent, percent)
    assert shown == (
        "Displaying last 15 seconds pmd usage %\n"
        "pmd thread numa_id 1 core_id 3:\n"
        "  isolated : false\n"
        "  port: vhu2              queue-id:  0 (enabled)   pmd usage: 100 %\n"
        "  overhead: 100 %\n")
    assert asked == [15, 15]


# --- pmd-sleep-show -------------------------------------------------------------------------------

def test_sleep_show() -> None:
    assert pmd_show.sleep_show([PmdSpec(2, sleep_max_us=50)], 50) == (
        "Default max sleep:   50 us\n"
        "pmd thread numa_id 0 core_id 2:\n"
        "  max sleep:   50 us\n")
    assert pmd_show.sleep_show([PmdSpec(12, sleep_max_us=10_000), TWO], 0) == (
        "Default max sleep:    0 us\n"
        "pmd thread numa_id 0 core_id 2:\n"
        "  max sleep:    0 us\n"
        "pmd thread numa_id 0 core_id 12:\n"
        "  max sleep: 10000 us\n")
    assert pmd_show.sleep_show([], 7) == "Default max sleep:    7 us\n"


# --- pmd-stats-show -------------------------------------------------------------------------------

# The contract's example; there other caches than a MAC table were hit.
COUNTERS = PmdCounters(
    cycles=47_903_322_110, busy_cycles=4_213_197_700, iterations=48_211_034,
    busy_iterations=101_163, rx_packets=2_000_118, tx_packets=2_000_118, tx_batches=101_200)
NO_PACKETS = (
    "  packets received: 0\n"
    "  packet recirculations: 0\n"
    "  avg. datapath passes per packet: 0.00\n"
    "  phwol hits: 0\n"
    "  mfex opt hits: 0\n"
    "  simple match hits: 0\n"
    "  emc hits: 0\n"
    "  smc hits: 0\n"
    "  megaflow hits: 0\n"
    "  avg. subtable lookups per megaflow hit: 0.00\n"
    "  miss with success upcall: 0\n"
    "  miss with failed upcall: 0\n"
    "  avg. packets per output batch: 0.00\n")


def test_stats_show() -> None:
    assert pmd_show.stats_show(ALL, [TWO], {2: COUNTERS}) == (
        "pmd thread numa_id 0 core_id 2:\n"
        "  packets received: 2000118\n"
        "  packet recirculations: 0\n"
        "  avg. datapath passes per packet: 1.00\n"
        "  phwol hits: 0\n"
        "  mfex opt hits: 0\n"
        "  simple match hits: 0\n"
        "  emc hits: 0\n"
        "  smc hits: 0\n"
        "  megaflow hits: 0\n"
        "  avg. subtable lookups per megaflow hit: 0.00\n"
        "  miss with success upcall: 0\n"
        "  miss with failed upcall: 0\n"
        "  avg. packets per output batch: 19.76\n"
        "  idle cycles: 43690124410 (91.20%)\n"
        "  processing cycles: 4213197700 (8.80%)\n"
        "  avg cycles per packet: 23950.25 (47903322110/2000118)\n"
        "  avg processing cycles per packet: 2106.47 (4213197700/2000118)\n"
        "main thread:\n" + NO_PACKETS)


def test_stats_show_without_packets_and_without_cycles() -> None:
    counters = {2: PmdCounters(cycles=400, busy_cycles=0, sleep_cycles=100)}
    assert pmd_show.stats_show(ALL, [THREE, TWO], counters) == (
        "pmd thread numa_id 0 core_id 2:\n" + NO_PACKETS +
        "  idle cycles: 300 (100.00%)\n"
        "  processing cycles: 0 (0.00%)\n"
        "pmd thread numa_id 1 core_id 3:\n" + NO_PACKETS +
        "main thread:\n" + NO_PACKETS)


def test_stats_show_of_one_pmd_and_of_none() -> None:
    assert pmd_show.stats_show(Asked(3), [TWO, THREE], {}) == (
        "pmd thread numa_id 1 core_id 3:\n" + NO_PACKETS)
    assert pmd_show.stats_show(Asked(4), [TWO, THREE], {}) == ""
    assert pmd_show.stats_show(ALL, [], {}) == "main thread:\n" + NO_PACKETS


# --- pmd-perf-show --------------------------------------------------------------------------------

PERF = """
Time: 14:03:09.512
Measurement duration: 20.003 s

pmd thread numa_id 0 core_id 2:

  Iterations:             48211034  (0.41 us/it)
  - Used TSC cycles:   47903322110  ( 99.8 % of total cycles)
  - idle iterations:      48109871  ( 91.2 % of used cycles)
  - busy iterations:        101163  (  8.8 % of used cycles)
  - sleep iterations:            0  (  0.0 % of iterations)
  Sleep time (us):           40006  (  0 us/iteration avg.)
  Rx packets:              2000118  (100 Kpps, 2106 cycles/pkt)
  Datapath passes:         2000118  (1.00 passes/pkt)
  - PHWOL hits:                  0  (  0.0 %)
  - Simple Match hits:           0  (  0.0 %)
  - EMC hits:                    0  (  0.0 %)
  - SMC hits:                    0  (  0.0 %)
  - Megaflow hits:               0  (  0.0 %, 0.00 subtbl lookups/hit)
  - Upcalls:                     0  (  0.0 %, 0.0 us/upcall)
  - Lost upcalls:                0  (  0.0 %)
  Tx packets:              2000118  (100 Kpps)
  Tx batches:               101200  (19.76 pkts/batch)
"""
MAIN = """
Time: 14:03:09.512
Measurement duration: 3.070 s

main thread:

  Rx packets:                    0
  Tx packets:                    0

"""


def perf_show(asked: Asked, counters: dict[int, PmdCounters], hz: int = HZ, main_ms: int = 3070,
              pmds: Sequence[PmdSpec] = (TWO,)) -> str:
    return pmd_show.perf_show(asked, pmds, counters, hz, main_ms, WALL_MS)


def test_perf_show() -> None:
    # asleep for the 0.2 % that were not used
    cycles = 47_999_320_752
    counters = replace(COUNTERS, cycles=cycles, sleep_cycles=cycles - COUNTERS.cycles)
    assert perf_show(ALL, {2: counters}, hz=2_399_606_000) == PERF + MAIN


def test_perf_show_of_a_pmd_that_sleeps() -> None:
    counters = PmdCounters(cycles=2 * HZ, sleep_cycles=1_500_000_000, iterations=1000,
                           sleep_iterations=750)
    assert perf_show(Asked(2), {2: counters}) == """
Time: 14:03:09.512
Measurement duration: 2.000 s

pmd thread numa_id 0 core_id 2:

  Iterations:                 1000  (2000.00 us/it)
  - Used TSC cycles:     500000000  ( 25.0 % of total cycles)
  - idle iterations:          1000  (100.0 % of used cycles)
  - busy iterations:             0  (  0.0 % of used cycles)
  - sleep iterations:          750  ( 75.0 % of iterations)
  Sleep time (us):         1500000  (2000 us/iteration avg.)
  Rx packets:                    0
  Tx packets:                    0

"""


def test_perf_show_of_packets_a_second() -> None:
    counters = PmdCounters(cycles=2 * HZ, busy_cycles=HZ, rx_packets=24_691_356,
                           tx_packets=2_469_134, tx_batches=2_000_000)
    shown = perf_show(Asked(2), {2: counters})
    assert "  Rx packets:             24691356  (12346 Kpps, 41 cycles/pkt)\n" in shown
    assert shown.endswith("  Tx packets:              2469134  (1235 Kpps)\n"
                          "  Tx batches:              2000000  (1.23 pkts/batch)\n")


@pytest.mark.parametrize("counters", [{}, {2: PmdCounters()}, {2: PmdCounters(cycles=HZ // 1001)}])
def test_perf_show_right_after_the_counters_were_cleared(counters: dict[int, PmdCounters]) -> None:
    assert perf_show(ALL, counters, main_ms=0) == """
Time: 14:03:09.512
Measurement duration: 0.000 s

pmd thread numa_id 0 core_id 2:


Time: 14:03:09.512
Measurement duration: 0.000 s

main thread:

"""


def test_perf_show_of_counters_that_were_read_while_they_changed() -> None:
    counters = PmdCounters(cycles=HZ, busy_cycles=2 * HZ, sleep_cycles=HZ, busy_iterations=3,
                           rx_packets=1, tx_packets=1)
    shown = perf_show(Asked(2), {2: counters})
    assert "  - idle iterations:             0  (  0.0 % of used cycles)\n" in shown
    assert "  Iterations:                    0  (0.00 us/it)\n" in shown
    assert shown.endswith("  Tx batches:                    0  (0.00 pkts/batch)\n")


def test_perf_show_of_several_of_one_and_of_none() -> None:
    blocks = perf_show(ALL, {2: COUNTERS, 3: COUNTERS}, pmds=(THREE, TWO))
    assert [line for line in blocks.splitlines() if "thread" in line] == [
        "pmd thread numa_id 0 core_id 2:", "pmd thread numa_id 1 core_id 3:", "main thread:"]
    assert perf_show(ALL, {}, pmds=()) == MAIN
    assert perf_show(Asked(4), {2: COUNTERS}) == ""
    assert "main" not in perf_show(Asked(2), {2: COUNTERS})


# --- pmd-stats-clear ------------------------------------------------------------------------------

def counted(n: int) -> PmdCounters:
    return PmdCounters(*range(n, n + 10))


def readings(**pmds: PmdCounters) -> Readings:
    return Readings(HZ, {int(core[1:]): counters for core, counters in pmds.items()})


GROWN_BY_SIX = PmdCounters(*[6] * 10)


def test_counters_count_from_the_start_until_they_are_cleared() -> None:
    cleared = Cleared(1000)
    assert cleared.since(readings(c2=counted(4))) == {2: counted(4)}
    assert cleared.main_ms(1500) == 500
    cleared.clear(readings(c2=counted(4), c3=counted(7)), 2000, None)
    assert cleared.since(readings(c2=counted(4), c3=counted(7))) == {
        2: PmdCounters(), 3: PmdCounters()}
    assert cleared.since(readings(c2=counted(10), c3=counted(7))) == {
        2: GROWN_BY_SIX, 3: PmdCounters()}
    assert cleared.main_ms(2300) == 300


def test_one_pmd_is_cleared_alone() -> None:
    cleared = Cleared(0)
    cleared.clear(readings(c2=counted(1), c3=counted(1)), 1000, None)
    cleared.clear(readings(c2=counted(4), c3=counted(4)), 2000, 3)
    cleared.clear(readings(c2=counted(4), c3=counted(4)), 3000, 9)
    assert cleared.since(readings(c2=counted(7), c3=counted(10))) == {
        2: GROWN_BY_SIX, 3: GROWN_BY_SIX}
    assert cleared.main_ms(4000) == 3000


def test_a_new_pmd_counts_from_its_start() -> None:
    cleared = Cleared(0)
    cleared.clear(readings(c2=counted(100), c3=counted(100)), 0, None)
    # one field that is less is enough
    fresh = PmdCounters(cycles=10_000, rx_packets=5)
    assert cleared.since(readings(c2=fresh)) == {2: fresh}
    assert cleared.since(readings(c2=counted(200))) == {2: counted(200)}
    assert cleared.since(readings(c3=counted(200))) == {3: counted(200)}      # it was away
    cleared.clear(readings(c2=counted(100), c3=counted(100)), 0, None)
    cleared.keep([3])
    assert cleared.since(readings(c2=counted(106), c3=counted(106))) == {
        2: counted(106), 3: GROWN_BY_SIX}


def test_thread_that_is_started_later_on_a_core_was_not_cleared() -> None:
    cleared = Cleared(0)
    cleared.clear(Readings(1, {1: PmdCounters(cycles=5, rx_packets=3, thread=1)}), 0, None)
    later = PmdCounters(cycles=50, rx_packets=30, thread=2)
    assert cleared.since(Readings(1, {1: later})) == {1: later}
