"""Section 3 of the contract with OVSDB: what is particular to vhost ports. A test each."""
from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from tests.agent.conftest import Contract
from tools.frontend import FrontEnd, ethernet
from tools.guest import is_listening
from tools.host import Host, wait_until

A, B = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
CLIENT, SERVER = "type=dpdkvhostuserclient", "type=dpdkvhostuser"
ACCESS_PLATFORM = 1 << 33       # virtio: the device sits behind an IOMMU


def known_pair(contract: Contract, *settings: str, server: bool = False
               ) -> tuple[FrontEnd, FrontEnd]:
    """Guests on ports p and q, which are added, that know each other."""
    a, b = (contract.attached(name, *settings, server=server) for name in ("p", "q"))
    b.send([ethernet(A, B)])
    a.recv_wait(1)
    return a, b


# --- 3.1 the two types ----------------------------------------------------------------------------

@pytest.mark.parametrize("server", [False, True])
def test_3_1_traffic_over_both_types(contract: Contract, server: bool) -> None:
    a, b = known_pair(contract, server=server)
    a.send([ethernet(B, A)] * 20)
    assert len(b.recv_wait(20)) == 20


def test_3_1_server_port_is_deprecated_and_says_so_once(contract: Contract) -> None:
    said = ("dpdkvhostuser ports are considered deprecated;  please migrate to "
            "dpdkvhostuserclient ports.")
    contract.server("s0")
    contract.server("s1")
    assert contract.host.output().count(said) == 1


def test_3_1_deleting_a_server_port_while_attached_is_said(contract: Contract) -> None:
    path = contract.server("s0")
    contract.joined("s0", server=True)
    contract.host.vsctl("del-port", "s0")
    wait_until(lambda: not os.path.exists(path), "the socket is unlinked")
    assert "Removing port 's0' while vhost device still attached." in contract.log()
    assert f"VM on socket '{path}' must be restarted" in contract.log()


def test_3_1_deleting_a_client_port_while_attached_is_silent(contract: Contract) -> None:
    guest = contract.attached("c0")
    contract.host.vsctl("del-port", "c0")
    assert "still attached" not in contract.log()
    contract.client("c0")           # the guest is connected again by a port that is added again
    guest.connect()
    wait_until(lambda: contract.host.connected("c0"), "connected again")


def test_3_1_retries_of_a_server_port_are_not_an_option(contract: Contract) -> None:
    contract.server("s0", "options:tx-retries-max=3")
    assert (contract.problems("s0")
            == "tx-retries-max: not an option of type dpdkvhostuser")


# --- 3.2 sockets ----------------------------------------------------------------------------------

def test_3_2_server_socket_is_in_the_run_directory_under_the_ports_name(contract: Contract) -> None:
    contract.server("s0")
    assert is_listening(contract.host.directory / "s0")


def test_3_2_mode_of_the_socket_follows_the_umask(contract: Contract) -> None:
    path = contract.server("s0")
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o777 & ~umask


def test_3_2_second_front_end_on_a_server_socket_is_refused(contract: Contract) -> None:
    a, b = known_pair(contract, server=True)
    with pytest.raises((ConnectionError, TimeoutError)):
        FrontEnd(str(contract.host.directory / "p"), listen=False, timeout_s=2).connect()
    a.send([ethernet(B, A)])
    assert b.recv_wait(1)


def test_3_2_stale_socket_is_taken_over(contract: Contract) -> None:
    path = str(contract.host.directory / "stale")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    assert contract.attempt("stale", SERVER) == ""
    contract.joined("stale", server=True)


def test_3_2_socket_that_somebody_listens_on_is_not(contract: Contract) -> None:
    path = str(contract.host.directory / "taken")
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(path)
        other.listen()
        assert "another process listens on it" in contract.attempt("taken", SERVER)
        assert is_listening(contract.host.directory / "taken")
    os.unlink(path)


@pytest.mark.parametrize(("size", "fits"), [(107, True), (108, False)])
def test_3_2_path_of_a_socket_has_at_most_107_bytes(contract: Contract, size: int, fits: bool
                                                    ) -> None:
    error = contract.attempt("c0", CLIENT, f"options:vhost-server-path=/tmp/{'x' * (size - 5)}")
    assert bool(error) is not fits
    if not fits:
        assert "has 108 bytes, a UNIX socket can have 107" in error


def test_3_2_two_ports_on_one_path(contract: Contract) -> None:
    path = contract.client("c1")
    error = contract.attempt("c0", CLIENT, f"options:vhost-server-path={path}")
    assert error == ("could not open network device c0 (Address already in use): port c1 has the "
                     f"socket {path} already")
    contract.host.vsctl("del-port", "c1")
    assert contract.get("c0", "error") is None      # the path is free
    contract.guest(path)


def test_3_2_two_ports_of_one_agent_at_the_ends_of_a_socket(contract: Contract, tmp_path: Path
                                                              ) -> None:
    """By a link, which no comparison of rows sees."""
    (tmp_path / "run").symlink_to(contract.host.directory)
    path = contract.server("s0")
    error = contract.attempt("c0", CLIENT, f"options:vhost-server-path={tmp_path}/run/s0")
    assert error == ("could not add network device c0 to ofproto (Invalid argument): socket "
                     f"{tmp_path}/run/s0: port s0 of this agent has that socket, {path}, already: "
                     "a socket is for one port and one guest")
    contract.joined("s0", server=True)
    contract.set("c0", f"options:vhost-server-path={tmp_path}/run/c0")
    assert contract.get("c0", "error") is None


def test_3_2_client_connects_when_the_guest_comes_and_again_when_it_is_back(contract: Contract
                                                                           ) -> None:
    contract.client("c0")
    for _ in range(2):
        guest = contract.joined("c0")
        guest.close()
        contract.guests.remove(guest)
        wait_until(lambda: not contract.host.connected("c0"), "the guest has left")


def test_3_3_changed_path_moves_the_port_although_a_guest_is_connected(contract: Contract) -> None:
    old, other = known_pair(contract)
    contract.host.vsctl("set", "Interface", "p",
                        f"options:vhost-server-path={contract.path('new')}")
    assert contract.status("p")["status"] == "disconnected"
    new = contract.guest(contract.path("new"))
    wait_until(lambda: contract.status("p").get("socket") == contract.path("new"), "it has moved")
    new.send([ethernet(B, A)])
    assert other.recv_wait(1)
    assert old.recv() == []


# --- 3.8 MTU and packet buffers -------------------------------------------------------------------

@pytest.mark.parametrize("server", [False, True])
def test_3_8_jumbo_frames(contract: Contract, server: bool) -> None:
    a, b = known_pair(contract, "mtu_request=9000", server=server)
    frame = ethernet(B, A, os.urandom(9000))
    a.send([frame] * 3)
    assert b.recv_wait(3) == [frame] * 3


@pytest.mark.parametrize(("extra", "passes"), [(14, True), (18, True), (19, False)])
def test_3_8_frame_sent_to_a_guest_has_at_most_mtu_and_18_bytes(contract: Contract, extra: int,
                                                               passes: bool) -> None:
    a, b = known_pair(contract)
    a.send([ethernet(B, A, b"x" * (1500 + extra - 14)), ethernet(B, A, b"last")])
    frames = b.recv_wait(2 if passes else 1)
    assert len(frames) == (2 if passes else 1)
    assert b"last" in frames[-1]


def test_3_8_mtu_changes_under_traffic_and_nobody_loses_a_frame(contract: Contract) -> None:
    a, b = known_pair(contract)
    for mtu in (9000, 1400, 9702, 68, 1500):
        frames = [ethernet(B, A, f"{mtu} {n}".encode()) for n in range(100)]
        a.send(frames[:50])
        contract.set("p", f"mtu_request={mtu}")
        a.send(frames[50:])
        assert b.recv_wait(100) == frames


def test_3_8_mtu_of_an_absent_guest_is_in_force_when_it_comes_back(contract: Contract) -> None:
    guest = contract.attached("p")
    guest.stop()
    wait_until(lambda: not contract.host.connected("p"), "the guest has left")
    contract.set("p", "mtu_request=9000")
    assert contract.get("p", "mtu") == 9000
    contract.guests.remove(guest)
    contract.joined("p")
    assert contract.get("p", "mtu") == 9000


def test_3_8_cleared_mtu_request_is_1500_again(contract: Contract) -> None:
    contract.attached("p", "mtu_request=9000")
    contract.host.vsctl("clear", "Interface", "p", "mtu_request")
    assert contract.get("p", "mtu") == 1500


# --- 3.9 transmit ---------------------------------------------------------------------------------

def test_3_9_disconnected_port_counts_its_drops(contract: Contract) -> None:
    a = contract.attached("p")
    contract.client("q")
    a.send([ethernet("ff:ff:ff:ff:ff:ff", A)] * 6)
    wait_until(lambda: contract.fresh("q").get("tx_disconnected_drops") == 6, "6 are counted")


def test_3_9_guest_without_an_enabled_queue_counts_its_drops(contract: Contract) -> None:
    a, b = known_pair(contract)
    b.enable(0, False)
    a.send([ethernet(B, A)] * 5)
    wait_until(lambda: contract.fresh("q")["tx_disabled_drops"] == 5, "5 are counted")
    assert contract.fresh("q")["tx_dropped"] == 5
    b.enable(0, True)
    a.send([ethernet(B, A)])
    assert b.recv_wait(1)


# --- 3.10, 3.12 VDUSE, IOMMU, post-copy -----------------------------------------------------------

def test_3_10_vduse_path_works_or_says_what_it_needs(contract: Contract) -> None:
    error = contract.attempt("v0", CLIENT, "options:vhost-server-path=/dev/vduse/none",
                             "options:vhost-max-queue-pairs=4")
    assert "/dev/vduse/none" in error       # this host has no VDUSE, and early DPDK none either


@pytest.mark.parametrize("wanted", [False, True])
def test_3_12_iommu_is_offered_only_where_it_is_asked_for(contract: Contract, wanted: bool) -> None:
    contract.client("c0", f"options:vhost-iommu-support={str(wanted).lower()}")
    with FrontEnd(contract.path("c0"), listen=True) as guest:
        assert bool(guest.connect().offered & ACCESS_PLATFORM) is wanted


def test_3_12_postcopy_port_serves(contract: Contract) -> None:
    contract.attached("c0", "options:vhost-postcopy-support=true")
    assert contract.status("c0")["vhost-postcopy-support"] == "true"


# --- appendix B: lines that operators and scripts wait for ----------------------------------------

def test_b_lines_of_a_ports_life(contract: Contract) -> None:
    path = contract.path("c0")
    guest = contract.attached("c0")
    guest.stop()
    wait_until(lambda: not contract.host.connected("c0"), "the guest has left")
    contract.host.vsctl("del-port", "c0")
    log, at = contract.log(), 0
    for line in (
            f"|netdev_dpdk|INFO|vHost User device 'c0' created in 'client' mode, using client "
            f"socket '{path}'",
            "|bridge|INFO|bridge br0: added interface c0 on port 1",
            f"|netdev_dpdk|INFO|State of queue 0 ( tx_qid 0 ) of vhost device '{path}' changed to "
            "'enabled'",
            f"|netdev_dpdk|INFO|vHost Device '{path}' has been added on numa node 0",
            f"|netdev_dpdk|INFO|vHost Device '{path}' has been removed",
            f"|netdev_dpdk|INFO|vHost Device '{path}' connection has been destroyed",
            "|bridge|INFO|bridge br0: deleted interface c0 on port 1"):
        assert line in log, line
        assert log.index(line) >= at, f"too early: {line}"
        at = log.index(line)


def test_b_healthy_life_warns_of_nothing(served: Host) -> None:
    """From the start of the agent to its end."""
    path = str(served.directory / "c0.sock")
    served.vsctl("add-port", "br0", "c0", "--", "set", "Interface", "c0",
                 "type=dpdkvhostuserclient", f"options:vhost-server-path={path}")
    with FrontEnd(path, listen=True) as guest:
        guest.connect()
        wait_until(lambda: served.connected("c0"), "the guest is connected")
        served.vsctl("set", "Interface", "c0", "mtu_request=9000", "options:tx-retries-max=4")
    wait_until(lambda: not served.connected("c0"), "the guest has left")
    served.vsctl("del-port", "c0")
    assert served.stop_agent() == 0
    lines = [line for line in served.output().splitlines()
             if "|WARN|" in line or "|ERR|" in line or "|EMER|" in line]
    # what the library says of a guest that is not there
    assert [line for line in lines if "failed to connect" not in line] == []
