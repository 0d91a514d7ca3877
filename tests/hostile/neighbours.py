"""Two well-behaved guests that exchange numbered frames all the while, in a process of their own.

    python -m tests.hostile.neighbours --agent PID LEFT RIGHT FEEDER

LEFT is listened on, RIGHT and FEEDER are connected to. The feeder broadcasts to whoever is on its
bridge, so that rings of hostile guests there are written to; what it receives nobody looks at.
Prints "ready"; each line on stdin then ends a round: it waits until all has arrived or a second was
silent, and prints a JSON object, the fields of Round. Ends with its stdin.

Stalls are those of the switch alone. All times are of a clock that stands still while this process
was not let run, and what the switch's PMD threads waited for a CPU is taken off.
"""
from __future__ import annotations

import argparse
import json
import os
import select
import struct
import subprocess
import sys
import time
import zlib
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from tools.frontend import FrontEnd, ethernet
from tools.guest import DIE_WITH_PARENT

LEFT, RIGHT, FEEDER = "02:00:00:00:aa:01", "02:00:00:00:aa:02", "02:00:00:00:aa:03"
ALL = "ff:ff:ff:ff:ff:ff"
ETHERTYPE = 0x88B6              # of no other frame here
ROOT = Path(__file__).parents[2]

PERIOD_NS = 1_000_000           # between two bursts
BURST = 2                       # frames in one, from each side; every 16th is a broadcast
RUNNING_NS = 2_000_000          # a longer turn of the loop: this process was not let run
SUSPICIOUS_NS = 5_000_000       # a delay that is looked at more closely
POLL_S = 300e-6
SILENCE_NS = 1_000_000_000
BODY = struct.Struct("!QQQ")    # number, time sent, what PMD threads had waited by then; ns
QUEUE_SIZE = 2048


@dataclass
class Round:
    """What became of the frames of one round."""

    sent: int = 0
    lost: int = 0
    twice: int = 0
    wrong: int = 0              # frames of ours with another content
    overtaken: int = 0          # within a burst, a broadcast may be
    longest_stall_ms: float = 0.0

    @property
    def undisturbed(self) -> bool:
        return not (self.lost or self.twice or self.wrong)


class Direction:
    """Frames from one guest to another. Not thread-safe."""

    def __init__(self, source: FrontEnd, target: FrontEnd, src: str, dst: str) -> None:
        self.source, self.target, self.src, self.dst = source, target, src, dst
        self.sent = 0
        self.next = 0           # all below it came, or are missing
        self.missing: set[int] = set()

    def send(self, now: int, waited: int) -> None:
        frames = []
        for number in range(self.sent, self.sent + BURST):
            body = BODY.pack(number, now, waited)
            dst = self.dst if number % 16 else ALL
            frames.append(ethernet(dst, self.src, body + struct.pack("!I", zlib.crc32(body)),
                                   ethertype=ETHERTYPE).ljust(60 + number % 1400, b"n"))
        self.sent += self.source.send(frames)

    @property
    def open(self) -> int:
        """How many frames have not come."""
        return self.sent - self.next + len(self.missing)

    def receive(self, now: int, waited: int, agent: int, result: Round) -> None:
        for frame in self.target.recv():
            if frame[12:14] != ETHERTYPE.to_bytes(2, "big") or frame[6:12].hex(":") != self.src:
                continue        # a stranger's, or that of another round's flood
            number, sent, waited_then = BODY.unpack_from(frame, 14)
            (check,) = struct.unpack_from("!I", frame, 14 + BODY.size)
            padding = frame[14 + BODY.size + 4:]
            wanted = max(0, 60 + number % 1400 - len(frame) + len(padding))
            if (check != zlib.crc32(frame[14:14 + BODY.size])
                    or padding.lstrip(b"\0") != b"n" * (number % 1400) or len(padding) != wanted):
                result.wrong += 1
                continue
            self.count(number, result)
            delay = now - sent
            if delay > SUSPICIOUS_NS:
                delay -= waiting(agent) - waited_then
            result.longest_stall_ms = max(result.longest_stall_ms, delay / 1e6)

    def count(self, number: int, result: Round) -> None:
        if number >= self.next:
            self.missing.update(range(self.next, number))
            self.next = number + 1
        elif number in self.missing:
            self.missing.discard(number)
            result.overtaken += 1
        else:
            result.twice += 1

    def give_up(self) -> int:
        lost = self.open
        self.next = self.sent
        self.missing.clear()
        return lost


def waiting(agent: int) -> int:
    """How long PMD threads have waited for a CPU so far; ns."""
    total = 0
    with suppress(OSError):                 # the agent is dead
        for task in Path(f"/proc/{agent}/task").iterdir():
            with suppress(OSError):         # another thread of it has ended
                if (task / "comm").read_text().startswith("pmd"):
                    total += int((task / "schedstat").read_text().split()[1])
    return total


def exchange(agent: int, left: FrontEnd, right: FrontEnd, feeder: FrontEnd) -> None:
    """Runs rounds until the end of stdin."""
    directions = [Direction(left, right, LEFT, RIGHT), Direction(right, left, RIGHT, LEFT)]
    for side, src in ((left, LEFT), (right, RIGHT)):        # addresses are learned first
        side.send([ethernet(ALL, src)])
    fed = ethernet(ALL, FEEDER, b"f" * 200)
    clock = before = time.monotonic_ns()
    result, ending, silent_since, next_send, waited, looked = Round(), False, 0, clock, 0, 0
    started = [d.sent for d in directions]
    print("ready", flush=True)
    while True:
        now = time.monotonic_ns()
        clock += min(now - before, RUNNING_NS)
        before = now
        if clock - looked > 10 * PERIOD_NS:
            waited, looked = waiting(agent), clock
        asked = select.select([0], [], [], POLL_S)[0]
        if asked and not os.read(0, 4096):
            return
        if asked or (clock >= next_send and not ending):    # the last are sent after the question
            for direction in directions:
                direction.send(clock, waited)
            feeder.send([fed])
            feeder.recv()
            next_send = clock + PERIOD_NS
            if asked:
                ending, silent_since = True, clock
        left_open = sum(d.open for d in directions)
        for direction in directions:
            direction.receive(clock, waited, agent, result)
        still_open = sum(d.open for d in directions)
        if still_open < left_open:
            silent_since = clock
        if ending and (not still_open or clock - silent_since > SILENCE_NS):
            if still_open:
                result.longest_stall_ms = max(result.longest_stall_ms, SILENCE_NS / 1e6)
            result.lost = sum(d.give_up() for d in directions)
            result.sent = sum(d.sent for d in directions) - sum(started)
            print(json.dumps(asdict(result)), flush=True)
            result, ending = Round(), False
            started = [d.sent for d in directions]


class Neighbours:
    """The process, from outside."""

    def __init__(self, agent: int, left: str, right: str, feeder: str) -> None:
        """Returns when both guests are connected and frames are under way."""
        self._process = subprocess.Popen(
            [*DIE_WITH_PARENT, sys.executable, "-m", "tests.hostile.neighbours", "--agent",
             str(agent), left, right, feeder], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, cwd=ROOT)
        assert self._process.stdout
        if self._process.stdout.readline() != "ready\n":
            raise OSError("the neighbours did not start")

    def end_round(self) -> Round:
        """What became of the frames since the last round; at most a second after the last came."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise OSError(f"the neighbours ended with status {self._process.wait()}")
        return Round(**json.loads(line))

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--agent", type=int, required=True)
    parser.add_argument("paths", nargs=3)
    options = parser.parse_args()
    with ExitStack() as stack:
        left, right, feeder = (
            stack.enter_context(FrontEnd(path, listen=listen, queue_size=QUEUE_SIZE,
                                         tx_buffer_bytes=2048).connect())
            for path, listen in zip(options.paths, (True, False, False), strict=True))
        exchange(options.agent, left, right, feeder)


if __name__ == "__main__":
    main()
