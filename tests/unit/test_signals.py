"""What signals tell an agent, and tell the process that would start it again."""
from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import ovs.poller
import pytest

from agent.signals import Signals
from tools.wait import wait_for

COUNTED = 10**12            # takes hours, and looks at no signal meanwhile


@pytest.fixture
def signals() -> Iterator[Signals]:
    handlers = {number: signal.getsignal(number) for number in (
        signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)}
    fd = signal.set_wakeup_fd(-1)
    yield Signals()
    signal.set_wakeup_fd(fd)
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("number", "exits"), [
    (signal.SIGTERM, True), (signal.SIGINT, True), (signal.SIGHUP, False),
    (signal.SIGCHLD, False)])
def test_what_ends_the_agent(signals: Signals, number: int, exits: bool) -> None:
    signals.catch()
    signal.raise_signal(number)
    assert (signals.exit, signals.told_to_end()) == (exits, exits)
    assert signals.reopen_log == (number == signal.SIGHUP)
    signals.run()
    assert (signals.exit, signals.told_to_end()) == (exits, exits)


def test_a_command_ends_it_as_a_signal_does(signals: Signals) -> None:
    signals.tell_to_end()
    assert signals.exit
    assert signals.told_to_end()


@pytest.mark.parametrize(("number", "to_end"), [(signal.SIGTERM, True), (signal.SIGHUP, False)])
@pytest.mark.parametrize("stuck", [False, True])
def test_another_process_sees_what_a_killed_one_was_told(signals: Signals, number: int,
                                                         to_end: bool, stuck: bool) -> None:
    """As `ovs-ctl stop` tells an agent to end, and kills the one that does not."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        signals.catch()
        os.write(writer, b"catches")
        if stuck:
            sum(range(COUNTED))
        while True:
            poller = ovs.poller.Poller()
            signals.wait(poller)
            poller.block()
            signals.run()
            os.write(writer, b"has read")
    try:
        os.read(reader, 100)
        os.kill(pid, number)
        if not stuck:
            os.read(reader, 100)
        elif to_end:
            wait_for(signals.told_to_end, 10)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(reader)
        os.close(writer)
    assert signals.told_to_end() == to_end
