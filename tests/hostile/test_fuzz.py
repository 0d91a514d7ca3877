"""A million messages and ring states that nobody thought of, and neighbours that notice none.

    make fuzz                                       a million
    FUZZ_SEED=x FUZZ_MESSAGES=50000 make fuzz       another number, of this seed
    FUZZ_SEED=x FUZZ_FIRST=n FUZZ_SESSIONS=m make fuzz      sessions n to n + m - 1 once more
"""
from __future__ import annotations

import faulthandler
import os
import time
from collections import Counter, deque
from contextlib import suppress

import pytest

from tests.hostile.arena import Arena
from tests.hostile.fuzz import Files, Session

IN_A_TEST_S = 30.0              # without FUZZ_MESSAGES
LOOK_S = 1.0                    # between two looks at the neighbours
PORTS = 32                      # made and taken away at a time


class Fuzzer:
    def __init__(self, arena: Arena, seed: str) -> None:
        self.arena, self.seed = arena, seed
        self.files = Files()
        self.counts: Counter[str] = Counter()
        self.stall_ms = 0.0
        self.exchanged = 0
        self.paths: list[str] = []
        self.made = 0

    def path(self, client: bool) -> str:
        """Of a server port that no front end was cut off from, or one of a client port to be."""
        self.made += 1
        if client:
            return f"{self.arena.host.directory}/fuzz{self.made}"
        if not self.paths:
            self.arena.clear()
            self.paths = self.arena.ports(PORTS)
        return self.paths[-1]

    def session(self, number: int) -> None:
        session = Session(f"{self.seed}:{number}", self.files, self.counts)
        path = self.path(session.client)
        with session.guest(path) as guest:
            if session.client:
                self.arena.port("client", path)
            try:
                if session.run(guest):
                    return
            except (ConnectionError, TimeoutError):
                self.counts["refused"] += 1
        if not session.client:
            self.paths.pop()                    # what was cut off is held off for a while

    @property
    def done(self) -> int:
        return self.counts["messages"] + self.counts["ring states"]

    def look(self) -> None:
        seen = self.arena.check()
        self.stall_ms = max(self.stall_ms, seen.longest_stall_ms)
        self.exchanged += seen.sent


@pytest.mark.loses_files         # test_files_with_a_ring_that_is_none
def test_neighbours_of_random_front_ends(arena: Arena, capsys: pytest.CaptureFixture[str]) -> None:
    seed = os.environ.get("FUZZ_SEED") or str(time.time_ns() % 10**9)
    first = int(os.environ.get("FUZZ_FIRST") or 0)
    sessions = int(os.environ.get("FUZZ_SESSIONS") or 10**9)
    wanted = int(os.environ.get("FUZZ_MESSAGES") or 0)
    faulthandler.cancel_dump_traceback_later()      # it may take as long as is asked for
    fuzzer = Fuzzer(arena, seed)
    number, looked = first, first
    began = last_look = time.monotonic()
    recent: deque[int] = deque(maxlen=2)
    try:
        while (number < first + sessions and (fuzzer.done < wanted or not wanted)
               and (wanted or sessions < 10**9 or time.monotonic() < began + IN_A_TEST_S)):
            fuzzer.session(number)
            number += 1
            if arena.died() or time.monotonic() > last_look + LOOK_S:
                recent.append(looked)
                fuzzer.look()
                looked, last_look = number, time.monotonic()
        fuzzer.look()
    finally:
        with capsys.disabled(), suppress(BrokenPipeError):
            took = time.monotonic() - began
            print(f"\nseed {seed}: {fuzzer.done} messages and ring states in {took:.0f} s, "
                  f"sessions {first} to {number}; neighbours exchanged {fuzzer.exchanged} frames, "
                  f"longest stall {fuzzer.stall_ms:.1f} ms")
            print(", ".join(f"{count} {kind}" for kind, count in fuzzer.counts.most_common()))
            if recent and looked != number:
                print(f"to repeat: FUZZ_SEED={seed} FUZZ_FIRST={recent[0]} "
                      f"FUZZ_SESSIONS={number - recent[0] + 1} make fuzz")
        fuzzer.files.close()
