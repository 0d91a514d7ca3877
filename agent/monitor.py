"""--monitor: a process that starts the agent again, whatever it died of, until it is told to end.

Python-ovs has one, which gives up for good when an agent dies before it works again: without a
database, on a full disk, twice by the kernel's OOM killer. Guests would be without a switch until
somebody noticed.
"""
from __future__ import annotations

import mmap
import os
import re
import resource
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import ovs.daemon
import ovs.process
import ovs.timeval
import ovs.vlog

from agent import log
from agent.signals import TO_END, Signals

AGAIN_S = 1.0               # from one start to the next, but for the first
HANDED_ON = (*TO_END, signal.SIGHUP)
PENDING = re.compile(r"^(?:SigPnd|ShdPnd):\s*([0-9a-f]+)$", re.MULTILINE)


class Monitor:
    """Made before any fork: what is noted in one process is seen in all."""

    def __init__(self, signals: Signals) -> None:
        self._signals = signals
        self._worked = mmap.mmap(-1, 1)
        self._agent = 0                 # pid of the one that runs
        self._told = False              # by a signal of its own
        self.again = False              # this agent is not the first

    def works(self) -> None:
        """The agent's start was successful: from now on there is always one."""
        self._worked[0] = 1

    def keep_running(self, detached: bool) -> None:
        """Returns in each agent. The process that calls it starts them, and ends when the first
        does not work, or when one ends that was told to. Signals that it gets are the agent's."""
        started_s = -AGAIN_S
        for number in HANDED_ON:
            signal.signal(number, self._hand_on)
        while self._start():
            if detached and not self.again:
                let_go_of_the_caller()
            told = was_told_to_end(self._agent, self._signals)
            ended, self._agent = self._agent, 0
            _, status = os.waitpid(ended, 0)
            if os.WCOREDUMP(status):                # one is enough to look at, and fits the disk
                resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            said = f"pid {ended} died, {ovs.process.status_msg(status)}"
            with suppress(OSError):
                ovs.vlog.Vlog.reopen_log_file()     # it may have been rotated meanwhile
            code = os.waitstatus_to_exitcode(status)
            if told or self._told or -code in TO_END or code == 0 or not self._worked[0]:
                log.main.info(f"{said}, exiting")
                if -code in TO_END:                 # it had not caught them yet
                    die_of(-code)
                sys.exit(code if code >= 0 else 1)
            wait_s = started_s + AGAIN_S - time.monotonic()
            if wait_s > 0:
                log.main.warn(f"{said}, waiting until {AGAIN_S:g} s after the last restart")
                time.sleep(wait_s)
            log.main.err(f"{said}, restarting")
            started_s = time.monotonic()
            self.again = True
        ovs.timeval.postfork()

    def _start(self) -> bool:
        """Forks; whether this is still the monitor."""
        # Neither of the two hears of a signal before it knows which one it is.
        signal.pthread_sigmask(signal.SIG_BLOCK, HANDED_ON)
        self._agent = os.fork()
        if not self._agent and os.environ.get("WATCHDOG_PID") == str(os.getppid()):
            os.environ["WATCHDOG_PID"] = str(os.getpid())       # the agent may hang, this does not
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDED_ON)
        return self._agent != 0

    def _hand_on(self, number: int, _: object) -> None:
        """In the monitor; in an agent, too, until it catches signals itself."""
        if number in TO_END:
            self._told = True           # an agent that is just dying does not hear it
        if self._agent:
            os.kill(self._agent, number)
        elif number in TO_END:
            die_of(number)


def was_told_to_end(pid: int, signals: Signals) -> bool:
    """Waits for an agent's end, which is yet to be reaped then. It need not have heard what it was
    told, if it was stuck or stopped."""
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    pending = PENDING.findall(Path(f"/proc/{pid}/status").read_text())
    unheard = any(int(bits, 16) >> number - 1 & 1 for bits in pending for number in TO_END)
    return signals.told_to_end() or unheard


def die_of(number: int) -> None:
    """As if nobody had caught the signal: who waits for this process sees what it died of."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def let_go_of_the_caller() -> None:
    """Of --detach: it waits for the agent alone, and may be at the end of a terminal."""
    fd, ovs.daemon._daemonize_fd = ovs.daemon._daemonize_fd, None
    os.close(fd)
    with open(os.devnull, "r+b") as nothing:
        for standard in range(3):
            os.dup2(nothing.fileno(), standard)
