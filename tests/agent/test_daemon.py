"""The daemon's side: options of OVS's scripts, signals, ovs-appctl, standalone."""
from __future__ import annotations

import contextlib
import os
import re
import resource
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.frontend import FrontEnd
from tools.guest import is_listening
from tools.host import Host, HostError, temporary_host, wait_until

PROTOCOL_F_PAGEFAULT = 1 << 8


def pid_of(host: Host, name: str) -> int:
    return int((host.directory / f"{name}.pid").read_text())


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def parent_of(host: Host, pid: int) -> int:
    return int(host.check("ps", "-o", "ppid=", "-p", str(pid)))


def children_of(pid: int) -> set[int]:
    return set(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def test_as_ovs_vswitchd_it_is_found_where_scripts_look(host: Host) -> None:
    """The options of ovs-ctl, and ovs-appctl without -t."""
    host.vsctl("--no-wait", "add-br", "br0", "--", "set", "Bridge", "br0", "datapath_type=netdev",
               "--", "add-port", "br0", "s0", "--", "set", "Interface", "s0", "type=dpdkvhostuser")
    host.check(*host.agent_command(), "run", f"unix:{host.directory}/db.sock", "--as",
               "ovs-vswitchd", "-vconsole:emer", "-vsyslog:err", "-vfile:info", "--no-chdir",
               "--log-file", "--pidfile", "--detach", "--monitor")
    pid = pid_of(host, "ovs-vswitchd")
    try:
        # --detach returned after the first reconfiguration
        assert host.interface("s0", "ofport") == 1
        assert (host.directory / "s0").is_socket()
        assert host.check("ovs-appctl", "version").startswith("ovs-vswitchd (ovs-vhost-agent) ")
        assert "bridge br0: added interface s0 on port 1" in (
            host.directory / "ovs-vswitchd.log").read_text()
        again = host.run(*host.agent_command(), "run", "--as", "ovs-vswitchd", "--pidfile")
        assert again.returncode == 1
        assert f"already running as pid {pid}" in again.stderr
        host.check("ovs-appctl", "exit")
        wait_until(lambda: gone(pid), "the agent ends by itself")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    left = {p.name for p in host.directory.iterdir()}
    assert left <= {"conf.db", ".conf.db.~lock~", "db.sock", "ovsdb-server.ctl",
                    "ovsdb-server.log", "ovs-vswitchd.log"}


@pytest.fixture
def monitored(host: Host) -> Iterator[int]:
    """Pid of an agent that runs with --monitor."""
    host.check(*host.agent_command(), "run", "--pidfile", "--detach", "--monitor", "--log-file")
    pid = pid_of(host, "vhost-agent")
    monitor = parent_of(host, pid)
    yield pid
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):    # both have ended
        left = (monitor, *children_of(monitor))
        for process in left:
            os.kill(process, signal.SIGKILL)


def wait_for_another(host: Host, *dead: int) -> int:
    """Pid of the one that serves after these."""
    wait_until(lambda: (host.directory / "vhost-agent.pid").exists()
               and pid_of(host, "vhost-agent") not in dead, "another process serves")
    another = pid_of(host, "vhost-agent")
    wait_until(lambda: is_listening(host.directory / f"vhost-agent.{another}.ctl"), "it answers")
    return another


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL])
def test_monitor_starts_it_again(host: Host, monitored: int, number: int) -> None:
    os.kill(monitored, number)
    second = wait_for_another(host, monitored)
    os.kill(second, signal.SIGTERM)
    wait_until(lambda: gone(second), "it ends, and its monitor with it")
    assert not (host.directory / "vhost-agent.pid").exists()


def test_monitor_goes_on_when_one_dies_at_its_start(host: Host, monitored: int) -> None:
    """Python-ovs's monitor does not. And the log is where it is now, if it was rotated."""
    monitor = parent_of(host, monitored)
    log = host.directory / "vhost-agent.log"
    log.rename(host.directory / "rotated")
    os.kill(monitored, signal.SIGKILL)
    second = wait_until(lambda: next(iter(children_of(monitor) - {monitored}), 0), "another starts")
    os.kill(second, signal.SIGKILL)
    wait_until(lambda: children_of(monitor) - {monitored, second}, "and another", 20)
    assert log.stat().st_size
    third = wait_for_another(host, monitored, second)
    host.check("ovs-appctl", "-t", "vhost-agent", "exit")
    wait_until(lambda: gone(third) and gone(monitor), "both end")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_monitor_does_not_start_again_what_was_told_to_end(host: Host, monitored: int, number: int
                                                           ) -> None:
    """As `ovs-ctl stop` does with an agent that is stopped. What one that is stuck was told:
    tests/unit/test_signals.py."""
    monitor = parent_of(host, monitored)
    os.kill(monitored, signal.SIGSTOP)
    wait_until(lambda: "State:\tT" in Path(f"/proc/{monitored}/status").read_text(), "it stops")
    os.kill(monitored, number)
    os.kill(monitored, signal.SIGKILL)
    wait_until(lambda: gone(monitor), "the monitor ends")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_monitor_hands_signals_on(host: Host, monitored: int, number: int) -> None:
    """As a service manager sends them, which knows the monitor alone."""
    monitor = parent_of(host, monitored)
    log = host.directory / "vhost-agent.log"
    log.unlink()
    os.kill(monitor, signal.SIGHUP)
    wait_until(log.exists, "the agent opens its log again")
    os.kill(monitor, number)
    wait_until(lambda: gone(monitored) and gone(monitor), "both end")
    assert not (host.directory / "vhost-agent.pid").exists()


def test_monitor_ends_with_an_agent_that_cannot_start(host: Host) -> None:
    path = host.directory / "vhost-agent.ctl"
    path.mkdir()
    done = host.run(*host.agent_command(), "run", f"--unixctl={path}", "--detach", "--monitor",
                    "--pidfile")
    assert done.returncode == 1
    assert "cannot open the control socket" in done.stderr
    assert not (host.directory / "vhost-agent.pid").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_it_cleanly(served: Host, number: int) -> None:
    served.vsctl("add-port", "br0", "s0", "--", "set", "Interface", "s0", "type=dpdkvhostuser")
    assert served.stop_agent(number) == 0
    assert not (served.directory / "s0").exists()
    assert not list(served.directory.glob("vhost-agent.*"))
    assert served.interface("s0", "ofport") == 1    # columns stay, as with ovs-vswitchd


def test_hangup_reopens_the_log(host: Host) -> None:
    host.start_agent("--log-file")
    log, rotated = host.directory / "vhost-agent.log", host.directory / "rotated"
    wait_until(log.exists, "there is a log")
    log.rename(rotated)
    host.agents[-1].send_signal(signal.SIGHUP)
    wait_until(log.exists, "there is a new log")


def test_log_file_that_is_a_fifo_is_refused(host: Host) -> None:
    """The start waited for who reads it."""
    path = host.directory / "fifo"
    os.mkfifo(path)
    done = host.run(*host.agent_command(), "run", f"--log-file={path}")
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        1, f"vhost-agent: cannot create {path}: a FIFO is in the way, whose reader would be waited "
        "for")


def test_log_that_cannot_be_opened_again_is_said_and_costs_nothing_else(host: Host) -> None:
    (host.directory / "log").mkdir()
    agent = host.start_agent(f"--log-file={host.directory}/log/x")
    shutil.rmtree(host.directory / "log")
    with pytest.raises(HostError, match="No such file or directory"):
        host.appctl("vlog/reopen")
    agent.send_signal(signal.SIGHUP)
    wait_until(lambda: "cannot open the log file" in host.output(), "the agent says so")
    assert host.appctl("version")


def test_appctl(served: Host) -> None:
    for command in ("version", "list-commands", "vlog/list", "vlog/set", "fdb/show", "exit"):
        assert command in served.appctl("list-commands")
    served.appctl("vlog/set", "bridge:file:dbg")
    assert served.appctl("fdb/show", "br0") == " Port  VLAN  MAC                Age\n"
    with pytest.raises(HostError, match="no such bridge nope"):
        served.appctl("fdb/show", "nope")
    with pytest.raises(HostError, match="is not a valid command"):
        served.appctl("nonsense")


def test_control_socket_that_was_removed_is_made_again(served: Host) -> None:
    control = served.directory / f"vhost-agent.{served.agents[-1].pid}.ctl"
    control.unlink()
    wait_until(control.exists, "it is there again")
    assert served.appctl("version")
    served.stop_agent()
    assert not control.exists()


def test_control_sockets_of_the_dead_are_removed_and_those_of_others_stay(host: Host) -> None:
    host.start_agent()
    stale = host.directory / f"vhost-agent.{host.agents[-1].pid}.ctl"
    host.kill_agent()
    other = host.start_agent("--unixctl=vhost-agent.other.ctl", wait=False)
    wait_until(lambda: is_listening(host.directory / "vhost-agent.other.ctl"), "the other listens")
    assert stale.exists()
    host.start_agent()
    assert not stale.exists()
    assert is_listening(host.directory / "vhost-agent.other.ctl")
    assert other.poll() is None


def test_without_a_free_descriptor_it_serves_on(served: Host) -> None:
    """It looks for the guest of s0 when statistics are due, which opens files."""
    served.vsctl("add-port", "br0", "s0", "--", "set", "Interface", "s0", "type=dpdkvhostuser")
    agent = served.agents[-1]
    before = resource.prlimit(agent.pid, resource.RLIMIT_NOFILE)
    most = max(int(fd.name) for fd in Path(f"/proc/{agent.pid}/fd").iterdir()) + 1
    resource.prlimit(agent.pid, resource.RLIMIT_NOFILE, (most, before[1]))
    served.vsctl("--no-wait", "set", "Open_vSwitch", ".", "other_config:stats-update-interval=6000")
    started_s = time.monotonic()            # they are due now, and it tries again each second
    wait_until(lambda: agent.poll() is not None or time.monotonic() > started_s + 3.5,
               "it had time to try three times")
    assert agent.poll() is None
    resource.prlimit(agent.pid, resource.RLIMIT_NOFILE, before)
    served.vsctl("add-port", "br0", "s1", "--", "set", "Interface", "s1", "type=dpdkvhostuser")
    wait_until(lambda: served.interface("s1", "status"), "another port is served")
    assert served.interface("s1", "error") is None


def test_log_lines_look_like_ovs_vswitchds(host: Host) -> None:
    host.start_agent("--log-file")
    log = host.directory / "vhost-agent.log"
    wait_until(lambda: log.exists() and "DPDK Enabled - initialized" in log.read_text(), "a log")
    when, number, module, level, _ = log.read_text().splitlines()[0].split("|", 4)
    assert len(when) == len("2026-07-01T10:11:12.345Z")
    assert (len(number), module, level) == (5, "reconnect", "INFO")


def test_standalone_makes_uses_and_stops_its_own_database() -> None:
    with temporary_host("vhost-standalone") as host:
        for _ in range(2):                          # the second time the database is there
            host.start_agent("--standalone", str(host.directory))
            wait_until(lambda: "db.sock show" in host.output(), "the line to use is printed")
            line = host.output().splitlines()[0]
            assert line == f"ovs-vsctl --db=unix:{host.directory}/db.sock show"
            host.vsctl("--may-exist", "add-br", "br0", "--", "set", "Bridge", "br0",
                       "datapath_type=netdev", "--", "--may-exist", "add-port", "br0", "s0", "--",
                       "set", "Interface", "s0", "type=dpdkvhostuser")
            wait_until((host.directory / "s0").is_socket, "the port is served")
            assert host.stop_agent(signal.SIGINT) == 0
            assert not is_listening(host.directory / "db.sock")
            assert not (host.directory / "s0").exists()


def test_standalone_outlives_its_database_and_takes_it_along() -> None:
    with temporary_host("vhost-standalone") as host:
        host.start_agent("--standalone", str(host.directory))
        host.vsctl("add-br", "br0", "--", "set", "Bridge", "br0", "datapath_type=netdev")

        def server() -> int:
            done = host.run("pgrep", "-f", f"ovsdb-server {host.directory}/conf.db")
            return int(done.stdout.split()[0]) if done.stdout else 0

        first = server()
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: server() not in (0, first) and is_listening(host.directory / "db.sock"),
                   "ovsdb-server runs again")
        host.vsctl("add-port", "br0", "s0", "--", "set", "Interface", "s0", "type=dpdkvhostuser")
        host.kill_agent()
        wait_until(lambda: not server(), "ovsdb-server ends with the agent")


def test_detached_standalone_agent_keeps_no_pipe_of_its_callers_open() -> None:
    with temporary_host("vhost-standalone") as host:
        done = host.run(*host.agent_command(), "run", "--standalone", str(host.directory),
                        "--pidfile", "--log-file", "--detach", timeout_s=30)     # its output ends
        assert done.returncode == 0, done


def test_two_standalone_agents_do_not_share_a_directory() -> None:
    with temporary_host("vhost-standalone") as host:
        host.start_agent("--standalone", str(host.directory))
        second = host.start_agent("--standalone", str(host.directory), wait=False)
        assert second.wait(10) == 1
        host.agents.pop()
        assert f"{host.directory} is in use" in host.output()
        assert "br0" not in host.vsctl("show")      # the first one's database still answers


def test_standalone_that_cannot_have_its_directory_says_why(host: Host) -> None:
    (host.directory / "file").write_text("")
    agent = host.start_agent("--standalone", str(host.directory / "file" / "x"), wait=False)
    assert agent.wait(10) == 1
    host.agents.pop()
    assert "cannot create" in host.output()
    assert "Traceback" not in host.output()


@pytest.mark.parametrize("at_start", [True, False])
def test_locked_memory_and_postcopy(host: Host, at_start: bool) -> None:
    """What of a guest is not there yet can be asked for only if the kernel did not fill it in."""
    wish = ("set", "Open_vSwitch", ".", "other_config:vhost-postcopy-support=true")
    if at_start:
        host.vsctl("--no-wait", *wish)
    agent = host.start_agent("--mlockall")
    path = host.directory / "c0.sock"
    host.vsctl("add-br", "br0", "--", "set", "Bridge", "br0", "datapath_type=netdev",
               "--", "add-port", "br0", "c0", "--", "set", "Interface", "c0",
               "type=dpdkvhostuserclient", f"options:vhost-server-path={path}")
    status = Path(f"/proc/{agent.pid}/status").read_text()
    assert int(re.findall(r"VmLck:\s+(\d+) kB", status)[0]) > 0
    host.vsctl(*wish)
    with FrontEnd(str(path), listen=True) as guest:
        assert bool(guest.connect().offered_protocol & PROTOCOL_F_PAGEFAULT) == at_start
    problems = host.interface("c0", "status").get("problems", "")
    assert ("vhost-postcopy-support and mlockall are not compatible." in problems) != at_start
