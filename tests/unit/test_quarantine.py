"""How long a port stays closed whose front end had to be cut off."""
from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from agent.actions import RemovePort
from agent.model import CLIENT_TYPE, Memory, PortSpec, PortState, Registration
from agent.quarantine import (
    DID,
    ELSEWHERE,
    FLOOD_CONNECTIONS,
    FORGOTTEN_MS,
    MOST_MS,
    SHORT,
    Conduct,
    closed,
    judged,
)
from tests.unit.conftest import OneBridge

SPEC = PortSpec("p", "br0", CLIENT_TYPE, Registration("/tmp/p", True), 8, Memory(1500, 2048))
NEW = PortState("p", SPEC.device, 8, SPEC.memory)
SET_MEM_TABLE = 5


def offended(before: Conduct | None, now_ms: int, offence: str = "ring") -> Conduct:
    return judged(before, SPEC, replace(NEW, offences=1, offence=offence), SET_MEM_TABLE, now_ms)


def test_port_without_an_offence_is_open() -> None:
    conduct = judged(None, SPEC, NEW, 0, 1000)
    assert (conduct.times, conduct.until_ms, conduct.text) == (0, 0, "")


def test_each_offence_closes_it_for_twice_as_long() -> None:
    conduct, now_ms, closed = None, 1_000_000, []
    for _ in range(11):
        conduct = offended(conduct, now_ms)
        closed.append(conduct.until_ms - now_ms)
        now_ms = conduct.until_ms
    assert closed == [1000, 2000, 4000, 8000, 16_000, 32_000, 64_000, 128_000, 256_000,
                      MOST_MS, MOST_MS]


@given(st.integers(0, 10**9), st.integers(0, 2**50))
def test_it_is_never_closed_for_longer_than_five_minutes(times: int, now_ms: int) -> None:
    before = Conduct(SPEC, times=times, until_ms=now_ms)
    assert offended(before, now_ms).until_ms <= now_ms + MOST_MS


def test_ten_minutes_without_an_offence_and_all_is_forgotten() -> None:
    first = offended(None, 0)
    late = first.until_ms + FORGOTTEN_MS
    assert offended(first, late).times == 2
    # the port was looked at in between, for whatever reason
    assert offended(judged(first, SPEC, NEW, 0, late + 1), late + 2).times == 1


def test_another_wish_of_the_operator_has_all_forgotten() -> None:
    other = replace(SPEC, tx_retries_max=0)
    assert judged(offended(None, 0), other, NEW, 0, 1) == Conduct(other, since_ms=1)


def test_same_offence_is_judged_once() -> None:
    state = replace(NEW, offences=3, offence="ring")
    conduct = judged(Conduct(SPEC, offences=3), SPEC, state, 0, 5)
    assert conduct.until_ms == 0


def test_text_says_what_it_did_with_what_and_for_how_long() -> None:
    for offence, did in DID.items():
        text = offended(None, 0, offence).text
        assert text == ("could not add network device p to ofproto (Invalid argument): the guest's "
                        f"QEMU, or another front end, {did}; its last request was SET_MEM_TABLE; "
                        "the port is closed for 1 s")


def test_what_the_host_had_not_is_not_said_to_be_the_guests() -> None:
    for offence, short in SHORT.items():
        conduct = offended(None, 0, offence)
        assert conduct.text == ("could not add network device p to ofproto (Invalid argument): "
                                f"{short}; the port is closed for 1 s")
        conduct = judged(conduct, SPEC, NEW, 0, 1)
        assert closed(conduct, 1).mend.startswith("see what this host and the agent have left: "
                                                  "vhost-agent doctor; to open ")
        assert closed(offended(conduct, 1000), 1000).mend.startswith("look for what did that ")


def test_who_followed_a_link_is_told_to_take_it_away() -> None:
    assert closed(offended(None, 0, ELSEWHERE), 1).mend.startswith(
        "namei -l /tmp/p shows the link: take it away; to open ")


def test_since_when_and_until_when_it_is_closed() -> None:
    first = offended(None, 10_000)
    again = offended(first, first.until_ms)         # for 2 s
    assert closed(first, 10_400).text == ("it was closed 0 s ago, and opens again by itself in "
                                          "1 s")
    assert closed(again, 12_001).text == ("it was closed 1 s ago, 2 times in a row, and opens "
                                          "again by itself in 1 s")
    # the agent has not come to it yet
    assert closed(again, 20_000).text.endswith("opens again by itself in 0 s")
    assert closed(first, 0).mend.endswith(
        "at once: ovs-appctl -t vhost-agent netdev-dpdk/set-admin-state p up")


def test_port_that_is_set_up_is_opened_at_once_and_all_is_forgotten(pair: OneBridge) -> None:
    pair.plane.ports["a"] = replace(pair.plane.ports["a"], offences=1, offence="ring")
    pair.step()
    pair.reconciler.set_admin_state(["a"], up=False)
    pair.step()
    assert pair.reconciler.closed.keys() == {"a"}
    pair.reconciler.set_admin_state(["a"], up=True)
    pair.step()
    assert pair.plane.ports.keys() == {"a", "b"}
    assert (pair.reconciler.errors, pair.reconciler.closed) == ({}, {})
    pair.plane.ports["a"] = replace(pair.plane.ports["a"], offences=1, offence="ring")
    pair.step()
    assert pair.reconciler.closed["a"].times == 1


def connections(wait_ms: int, ready: bool) -> Conduct:
    """After thrice as many as are a flood when they come to nothing within FLOOD_MS."""
    conduct, now_ms = judged(None, SPEC, NEW, 0, 0), 0
    for n in range(1, 3 * FLOOD_CONNECTIONS):
        now_ms += wait_ms
        state = replace(NEW, connections=n, connects=n if ready else 0)
        conduct = judged(conduct, SPEC, state, 0, now_ms)
        if conduct.times:
            break
    return conduct


def test_who_connects_all_the_time_and_is_never_ready_is_closed() -> None:
    assert DID["flood"] in connections(1, ready=False).text


def test_who_tries_once_a_second_or_is_ready_is_not() -> None:
    assert connections(1000, ready=False).times == 0
    assert connections(1, ready=True).times == 0


def test_closed_port_is_taken_down_with_the_reason_and_opened_again(pair: OneBridge) -> None:
    plane, reconciler = pair.plane, pair.reconciler
    plane.ports["a"] = replace(plane.ports["a"], offences=1, offence="shrunk")
    assert [level for level, _ in pair.step()][-1] == "err"
    assert plane.ports.keys() == {"b"}
    assert plane.members("br0") == ("b",)
    assert reconciler.errors.keys() == {"a"}
    assert DID["shrunk"] in reconciler.errors["a"]
    assert reconciler.retry_at_ms() == pair.now_ms + 1000
    pair.now_ms += 999
    pair.step()                         # something changed, as whenever a guest does anything
    assert plane.ports.keys() == {"b"}
    pair.later()
    assert plane.ports.keys() == {"a", "b"}
    assert reconciler.errors == {}
    assert reconciler.retry_at_ms() is None
    assert [a for a in plane.tried if isinstance(a, RemovePort)] == [RemovePort("a")]
