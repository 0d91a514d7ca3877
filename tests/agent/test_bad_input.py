"""Operators' mistakes: each ends in a clear sentence, and a served port does not notice."""
from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent.conftest import Contract
from tools.frontend import FrontEnd, ethernet
from tools.host import Host, HostError, wait_until

A, B = "02:00:00:00:00:0a", "02:00:00:00:00:0b"


class Pair:
    """Two guests whose traffic must go on."""

    def __init__(self, host: Host) -> None:
        paths = {name: str(host.directory / f"{name}.sock") for name in ("good0", "good1")}
        self.guests = [FrontEnd(path, listen=True) for path in paths.values()]
        for name, path in paths.items():
            host.vsctl("add-port", "br0", name, "--", "set", "Interface", name,
                       "type=dpdkvhostuserclient", f"options:vhost-server-path={path}")
        for guest, name in zip(self.guests, paths, strict=True):
            guest.connect()
            wait_until(lambda name=name: host.connected(name), f"{name} is connected")

    def exchange(self) -> None:
        """Frames cross, both ways, on the connection that was there at the start."""
        a, b = self.guests
        a.send([ethernet(B, A)] * 20)
        assert len(b.recv_wait(20)) == 20
        b.send([ethernet(A, B)] * 20)
        assert len(a.recv_wait(20)) == 20

    def close(self) -> None:
        for guest in self.guests:
            guest.close()


@pytest.fixture
def served(contract: Contract) -> Host:
    return contract.host


@pytest.fixture
def pair(contract: Contract) -> Iterator[Pair]:
    pair = Pair(contract.host)
    pair.exchange()
    yield pair
    try:
        pair.exchange()
    finally:
        pair.close()


def refused(host: Host, name: str, *settings: str, bridge: str = "br0") -> str:
    """Adds a port as a person would; the error, which ovs-vsctl must have printed as well."""
    done = host.run("ovs-vsctl", "--timeout=30", "add-port", bridge, name, "--", "set",
                    "Interface", name, *settings)
    error = host.interface(name, "error")
    assert host.interface(name, "ofport") == -1
    assert error
    assert error in done.stderr
    return str(error)


def test_server_port_with_a_slash(served: Host, pair: Pair) -> None:
    error = refused(served, "a/b", "type=dpdkvhostuser")
    assert error.startswith("could not open network device a/b (Invalid argument)")
    assert "no '/'" in error


def test_path_of_108_bytes(served: Host, pair: Pair) -> None:
    error = refused(served, "p", "type=dpdkvhostuserclient",
                    f"options:vhost-server-path=/tmp/{'x' * 103}")
    assert "108 bytes" in error
    assert "107" in error


def test_socket_directory_that_is_missing_and_comes_later(served: Host, pair: Pair) -> None:
    served.vsctl("set", "Open_vSwitch", ".", "other_config:vhost-sock-dir=later")
    error = refused(served, "s0", "type=dpdkvhostuser")
    later = served.directory / "later"
    assert f"socket {later}/s0: its directory does not exist" in error
    later.symlink_to("later")
    wait_until(lambda: "lead in a circle" in str(served.interface("s0", "error")), "a loop is said")
    later.unlink()
    (served.directory / "later").mkdir()
    wait_until(lambda: served.interface("s0", "ofport") == 3, "the port is served by itself")
    assert served.interface("s0", "error") is None
    served.vsctl("del-port", "s0")
    (served.directory / "later").rmdir()


def test_two_ports_on_one_path(contract: Contract, served: Host, pair: Pair) -> None:
    error = refused(served, "aaa", "type=dpdkvhostuserclient",
                    f"options:vhost-server-path={contract.path('good0')}")
    assert "port good0 has the socket" in error
    served.vsctl("set", "Interface", "aaa",
                 f"options:vhost-server-path={served.directory}/free")
    assert served.interface("aaa", "error") is None
    assert served.interface("aaa", "ofport") == 3


def test_bridge_of_another_datapath_type(served: Host, pair: Pair) -> None:
    served.run("ovs-vsctl", "--timeout=30", "add-br", "br1")
    error = refused(served, "p", "type=dpdkvhostuser", bridge="br1")
    assert "bridge br1 has datapath_type system, only netdev is served" in error
    served.vsctl("set", "Bridge", "br1", "datapath_type=netdev")
    assert served.interface("p", "error") is None
    assert (served.directory / "p").is_socket()


def test_unknown_type(served: Host, pair: Pair) -> None:
    assert "'vxlan' is not served" in refused(served, "v", "type=vxlan")


@pytest.mark.parametrize(("option", "said"), [
    ("tx-retries-max=99", "tx-retries-max: 99 is outside 0..32, using 8"),
    ("tx-retries-max=many", "tx-retries-max: 'many' is not an integer, using 8"),
    ("tx-retrys-max=4", "did you mean tx-retries-max?"),
])
def test_unusable_option_is_said_and_the_port_works(served: Host, pair: Pair, option: str,
                                                    said: str) -> None:
    served.vsctl("set", "Interface", "good0", f"options:{option}")
    assert said in served.interface("good0", "status")["problems"]
    assert served.interface("good0", "error") is None
    pair.exchange()


def test_option_takes_effect_on_the_running_port(served: Host, pair: Pair) -> None:
    for retries in ("0", "32"):
        served.vsctl("set", "Interface", "good0", f"options:tx-retries-max={retries}")
        assert "problems" not in served.interface("good0", "status")
        pair.exchange()


def test_polling_threads_follow_the_mask_under_traffic(served: Host, pair: Pair) -> None:
    def polling() -> set[str]:
        tasks = Path(f"/proc/{served.agents[-1].pid}/task").glob("*/comm")
        return {name for task in tasks if (name := task.read_text().strip()).startswith("pmd-c")}

    cores = sorted(os.sched_getaffinity(0))
    for wanted in (cores[-1:], cores[:2], cores[:1]):
        mask = hex(sum(1 << core for core in wanted))
        served.vsctl("set", "Open_vSwitch", ".", f"other_config:pmd-cpu-mask={mask}")
        wait_until(lambda wanted=wanted: polling() == {f"pmd-c{core:02}" for core in wanted},
                   f"PMDs run on {wanted}")
        pair.exchange()


def test_mask_without_a_core_of_this_host(contract: Contract, served: Host, pair: Pair) -> None:
    served.vsctl("set", "Open_vSwitch", ".", "other_config:pmd-cpu-mask=zz")
    assert "pmd-cpu-mask: 'zz' is not a hexadecimal mask" in contract.log()
    served.vsctl("clear", "Open_vSwitch", ".", "other_config")
    served.enable_dpdk()


def test_socket_that_somebody_listens_on(served: Host, pair: Pair) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(served.directory / "s0"))
        other.listen()
        error = refused(served, "s0", "type=dpdkvhostuser")
        assert "another process listens on it" in error
    wait_until(lambda: served.interface("s0", "error") is None, "the stale socket is taken over")


def test_file_in_the_way_is_not_touched(served: Host, pair: Pair) -> None:
    (served.directory / "s0").write_text("precious")
    assert "not a socket is in the way" in refused(served, "s0", "type=dpdkvhostuser")
    assert (served.directory / "s0").read_text() == "precious"
    served.vsctl("del-port", "s0")
    (served.directory / "s0").unlink()


def test_vlans_of_ports_change_while_they_work(served: Host, pair: Pair) -> None:
    a, b = pair.guests
    served.vsctl("set", "Port", "good0", "tag=10", "--", "set", "Port", "good1", "tag=20",
                 "--", "set", "Port", "br0", "tag=30")
    a.send([ethernet(B, A)])
    wait_until(lambda: served.statistic("good0", "rx_no_output_drops") == 1, "it is dropped")
    assert b.recv() == []
    served.vsctl("set", "Port", "good1", "tag=10")
    pair.exchange()
    served.vsctl("set", "Port", "good1", "tag=[]", "trunks=10")
    a.send([ethernet(B, A)])
    assert b.recv_wait(1) == [ethernet(B, A)[:12] + bytes.fromhex("8100000a") + ethernet(B, A)[12:]]
    served.vsctl("clear", "Port", "good0", "tag", "--", "clear", "Port", "good1", "trunks",
                 "--", "clear", "Port", "br0", "tag")
    pair.exchange()


def test_without_dpdk_ports_say_so_and_come_when_it_starts(host: Host) -> None:
    host.vsctl("--no-wait", "clear", "Open_vSwitch", ".", "other_config")
    host.start_agent()
    host.vsctl("add-br", "br0", "--", "set", "Bridge", "br0", "datapath_type=netdev")
    error = refused(host, "s0", "type=dpdkvhostuser")
    assert error.startswith("could not open network device s0 (Address family not supported")
    assert "other_config:dpdk-init=true" in error
    host.enable_dpdk()
    host.vsctl("set", "Open_vSwitch", ".", "external_ids:x=1")
    assert host.interface("s0", "error") is None


def test_dpdk_that_does_not_start_ends_the_agent_in_words(host: Host) -> None:
    host.vsctl("--no-wait", "set", "Open_vSwitch", ".", "other_config:dpdk-extra=--nonsense")
    agent = host.start_agent(wait=False)
    assert agent.wait(20) == 1
    host.agents.pop()
    assert "DPDK does not start: rte_eal_init: Invalid argument" in host.output()
    assert "unrecognized option '--nonsense'" in host.output()


def test_dpdk_on_trial_lets_the_agent_go_on(host: Host) -> None:
    host.vsctl("--no-wait", "set", "Open_vSwitch", ".", "other_config:dpdk-extra=--nonsense",
               "other_config:dpdk-init=try")
    host.start_agent()
    host.vsctl("set", "Open_vSwitch", ".", "external_ids:x=1")
    assert host.get("Open_vSwitch", ".", "dpdk_initialized") is False


@pytest.mark.parametrize(("options", "said"), [
    (("--verbose=nonsense",), "nonsense"),
    (("--log-file=/nowhere/x.log",), "/nowhere/x.log"),
    (("--unixctl=/nowhere/x.ctl",), "control socket"),
])
def test_bad_command_line(host: Host, options: tuple[str, ...], said: str) -> None:
    with pytest.raises(HostError):
        host.start_agent(*options)
    assert host.agents.pop().wait(10) != 0
    assert said in host.output()
    assert "Traceback" not in host.output()
