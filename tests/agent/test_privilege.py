"""Who may do what to an agent, and it to files: a real agent, real users, real links."""
from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.agent.conftest import Contract
from tools.frontend import FrontEnd
from tools.guest import is_listening
from tools.host import AGENT, ORDINARY_MEMORY, Host, wait_until

NOBODY = 65534
OPEN = ("sh", "-c", 'umask 0; exec "$@"', "sh")


def mode(path: Path) -> int:
    return stat.S_IMODE(os.lstat(path).st_mode)


def refusal(path: Path, uid: int) -> str:
    """Why a process of that user may not connect; empty when it may."""
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(uid)
    os.seteuid(uid)
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
    except OSError as e:
        return str(e.strerror)
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)
    return ""


# --- what the agent makes -------------------------------------------------------------------------

def test_agent_that_is_started_with_the_umask_0_makes_nothing_for_everybody(host: Host) -> None:
    agent = host.start(*OPEN, *host.agent_command(), "run", "--pidfile", "--log-file")
    host.vsctl("add-br", "br0", "--", "set", "Bridge", "br0", "datapath_type=netdev", "--",
               "add-port", "br0", "s0", "--", "set", "Interface", "s0", "type=dpdkvhostuser")
    control = host.directory / f"vhost-agent.{agent.pid}.ctl"
    made = {name: mode(host.directory / name)
            for name in ("s0", "vhost-agent.pid", "vhost-agent.log", control.name)}
    assert made == {"s0": 0o775, "vhost-agent.pid": 0o664, "vhost-agent.log": 0o664,
                    control.name: 0o700}
    assert refusal(control, NOBODY) == refusal(host.directory / "s0", NOBODY) == "Permission denied"
    assert refusal(control, 0) == ""
    assert "ovs-vhost-agent" in host.appctl("version")


def test_standalone_agent_lets_nobody_else_at_its_database(tmp_path: Path) -> None:
    with Host(tmp_path / "own") as host:
        host.directory.mkdir(mode=0o755)
        tmp_path.chmod(0o755)
        host.start(*OPEN, *host.agent_command(), "run", "--standalone", str(host.directory))
        wait_until(lambda: is_listening(host.directory / "db.sock"), "the database is served")
        writable = [file.name for file in host.directory.iterdir() if mode(file) & 0o002]
        assert writable == []
        for name in ("db.sock", "ovsdb-server.ctl", "conf.db", "ovsdb-server.log"):
            wait_until((host.directory / name).exists, f"{name} is there")
            assert mode(host.directory / name) & 0o077 == 0, name
        assert refusal(host.directory / "db.sock", NOBODY) == "Permission denied"


def test_control_socket_takes_the_place_of_no_file_and_of_no_agent(host: Host) -> None:
    """It did: python-ovs removes what is there, whatever it is."""
    victim = host.directory / "victim"
    victim.write_text("precious")
    link = host.directory / "link"
    link.symlink_to(victim)
    for path in (victim, link):
        agent = host.start_agent(f"--unixctl={path}", wait=False)
        assert agent.wait(20) == 1
        host.agents.pop()
        assert (f"cannot open the control socket {path}: a file that is not a socket is in the way"
                in host.output())
        assert (victim.read_text(), link.readlink()) == ("precious", victim)
    control = host.directory / "one.ctl"
    host.start_agent(f"--unixctl={control}", wait=False)
    wait_until(lambda: is_listening(control), "the first one listens")
    second = host.start_agent(f"--unixctl={control}", wait=False)
    assert second.wait(20) == 1
    host.agents.pop()
    assert "ovs-vhost-agent" in host.check("ovs-appctl", "-t", str(control), "version")
    host.kill_agent()
    host.start_agent(f"--unixctl={control}", wait=False)        # and after a SIGKILL another one
    wait_until(lambda: is_listening(control), "it listens in its place")
    control.unlink()
    control.write_text("precious")
    assert host.stop_agent() == 0
    assert control.read_text() == "precious"


@pytest.mark.parametrize("overwrite", [[], ["--overwrite-pidfile"]])
@pytest.mark.parametrize("to", ["precious", None, "/dev/null"])
def test_pid_file_takes_the_place_of_no_other(host: Host, to: str | None, overwrite: list[str]
                                              ) -> None:
    """It did: python-ovs takes it for one of a process that is gone."""
    path = host.directory / "x.pid"
    if to == "precious":
        path.write_text(to)
    else:
        path.symlink_to(to or "precious.pid")
    before = os.lstat(path)
    done = host.run(*host.agent_command(), "run", f"--pidfile={path}", *overwrite)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        1, f"vhost-agent: cannot create {path}: a file that is no pid file is in the way")
    after = os.lstat(path)
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


# --- sockets of server ports stay where they belong -----------------------------------------------

def test_no_link_leads_a_socket_out_of_the_run_directory(contract: Contract, tmp_path: Path
                                                         ) -> None:
    rundir = contract.host.directory
    (rundir / "out").symlink_to(tmp_path)
    contract.config("vhost-sock-dir=out")
    error = contract.attempt("s0", "type=dpdkvhostuser")
    assert error.endswith(f"socket {rundir}/out/s0: a link leads from {rundir}/out to {tmp_path}, "
                          f"which is not below {rundir}")
    assert list(tmp_path.iterdir()) == []
    for elsewhere in ("../x", "a/../../x", ".."):
        contract.config(f"vhost-sock-dir={elsewhere}")
        contract.attempt("s0", "type=dpdkvhostuser")
        assert contract.problems("s0") == (f"vhost-sock-dir: '{elsewhere}' contains '..', using "
                                           f"{rundir}")
        assert contract.get("s0", "error") is None
        assert (rundir / "s0").is_socket()
        contract.host.vsctl("del-port", "s0")
    (rundir / "out").unlink()


@pytest.mark.parametrize("name", ["..", ".", "../s0", "/s0", "sub/../../s0"])
def test_name_of_a_port_is_no_way_out(contract: Contract, name: str) -> None:
    assert contract.attempt(name, "type=dpdkvhostuser") != ""
    assert not (contract.host.directory.parent / "s0").exists()
    contract.server("s1")
    contract.joined("s1", server=True)


def test_name_with_control_characters_is_one_line_everywhere(contract: Contract) -> None:
    name = "a\n2026|00001|x|EMER|b\x1b[2J"
    path = contract.server(name)
    assert Path(path).is_socket()
    assert not [line for line in contract.log().split("\n") if "\x1b" in line
                or line.startswith("2026|")]
    contract.host.vsctl("del-port", name)
    assert not os.path.lexists(path)


@pytest.mark.parametrize("what", ["file", "link", "another's socket"])
def test_what_took_the_place_of_a_socket_outlives_the_port(contract: Contract, what: str) -> None:
    path, victim = Path(contract.server("s0")), contract.host.directory / "victim.sock"
    victim.write_text("precious")
    path.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        match what:
            case "file":
                path.write_text("precious")
            case "link":
                path.symlink_to(victim)
            case _:
                other.bind(str(path))
        before = os.lstat(path)
        contract.host.vsctl("del-port", "s0")
        after = os.lstat(path)
        assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)
        assert victim.read_text() == "precious"
        assert {p.name for p in path.parent.iterdir() if "aside" in p.name} == set()
    path.unlink()


def test_what_took_the_place_of_a_socket_outlives_the_agent(served: Host) -> None:
    served.vsctl("add-port", "br0", "s0", "--", "set", "Interface", "s0", "type=dpdkvhostuser")
    served.vsctl("add-port", "br0", "s1", "--", "set", "Interface", "s1", "type=dpdkvhostuser")
    (served.directory / "s0").unlink()
    (served.directory / "s0").write_text("precious")
    assert served.stop_agent() == 0
    assert (served.directory / "s0").read_text() == "precious"
    assert not (served.directory / "s1").exists()


# --- client ports on what is no socket ------------------------------------------------------------

def datagram(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(path))


ODD: dict[str, Callable[[Path], object]] = {
    "fifo": os.mkfifo, "datagram": datagram, "directory": Path.mkdir,
    "file": lambda path: path.write_text("precious"),
    "itself": lambda path: path.symlink_to(path.name),
    **{name: lambda path, to=to: path.symlink_to(to) for name, to in (    # type: ignore[misc]
        ("null", "/dev/null"), ("zero", "/dev/zero"), ("tty", "/dev/tty"),
        ("mem", "/proc/self/mem"), ("root", "/proc/1/root"), ("passwd", "/etc/passwd"),
        ("nowhere", "/nowhere/at/all"))}}


def test_client_ports_on_what_is_no_socket_wait(contract: Contract) -> None:
    """It is neither read nor written nor removed, others are served, and a guest is, that comes to
    listen there."""
    before = {}
    for name, make in ODD.items():
        path = Path(contract.path(name))
        make(path)
        before[name] = os.lstat(path)
        contract.client(name)
    contract.attached("c0")
    for name, was in before.items():
        assert contract.get(name, "error") is None
        assert not contract.host.connected(name)
        now, path = os.lstat(contract.path(name)), Path(contract.path(name))
        assert (now.st_ino, now.st_mode, now.st_mtime_ns) == (
            was.st_ino, was.st_mode, was.st_mtime_ns), name
        (path.rmdir if stat.S_ISDIR(was.st_mode) else path.unlink)()
    guests = {name: FrontEnd(contract.path(name), listen=True) for name in ODD}
    contract.guests += guests.values()
    for name, guest in guests.items():
        guest.connect()
        wait_until(lambda: contract.host.connected(name), f"{name} is served")  # noqa: B023


# --- without privileges ---------------------------------------------------------------------------

def test_agent_without_privileges_serves_guests_and_says_what_it_lacks(host: Host) -> None:
    """User nobody. That it may read everything is for what tests run from, which is root's alone;
    tests/package has a user without any capability."""
    os.chown(host.directory, NOBODY, NOBODY)
    for file in host.directory.iterdir():
        os.chown(file, NOBODY, NOBODY)
    host.enable_dpdk(ORDINARY_MEMORY)
    only = "-all,+dac_read_search"
    agent = host.start(*host.netns.command(
        "setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs",
        f"--inh-caps={only}", f"--ambient-caps={only}", f"--bounding-set={only}", AGENT, "run"))
    host.vsctl("add-br", "br0", "--", "set", "Bridge", "br0", "datapath_type=netdev", "--",
               "add-port", "br0", "s0", "--", "set", "Interface", "s0", "type=dpdkvhostuser", "--",
               "add-port", "br0", "c0", "--", "set", "Interface", "c0", "type=dpdkvhostuserclient",
               f"options:vhost-server-path={host.directory}/c0.sock")
    assert (os.stat(f"/proc/{agent.pid}").st_uid, mode(host.directory / "s0")) == (NOBODY, 0o755)
    with (FrontEnd(f"{host.directory}/c0.sock", listen=True) as client,
          FrontEnd(f"{host.directory}/s0", listen=False) as server):
        os.chmod(f"{host.directory}/c0.sock", 0o777)
        for guest, port in ((client, "c0"), (server, "s0")):
            guest.connect()
            wait_until(lambda: host.connected(port), f"{port} is connected")  # noqa: B023
    assert "Operation not permitted" in host.interface("br0", "error")
    assert (host.interface("c0", "error"), host.interface("s0", "error")) == (None, None)
