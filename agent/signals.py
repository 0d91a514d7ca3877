"""Signals as something the loop can wait for."""
from __future__ import annotations

import contextlib
import signal
import socket

import ovs.poller
import ovs.vlog

from agent import log


class Signals:
    """SIGTERM, SIGINT, SIGHUP and SIGCHLD as a readable descriptor: a Python handler alone does
    not wake poll()."""

    def __init__(self) -> None:
        self.exit = False
        self.reopen_log = False
        reader, writer = socket.socketpair()
        reader.setblocking(False)
        writer.setblocking(False)
        self._sockets = (reader, writer)
        signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, _: object) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            self.exit = True
        elif number == signal.SIGHUP:
            self.reopen_log = True

    def run(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._sockets[0].recv(4096)
        if self.reopen_log:
            self.reopen_log = False
            try:
                ovs.vlog.Vlog.reopen_log_file()
            except OSError as e:
                log.main.err(f"cannot open the log file {e.filename} again: {e.strerror}")

    def wait(self, poller: ovs.poller.Poller) -> None:
        poller.fd_wait(self._sockets[0].fileno(), ovs.poller.POLLIN)
