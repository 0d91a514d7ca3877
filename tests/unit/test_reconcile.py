"""From two snapshots to effects: what is refused is told and tried again, and hurts nobody else."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import loglines
from agent.actions import AddPort, RemovePort, SetMemory
from agent.model import CLIENT_TYPE, SERVER_TYPE, Memory, PortSpec, Registration
from agent.reconcile import Failure, next_failure
from tests.unit.conftest import OneBridge

STANDARD, JUMBO = Memory(1500, 2048), Memory(9000, 9216)
SPEC = PortSpec("p", "br0", CLIENT_TYPE, Registration("/tmp/p", True), 8, STANDARD)
NO_MEMORY = "Cannot allocate memory"


# --- when a port is tried again -------------------------------------------------------------------

def waits(tries: int) -> list[int]:
    """How long each of so many refusals in a row waits; each comes when the last wait is over."""
    failure, now_ms, waited = None, 1_000_000, []
    for _ in range(tries):
        failure = next_failure(SPEC, "no", failure, now_ms)
        waited.append(failure.retry_at_ms - now_ms)
        now_ms = failure.retry_at_ms
    return waited


def test_waits_double_from_half_a_second_to_sixteen() -> None:
    assert waits(8) == [500, 1000, 2000, 4000, 8000, 16_000, 16_000, 16_000]


@given(st.integers(6, 10**6), st.integers(0, 2**40))
def test_wait_stays_bounded_however_often_it_failed(tries: int, now_ms: int) -> None:
    failure = next_failure(SPEC, "no", Failure(SPEC, "no", tries, now_ms), now_ms)
    assert failure == Failure(SPEC, "no", tries + 1, now_ms + 16_000)


@pytest.mark.parametrize("changed", [
    replace(SPEC, device=Registration("/tmp/q", True)), replace(SPEC, type=SERVER_TYPE),
    replace(SPEC, tx_retries_max=0), replace(SPEC, memory=JUMBO)])
def test_another_wish_starts_afresh(changed: PortSpec) -> None:
    before = Failure(SPEC, "no", 9, 0)
    assert next_failure(changed, "no", before, 7) == Failure(changed, "no", 1, 507)


def test_another_reason_does_not_start_afresh() -> None:
    before = next_failure(SPEC, "no", None, 0)
    assert next_failure(SPEC, "still no", before, 500) == Failure(SPEC, "still no", 2, 1500)


# --- serving ports -----------------------------------------------------------------------------

def test_ports_are_served_as_the_database_has_them(pair: OneBridge) -> None:
    assert pair.plane.ports.keys() == {"a", "b"}
    assert pair.plane.members("br0") == ("a", "b")
    assert pair.reconciler.observed == pair.plane.observe()
    assert (pair.reconciler.errors, pair.reconciler.problems) == ({}, {})
    assert pair.reconciler.retry_at_ms() is None
    assert (pair.step(), pair.plane.tried) == ([], [])
    del pair.rows["a"]
    pair.step()
    assert pair.plane.ports.keys() == {"b"}


def test_without_dpdk_ports_have_an_error_until_it_starts(lines: list[loglines.Line]) -> None:
    host = OneBridge(lines)
    plane, host.datapath = host.datapath, None
    host.client("a")
    assert [level for level, _ in host.step()] == ["warn"]
    assert "DPDK is not started" in host.reconciler.errors["a"]
    assert host.step() == []
    host.datapath = plane
    host.step()
    assert host.reconciler.errors == {}
    assert host.plane.ports.keys() == {"a"}


# --- ports that are refused -----------------------------------------------------------------------

def test_refused_port_has_the_reason_as_its_error_and_is_tried_again_at_longer_intervals(
        pair: OneBridge) -> None:
    pair.plane.refused[AddPort, "c"] = "no room"
    pair.client("c")
    assert pair.step() == [("err", "no room")]
    assert pair.reconciler.errors == {"c": "no room"}
    assert pair.plane.members("br0") == ("a", "b")
    begun, times = pair.now_ms, []
    for _ in range(4):
        assert pair.later() == []
        times.append(pair.now_ms - begun)
    assert times == [500, 1500, 3500, 7500]
    assert pair.tried(AddPort) == 5
    pair.plane.refused.clear()
    assert pair.later() == [
        ("info", "vHost User device 'c' created in 'client' mode, using client socket '/tmp/c'"),
        ("info", "Performing pmd to rx queue assignment using cycles algorithm."),
        ("info", "Core  0 on numa node 0 assigned port 'c' rx queue 0 (measured processing cycles "
                 "0).")]
    assert pair.reconciler.errors == {}
    assert pair.reconciler.retry_at_ms() is None
    assert pair.plane.members("br0") == ("a", "b", "c")


def test_refused_port_waits_its_time_unless_something_changed(pair: OneBridge) -> None:
    pair.plane.refused[AddPort, "c"] = "no room"
    pair.client("c")
    pair.step()
    assert pair.tried(AddPort) == 1
    pair.now_ms += 499
    pair.step(changed=False)
    assert pair.tried(AddPort) == 0
    pair.step(changed=True)
    assert pair.tried(AddPort) == 1


def test_reason_is_said_once_and_another_one_again(pair: OneBridge) -> None:
    pair.plane.refused[AddPort, "c"] = "no room"
    pair.client("c")
    pair.step()
    assert pair.step() == []
    pair.plane.refused[AddPort, "c"] = "still no room"
    assert pair.step() == [("err", "still no room")]
    assert pair.reconciler.errors == {"c": "still no room"}


@pytest.mark.parametrize("change", [
    lambda bridge: bridge.rows.pop("c"),
    lambda bridge: bridge.client("c", vhost_server_path=""),    # without a socket is no error
    lambda bridge: bridge.client("c", vhost_server_path="/tmp/a"),      # another error
], ids=["deleted", "path removed", "path of another port"])
def test_error_ends_with_the_wish(pair: OneBridge, change: Callable[[OneBridge], object]
        ) -> None:
    pair.plane.refused[AddPort, "c"] = "no room"
    pair.client("c")
    pair.step()
    pair.later()
    change(pair)
    pair.step()
    assert "no room" not in pair.reconciler.errors.values()
    assert pair.reconciler.retry_at_ms() is None


def test_port_whose_new_socket_is_refused_loses_the_old_one_and_says_why(pair: OneBridge) -> None:
    pair.plane.refused[AddPort, "a"] = "no room"
    pair.client("a", vhost_server_path="/tmp/new")
    pair.step()
    assert pair.reconciler.errors == {"a": "no room"}
    assert pair.plane.ports.keys() == {"b"}
    pair.client("a")                    # as it was
    pair.plane.refused.clear()
    pair.step()
    assert pair.reconciler.errors == {}
    assert pair.plane.ports.keys() == {"a", "b"}


def test_action_on_no_port_that_is_refused_is_said(pair: OneBridge) -> None:
    pair.plane.refused[RemovePort, "a"] = "never"
    del pair.rows["a"]
    assert ("err", "RemovePort(name='a', tap_stays=False): never") in pair.step()
    pair.plane.refused.clear()
    pair.step()
    assert pair.plane.ports.keys() == {"b"}


# --- packet buffers -------------------------------------------------------------------------------

SHORT = (f"no packet buffers of 9216 bytes ({NO_MEMORY}): the MTU stays 1500 until there is memory "
         "for 9000")


@pytest.fixture
def short(pair: OneBridge) -> OneBridge:
    """A host without memory for the MTU that port a wants."""
    pair.plane.refused[SetMemory, "a"] = NO_MEMORY
    pair.client("a", mtu=9000)
    assert pair.step() == [("err", f"a: {SHORT}")]
    return pair


def test_port_without_memory_for_its_mtu_works_on_and_tells(short: OneBridge) -> None:
    assert short.reconciler.problems == {"a": (SHORT,)}
    assert short.reconciler.errors == {}
    assert short.plane.ports["a"].memory == STANDARD
    assert short.tried(SetMemory) == 1
    # everything else goes on
    short.client("b", mtu=9000)
    short.client("c")
    short.step(changed=False)
    assert short.plane.ports["b"].memory == JUMBO
    assert short.plane.ports.keys() == {"a", "b", "c"}
    assert [a for a in short.plane.tried if isinstance(a, SetMemory)] == [
        SetMemory("b", JUMBO, -1)]


def test_memory_is_asked_for_at_longer_intervals_until_there_is_some(short: OneBridge) -> None:
    begun, times = short.now_ms, []
    for _ in range(3):
        assert short.later() == []
        times.append(short.now_ms - begun)
    assert times == [500, 1500, 3500]
    assert short.tried(SetMemory) == 4
    short.plane.refused.clear()
    short.later()
    assert short.plane.ports["a"].memory == JUMBO
    assert (short.reconciler.problems, short.reconciler.retry_at_ms()) == ({}, None)


@pytest.mark.parametrize("change", [
    lambda bridge: bridge.client("a"),
    lambda bridge: bridge.rows.pop("a"),
    lambda bridge: bridge.client("a", mtu=9000, vhost_server_path=""),
    lambda bridge: bridge.client("a", mtu=9000, vhost_server_path="/tmp/new"),
], ids=["reverted", "deleted", "path removed", "made anew"])
def test_shortage_ends_with_the_wish(short: OneBridge, change: Callable[[OneBridge], object]
        ) -> None:
    change(short)
    short.step()
    assert (short.reconciler.problems, short.reconciler.retry_at_ms()) == ({}, None)


def test_shortage_that_comes_back_is_said_again(short: OneBridge) -> None:
    short.client("a")
    assert short.step() == []
    short.client("a", mtu=9000)
    assert short.step() == [("err", f"a: {SHORT}")]


def test_port_that_was_short_and_is_then_refused_does_not_keep_the_loop_awake(
        short: OneBridge) -> None:
    short.plane.refused[AddPort, "a"] = "no room"
    short.client("a", mtu=9000, vhost_server_path="/tmp/new")
    short.step()
    assert (short.reconciler.errors, short.reconciler.problems) == ({"a": "no room"}, {})
    for _ in range(3):
        short.later()


def test_port_without_memory_of_its_own_keeps_the_shared_buffers(pair: OneBridge) -> None:
    pair.plane.refused[SetMemory, "a"] = NO_MEMORY
    pair.other_config["per-port-memory"] = "true"
    pair.step()
    assert pair.reconciler.problems == {"a": (
        f"no packet buffers of 2048 bytes ({NO_MEMORY}): the port keeps those it has until there "
        "are",)}
    assert pair.plane.ports["b"].memory == replace(STANDARD, own=True)


def test_node_without_memory_is_not_asked_again_before_its_time(lines: list[loglines.Line]) -> None:
    host = OneBridge(lines, numa_nodes=2)
    host.client("a")
    host.step()
    host.plane.refused[SetMemory, "a"] = NO_MEMORY
    host.plane.guest("a", numa=1)
    host.step(changed=False)
    assert host.tried(SetMemory) == 1
    host.now_ms += 499
    assert host.step(changed=False) == []
    assert host.tried(SetMemory) == 0
    assert host.reconciler.problems.keys() == {"a"}
    assert host.later() == []
    assert host.tried(SetMemory) == 1
    host.plane.refused.clear()
    host.later()
    assert host.plane.ports["a"].node == 1
    assert (host.reconciler.problems, host.reconciler.retry_at_ms()) == ({}, None)


# --- registrations that wait ----------------------------------------------------------------------

def test_registration_waits_for_the_guest_to_leave_and_then_happens(pair: OneBridge) -> None:
    pair.plane.guest("a")
    pair.step(changed=False)
    pair.tried(AddPort)
    pair.other_config["vhost-iommu-support"] = "true"
    pair.step()
    iommu = {name: state.device.iommu for name, state in pair.plane.ports.items()}
    assert iommu == {"a": False, "b": True}
    assert pair.tried(RemovePort) == 1
    pair.plane.stop("a")
    assert ("info", "vHost Device '/tmp/a' has been removed") in pair.step(changed=False)
    assert not pair.plane.ports["a"].device.iommu
    pair.plane.leave("a")
    lines = pair.step(changed=False)
    assert pair.plane.ports["a"].device.iommu
    assert ("info", "vHost Device '/tmp/a' connection has been destroyed") in lines
