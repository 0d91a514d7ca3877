"""Log lines that operators and scripts wait for: texts and levels of ovs-vswitchd."""
from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import loglines
from agent.hostconfig import HostConfig
from agent.model import (
    CLIENT_TYPE,
    SERVER_TYPE,
    AutoBalance,
    Counters,
    Memory,
    Placing,
    PmdSpec,
    PortSpec,
    PortState,
    Registration,
)

RUNDIR = "/run/ovs"
MEMORY = Memory(1500, 2048)
CLIENT = PortSpec("p", "br0", CLIENT_TYPE, Registration("/tmp/p", True), 8, MEMORY)
SERVER = PortSpec("s", "br0", SERVER_TYPE, Registration("/run/ovs/s", False), 8, MEMORY)

NOBODY = PortState("p", Registration("/tmp/p", True), 8, MEMORY)
ATTACHED = replace(NOBODY, connections=1, attached=True)
GUEST = replace(ATTACHED, connects=1, connected=True, numa=0, vring_sizes=(256,) * 4,
                enabled_rxqs=(0,), enabled_txqs=(0,))
GONE = replace(NOBODY, connections=1, connects=1)

ADDED = ("info", "vHost Device '/tmp/p' has been added on numa node 0")
REMOVED = ("info", "vHost Device '/tmp/p' has been removed")
DESTROYED = ("info", "vHost Device '/tmp/p' connection has been destroyed")
CLOSED = ("warn", "Connection on socket '/tmp/p' closed during initialization.")


def switched(vring: int, queue: str, to: str = "enabled") -> loglines.Line:
    return "info", (f"State of queue {vring} ( {queue} ) of vhost device '/tmp/p' changed to "
                    f"'{to}'")


# --- what is in force for all ports ---------------------------------------------------------------

DEFAULT_LINES = [
    ("info", "Per port memory for DPDK devices disabled."),
    ("info", "No vhost-sock-dir provided - defaulting to /run/ovs"),
    ("info", "IOMMU support for vhost-user-client disabled."),
    ("info", "POSTCOPY support for vhost-user-client disabled."),
]
EVERYTHING = HostConfig(f"{RUNDIR}/sub/dir", iommu=True, postcopy=True, own_memory=True,
                        shared_mtus=(1500, 9000))
EVERYTHING_LINES = [
    ("info", "Per port memory for DPDK devices enabled."),
    ("info", "User configured shared mempool set for: MTU 1500, NUMA ALL."),
    ("info", "User configured shared mempool set for: MTU 9000, NUMA ALL."),
    ("info", "User-provided vhost-sock-dir in use: sub/dir"),
    ("info", "IOMMU support for vhost-user-client enabled."),
    ("info", "POSTCOPY support for vhost-user-client enabled."),
]


@pytest.mark.parametrize(("before", "now", "lines"), [
    (None, HostConfig(RUNDIR), DEFAULT_LINES),
    (None, EVERYTHING, EVERYTHING_LINES),
    (HostConfig(RUNDIR), HostConfig(RUNDIR), []),
    (HostConfig(RUNDIR), EVERYTHING, EVERYTHING_LINES),
    (EVERYTHING, HostConfig(RUNDIR), DEFAULT_LINES),
    (EVERYTHING, replace(EVERYTHING, iommu=False),
     [("info", "IOMMU support for vhost-user-client disabled.")]),
    # what has no line of OVS's
    (EVERYTHING, replace(EVERYTHING, pmds=(PmdSpec(1),), problems=("x",), stats_interval_ms=9000),
     []),
])
def test_settings_of_the_whole_are_said_at_the_start_and_when_they_change(
        before: HostConfig | None, now: HostConfig, lines: list[loglines.Line]) -> None:
    assert list(loglines.config_lines(before, now, RUNDIR)) == lines


# --- PMD threads ----------------------------------------------------------------------------------

def test_default_sleep_is_said_at_the_start_and_when_it_changes() -> None:
    now = HostConfig(RUNDIR)
    said = ("info", "Default PMD thread max sleep:    0 us.")
    assert list(loglines.pmd_config_lines(None, now)) == [said]
    assert list(loglines.pmd_config_lines(now, now)) == []
    assert list(loglines.pmd_config_lines(replace(now, default_sleep_us=50), now)) == [said]


def test_modes_of_pmd_threads_are_said_when_they_change() -> None:
    plain = HostConfig(RUNDIR, pmds=(PmdSpec(1),))
    waiting = replace(plain, pmds=(PmdSpec(1, block=True),), placing=Placing("group"))
    assert list(loglines.pmd_config_lines(plain, waiting)) == [
        ("info", "Rxq to PMD assignment mode changed to: 'group'."),
        ("info", "PMD threads wait in the kernel while their queues are silent.")]
    assert list(loglines.pmd_config_lines(waiting, plain)) == [
        ("info", "Rxq to PMD assignment mode changed to: 'cycles'."),
        ("info", "PMD threads poll without a pause.")]


def test_auto_load_balance_is_said_when_it_changes() -> None:
    off = HostConfig(RUNDIR)
    on = replace(off, auto_balance=AutoBalance(120_000, 80, 10))
    said = ("info", "PMD auto load balance is enabled, interval 2 mins, pmd load threshold 80%, "
                    "improvement threshold 10%.")
    assert list(loglines.pmd_config_lines(off, on)) == [said]
    assert list(loglines.pmd_config_lines(None, on))[1:] == [said]
    assert list(loglines.pmd_config_lines(replace(on, auto_balance=AutoBalance()), on)) == [said]
    assert list(loglines.pmd_config_lines(on, off)) == [
        ("info", "PMD auto load balance is disabled.")]


@pytest.mark.parametrize(("spec", "thread", "sleep"), [
    (PmdSpec(2), "PMD thread on numa_id: 0, core id:  2", "   0 us."),
    (PmdSpec(12, 1, 50), "PMD thread on numa_id: 1, core id: 12", "  50 us."),
    (PmdSpec(104, 8, 10000, block=True), "PMD thread on numa_id: 8, core id: 104", "10000 us."),
])
def test_pmd_threads_are_said_as_ovs_says_them(spec: PmdSpec, thread: str, sleep: str) -> None:
    said = ("info", f"{thread}, max sleep: {sleep}")
    assert list(loglines.pmd_created(spec, lcore=3)) == [
        ("info", f"{thread} created."), ("info", "PMD thread uses DPDK lcore 3."), said]
    assert list(loglines.pmd_created(spec, lcore=-1)) == [
        ("info", f"{thread} created."),
        ("warn", "DPDK max threads count has been reached. PMD thread performance may be "
                 "impacted."), said]
    assert loglines.pmd_destroyed(spec) == ("info", f"{thread} destroyed.")
    assert loglines.pmd_sleep(spec) == said


def test_pmd_threads_of_a_node() -> None:
    assert loglines.pmd_threads(1, 3) == ("info", "There are 3 pmd threads on numa node 1")


# --- ports ----------------------------------------------------------------------------------------

@pytest.mark.parametrize(("spec", "lines"), [
    (CLIENT, [("info", "vHost User device 'p' created in 'client' mode, using client socket "
                       "'/tmp/p'")]),
    (replace(CLIENT, tx_retries_max=0), [
        ("info", "Max Tx retries for vhost device 'p' set to 0"),
        ("info", "vHost User device 'p' created in 'client' mode, using client socket '/tmp/p'")]),
    (SERVER, [("info", "Socket /run/ovs/s created for vhost-user port s")]),
])
def test_port_that_was_added(spec: PortSpec, lines: list[loglines.Line]) -> None:
    assert list(loglines.added(spec)) == lines


def test_retries_that_were_changed() -> None:
    assert loglines.retries("p", 32) == ("info", "Max Tx retries for vhost device 'p' set to 32")


@pytest.mark.parametrize(("by_hash", "mode"), [(True, "hash"), (False, "thread")])
def test_steering_that_was_changed(by_hash: bool, mode: str) -> None:
    assert loglines.tx_steering("p", by_hash) == (
        "info", f"p: Tx packet steering mode has been set to '{mode}'.")


def test_removing_the_socket_under_a_guest_is_said_of_server_ports() -> None:
    served = replace(GUEST, name="s", device=Registration("/run/ovs/s", False))
    assert list(loglines.removing(served)) == [
        ("err", "Removing port 's' while vhost device still attached."),
        ("err", "To restore connectivity after re-adding of port, VM on socket '/run/ovs/s' must "
                "be restarted.")]
    assert list(loglines.removing(replace(served, attached=False, connected=False))) == []
    assert list(loglines.removing(GUEST)) == []


def test_deprecation_has_the_two_blanks_of_ovs() -> None:
    assert loglines.DEPRECATED == ("dpdkvhostuser ports are considered deprecated;  please migrate "
                                   "to dpdkvhostuserclient ports.")


# --- guests ---------------------------------------------------------------------------------------

@pytest.mark.parametrize(("before", "now", "lines"), [
    (NOBODY, NOBODY, []),
    (NOBODY, ATTACHED, []),
    (NOBODY, GUEST, [switched(0, "tx_qid 0"), switched(1, "rx_qid 0"), ADDED]),
    (ATTACHED, GUEST, [switched(0, "tx_qid 0"), switched(1, "rx_qid 0"), ADDED]),
    (GUEST, GUEST, []),
    # queues that the guest switches, in the order of their vrings
    (GUEST, replace(GUEST, enabled_rxqs=(0, 1), enabled_txqs=(0, 1)),
     [switched(2, "tx_qid 1"), switched(3, "rx_qid 1")]),
    (GUEST, replace(GUEST, enabled_rxqs=()), [switched(1, "rx_qid 0", "disabled")]),
    # the driver stops, the front end stays
    (GUEST, replace(ATTACHED, connects=1), [
        REMOVED, switched(0, "tx_qid 0", "disabled"), switched(1, "rx_qid 0", "disabled")]),
    (replace(ATTACHED, connects=1), replace(GUEST, connects=2), [
        switched(0, "tx_qid 0"), switched(1, "rx_qid 0"), ADDED]),
    # all at once
    (GUEST, GONE, [REMOVED, DESTROYED]),
    (ATTACHED, replace(NOBODY, connections=1), [CLOSED, DESTROYED]),
    (ATTACHED, replace(ATTACHED, connections=2), [CLOSED, DESTROYED]),
    # the driver stopped first, as when a guest shuts down; or an earlier guest got further
    (replace(ATTACHED, connects=1), GONE, [DESTROYED]),
    (replace(ATTACHED, connections=2, connects=1), replace(GONE, connections=2), [DESTROYED]),
    # between two looks it went and came back, or its driver did
    (GUEST, replace(GUEST, connections=2, connects=2), [
        REMOVED, DESTROYED, switched(0, "tx_qid 0"), switched(1, "rx_qid 0"), ADDED]),
    (GUEST, replace(GUEST, connects=2), [REMOVED, ADDED]),
    (ATTACHED, replace(GUEST, connections=2), [
        DESTROYED, switched(0, "tx_qid 0"), switched(1, "rx_qid 0"), ADDED]),
])
def test_what_a_guest_did_between_two_looks(before: PortState, now: PortState,
                                            lines: list[loglines.Line]) -> None:
    assert list(loglines.guest_lines(before, now)) == lines


@pytest.mark.parametrize(("numa", "said"), [(-1, 0), (0, 0), (3, 3)])
def test_numa_node_of_a_guest_is_said_and_an_unknown_one_is_0(numa: int, said: int) -> None:
    *_, last = loglines.guest_lines(NOBODY, replace(GUEST, numa=numa))
    assert last == ("info", f"vHost Device '/tmp/p' has been added on numa node {said}")


@pytest.mark.parametrize("before", [GUEST, ATTACHED, GONE, NOBODY])
def test_port_that_was_made_anew_begins_without_a_guest(before: PortState) -> None:
    moved = Registration("/tmp/q", True)
    assert list(loglines.guest_lines(before, replace(NOBODY, device=moved))) == []
    lines = list(loglines.guest_lines(before, replace(GUEST, device=moved)))
    assert [text for _, text in lines] == [
        text.replace("/tmp/p", "/tmp/q") for _, text in (
            switched(0, "tx_qid 0"), switched(1, "rx_qid 0"), ADDED)]


def test_without_guest_is_as_it_was_added() -> None:
    assert loglines.without_guest(GUEST) == NOBODY


steps = st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 1)), max_size=8)


@given(steps)
def test_each_guest_that_was_added_is_removed_before_the_next(
        steps: list[tuple[bool, bool, int]]) -> None:
    said, state = [], NOBODY
    for attached, connected, again in steps:
        now = replace(
            state, attached=attached, connected=attached and connected,
            connections=state.connections + (attached and (again or not state.attached)))
        if now.connected and (not state.connected or now.connections != state.connections):
            now = replace(now, connects=state.connects + 1)
        said += [text for _, text in loglines.guest_lines(state, now)]
        state = now
    told = [text for text in said if text in (ADDED[1], REMOVED[1])]
    assert told == ([ADDED[1], REMOVED[1]] * len(told))[:len(told)]
    assert (len(told) % 2 == 1) == state.connected


# --- frames that are too long ---------------------------------------------------------------------

def test_frames_too_long_for_the_guest_are_said_once_per_look() -> None:
    none, some = Counters(), Counters({"tx_mtu_drops": 3, "tx_oversize_bytes": 9014})
    assert list(loglines.oversize("p", 1500, none, some)) == [
        ("warn", "p: Too big size 9014 max_packet_len 1518")]
    assert list(loglines.oversize("p", 1500, some, some)) == []
    assert list(loglines.oversize("p", 1500, some, none)) == []
    assert list(loglines.oversize("p", 1500, none, none)) == []
