"""What went on between two pictures, and its screen."""
from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import top
from agent.picture import Seen
from agent.rates import PortRates, Rates, rates
from tests.unit.pictures import HZ, count, guest, pmd, seen, taken


def between(before: Seen, after: Seen, seconds: float = 2.0) -> Rates:
    found = rates(taken(before), taken(replace(
        after, now_ms=before.now_ms + int(seconds * 1000))))
    assert found is not None
    return found


def of_port(found: Rates, name: str) -> PortRates:
    return next(p for p in found.ports if p.name == name)


def test_rates_are_differences_a_second() -> None:
    before = pmd(count(seen("a"), "a", rx=(100, 6400), tx=(10, 640), cycles=1000,
                       tx_failure_drops=5), cycles=10 * HZ, busy_cycles=HZ, rx_packets=50)
    after = pmd(count(seen("a"), "a", rx=(300, 26_400), tx=(14, 896), cycles=1000 + HZ,
                      tx_failure_drops=15, rx_vlan_drops=2), cycles=12 * HZ, busy_cycles=2 * HZ,
                rx_packets=250, sleep_cycles=HZ // 2)
    found = between(before, after)
    a = of_port(found, "a")
    assert (a.rx_packets, a.rx_bits, a.tx_packets, a.tx_bits) == (100, 80_000, 2, 1024)
    assert a.drops == {"ovs_tx_failure_drops": 5, "rx_vlan_drops": 1}
    assert (a.pmd_percent, a.cycles_per_packet, a.cores) == (50, HZ / 200, (3,))
    (busy,) = found.pmds
    assert (busy.busy, busy.sleeping, busy.rx_packets) == (50, 25, 100)


def test_guest_that_came_again_counts_from_nothing() -> None:
    before = count(seen("a"), "a", rx=(1000, 0), tx_failure_drops=4)
    again = guest(count(seen("a"), "a", rx=(1200, 0), tx_failure_drops=6), "a", connects=2)
    found = of_port(between(before, again), "a")
    assert (found.rx_packets, found.drops) == (600, {"ovs_tx_failure_drops": 1})


def test_ports_come_and_go() -> None:
    before = count(seen("a", "b"), "b", rx=(9, 9))
    after = count(seen("b", "c"), "c", rx=(8, 8))
    after = count(after, "b", rx=(11, 9))
    found = between(before, after)
    assert [p.name for p in found.ports] == ["b", "c"]
    assert (of_port(found, "b").rx_packets, of_port(found, "c").rx_packets) == (1, 4)


def test_guest_that_left_has_no_rates() -> None:
    found = of_port(between(count(seen("a"), "a", rx=(9, 9)), seen("a", guests=False)), "a")
    assert (found.link, found.rx_packets, found.cycles_per_packet) == ("down", 0, None)


def test_another_agent_is_no_difference() -> None:
    before, after = seen("a"), replace(seen("a"), now_ms=20_000)
    for changed in (replace(after.agent, pid=78), replace(after.agent, started_ms=15_000)):
        assert rates(taken(before), taken(replace(after, agent=changed))) is None
    assert rates(taken(before), taken(before)) is None          # no time between


def test_another_thread_on_the_core_begins_anew() -> None:
    before = pmd(seen("a"), cycles=10 * HZ, busy_cycles=9 * HZ)
    after = pmd(seen("a"), cycles=11 * HZ, busy_cycles=HZ * 11 // 2, thread=8)
    assert between(before, after).pmds[0].busy == 50


COUNT = st.integers(0, 2**64 - 1)
SIDE = st.fixed_dictionaries({
    "rx": st.tuples(COUNT, COUNT), "tx": st.tuples(COUNT, COUNT), "cycles": COUNT,
    "tx_failure_drops": COUNT})


@given(SIDE, SIDE, st.integers(1, 3), st.integers(1, 10**6))
def test_no_rate_is_negative(before: dict[str, Any], after: dict[str, Any], connects: int,
                             after_ms: int) -> None:
    found = between(count(seen("a"), "a", **before),
                    guest(count(seen("a"), "a", **after), "a", connects=connects),
                    after_ms / 1000)
    a = of_port(found, "a")
    assert min(a.rx_packets, a.rx_bits, a.tx_packets, a.tx_bits, a.dropped, a.pmd_percent or 0,
               a.cycles_per_packet or 0) >= 0


# --- the screen -----------------------------------------------------------------------------------

def screen(*, sort: str = "traffic", width: int | None = None, height: int | None = None
           ) -> list[str]:
    names = ("c1", "c2", "c10")
    before, after = seen(*names), seen(*names)
    after = pmd(after, cycles=2 * HZ, busy_cycles=HZ)
    after = count(after, "c2", rx=(20, 2000), cycles=HZ // 2)
    after = count(after, "c10", tx=(200, 20_000), tx_failure_drops=10, tx_qos_drops=4,
                  tx_mtu_drops=2)
    after = replace(after, now_ms=before.now_ms + 2000)
    shown = taken(after)
    return [text for _, text in top.lines(shown, rates(taken(before), shown), sort, width,
                                          height)]


def test_busiest_ports_come_first_and_drops_say_why() -> None:
    assert screen() == [
        "vhost-agent 1.2, pid 77, up 11 s; 3 ports, 3 up, over 2.0 s",
        "received 10 packets/s, 8.00k bit/s; sent 100 packets/s; dropped 8 packets/s",
        "PMD on core 3 (node 1): busy 50 %, 3 rx queues, received 0/s, sent 0/s",
        "  PORT  BRIDGE  LINK  RX pps  RX bit/s  TX pps  TX bit/s  DROPS/s  PMD%   CYC/PKT  CORES"
        "  WHY DROPPED",
        "  c10   br0     up         0         0     100     80.0k        8   0.0         -  3    "
        "  ovs_tx_failure 5 (guest too slow), ovs_tx_qos 2 (policy) and 1 more",
        "  c2    br0     up        10     8.00k       0         0        0  25.0  25000000  3",
        "  c1    br0     up         0         0       0         0        0   0.0         -  3"]


@pytest.mark.parametrize(("sort", "order"), [
    ("rx", ["c2", "c1", "c10"]), ("tx", ["c10", "c1", "c2"]), ("drops", ["c10", "c1", "c2"]),
    ("pmd", ["c2", "c1", "c10"]), ("name", ["c1", "c2", "c10"])])
def test_order(sort: str, order: list[str]) -> None:
    assert [text.split()[0] for text in screen(sort=sort)[4:]] == order


def test_small_terminal_has_the_first_ports_and_the_main_columns() -> None:
    shown = screen(width=50, height=6)
    assert shown[3:] == ["  PORT  RX pps  TX pps  DROPS/s  PMD%",
                         "  c10        0     100        8   0.0", "  and 2 more ports"]
    assert max(map(len, shown)) <= 50
    assert len(shown) <= 6


def test_first_look_counts() -> None:
    assert [text for _, text in top.lines(taken(seen("a")), None, "rx")] == [
        "vhost-agent 1.2, pid 77, up 9 s; 1 ports, 1 up", "counting"]
