"""When the process of --monitor ends, and with which status; agents here only die."""
from __future__ import annotations

import fcntl
import os
import signal
import sys
import termios
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.monitor import Monitor
from agent.signals import Signals
from tools.host import wait_until

CAME_AGAIN = 42                 # exit status of the third process in a row


def die(number: int) -> Callable[[Monitor], None]:
    return lambda _: os.kill(os.getpid(), number)


def fail(_: Monitor) -> None:
    os._exit(1)


def works_and_dies(monitor: Monitor) -> None:
    monitor.works()
    os.kill(os.getpid(), signal.SIGKILL)


def status_of(monkeypatch: pytest.MonkeyPatch, first: Callable[[Monitor], None],
              second: Callable[[Monitor], None] = fail, again_s: float = 0.0,
              after_two: int = 0, watched: int = 0) -> int:
    """Of a monitor whose first two agents do that; the third, if there is one, works and ends it
    with CAME_AGAIN. 'after_two' is a signal for the monitor when both are dead,
    'watched' whom a service manager's watchdog is for, if not the monitor."""
    monkeypatch.setattr("agent.monitor.AGAIN_S", again_s)
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    pid = os.fork()
    if pid == 0:
        os.environ["WATCHDOG_PID"] = str(watched or os.getpid())
        signals = Signals()
        monitor = Monitor(signals)
        try:
            monitor.keep_running(detached=False)
        except SystemExit as e:
            os._exit(int(str(e.code)))
        os.write(writer, b"x")                      # an agent: how many before it?
        number = len(os.read(reader, 10))
        os.write(writer, b"x" * number)
        if number > 3:
            os.kill(os.getppid(), signal.SIGKILL)   # or it would go on for ever
        if number < 3:
            (first, second)[number - 1](monitor)
        signals.tell_to_end()
        os._exit(CAME_AGAIN)
    if after_two:
        wait_until(lambda: unread(reader) == 2 and not children_of(pid), "two agents are dead")
        os.kill(pid, after_two)
    _, status = os.waitpid(pid, 0)
    os.close(reader)
    os.close(writer)
    return os.waitstatus_to_exitcode(status)


def unread(pipe: int) -> int:
    count = bytearray(4)
    fcntl.ioctl(pipe, termios.FIONREAD, count)
    return int.from_bytes(count, sys.byteorder)


def children_of(pid: int) -> str:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text()


@pytest.mark.parametrize(("watched", "mine"), [(0, True), (1, False)])
def test_who_watches_the_monitor_watches_the_agent(monkeypatch: pytest.MonkeyPatch, watched: int,
                                                   mine: bool) -> None:
    def told(_: Monitor) -> None:
        os._exit(os.environ["WATCHDOG_PID"] == str(os.getpid()))

    assert status_of(monkeypatch, told, watched=watched) == mine


@pytest.mark.parametrize("second", [fail, die(signal.SIGKILL)])
def test_there_is_always_one_once_one_has_worked(monkeypatch: pytest.MonkeyPatch,
                                                 second: Callable[[Monitor], None]) -> None:
    assert status_of(monkeypatch, works_and_dies, second) == CAME_AGAIN


@pytest.mark.parametrize("first", [fail, die(signal.SIGKILL)])
def test_it_ends_with_the_first_one_when_that_does_not_work(
        monkeypatch: pytest.MonkeyPatch, first: Callable[[Monitor], None]) -> None:
    assert status_of(monkeypatch, first) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_one_that_is_told_to_end_before_it_catches_signals_is_not_started_again(
        monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def told(_: Monitor) -> None:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    assert status_of(monkeypatch, works_and_dies, told) == -number


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_when_it_is_told_to_while_there_is_no_agent(monkeypatch: pytest.MonkeyPatch,
                                                            number: int) -> None:
    assert status_of(monkeypatch, works_and_dies, die(signal.SIGKILL), again_s=600.0,
                     after_two=number) == -number


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_it_is_told_counts_although_the_agent_dies_of_something_else(
        monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def deaf(_: Monitor) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {number})
        os.kill(os.getppid(), number)
        signal.sigwait({number})                    # handed on by the monitor
        os.kill(os.getpid(), signal.SIGKILL)

    assert status_of(monkeypatch, works_and_dies, deaf) == 1
