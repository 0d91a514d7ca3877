"""`vhost-agent capture`: asks the running agent for copies of a port's frames, writes pcapng.

The agent connects to a socket of ours and writes records (capture_record in pmd_ext/capture.pxd).
We shut our direction down to end; what was captured until then still comes, and a last record with
direction 0 that says how many were lost.
"""
from __future__ import annotations

import errno
import os
import select
import signal
import socket
import stat
import struct
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass

from agent import VERSION, appctl, pcapng
from agent.appctl import NoAgentError, RefusedError

RECORD = struct.Struct("=IIIHHQQ")      # bytes, kept, length, queue, direction, time (ns), lost
READ_BYTES = 1 << 18
OUTPUT_WAIT_S = 1                       # for a pipe that nobody reads, once we are to end
STDOUT = "-"
SOCKET = "socket"                       # its name, in a directory of its own


class CaptureError(Exception):
    """The capture cannot be, or not go on; the text says why."""


class Interrupted(BaseException):
    """The user does not want to wait for the rest."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be captured."""

    port: str
    snaplen: int                        # bytes kept of each frame, 1..262144
    direction: str                      # rx (from the guest), tx (to the guest), both
    count: int | None                   # packets to end after


def run(wish: Wish, target: str, rundir: str, file: str) -> int:
    """Captures until the user, the reader, the agent or 'wish' ends it; the exit status. 'target'
    names the agent as for ovs-appctl."""
    try:
        if file == STDOUT and os.isatty(sys.stdout.fileno()):
            raise CaptureError("packets are no text for a terminal: give -w FILE, or pipe them "
                               "into a reader such as 'tcpdump -r -'")
        with ask(appctl.control_socket(target, rundir), wish) as agent:
            capture = Capture(wish, agent)
            capture.take_signals()
            out = open_output(file)
            return capture.copy(out, file)
    except (CaptureError, NoAgentError, RefusedError) as e:
        say(str(e))
        return 1
    except Interrupted:
        return 0


def say(text: str) -> None:
    print(f"vhost-agent: {text}", file=sys.stderr, flush=True)


def ask(control: str, wish: Wish) -> socket.socket:
    """The connection on which records come. Raises CaptureError, NoAgentError, RefusedError."""
    if not os.path.exists(control):
        raise NoAgentError(f"no agent answers at {control}: {os.strerror(errno.ENOENT)}")
    try:
        # beside the control socket, where agent and user both reach; it is gone on return
        with tempfile.TemporaryDirectory(prefix="capture.", dir=os.path.dirname(control)) as d, \
                socket.socket(socket.AF_UNIX) as listener:
            listen(listener, d, os.stat(control).st_uid)
            appctl.call(control, "capture/start", [
                wish.port, f"{d}/{SOCKET}", str(wish.snaplen), wish.direction])
            return listener.accept()[0]
    except OSError as e:
        raise CaptureError(f"cannot make a socket beside {control}: {e.strerror or e}") from e


def listen(listener: socket.socket, directory: str, agent_uid: int) -> None:
    """In a new directory, on a socket that the agent's user may connect to. The directory around it
    may be that user's, who could put something else in its place, for root to give away: all is
    done by descriptor, and last with the directory, which until then nobody else can enter."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        made = os.fstat(fd)
        if made.st_uid != os.geteuid() or stat.S_IMODE(made.st_mode) != stat.S_IRWXU:
            raise PermissionError(errno.EPERM, "somebody has replaced it")
        listener.bind(f"/proc/self/fd/{fd}/{SOCKET}")
        listener.listen(1)
        if os.geteuid() == 0:
            os.chown(SOCKET, agent_uid, -1, dir_fd=fd, follow_symlinks=False)
            os.fchown(fd, agent_uid, -1)
    finally:
        os.close(fd)


def open_output(file: str) -> int:
    """Descriptor to write to. A file is its owner's alone: guests' secrets are in it."""
    if file == STDOUT:
        return sys.stdout.fileno()
    try:
        fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        if stat.S_ISREG(os.fstat(fd).st_mode):
            os.fchmod(fd, 0o600)
    except OSError as e:
        raise CaptureError(f"cannot write {file}: {e.strerror}") from e
    return fd


def write_all(fd: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left):]


class Capture:
    """From the agent's connection to the file."""

    def __init__(self, wish: Wish, agent: socket.socket) -> None:
        self._wish = wish
        self._agent = agent
        self._ending = False            # we asked for the last record
        self._rest = b""                # of a record that is not whole yet
        self._taken = 0                 # packets that the agent gave us
        self._written = 0               # of these
        self._lost = 0                  # packets that the agent could not give us

    def take_signals(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, _: object) -> None:
        if self._ending or number == signal.SIGALRM:
            raise Interrupted
        self._end()
        signal.alarm(OUTPUT_WAIT_S)

    def _end(self) -> None:
        self._ending = True
        with suppress(OSError):
            self._agent.shutdown(socket.SHUT_WR)

    def copy(self, out: int, file: str) -> int:
        """Writes what comes until the end; the exit status. Raises CaptureError."""
        start_ns = time.time_ns()
        say(f"capturing {self._wish.port}; Ctrl-C ends it")
        try:
            write_all(out, pcapng.section_header(f"vhost-agent {VERSION}")
                      + pcapng.interface(self._wish.port, self._wish.snaplen))
            self._copy_packets(out)
            write_all(out, pcapng.statistics(start_ns, time.time_ns(), self._taken + self._lost,
                                             self._lost))
        except BrokenPipeError:
            self._ending = True         # the reader has seen enough
        except Interrupted:
            self._discard()
        except OSError as e:
            raise CaptureError(f"cannot write {file}: {e.strerror}") from e
        finally:
            signal.alarm(0)
            print(f"{self._written} packets captured\n"
                  f"{self._lost + self._taken - self._written} packets lost for a slow reader",
                  file=sys.stderr)
        if self._ending:
            return 0
        raise CaptureError(f"the capture is over: port {self._wish.port} was removed, or the agent "
                           "ended")

    def _copy_packets(self, out: int) -> None:
        poller = select.poll()
        poller.register(self._agent, select.POLLIN)
        poller.register(out, 0)         # a pipe whose reader went is an error
        while True:
            if any(fd == out and events & select.POLLERR for fd, events in poller.poll()):
                raise BrokenPipeError
            data = self._agent.recv(READ_BYTES)
            if not data:
                return
            blocks = self._blocks(data)
            write_all(out, b"".join(blocks))
            self._written = self._taken
            if self._taken == self._wish.count and not self._ending:
                self._end()

    def _discard(self) -> None:
        """Takes what nobody reads any more, to know how much it is."""
        self._agent.settimeout(OUTPUT_WAIT_S)
        with suppress(TimeoutError):
            while data := self._agent.recv(READ_BYTES):
                self._blocks(data)

    def _blocks(self, data: bytes) -> list[bytes]:
        """Blocks of the packets that became whole with 'data', and that are wanted."""
        data = self._rest + data
        at = 0
        blocks: list[bytes] = []
        while len(data) - at >= RECORD.size:
            size, kept, length, queue, direction, time_ns, lost = RECORD.unpack_from(data, at)
            if len(data) - at < size:
                break
            self._lost = lost
            frame = data[at + RECORD.size:at + RECORD.size + kept]
            at += size
            if direction != 0 and self._taken != self._wish.count:
                blocks.append(pcapng.packet(time_ns, frame, length, direction, queue))
                self._taken += 1
        self._rest = data[at:]
        return blocks
