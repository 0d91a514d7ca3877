"""Reasons why a port is down, of made-up facts; docs/troubleshooting.md has the same texts."""
from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from agent.eth_values import EthDevice, EthInfo
from agent.host_model import HostDevice, HostState, Link
from agent.model import (
    CLIENT_TYPE,
    ETH_TYPE,
    SERVER_TYPE,
    Memory,
    PortSpec,
    PortState,
    Registration,
)
from agent.reason import no_dpdk, reasons
from agent.reason_model import Access, Facts, Found, Handshake, Reason, Sight, SocketFacts

ROOT = Path(__file__).parents[2]
MEMORY = Memory(1500, 2048)
PATH = "/run/vm/p"
CLIENT = PortSpec("p", "br0", CLIENT_TYPE, Registration(PATH, True), 8, MEMORY)
SERVER = replace(CLIENT, type=SERVER_TYPE, device=Registration(PATH, False))
LONE = PortState("p", Registration(PATH, True), 8, MEMORY)
ATTACHED = replace(LONE, connections=1, attached=True)
UP = replace(ATTACHED, connects=1, connected=True, vring_sizes=(256,) * 8,
             enabled_rxqs=(0, 1, 2, 3), enabled_txqs=(0, 1, 2, 3))
POLLED = dict.fromkeys(range(4), 0)
OF_QEMU = Access(PATH, "libvirt-qemu", "kvm", 0o755)
OFFERED = 0x1_7060_8000
SAID = Handshake(heard=9, last_request=1, offered=OFFERED)
NODES = {0: (0, 1), 1: (2, 3)}


def at_path(found: Found, access: Access | None = None, *, may: bool = True, listening: bool = False
            ) -> Facts:
    return Facts(socket=SocketFacts(PATH, found, "ovs", access, may, listening))


def connected(**facts: object) -> Facts:
    return Facts(**{"cores": POLLED, "nodes": {0: 0}, **facts})     # type: ignore[arg-type]


def said(settled: bool = True, **words: object) -> Facts:
    return Facts(SAID._replace(**words), settled=settled)           # type: ignore[arg-type]


HOST = PortState("p", HostDevice("system", "p"), 8, MEMORY)
TAP = HostDevice("tap", "brv-br0", lasts=True)
ETH = PortState("p", EthDevice("0000:06:00.0"), 8, MEMORY, eth=EthInfo(0, numa_id=0))
VDUSE = Registration("/dev/vduse/p", True)

# id of the reason that comes first -> what it is made of
CASES: dict[str, tuple[PortSpec, PortState, Facts]] = {
    "socket-missing": (CLIENT, LONE, at_path(Found.NOTHING)),
    "directory-missing": (CLIENT, LONE, at_path(Found.NO_DIRECTORY)),
    "link-loop": (CLIENT, LONE, at_path(Found.LOOP)),
    "not-a-socket": (CLIENT, LONE, at_path(Found.OTHER)),
    "not-a-stream": (CLIENT, LONE, at_path(Found.OTHER_TYPE, OF_QEMU)),
    "socket-stale": (CLIENT, LONE, at_path(Found.SOCKET, OF_QEMU)),
    "socket-busy": (CLIENT, LONE, at_path(Found.SOCKET, OF_QEMU, listening=True)),
    "permission-denied": (CLIENT, LONE, at_path(Found.SOCKET, OF_QEMU, may=False)),
    "directory-closed": (CLIENT, LONE, at_path(
        Found.CLOSED, OF_QEMU._replace(path="/run/vm", mode=0o700), may=False)),
    "no-guest": (SERVER, replace(LONE, device=SERVER.device),
                 at_path(Found.SOCKET, Access(PATH, "ovs", "kvm", 0o660))),
    "socket-removed": (SERVER, replace(LONE, device=SERVER.device), at_path(Found.NOTHING)),
    "nothing-heard": (CLIENT, ATTACHED, said(heard=0, last_request=0)),
    "waiting-for-driver": (CLIENT, ATTACHED, said()),
    "memory-not-shared": (CLIENT, ATTACHED, said(asked=OFFERED)),
    "memory-blank": (CLIENT, UP, connected(sight=Sight.BLANK, settled=True)),
    "rings-not-ready": (CLIENT, ATTACHED, said(asked=OFFERED, regions=1, last_request=8)),
    "driver-stopped": (CLIENT, ATTACHED, said(asked=OFFERED, regions=1, was_ready=True)),
    "ring-withheld": (CLIENT, ATTACHED, said(asked=OFFERED, regions=1, withheld=True)),
    "feature-refused": (CLIENT, LONE, said(asked=OFFERED | 1 << 33)),
    "gave-up": (CLIENT, LONE, said(given_up=2, last_request=14)),
    "guest-interface-down": (CLIENT, UP, connected(sight=Sight.UNUSED, settled=True)),
    "guest-stuck": (CLIENT, UP, connected(sight=Sight.USED, stuck=True)),
    "queues-disabled": (CLIENT, replace(UP, enabled_rxqs=(0,), enabled_txqs=(0,)), connected()),
    "queues-asked": (replace(CLIENT, asked=(("n_rxq", 8),)), UP, connected()),
    "ring-size": (replace(CLIENT, asked=(("n_rxq_desc", 1024),)), UP, connected()),
    "other-numa-node": (CLIENT, replace(UP, numa=1), connected(numa_cores=NODES)),
    "not-polled": (CLIENT, UP, connected(cores={0: 0})),
    "admin-down": (CLIENT, replace(UP, up=False), connected()),
    "bridge-silent": (CLIENT, UP, connected(silent=True)),
    "device-down": (replace(CLIENT, type="system", device=HOST.device), replace(
        HOST, host=HostState(Link(2, False, False, 1500, ""))), Facts()),
    "no-carrier": (replace(CLIENT, type="system", device=HOST.device), replace(
        HOST, host=HostState(Link(2, True, False, 1500, ""))), Facts()),
    "tap-not-taken-up": (replace(CLIENT, type="tap", device=TAP, bridge="brv"), replace(
        HOST, device=TAP, host=HostState(Link(2, True, True, 1500, ""))), Facts(deaf="br0")),
    "no-link": (replace(CLIENT, type=ETH_TYPE, device=ETH.device), ETH, connected()),
    "vduse-unused": (replace(CLIENT, device=VDUSE), replace(LONE, device=VDUSE), Facts()),
}
SAME_ID = {"directory-closed": "permission-denied", "memory-blank": "memory-not-shared"}


def ids(spec: PortSpec, state: PortState, facts: Facts) -> list[str]:
    return [reason.id for reason in reasons(spec, state, facts)]


@pytest.mark.parametrize("case", CASES)
def test_each_reason_has_its_cause(case: str) -> None:
    assert ids(*CASES[case]) == [SAME_ID.get(case, case)]


def test_every_reason_is_among_the_cases() -> None:
    named = {name for path in (ROOT / "agent").glob("*reason.py")
             for name in re.findall(r'Reason\(\s*"([\w-]+)"', path.read_text())}
    assert named == {SAME_ID.get(case, case) for case in CASES} | {no_dpdk().id}


def in_words(text: str) -> str:
    """What the table has in its cells: no line breaks, no HTML."""
    return text.replace("<", "&lt;").replace(">", "&gt;").replace("|", "\\|")


def of(case: str) -> Reason:
    return reasons(*CASES[case])[0]


@pytest.mark.parametrize("case", [*CASES, "no-dpdk"])
def test_troubleshooting_has_the_words_of_each_reason(case: str) -> None:
    page = (ROOT / "docs/troubleshooting.md").read_text()
    reason = no_dpdk() if case == "no-dpdk" else of(case)
    assert f"| {in_words(reason.text)} |" in page


@pytest.mark.parametrize(("spec", "state", "facts"), [
    (CLIENT, UP, connected()), (CLIENT, UP, connected(numa_cores=NODES)),
    (CLIENT, replace(UP, numa=0), connected(numa_cores=NODES)),
    (CLIENT, UP, connected(sight=Sight.USED, settled=True)),
    (CLIENT, UP, connected(sight=Sight.NONE, settled=True)),
    (replace(CLIENT, asked=(("n_rxq", 4), ("n_rxq_desc", 256), ("n_txq_desc", 256))), UP,
     connected()),
    # what may be over in a moment
    (CLIENT, UP, connected(sight=Sight.BLANK)), (CLIENT, UP, connected(sight=Sight.UNUSED)),
    (CLIENT, ATTACHED, said(settled=False, heard=0)),
    (CLIENT, ATTACHED, said(settled=False, asked=OFFERED))])
def test_nothing_is_said_of_what_works_or_may_in_a_moment(spec: PortSpec, state: PortState,
                                                         facts: Facts) -> None:
    assert reasons(spec, state, facts) == ()


@pytest.mark.parametrize(("affinity", "nodes", "mend"), [
    ((), {0: 0}, "no PMD thread is on node 1, whose cores are 2-3: ovs-vsctl set Open_vSwitch . "
                 "other_config:pmd-cpu-mask=0x5"),
    (((0, 0),), {0: 0, 2: 1}, "pin it to a core of node 1 (2-3): ovs-vsctl set Interface p "
                              "other_config:pmd-rxq-affinity=0:2"),
    ((), {0: 0, 2: 1}, "the PMD threads of node 1 are kept for the queues that pmd-rxq-affinity "
                       "pins to them: ovs-vsctl set Open_vSwitch . "
                       "other_config:pmd-rxq-isolate=false")])
def test_what_mends_polling_from_another_node(affinity: tuple[tuple[int, int], ...],
                                              nodes: dict[int, int], mend: str) -> None:
    (reason,) = reasons(replace(CLIENT, affinity=affinity), replace(UP, numa=1),
                        connected(numa_cores=NODES, nodes=nodes))
    assert (reason.text, reason.mend) == (
        "rx queues 0-3 are polled from another NUMA node, by core 0, for the guest's memory is on "
        "node 1", mend)


@pytest.mark.parametrize(("first", "second"), [
    # what its front end said last, and what there is of its socket
    ("gave-up", "socket-stale"), ("feature-refused", "socket-missing")])
def test_front_end_that_left_and_its_socket(first: str, second: str) -> None:
    spec, state, facts = CASES[first]
    assert ids(spec, state, replace(facts, socket=CASES[second][2].socket)) == [first, second]


def test_directory_of_a_relative_path_is_named_from_the_root(monkeypatch: pytest.MonkeyPatch
                                                             ) -> None:
    """What is to be typed is typed in another directory than the agent's."""
    monkeypatch.chdir("/usr")
    facts = Facts(socket=SocketFacts("vm/p", Found.NO_DIRECTORY, "ovs", None, True, False))
    assert reasons(CLIENT, LONE, facts)[0].mend.startswith("mkdir -p /usr/vm, then ")


def test_what_weighs_most_comes_first() -> None:
    state = replace(UP, up=False, numa=1, enabled_rxqs=(0,), enabled_txqs=(0,))
    facts = connected(silent=True, numa_cores=NODES, sight=Sight.BLANK, settled=True)
    assert ids(replace(CLIENT, asked=(("n_rxq_desc", 512),)), state, facts) == [
        "admin-down", "memory-not-shared", "queues-disabled", "ring-size", "other-numa-node",
        "bridge-silent"]


def test_of_a_port_that_is_not_there_yet_its_row_says_all() -> None:
    assert reasons(CLIENT, None, Facts()) == ()
