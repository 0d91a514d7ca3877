"""A running agent, seen live: vhost/state, and vhost-agent show, top and plan as a person types
them."""
from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.agent.conftest import Contract
from tests.unit.pictures import port
from tools.guest import is_listening
from tools.host import AGENT, SCHEMA, Host, temporary_host, wait_until

BROADCAST = b"\xff" * 6 + b"\x02\0\0\0\0\x01" + b"\x08\0" + bytes(46)


def target(host: Host) -> str:
    return str(host.directory / f"vhost-agent.{host.agents[-1].pid}.ctl")


def state(host: Host) -> dict[str, Any]:
    return dict(json.loads(host.appctl("vhost/state")))


def typed(host: Host, *words: str) -> str:
    """What a command about the agent prints that has nothing to complain about."""
    done = host.run(AGENT, words[0], "-t", target(host), *words[1:])
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def row(text: str, name: str) -> list[str]:
    """The cells of a port's line."""
    return next(line.split() for line in text.splitlines() if line.split()[:1] == [name])


# --- the picture ----------------------------------------------------------------------------------

def test_state_counts_what_guests_did(contract: Contract) -> None:
    one, other = contract.attached("c0"), contract.attached("c1")
    contract.client("c2")
    before = port(state(contract.host), "c0")
    assert one.send([BROADCAST] * 10) == 10
    assert len(other.recv_wait(10)) == 10
    shown = state(contract.host)
    c0, c1, c2 = (port(shown, name) for name in ("c0", "c1", "c2"))
    assert c0["traffic"]["rx_packets"] - before["traffic"]["rx_packets"] == 10
    assert (c1["traffic"]["tx_packets"], c1["link_state"], c1["connects"]) == (10, "up", 1)
    assert (c2["link_state"], c2["traffic"]["drops"]) == ("down", {"tx_disconnected_drops": 10})
    assert c0["rxqs"][0]["cycles"] > before["rxqs"][0]["cycles"]
    assert c0["device"] == contract.path("c0")
    (pmd,) = shown["pmds"]
    assert (pmd["rxqs"], pmd["core"]) == (3, c0["rxqs"][0]["core"])
    assert shown["database"]["connected"]
    assert shown["agent"]["pid"] == contract.host.agents[-1].pid


def test_show_has_problems_first_and_appctl_says_the_same(contract: Contract) -> None:
    contract.attached("c0", "options:n_rxqq=1")
    contract.attempt("g0", "type=gre")
    text = typed(contract.host, "show")
    lines = text.splitlines()
    assert lines.index("problems") < lines.index("bridge br0: 3 ports, 1 up")
    assert any(line.startswith("  c0: n_rxqq: ") for line in lines)
    assert any(line.startswith("  g0: not served: could not open") for line in lines)
    assert row(text, "c0")[2:4] == ["dpdkvhostuserclient", "up"]
    assert row(text, "g0")[3] == "error"

    def timeless(said: str) -> str:
        return re.sub(r"up [^\n]*|: \d+ % busy[^\n]*|: load[^\n]*|\d+ packet buffers", "", said)

    assert timeless(contract.host.appctl("vhost/show")) == timeless(text)
    assert "bridge br0" in typed(contract.host, "show", "br0")
    done = contract.host.run(AGENT, "show", "-t", target(contract.host), "br9")
    assert (done.returncode, done.stderr) == (1, "vhost-agent: there is no bridge br9\n")


def test_agent_before_its_database_and_without_dpdk() -> None:
    with temporary_host("vhost-live") as host:
        host.start_agent()
        assert "not connected" in typed(host, "show")
        host.start_ovsdb()
        host.vsctl("--no-wait", "add-br", "br0")
        wait_until(lambda: state(host)["bridges"], "the database is seen")
        text = typed(host, "show")
        assert "DPDK is not started (other_config:dpdk-init=true)" in text
        assert "bridge br0: 1 port, 0 up, not served: datapath_type is ''" in text


def test_no_agent_is_a_sentence(tmp_path: Path) -> None:
    for command in ("show", "top"):
        done = subprocess.run([AGENT, command, "-t", str(tmp_path / "x.ctl")], text=True,
                              capture_output=True, check=False)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == (f"vhost-agent: no agent answers at {tmp_path}/x.ctl: No such file "
                               "or directory\n")


def test_two_hundred_ports(contract: Contract) -> None:
    words = []
    for i in range(200):
        words += ["--", "add-port", "br0", f"p{i}", "--", "set", "Interface", f"p{i}",
                  "type=dpdkvhostuserclient", f"options:vhost-server-path={contract.path(f'p{i}')}",
                  "options:colour=1"]
    contract.host.vsctl(*words[1:])
    text = typed(contract.host, "show")
    assert "  p0, p1, p2, p3 and 196 more: colour: not an option" in text
    ports = [line.split()[0] for line in text.splitlines() if re.match("  p[0-9]+ ", line)]
    assert ports == [f"p{i}" for i in range(200)]
    shown = typed(contract.host, "top", "--once", "-d", "0.5")
    assert len(re.findall(r"^  p\d+ ", shown, re.M)) == 200


def test_names_are_anybodys_text(contract: Contract) -> None:
    contract.client('a"\\é😀{', "options:colour=1")
    assert port(state(contract.host), 'a"\\é😀{')["link_state"] == "down"
    text = typed(contract.host, "show")
    assert '  a"\\é😀{: colour: not an option' in text
    assert 'a"\\é😀{' in typed(contract.host, "top", "--once", "-d", "0.5")
    assert changes(typed(contract.host, "plan")) == []


# --- top ------------------------------------------------------------------------------------------

def test_top_in_a_pipe_has_rates_and_says_why_packets_are_dropped(contract: Contract) -> None:
    one = contract.attached("c0")
    contract.attached("c1")         # takes nothing: its ring of 256 is soon full
    top = subprocess.Popen(
        [AGENT, "top", "-t", target(contract.host), "-d", "0.5", "--sort", "name"],
        env=contract.host.env, stdout=subprocess.PIPE, text=True)
    try:
        assert top.stdout is not None
        text = ""
        while not re.search(r"^  c1 .*ovs_tx_failure \S+ \(guest too slow\)", text, re.M):
            one.send([BROADCAST] * 100)
            text += top.stdout.readline()
        tables = text.split("\n\n")
        assert float(row(tables[-1], "c0")[8]) >= 0         # percent of a PMD's time
        top.send_signal(signal.SIGINT)
        assert top.wait(10) == 0
    finally:
        top.kill()
        top.wait()


def test_reader_that_has_seen_enough_ends_top(contract: Contract) -> None:
    done = contract.host.run("bash", "-c", f"set -o pipefail; {AGENT} top -d 0.5 -t "
                             f"{target(contract.host)} | head -1")
    assert (done.returncode, done.stderr) == (0, "")


@contextmanager
def terminal(host: Host, columns: int, lines: int, *command: str
             ) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    process = subprocess.Popen(command, env={**host.env, "TERM": "xterm"}, stdin=theirs,
                               stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    try:
        yield process, ours
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def read_until(fd: int, text: str, what: str) -> str:
    """All that comes until 'what' has come."""
    due = time.monotonic() + 20
    while not re.search(what, text, re.DOTALL):
        assert select.select([fd], [], [], due - time.monotonic())[0], f"no {what!r} in {text!r}"
        text += os.read(fd, 1 << 16).decode()
    return text


def test_top_on_a_terminal_outlives_the_agent(host: Host) -> None:
    control = str(host.directory / "live.ctl")
    host.start_agent(f"--unixctl={control}", wait=False)
    wait_until(lambda: is_listening(Path(control)), "the agent starts")
    host.vsctl("add-br", "br0", "--", "set", "Bridge", "br0", "datapath_type=netdev")
    with terminal(host, 50, 12, AGENT, "top", "-t", control, "-d", "0.5") as (top, ours):
        text = read_until(ours, "", r"  PORT .*br0")
        host.kill_agent()
        text = read_until(ours, text, "waiting for the agent: ")
        shown = len(text)
        host.start_agent(f"--unixctl={control}", wait=False)
        text = read_until(ours, text, f".{{{shown}}}.*  PORT .*br0")
        top.send_signal(signal.SIGINT)
        assert top.wait(10) == 0
        assert text.startswith("\x1b[?1049h")               # another screen meanwhile
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text.replace("\x1b[H", "\n"))
    assert max(len(line.rstrip()) for line in plain.replace("\r", "").splitlines()) <= 50


# --- plan -----------------------------------------------------------------------------------------

@contextmanager
def copy_of_the_database(host: Host) -> Iterator[tuple[Path, str]]:
    """A file with the database of this moment, and a server of it."""
    file = host.directory / "copy.db"
    file.write_text(host.check("ovsdb-client", "backup", host.remote))
    server = host.spawn_ovsdb("copy", file, "copy.sock")
    try:
        wait_until(lambda: (host.directory / "copy.sock").exists(), "the copy is served")
        yield file, f"unix:{host.directory}/copy.sock"
    finally:
        server.terminate()
        server.wait()
        file.unlink()


def changes(text: str) -> list[str]:
    return [line for line in text.splitlines() if line[0] in "+-~>!"]


def test_plan_says_what_then_happens(contract: Contract) -> None:
    host = contract.host
    contract.attached("c0")
    contract.client("c1")
    words = [("del-port", "c0"),
             ("add-port", "br0", "c2", "--", "set", "Interface", "c2", "type=dpdkvhostuserclient",
              f"options:vhost-server-path={contract.path('c2')}", "options:colour=1"),
             ("set", "Interface", "c1", "options:tx-retries-max=3"), ("set", "Port", "c1", "tag=5")]
    with copy_of_the_database(host) as (file, remote):
        for command in words:
            host.check("ovs-vsctl", f"--db={remote}", "--no-wait", *command)
        before = state(host)
        text = typed(host, "plan", "--db", remote)
        assert changes(text) == [
            "- port c0: a guest is connected and loses its link",
            f"+ port c2 on bridge br0: dpdkvhostuserclient, connects to {contract.path('c2')}",
            "~ port c1: tx-retries-max 8 -> 3", "~ port c1: vlan mode trunk -> access, vlan 0 -> 5",
            next(line for line in changes(text) if "placed anew" in line),
            "! c2: colour: not an option of type dpdkvhostuserclient"]
        assert typed(host, "plan", str(file)) == text
        assert host.run(AGENT, "plan", "-t", target(host), str(file),
                        "--exit-code").returncode == 2
        after = state(host)         # nothing has happened
        assert after["reconciler"] == before["reconciler"]
        assert [p["name"] for p in after["ports"]] == ["br0", "c0", "c1"]
    for command in words:
        host.vsctl(*command)
    assert changes(typed(host, "plan")) == []
    assert contract.problems("c2").startswith("colour: not an option")
    done = host.run(AGENT, "plan", "-t", target(host), "--exit-code")
    assert (done.returncode, done.stdout) == (
        0, "1 problem that there is already: vhost-agent show\nNothing would change.\n")


def test_plan_without_an_agent() -> None:
    with temporary_host("vhost-plan") as host:
        host.start_ovsdb()
        host.vsctl("--no-wait", "add-br", "br0", "--", "set", "Bridge", "br0",
                   "datapath_type=netdev", "--", "add-port", "br0", "s0", "--", "set", "Interface",
                   "s0", "type=dpdkvhostuser")
        done = host.run(AGENT, "plan")
        assert done.returncode == 0
        assert done.stderr.endswith(
            "planning for one of the role vswitchd that is started now\n")
        assert "! s0: not served: " in done.stdout
        host.enable_dpdk()
        assert changes(host.run(AGENT, "plan").stdout)[:3] == [
            "+ DPDK is started", "+ port br0 on bridge br0: internal, internal device br0",
            f"+ port s0 on bridge br0: dpdkvhostuser, listens at {host.directory}/s0"]
        assert not list(host.directory.glob("s0"))


def test_database_that_cannot_be_planned_with(contract: Contract, tmp_path: Path) -> None:
    host = contract.host
    other, empty = tmp_path / "other.db", tmp_path / "empty.db"
    (tmp_path / "schema").write_text('{"name": "Other", "version": "1.0.0", "tables": {}}')
    host.check("ovsdb-tool", "create", str(other), str(tmp_path / "schema"))
    host.check("ovsdb-tool", "create", str(empty), str(SCHEMA))
    (tmp_path / "text").write_text("no database")
    for words, said in (
            ([str(tmp_path / "none")], f"{tmp_path}/none: there is no such file"),
            ([str(tmp_path)], f"{tmp_path}: it is a directory, not a database file"),
            (["/dev/zero"], "/dev/zero: it is a device, a socket or a pipe"),
            ([str(tmp_path / "text")], "unexpected file format"),
            ([str(other)], "it holds the database Other, not Open_vSwitch"),
            ([str(empty)], "the database holds no Open_vSwitch row"),
            (["--db", "unix:/nowhere"], "unix:/nowhere: database connection failed"),
            (["--db", "nowhere"], "remote 'nowhere': unknown kind")):
        done = host.run(AGENT, "plan", "-t", target(host), *words)
        assert (done.returncode, done.stdout) == (1, "")
        assert said in done.stderr
    done = host.run(AGENT, "plan", "x.db", "--db", "unix:/x")
    assert done.returncode == 2


@pytest.mark.parametrize("command", ["show", "top", "plan"])
def test_help_says_what_it_is_for(command: str) -> None:
    done = subprocess.run([AGENT, command, "--help"], text=True, capture_output=True, check=True)
    assert done.stdout.startswith(f"Usage: vhost-agent {command} [OPTIONS]")
