"""vhost-agent capture, as a person types it: files, live pipes, and what cannot be."""
from __future__ import annotations

import os
import pty
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent.conftest import Contract
from tools.frontend import FrontEnd, ethernet
from tools.host import Host, wait_until

A, B = "02:00:00:00:00:0a", "02:00:00:00:00:0b"


class Capture:
    """A running capture command; what it says goes to a file."""

    def __init__(self, host: Host, said: Path, *words: str,
                 stdout: int | None = subprocess.DEVNULL) -> None:
        self._said = said
        with said.open("wb") as err:
            self.process = subprocess.Popen(command(host, *words), env=host.env, stdout=stdout,
                                            stderr=err, stdin=subprocess.DEVNULL)

    def started(self) -> Capture:
        wait_until(lambda: "capturing" in self.said() or self.process.poll() is not None,
                   "the capture starts")
        assert self.process.poll() is None, self.said()
        return self

    def said(self) -> str:
        return self._said.read_text()

    def end(self, number: int = signal.SIGINT) -> str:
        """What it had said when it was over, with status 0."""
        self.process.send_signal(number)
        return self.ended(0)

    def ended(self, status: int) -> str:
        assert self.process.wait(10) == status, self.said()
        return self.said()


def command(host: Host, *words: str) -> list[str]:
    control = host.directory / f"vhost-agent.{host.agents[-1].pid}.ctl"
    return [*host.agent_command(), "capture", "-t", str(control), *words]


@pytest.fixture
def guests(contract: Contract) -> tuple[FrontEnd, FrontEnd]:
    """On ports c0 and c1, each known to the switch."""
    a, b = contract.attached("c0"), contract.attached("c1")
    a.send([ethernet("ff:ff:ff:ff:ff:ff", A)])
    b.recv_wait(1)
    b.send([ethernet(A, B)])
    a.recv_wait(1)
    return a, b


@pytest.fixture(autouse=True)
def nothing_stays(contract: Contract) -> Iterator[None]:
    yield
    contract.host.vsctl("clear", "Open_vSwitch", ".", "bridges")
    assert list(contract.host.directory.glob("capture.*")) == []
    tasks = Path(f"/proc/{contract.host.agents[-1].pid}/task")
    wait_until(lambda: "capture\n" not in [p.read_text() for p in tasks.glob("*/comm")],
               "the capture's thread ends")


def tcpdump(file: Path, *words: str) -> list[str]:
    done = subprocess.run(["tcpdump", "-r", str(file), "-n", "-e", "-t", *words], text=True,
                          capture_output=True, check=True)
    return [line for line in done.stdout.splitlines() if not line.startswith("\t")]


def test_file_holds_both_directions_for_tcpdump(contract: Contract, tmp_path: Path,
                                                guests: tuple[FrontEnd, FrontEnd]) -> None:
    a, b = guests
    file = tmp_path / "c0.pcapng"
    capture = Capture(contract.host, tmp_path / "said", "c0", "-w", str(file)).started()
    a.send([ethernet(B, A, b"there")] * 2)
    b.recv_wait(2)
    b.send([ethernet(A, B, b"and back", vlan=7)])
    a.recv_wait(1)
    said = capture.end()
    assert said.splitlines()[-2:] == ["3 packets captured", "0 packets lost for a slow reader"]
    there, again, back = tcpdump(file)
    assert there == again
    assert there.startswith(f"{A} > {B}, ethertype Unknown (0x88b5), length 60")
    assert back.startswith(f"{B} > {A}, ethertype 802.1Q (0x8100), length 60: vlan 7")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_file_that_others_could_read_is_closed_to_them(contract: Contract, tmp_path: Path,
                                                       guests: tuple[FrontEnd, FrontEnd]
                                                       ) -> None:
    file = tmp_path / "old"
    file.write_bytes(b"x" * 10000)
    file.chmod(0o644)
    Capture(contract.host, tmp_path / "said", "c0", "-w", str(file)).started().end(signal.SIGTERM)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert tcpdump(file) == []


def test_direction_length_and_count(contract: Contract, tmp_path: Path,
                                    guests: tuple[FrontEnd, FrontEnd]) -> None:
    a, b = guests
    file = tmp_path / "c0.pcapng"
    capture = Capture(contract.host, tmp_path / "said", "c0", "-w", str(file), "-d", "tx", "-s",
                      "20", "-c", "3").started()
    a.send([ethernet(B, A)] * 5)
    b.recv_wait(5)
    b.send([ethernet(A, B, bytes([i])) for i in range(5)])
    a.recv_wait(5)
    assert "3 packets captured\n" in capture.ended(0)
    lines = tcpdump(file)
    assert len(lines) == 3
    assert all(line.startswith(f"{B} > {A}, ") and "length 60" in line for line in lines)


def test_live_pipe_shows_packets_as_they_come(contract: Contract, tmp_path: Path,
                                              guests: tuple[FrontEnd, FrontEnd]) -> None:
    a, b = guests
    shown = tmp_path / "shown"
    capture = Capture(contract.host, tmp_path / "said", "c0", stdout=subprocess.PIPE)
    with shown.open("wb") as out, subprocess.Popen(
            ["tcpdump", "-r", "-", "-n", "-e", "-t", "-l"], stdin=capture.process.stdout,
            stdout=out, stderr=subprocess.DEVNULL) as tcpdump:
        assert capture.process.stdout is not None
        capture.process.stdout.close()              # it is tcpdump's
        capture.started()
        for n in range(1, 4):
            a.send([ethernet(B, A)])
            b.recv_wait(1)
            wait_until(lambda n=n: shown.read_text().count(f"{A} > {B}") == n,  # type: ignore[misc]
                       "the packet is shown")
        tcpdump.kill()                              # the reader ends, and so the capture
        tcpdump.wait()
        assert "3 packets captured" in capture.ended(0)


def test_pipe_that_nobody_reads_costs_the_capture_alone(contract: Contract, tmp_path: Path,
                                                        guests: tuple[FrontEnd, FrontEnd]
                                                        ) -> None:
    a, b = guests
    capture = Capture(contract.host, tmp_path / "said", "c0", stdout=subprocess.PIPE).started()
    assert capture.process.stdout is not None
    for _ in range(100):
        a.send(sent := [ethernet(B, A).ljust(1500, b"x")] * 64)
        assert b.recv_wait(64) == sent
    said = capture.end(signal.SIGTERM)
    captured, lost = (int(line.split()[0]) for line in said.splitlines()[-2:])
    assert captured < 6400 // 4
    assert captured + lost == 6400
    capture.process.stdout.close()


def test_port_that_is_deleted_ends_its_capture(contract: Contract, tmp_path: Path,
                                               guests: tuple[FrontEnd, FrontEnd]) -> None:
    a, b = guests
    file = tmp_path / "c0.pcapng"
    capture = Capture(contract.host, tmp_path / "said", "c0", "-w", str(file)).started()
    a.send([ethernet(B, A)])
    b.recv_wait(1)
    contract.host.vsctl("del-port", "c0")
    said = capture.ended(1)
    assert "1 packets captured" in said
    assert "the capture is over: port c0 was removed, or the agent ended" in said
    assert len(tcpdump(file)) == 1


def test_second_capture_of_a_port_is_refused(contract: Contract, tmp_path: Path,
                                             guests: tuple[FrontEnd, FrontEnd]) -> None:
    first = Capture(contract.host, tmp_path / "said", "c0").started()
    assert refusal(contract.host, "c0") == "cannot capture c0: it is being captured already"
    other = Capture(contract.host, tmp_path / "other", "c1").started()
    first.end()
    other.end()
    Capture(contract.host, tmp_path / "said", "c0").started().end()     # and at once another


# --- what cannot be -------------------------------------------------------------------------------

def refusal(host: Host, *words: str, rest: list[str] | None = None) -> str:
    """The last thing that a capture says which ends with status 1."""
    done = host.run(*(rest or command(host, *words)))
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    return done.stderr.splitlines()[-1].removeprefix("vhost-agent: ")


def test_port_that_is_not_there(contract: Contract) -> None:
    assert refusal(contract.host, "nope") == (
        "no port nope is served here: 'ovs-vsctl show' lists ports")


def test_port_that_is_not_served(contract: Contract) -> None:
    contract.attempt("bad", "type=dpdkvhostuserclient", f"options:vhost-server-path=/{'x' * 200}")
    assert refusal(contract.host, "bad") == (
        "port bad is not served: its Interface.error says why")


def test_agent_that_is_not_there(contract: Contract) -> None:
    directory = contract.host.directory
    program = [*contract.host.agent_command(), "capture", "c0"]
    assert refusal(contract.host, rest=program) == (
        f"no agent is known as vhost-agent: {directory}/vhost-agent.pid: No such file or "
        "directory (start it with --pidfile, or name it or its control socket with -t)")
    assert refusal(contract.host, rest=[*program, "-t", "/no/such.ctl"]) == (
        "no agent answers at /no/such.ctl: No such file or directory")


def test_file_that_cannot_be_written(contract: Contract, guests: tuple[FrontEnd, FrontEnd]) -> None:
    assert refusal(contract.host, "c0", "-w", "/no/such/file") == (
        "cannot write /no/such/file: No such file or directory")
    assert refusal(contract.host, "c0", "-w", "/dev/full") == (
        "cannot write /dev/full: No space left on device")


def test_terminal_gets_no_packets(contract: Contract) -> None:
    ours, theirs = pty.openpty()
    try:
        done = subprocess.run(command(contract.host, "c0"), env=contract.host.env, stdout=theirs,
                              stderr=subprocess.PIPE, text=True, check=False)
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.returncode == 1
    assert "no text for a terminal: give -w FILE" in done.stderr


@pytest.mark.parametrize(("words", "said"), [
    (("c0", "/nowhere", "96", "both"), "cannot capture c0: socket /nowhere: No such file"),
    (("c0", "/nowhere", "0", "both"), "0 is no number of bytes from 1 to 262144"),
    (("c0", "/nowhere", "96", "up"), "up is no direction: rx, tx or both")])
def test_control_command_refuses_in_words(contract: Contract, words: tuple[str, ...], said: str
                                          ) -> None:
    contract.client("c0")
    host = contract.host
    control = host.directory / f"vhost-agent.{host.agents[-1].pid}.ctl"
    done = host.run("ovs-appctl", "-t", str(control), "capture/start", *words)
    assert done.returncode == 2
    assert done.stderr.startswith(said)
