"""Load for a switch under test: endpoints over virtio-user, in a process of their own on one core.

The process is told what to do by lines of JSON; tools/loadgen.pyx is its loop. `Load` is its other
end, in the benchmark.
"""
from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, Self

from tools.guest import DIE_WITH_PARENT

MOST_ENDPOINTS = 32             # of one process
ETHER_BYTES, IP_BYTES, UDP_BYTES = 14, 20, 8
TEMPLATE_BYTES = 64
USUAL_ROOM = 2048


class LoadError(Exception):
    """The load generator died or could not do what it was told; the text says what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """Frames from one endpoint to another, or with 'destination' None to all others.

    'macs': so many addresses at each end take turns; 'flows': so many pairs of UDP ports do.
    'rate': frames a second; 0: as many as the ring takes. 'returns': the other end sends each back.
    """

    source: int
    destination: int | None
    bytes: int = 64             # without FCS, at least 64
    macs: int = 1
    flows: int = 1
    rate: float = 0.0
    returns: bool = False


@dataclass(frozen=True, slots=True)
class Counts:
    """Of one stream since its start. 'late' came after a frame that was sent after them."""

    sent: int
    received: int
    bytes: int
    late: int
    repeated: int
    stray: int


@dataclass(frozen=True, slots=True)
class Measured:
    """What became of one stream; what counts is between 'before' and 'after'."""

    before: Counts
    after: Counts
    end: Counts

    @property
    def received(self) -> int:
        return self.after.received - self.before.received


@dataclass(frozen=True, slots=True)
class Run:
    """What a run brought."""

    endpoints: int
    asked: tuple[Stream, ...]
    streams: tuple[Measured, ...]
    seconds: float              # that counted
    idle: float                 # part of them in which the load core had nothing to do
    pressed: float              # of the tries to send found that a guest's ring could not take all
    foreign: int                # frames of others that came
    delays: tuple[tuple[float, int], ...] = field(repr=False)       # (us, frames), ascending

    @property
    def rate(self) -> float:
        """Frames a second that arrived."""
        return sum(stream.received for stream in self.streams) / self.seconds

    @property
    def sent(self) -> int:
        """Of the whole run, with its beginning; a frame to all others counts for each."""
        return sum(done.end.sent * (1 if stream.destination is not None else self.endpoints - 1)
                   for stream, done in zip(self.asked, self.streams, strict=True))

    @property
    def wrong(self) -> str:
        """What no switch may do, in words; empty when it did not. Frames of different flows may
        overtake each other."""
        late = sum(done.end.late for stream, done in zip(self.asked, self.streams, strict=True)
                   if stream.macs == stream.flows == 1)
        repeated = sum(stream.end.repeated for stream in self.streams)
        stray = sum(stream.end.stray - stream.before.stray for stream in self.streams)
        words = [f"{n} {what}" for n, what in (
            (late, "overtook others of their flow"), (repeated, "came twice"),
            (stray, "came out at a wrong port"),
            (self.foreign, "are of nobody here")) if n]
        return "of the frames " + ", ".join(words) if words else ""

    @property
    def lost(self) -> int:
        """Of the whole run, with its beginning."""
        return self.sent - sum(stream.end.received for stream in self.streams)


def address(endpoint: int, group: int) -> bytes:
    """MAC address of an endpoint, the first of its own 2**24; 'group' tells processes apart."""
    return bytes((0x02, group, endpoint, 0, 0, 0))


def template(stream: Stream, group: int) -> bytes:
    """The first bytes of a frame: Ethernet, IPv4, UDP; the rest is the generator's."""
    to = (b"\xff" * 6 if stream.destination is None else address(stream.destination, group))
    body = stream.bytes - ETHER_BYTES
    ip = bytearray(bytes.fromhex("4500 0000 0000 4000 4011 0000 0a00 0001 0a00 0002"))
    ip[2:4] = body.to_bytes(2, "big")
    total = sum(int.from_bytes(ip[i:i + 2], "big") for i in range(0, IP_BYTES, 2))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    ip[10:12] = (total ^ 0xffff).to_bytes(2, "big")
    udp = b"".join(n.to_bytes(2, "big") for n in (1024, 1024, body - IP_BYTES, 0))
    head = to + address(stream.source, group) + b"\x08\x00" + bytes(ip) + udp
    return head.ljust(TEMPLATE_BYTES, b"\0")


@dataclass(kw_only=True)
class Load:
    """A process with endpoints at vhost-user sockets where the switch listens.

    'options' are more arguments of net_virtio_user, 'room' bytes of a frame that one buffer holds.
    At most MOST_ENDPOINTS sockets; 'alone' False: a process with more of them has the same core.
    ``log`` is appended to.
    """

    sockets: Sequence[Path]
    log: Path
    cpu: int
    group: int = 0
    ring: int = 1024
    options: str = ""
    room: int = USUAL_ROOM
    alone: bool = True
    nice: int = -20             # else what runs beside it on the core makes it miss frames
    _process: subprocess.Popen[str] | None = field(default=None, init=False, repr=False)
    _asked: tuple[Stream, ...] = field(default=(), init=False, repr=False)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Returns when every endpoint is connected; LoadError."""
        buffers = len(self.sockets) * 3 * self.ring + 4096
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*DIE_WITH_PARENT, sys.executable, "-m", "tools.load", str(self.cpu), str(buffers),
                 str(self.room), str(self.ring), str(int(self.alone)),
                 str(self.nice)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, bufsize=1)
        try:
            for number, path in enumerate(self.sockets):
                self._ask(attach=f"path={path},queues=1,queue_size={self.ring},"
                                 f"mac={address(number, self.group).hex(':')}{self.options}")
        except BaseException:
            self.stop()
            raise

    @property
    def pid(self) -> int:
        """Of the process; LoadError when it does not run."""
        if self._process is None:
            raise LoadError("load generator: it is not running")
        return self._process.pid

    def run(self, streams: Sequence[Stream], seconds: float, warm_s: float = 0.2,
            stamped: bool = False) -> Run:
        """Sends all streams at once; see Load.run of tools.loadgen. LoadError."""
        self.begin(streams, seconds, warm_s, stamped)
        return self.result()

    def begin(self, streams: Sequence[Stream], seconds: float, warm_s: float = 0.2,
              stamped: bool = False) -> None:
        """Starts a run and returns at once; ``result`` waits for its end."""
        self._asked = tuple(streams)
        wanted = [asdict(stream) | {"template": template(stream, self.group).hex()}
                  for stream in streams]
        self._tell(run={"streams": wanted, "warm_s": warm_s, "seconds": seconds,
                        "stamped": stamped})

    def result(self) -> Run:
        """What the run that was begun brought. LoadError."""
        answer = self._answer()
        return Run(
            endpoints=len(self.sockets), asked=self._asked,
            streams=tuple(Measured(**{when: Counts(**counts) for when, counts in stream.items()})
                          for stream in answer["streams"]),
            seconds=answer["seconds"], idle=answer["idle"],
            pressed=answer["full"] / max(1, answer["tries"]), foreign=answer["foreign"],
            delays=tuple((1e6 * cycles / answer["hz"], n) for cycles, n in answer["delays"]))

    def stop(self) -> None:
        """Ends the process; may be repeated."""
        if self._process is None:
            return
        with suppress(OSError):
            self._pipes()[0].close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _ended(self) -> str:
        assert self._process is not None
        code = self._process.wait(5)
        return f"it ended by {signal.Signals(-code).name}" if code < 0 else f"it ended with {code}"

    def _ask(self, **command: Any) -> Any:
        self._tell(**command)
        return self._answer()

    def _tell(self, **command: Any) -> None:
        with suppress(BrokenPipeError):     # its log says why it ended
            print(json.dumps(command), file=self._pipes()[0], flush=True)

    def _pipes(self) -> tuple[IO[str], IO[str]]:
        if self._process is None or self._process.stdin is None or self._process.stdout is None:
            raise LoadError("load generator: it is not running")
        return self._process.stdin, self._process.stdout

    def _answer(self) -> Any:
        line = self._pipes()[1].readline()
        answer = json.loads(line) if line else {"error": self._ended()}
        if "error" in answer:
            last = self.log.read_text(errors="replace").splitlines()[-10:]
            raise LoadError("\n".join([f"load generator: {answer['error']}; its log:", *last]))
        return answer


# --- the process ----------------------------------------------------------------------------------

def serve(cpu: int, buffers: int, room: int, ring: int, alone: int, nice: int) -> None:
    """Does what standard input says, line by line, until that ends."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())       # DPDK prints there as well
    os.sched_setaffinity(0, {cpu})
    os.nice(nice)
    from tools.loadgen import Load as Loop  # DPDK's libraries are for this process alone

    megabytes = 64 + buffers * (room + 512) // (1 << 20)
    loop = Loop(["load", f"--lcores=0@{cpu}", "--no-pci", "--no-telemetry", "--iova-mode=va",
                 "--in-memory", "--single-file-segments", "-m", str(megabytes)],
                buffers, room, ring, bool(alone))
    for line in sys.stdin:
        command = json.loads(line)
        answer: dict[str, Any] = {}
        try:
            if "attach" in command:
                loop.attach(command["attach"])
            else:
                wanted = command["run"]
                for stream in wanted["streams"]:
                    stream["template"] = bytes.fromhex(stream["template"])
                answer = loop.run(**wanted)
        except (OSError, ValueError, MemoryError) as e:
            answer = {"error": str(e)}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    serve(*map(int, sys.argv[1:7]))
