"""Signals as something the loop can wait for."""
from __future__ import annotations

import contextlib
import signal
import socket

import ovs.poller
import ovs.vlog

from agent import log

TO_END = frozenset((signal.SIGTERM, signal.SIGINT))
BYTES = 4096                # one for each signal that came since they were read


class Signals:
    """SIGTERM, SIGINT, SIGHUP and SIGCHLD as a readable descriptor: a Python handler alone does
    not wake poll().

    The descriptor is made before the process forks, so --monitor sees whether the agent that was
    killed had been told to end: then that is still to be read, even if the agent was stuck.
    """

    def __init__(self) -> None:
        self.exit = False
        self.reopen_log = False
        self._sockets = socket.socketpair()
        for end in self._sockets:
            end.setblocking(False)

    def catch(self) -> None:
        """From now on they come here; for the process that is to be told."""
        signal.set_wakeup_fd(self._sockets[1].fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, _: object) -> None:
        if number in TO_END:
            self.tell_to_end()
        elif number == signal.SIGHUP:
            self.reopen_log = True

    def told_to_end(self) -> bool:
        """Whether the process that catches them, this one or one that is dead, was to end."""
        with contextlib.suppress(BlockingIOError):
            return not TO_END.isdisjoint(self._sockets[0].recv(BYTES, socket.MSG_PEEK))
        return False

    def tell_to_end(self) -> None:
        """As a signal does."""
        self.exit = True
        with contextlib.suppress(BlockingIOError):
            self._sockets[1].send(bytes([signal.SIGTERM]))

    def run(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._sockets[0].recv(BYTES)
        if self.exit:
            self.tell_to_end()      # it may just have been read
        if self.reopen_log:
            self.reopen_log = False
            try:
                ovs.vlog.Vlog.reopen_log_file()
            except OSError as e:
                log.main.err(f"cannot open the log file {e.filename} again: {e.strerror}")

    def wait(self, poller: ovs.poller.Poller) -> None:
        poller.fd_wait(self._sockets[0].fileno(), ovs.poller.POLLIN)
