"""A paced stream of numbered UDP packets between two namespaces: what was lost, and for how long.

Owns the two processes and the packet layout (u64 number, u64 monotonic send time in ns, padding).
Knows namespaces only; what lies between them is none of its business.

    python -m tools.probe recv --bind IP:PORT
    python -m tools.probe send --to IP:PORT --rate PPS [--size BYTES]

Either runs until SIGTERM or the end of its stdin and then prints one JSON object; the receiver
prints "ready" first, and waits for a second of silence before it reports, or for a fifth of one
when it was told on stdin how many packets were sent, and has as many. For each empty line on its
stdin it prints how far it is.
"""

import argparse
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from tools.guest import Namespace

_HEADER = struct.Struct("!QQ")
_RECEIVE_BUFFER_BYTES = 32 << 20  # seconds of the stream, if the receiver is not let run
_BURST_MAX = 32  # a sender that was not let run skips the rest instead of flooding the rings
_SILENCE_S = 1.0
_COPIES_S = 0.2  # in which copies of what has arrived would come
_POLL_S = 0.1  # how late SIGTERM may be seen
_GREETING_NS = 10**9


@dataclass(frozen=True, kw_only=True)
class ProbeReport:
    """What became of one stream. Times are seen from the processes, scheduling delays included."""

    sent: int
    received: int  # different numbers, each once
    lost: int
    duplicated: int  # copies beyond the first
    reordered: int  # arrived after a higher number
    longest_gap_ms: float  # between two arrivals, or an end of the stream and the nearest arrival
    gap_ended_by_seq: int | None  # None: nothing came any more
    longest_send_gap_ms: float  # the sender's own share: how long it was not let run
    max_latency_ms: float  # one way
    max_latency_seq: int | None

    @property
    def lossless(self) -> bool:
        """Whether every packet sent arrived, and only once."""
        return self.lost == 0 and self.duplicated == 0


@dataclass(frozen=True, kw_only=True)
class ProbeMark:
    """How far a stream is while it goes on."""

    received: int
    missing: int  # numbers below the highest that came
    duplicated: int
    longest_gap_ms: float  # that lasted or ended since the mark before: in full, wherever it began


@dataclass
class Receiver:
    """What the receiving process counts; times are monotonic ns, on one clock with the sender."""

    received: int = 0
    duplicated: int = 0
    reordered: int = 0
    first_arrival_ns: int = 0
    first_seq: int | None = None
    last_arrival_ns: int = 0
    longest_gap_ns: int = 0
    gap_ended_by_seq: int | None = None
    max_latency_ns: int = 0
    max_latency_seq: int | None = None
    _next: int = field(default=0, repr=False)
    _missing: set[int] = field(default_factory=set, repr=False)
    _gap_since_mark_ns: int = field(default=0, repr=False)

    @property
    def expected(self) -> int:
        """The number after the highest that came."""
        return self._next

    def count(self, seq: int, sent_ns: int, now_ns: int) -> None:
        """Take one packet into account."""
        if seq >= self._next:
            self._missing.update(range(self._next, seq))
            self._next = seq + 1
        elif seq in self._missing:
            self._missing.discard(seq)
            self.reordered += 1
        else:
            self.duplicated += 1
            return
        self.received += 1
        if self.first_seq is None:
            self.first_seq, self.first_arrival_ns = seq, now_ns
        else:
            gap_ns = now_ns - self.last_arrival_ns
            self._gap_since_mark_ns = max(self._gap_since_mark_ns, gap_ns)
            if gap_ns > self.longest_gap_ns:
                self.longest_gap_ns, self.gap_ended_by_seq = gap_ns, seq
        self.last_arrival_ns = now_ns
        if now_ns - sent_ns > self.max_latency_ns:
            self.max_latency_ns, self.max_latency_seq = now_ns - sent_ns, seq

    def mark(self, now_ns: int) -> dict[str, Any]:
        """A ProbeMark's fields."""
        lasts_ns = now_ns - self.last_arrival_ns if self.received else 0
        gap_ns, self._gap_since_mark_ns = max(self._gap_since_mark_ns, lasts_ns), 0
        return {"received": self.received, "missing": len(self._missing),
                "duplicated": self.duplicated, "longest_gap_ms": gap_ns / 1e6}


class _Stop:
    """Turns true at SIGTERM, at Ctrl-C or when stdin ends. ``said`` is what stdin had."""

    def __init__(self) -> None:
        self.said = b""
        self.lines = 0  # empty ones that came on stdin so far
        self._signalled = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def _on_signal(self, *_: object) -> None:
        self._signalled = True

    def wait(self, timeout_s: float, *others: socket.socket) -> bool:
        """Sleep until stopped, until one of ``others`` is readable or ``timeout_s`` has passed."""
        watched = [0, *(other.fileno() for other in others)]
        readable, _, _ = select.select(watched, [], [], timeout_s)
        if 0 not in readable:
            return self._signalled
        more = os.read(0, 4096)
        self.lines += more.count(b"\n")
        self.said += more.replace(b"\n", b"")
        return self._signalled or not more


@contextmanager
def _running_first() -> Iterator[None]:
    """Run before the busy threads of guests: else their time slices are measured too.

    Not for starting and ending Python, which takes long enough to starve a guest.
    """
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    yield
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def receive(address: tuple[str, int]) -> dict[str, Any]:
    """Count until told to stop and then until it was silent; the counters as a dict."""
    counters, stop, stopping, marks = Receiver(), _Stop(), False, 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        # 33 is SO_RCVBUFFORCE, which the socket module does not name: net.core.rmem_max is small.
        sock.setsockopt(socket.SOL_SOCKET, 33, _RECEIVE_BUFFER_BYTES)
        sock.bind(address)
        sock.setblocking(False)
        print("ready", flush=True)
        greeted_ns, silent_since_s, silence_s = 0, 0.0, _SILENCE_S
        while not stopping or time.monotonic() < silent_since_s + silence_s:
            if not stopping and stop.wait(_POLL_S, sock):
                stopping, silent_since_s = True, time.monotonic()
            elif stopping:
                select.select([sock], [], [], _POLL_S)
            with suppress(BlockingIOError):
                while True:
                    data, sender = sock.recvfrom(2048)
                    now_ns = time.monotonic_ns()
                    seq, sent_ns = _HEADER.unpack_from(data)
                    counters.count(seq, sent_ns, now_ns)
                    if stopping:
                        silent_since_s = time.monotonic()
                    if now_ns - greeted_ns > _GREETING_NS:
                        # A port that never says anything is never learned, and its packets flood.
                        sock.sendto(b"", sender)
                        greeted_ns = now_ns
            if stopping and stop.said and counters.received >= int(stop.said):
                silence_s = _COPIES_S
            while marks < stop.lines:
                print(json.dumps(counters.mark(time.monotonic_ns())), flush=True)
                marks += 1
    return {key: value for key, value in vars(counters).items() if not key.startswith("_")}


def send(address: tuple[str, int], rate: int, size: int) -> dict[str, Any]:
    """Send ``rate`` packets a second of ``size`` bytes of payload until told to stop."""
    packet, sent, longest_gap_ns, stop = bytearray(size), 0, 0, _Stop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        first_ns = last_ns = start_ns = time.monotonic_ns()
        while True:
            now_ns = time.monotonic_ns()
            due = (now_ns - start_ns) * rate // 10**9 + 1
            if due - sent > _BURST_MAX:
                start_ns += (due - sent - _BURST_MAX) * 10**9 // rate
                due = sent + _BURST_MAX
            while sent < due:
                now_ns = time.monotonic_ns()
                _HEADER.pack_into(packet, 0, sent, now_ns)
                sock.sendto(packet, address)
                longest_gap_ns, last_ns = max(longest_gap_ns, now_ns - last_ns), now_ns
                sent += 1
            next_ns = start_ns + sent * 10**9 // rate
            if stop.wait(max(0, next_ns - time.monotonic_ns()) / 1e9):
                break
    return {"sent": sent, "first_send_ns": first_ns, "last_send_ns": last_ns,
            "longest_send_gap_ns": longest_gap_ns}


def merge_reports(sender: dict[str, Any], receiver: dict[str, Any]) -> ProbeReport:
    """One report of what the two processes printed."""
    gaps: list[tuple[int, int | None]] = [
        (receiver["longest_gap_ns"], receiver["gap_ended_by_seq"])]
    if receiver["first_seq"] is None:
        gaps.append((sender["last_send_ns"] - sender["first_send_ns"], None))
    else:
        gaps.append((receiver["first_arrival_ns"] - sender["first_send_ns"], receiver["first_seq"]))
        gaps.append((sender["last_send_ns"] - receiver["last_arrival_ns"], None))
    gap_ns, ended_by = max(gaps, key=lambda gap: gap[0])
    return ProbeReport(
        sent=sender["sent"], received=receiver["received"],
        lost=sender["sent"] - receiver["received"], duplicated=receiver["duplicated"],
        reordered=receiver["reordered"], longest_gap_ms=gap_ns / 1e6, gap_ended_by_seq=ended_by,
        longest_send_gap_ms=sender["longest_send_gap_ns"] / 1e6,
        max_latency_ms=receiver["max_latency_ns"] / 1e6,
        max_latency_seq=receiver["max_latency_seq"])


class Probe:
    """A stream from one namespace to another, between ``start`` and ``stop``.

    ``rate`` is in packets a second, ``size_bytes`` the UDP payload (16 to 1472 at an MTU of 1500).
    Both namespaces get a static ARP entry for the other. As a context manager it only makes sure
    that no process survives; the report is had from ``stop``.
    """

    def __init__(self, sender_ns: Namespace, receiver_ns: Namespace, *, rate: int = 1000,
                 size_bytes: int = 64, port: int = 7777) -> None:
        self._sender_ns, self._receiver_ns = sender_ns, receiver_ns
        self._rate, self._size_bytes, self._port = rate, size_bytes, port
        self._sender: subprocess.Popen[str] | None = None
        self._receiver: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Return once the stream is under way; OSError when a side did not start."""
        for here, there in ((self._sender_ns, self._receiver_ns),
                            (self._receiver_ns, self._sender_ns)):
            here.add_neighbour(there.ip, there.mac)
        target = f"{self._receiver_ns.ip}:{self._port}"
        self._receiver = self._popen(self._receiver_ns, "recv", "--bind", target)
        assert self._receiver.stdout is not None
        if self._receiver.stdout.readline() != "ready\n":  # the end of the stream, if it died
            raise OSError(f"the receiver at {target} did not start")
        self._sender = self._popen(self._sender_ns, "send", "--to", target, "--rate",
                                   str(self._rate), "--size", str(self._size_bytes))

    def _popen(self, namespace: Namespace, *arguments: str) -> subprocess.Popen[str]:
        return namespace.popen([sys.executable, "-m", "tools.probe", *arguments],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               cwd=Path(__file__).resolve().parent.parent)

    def mark(self) -> ProbeMark:
        """How far the stream is; OSError if the receiver died."""
        assert self._receiver is not None
        assert self._receiver.stdin is not None
        assert self._receiver.stdout is not None
        self._receiver.stdin.write("\n")
        self._receiver.stdin.flush()
        line = self._receiver.stdout.readline()
        if not line:
            raise OSError("the receiver of a probe died")
        return ProbeMark(**json.loads(line))

    def stop(self) -> ProbeReport:
        """Stop the sender, wait until it was silent, and report; OSError if a side died."""
        if self._sender is None or self._receiver is None:
            raise OSError("the probe was not started")
        sender, self._sender = self._finish(self._sender), None  # first: the receiver drains
        receiver, self._receiver = self._finish(self._receiver, str(sender["sent"])), None
        return merge_reports(sender, receiver)

    def _finish(self, process: subprocess.Popen[str], told: str = "") -> dict[str, Any]:
        output, _ = process.communicate(told, timeout=30)  # closes its stdin
        if process.returncode != 0:
            raise OSError(f"a probe process ended with status {process.returncode}")
        report: dict[str, Any] = json.loads(output)
        return report

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        for process in (self._sender, self._receiver):
            if process is not None:
                process.kill()
                process.communicate()


def _address(text: str) -> tuple[str, int]:
    ip, _, port = text.rpartition(":")
    return ip, int(port)


def main() -> None:
    """The two processes' command line."""
    parser = argparse.ArgumentParser(prog="tools.probe", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    roles = parser.add_subparsers(dest="role", required=True)
    roles.add_parser("recv").add_argument("--bind", type=_address, required=True)
    sender = roles.add_parser("send")
    sender.add_argument("--to", type=_address, required=True)
    sender.add_argument("--rate", type=int, required=True, help="packets a second")
    sender.add_argument("--size", type=int, default=64, help="bytes of UDP payload, at least 16")
    options = parser.parse_args()
    if options.role == "send" and (options.rate < 1 or options.size < _HEADER.size):
        parser.error(f"--rate must be at least 1 and --size at least {_HEADER.size}")
    with _running_first():
        if options.role == "recv":
            report = receive(options.bind)
        else:
            report = send(options.to, options.rate, options.size)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
