"""When the process of --monitor ends, and with which status; agents here only die."""
from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from agent.monitor import Monitor
from agent.signals import Signals

CAME_AGAIN = 42                 # exit status of the third process in a row


def die(number: int) -> Callable[[Monitor], None]:
    return lambda _: os.kill(os.getpid(), number)


def fail(_: Monitor) -> None:
    os._exit(1)


def works_and_dies(monitor: Monitor) -> None:
    monitor.works()
    os.kill(os.getpid(), signal.SIGKILL)


def status_of(monkeypatch: pytest.MonkeyPatch, first: Callable[[Monitor], None],
              second: Callable[[Monitor], None] = fail) -> int:
    """Of a monitor whose first two agents do that; the third, if there is one, works and ends it
    with CAME_AGAIN."""
    monkeypatch.setattr("agent.monitor.AGAIN_S", 0.0)
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    pid = os.fork()
    if pid == 0:
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
    _, status = os.waitpid(pid, 0)
    os.close(reader)
    os.close(writer)
    return os.waitstatus_to_exitcode(status)


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

    assert status_of(monkeypatch, works_and_dies, told) == 1
