"""Two steady neighbours: a process with a front end on each of two ports, and numbered frames
both ways without a pause.

    python -m tools.soak_traffic SERVER-PORT'S-SOCKET CLIENT-PORT'S-SOCKET

It prints "ready" once frames flow, then a line of JSON for each line on its stdin: what came of
the frames so far. At the end of stdin it sends no more, waits for those on their way, and says the
same a last time.
Both ends are in one thread, and never more frames are on their way than the rings hold: however
long this process is not let run, the only one that can lose a frame is the switch.
"""
from __future__ import annotations

import json
import os
import select
import struct
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Self

from tools.frontend import FrontEnd, ethernet
from tools.guest import DIE_WITH_PARENT, OWN_GROUP
from tools.host import HostError
from tools.probe import Receiver
from tools.soak_numbers import Traffic

MACS = ("02:00:00:00:0a:0a", "02:00:00:00:0a:0b")
NUMBER = struct.Struct("!Q")
HEADER_BYTES = 14                       # of Ethernet, before it
RING = 1024
ON_THEIR_WAY_MAX = 256                  # of RING; the others are for what is flooded
BURST, EVERY_S = 2, 0.005               # 400 frames a second each way, for 2 % of a core
SILENCE_S = 30.0                        # after which a frame is lost
ATTACH_S = 60.0


class Way:
    """Frames from one of the two to the other."""

    def __init__(self, source: FrontEnd, target: FrontEnd, macs: tuple[str, str]) -> None:
        self._source, self._target = source, target
        self._to, self._begin = bytes.fromhex(macs[1].replace(":", "")), ethernet(*macs[::-1])
        self.sent = 0
        self.counters = Receiver()
        self._looked_ns = time.monotonic_ns()
        self._shown_ns: dict[int, int] = {}     # number -> when, of those on their way

    def take(self) -> None:
        """Counts what came. A frame was on its way from when the switch could surely see it, to
        the look before, which did not find it: so no time counts in which this process was not
        let run."""
        looked_ns, self._looked_ns = self._looked_ns, time.monotonic_ns()
        for frame in self._target.recv():
            if frame.startswith(self._to) and frame[12:14] == self._begin[12:14]:
                (number,) = NUMBER.unpack_from(frame, HEADER_BYTES)
                self.counters.count(number, min(self._shown_ns.pop(number, looked_ns), looked_ns),
                                    looked_ns)

    def send(self) -> None:
        room = ON_THEIR_WAY_MAX - (self.sent - self.counters.expected)
        numbers = range(self.sent, self.sent + min(BURST, room))
        self.sent += self._source.send([
            b"%b%b%b" % (self._begin[:HEADER_BYTES], NUMBER.pack(number),
                         self._begin[HEADER_BYTES + NUMBER.size:]) for number in numbers])
        shown_ns = time.monotonic_ns()
        self._shown_ns.update(dict.fromkeys(range(numbers.start, self.sent), shown_ns))


def total(ways: list[Way], ended: bool) -> Traffic:
    """Until the end, frames after the last that came are on their way and not lost."""
    return Traffic(
        sent=sum(way.sent if ended else way.counters.expected for way in ways),
        received=sum(way.counters.received for way in ways),
        duplicated=sum(way.counters.duplicated for way in ways),
        reordered=sum(way.counters.reordered for way in ways),
        longest_wait_ms=max(way.counters.max_latency_ns for way in ways) / 1e6)


def run(ways: list[Way]) -> None:
    ended = False
    while not ended:
        for way in ways:
            way.take()
            way.send()
        if select.select([0], [], [], EVERY_S)[0]:
            asked = os.read(0, 4096)
            ended = not asked
            for _ in range(asked.count(b"\n")):
                say(total(ways, ended=False))
    drain(ways)
    say(total(ways, ended=True))


def drain(ways: list[Way]) -> None:
    """Returns when all frames came, or none for a while."""
    received, since = -1, time.monotonic()
    while (now := total(ways, ended=True)).lost and time.monotonic() < since + SILENCE_S:
        if now.received != received:
            received, since = now.received, time.monotonic()
        time.sleep(EVERY_S)
        for way in ways:
            way.take()


def say(traffic: Traffic) -> None:
    print(json.dumps(asdict(traffic)), flush=True)


class Neighbours:
    """The process, as whoever started it sees it. HostError when it ended or does not answer."""

    def __init__(self, server_socket: Path, client_socket: Path) -> None:
        self._process = subprocess.Popen(
            [*DIE_WITH_PARENT, sys.executable, "-m", "tools.soak_traffic", str(server_socket),
             str(client_socket)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            cwd=Path(__file__).resolve().parent.parent, process_group=OWN_GROUP)

    def wait_ready(self) -> None:
        self._line()

    def so_far(self) -> Traffic:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write("\n")
            self._process.stdin.flush()
        except BrokenPipeError as e:
            raise HostError("the steady neighbours have ended") from e
        return Traffic(**json.loads(self._line()))

    def end(self) -> Traffic:
        """The last word, once all frames came or are lost."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        return Traffic(**json.loads(self._line()))

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise HostError("the steady neighbours have ended")
        return line

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        with self._process:                     # closes its ends of the pipes, and waits
            pass


def main() -> None:
    server_socket, client_socket = sys.argv[1:]
    with FrontEnd(server_socket, listen=False, queue_size=RING, timeout_s=ATTACH_S) as a, \
            FrontEnd(client_socket, listen=True, queue_size=RING, timeout_s=ATTACH_S) as b:
        ways = [Way(a.connect(), b.connect(), MACS), Way(b, a, MACS[::-1])]
        print("ready", flush=True)
        run(ways)


if __name__ == "__main__":
    main()
