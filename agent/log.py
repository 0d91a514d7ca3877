"""Logging through OVS's vlog. Imported before any other module that imports ovs.

Vlog objects cannot be made after Vlog.init(), so all modules of ovs that make one are imported
here, and our own stand here under the names that operators know from ovs-vswitchd.
"""
from __future__ import annotations

import errno
import logging
import os
import re
import stat
from datetime import UTC, datetime
from typing import Any

import ovs.daemon
import ovs.db.idl
import ovs.dirs
import ovs.fatal_signal
import ovs.jsonrpc
import ovs.poller
import ovs.stream
import ovs.unixctl.server
import ovs.util
import ovs.vlog

from agent import rpc
from agent.polling import Poll
from agent.settings import Settings

main = ovs.vlog.Vlog("vhost_agent")
bridge = ovs.vlog.Vlog("bridge")
netdev = ovs.vlog.Vlog("netdev_dpdk")
dpif = ovs.vlog.Vlog("dpif_netdev")
dpdk = ovs.vlog.Vlog("dpdk")

DPDK_LINES_PER_MINUTE = 600
# Warnings of DPDK that are about nothing: of every start, and of a size of hugepages that the host
# does not use.
NO_WARNING = re.compile("TELEMETRY: No legacy callbacks, legacy socket not created|"
                        r"EAL: No (free|available) \d+ kB hugepages reported.*")
_RTE_LOG = {1: dpdk.emer, 2: dpdk.emer, 3: dpdk.err, 4: dpdk.err, 5: dpdk.warn, 6: dpdk.info,
            7: dpdk.info, 8: dpdk.dbg}

_DEFAULT_PATTERNS = dict(ovs.vlog.PATTERNS)
_python_ovs_build_message = ovs.vlog.Vlog._build_message


def _build_message(self: Any, message: str, destination: str, level: str, number: int) -> str:
    """A line as ovs-vswitchd writes it; python-ovs pads its fields with blanks, which breaks
    scripts that cut at '|'. Patterns that were set with vlog/set are python-ovs's own affair."""
    if ovs.vlog.PATTERNS[destination] != _DEFAULT_PATTERNS[destination]:
        return str(_python_ovs_build_message(self, message, destination, level, number))
    # A name with a line feed in it must not look like a line of ours, nor any text tell a terminal
    # what to do.
    text = message.replace("\n", "\\n")
    if not text.isprintable():
        text = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
    line = f"{number:05}|{self.name}|{level.upper()}|{text}"
    if destination == "syslog":
        return f"ovs|{line}"
    now = datetime.now(UTC)
    milliseconds = f".{now.microsecond // 1000:03}" if destination == "file" else ""
    return f"{now:%Y-%m-%dT%H:%M:%S}{milliseconds}Z|{line}"


def start(settings: Settings) -> None:
    """Sets program name, directories, levels and files for everything in ovs.

    Raises ValueError for a bad --verbose word, OSError when the log file cannot be written.
    """
    ovs.util.PROGRAM_NAME = settings.name
    ovs.dirs.RUNDIR = settings.rundir
    ovs.dirs.LOGDIR = settings.logdir
    ovs.vlog.Vlog._build_message = _build_message
    ovs.poller.SelectPoll = Poll
    rpc.install()
    ovs.stream.Stream.ssl_set_private_key_file(settings.tls.private_key)
    ovs.stream.Stream.ssl_set_certificate_file(settings.tls.certificate)
    ovs.stream.Stream.ssl_set_ca_cert_file(settings.tls.ca_cert)
    for spec in settings.verbose:
        if problem := ovs.vlog.Vlog.set_levels_from_string(re.sub(",", ":", spec)):
            raise ValueError(f"--verbose={spec}: {problem}")
    if settings.log_file is not None:
        if os.path.exists(settings.log_file) and stat.S_ISFIFO(os.stat(settings.log_file).st_mode):
            raise OSError(errno.EINVAL, "a FIFO is in the way, whose reader would be waited for",
                          settings.log_file)
        with open(settings.log_file, "a", encoding="utf-8"):
            pass        # vlog would go on without the file and not say so
    ovs.vlog.Vlog.init(settings.log_file)
    for destination in ("file", "syslog"):
        # without a handler Python's logging would repeat warnings on stderr
        logging.getLogger(destination).addHandler(logging.NullHandler())


class DpdkLog:
    """Moves DPDK's log lines from a descriptor to the dpdk module, at a bounded rate."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._window_ms = 0
        self._lines = 0
        self._dropped = 0

    def run(self, now_ms: int) -> None:
        try:
            text = os.read(self._fd, 1 << 16).decode(errors="replace")
        except BlockingIOError:
            return
        for line in filter(None, text.split("\n")):
            level, body = (int(line[0]), line[1:]) if line[0].isdigit() else (7, line)
            if self._allowed(now_ms):
                (dpdk.info if NO_WARNING.fullmatch(body) else _RTE_LOG.get(level, dpdk.info))(
                    body)

    def wait(self, poller: ovs.poller.Poller) -> None:
        poller.fd_wait(self._fd, ovs.poller.POLLIN)

    def _allowed(self, now_ms: int) -> bool:
        if now_ms - self._window_ms >= 60_000:
            if self._dropped:
                dpdk.warn(f"{self._dropped} log messages of DPDK dropped in the last minute")
            self._window_ms, self._lines, self._dropped = now_ms, 0, 0
        self._lines += 1
        if self._lines <= DPDK_LINES_PER_MINUTE:
            return True
        self._dropped += 1
        return False
