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

AGAIN_S = 10.0              # from one start to the next, but for the first: as of OVS's daemons
PENDING = re.compile(r"^(?:SigPnd|ShdPnd):\s*([0-9a-f]+)$", re.MULTILINE)


class Monitor:
    """Made before any fork: what is noted in one process is seen in all."""

    def __init__(self, signals: Signals) -> None:
        self._signals = signals
        self._worked = mmap.mmap(-1, 1)
        self.again = False              # this agent is not the first

    def works(self) -> None:
        """The agent's start was successful: from now on there is always one."""
        self._worked[0] = 1

    def keep_running(self, detached: bool) -> None:
        """Returns in each agent. The process that calls it starts them, and ends when the first
        does not work, or when one ends that was told to."""
        started_s = -AGAIN_S
        while pid := os.fork():
            if detached and not self.again:
                let_go_of_the_caller()
            told = wait_for_end(pid, self._signals)
            _, status = os.waitpid(pid, 0)
            if os.WCOREDUMP(status):                # one is enough to look at, and fits the disk
                resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            said = f"pid {pid} died, {ovs.process.status_msg(status)}"
            with suppress(OSError):
                ovs.vlog.Vlog.reopen_log_file()     # it may have been rotated meanwhile
            code = os.waitstatus_to_exitcode(status)
            told |= -code in TO_END                 # it had not caught them yet
            if told or code == 0 or not self._worked[0]:
                log.main.info(f"{said}, exiting")
                sys.exit(code if code >= 0 else 1)
            wait_s = started_s + AGAIN_S - time.monotonic()
            if wait_s > 0:
                log.main.warn(f"{said}, waiting until {AGAIN_S:.0f} seconds since last restart")
                time.sleep(wait_s)
            log.main.err(f"{said}, restarting")
            started_s = time.monotonic()
            self.again = True
        ovs.timeval.postfork()


def wait_for_end(pid: int, signals: Signals) -> bool:
    """Whether the agent, which has ended and is yet to be reaped, was told to: it need not have
    heard of that, if it was stuck or stopped."""
    waits = True
    while waits:
        with suppress(KeyboardInterrupt):           # the agent has been told, too
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
            waits = False
    pending = PENDING.findall(Path(f"/proc/{pid}/status").read_text())
    unheard = any(int(bits, 16) >> number - 1 & 1 for bits in pending for number in TO_END)
    return signals.told_to_end() or unheard


def let_go_of_the_caller() -> None:
    """Of --detach: it waits for the agent alone, and may be at the end of a terminal."""
    fd, ovs.daemon._daemonize_fd = ovs.daemon._daemonize_fd, None
    os.close(fd)
    with open(os.devnull, "r+b") as nothing:
        for standard in range(3):
            os.dup2(nothing.fileno(), standard)
