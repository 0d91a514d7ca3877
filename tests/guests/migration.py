"""Guests that move from one QEMU to another, and what that costs who talks to them."""
from __future__ import annotations

import itertools
import json
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tests.guests.lab import PING, Lab
from tools.host import Host, wait_until
from tools.qemu import Machine

MIB = 1 << 20
BLOB_MIB = 24                   # of the guest's memory, told apart by their checksum
PINGS_PER_S = 10
SETTLED_S = 0.25                # what a guest may take to go on, where several share two cores
STREAM_S = 0.01                 # between the packets that show how long nobody answered
SLOWLY, FAST = 3 * MIB, 40 * MIB    # bytes a second of a post-copy migration, before and after
# Copies of ever other parts of the blob, compared with it: memory that changes while it is moved.
WORK = (f"n=0; while n=$(((n + 1) % {BLOB_MIB - 8})); do "
        "part='dd if=/tmp/blob bs=1M count=8'; $part skip=$n of=/tmp/copy 2>/dev/null; "
        "$part skip=$n 2>/dev/null | cmp -s - /tmp/copy || echo $n >>/tmp/wrong; "
        "echo $n >>/tmp/rounds; usleep 200000; done")


class Events:
    """What QEMU says by itself, on a monitor of its own, with the host's time."""

    def __init__(self, path: Path) -> None:
        self.words = ["-qmp", f"unix:{path}"]
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._listener.settimeout(30.0)

    def begin(self) -> None:
        """Of the QEMU that was started last."""
        monitor, _ = self._listener.accept()
        monitor.settimeout(60.0)
        self._stream = monitor.makefile("rw")
        self._stream.write('{"execute": "qmp_capabilities"}\n')
        self._stream.flush()

    def time_of(self, event: str) -> float:
        """When the next of this name happened."""
        while True:
            said = json.loads(self._stream.readline())
            if said.get("event") == event:
                at = said["timestamp"]
                return float(at["seconds"] + at["microseconds"] / 1e6)


class Place:
    """A port and a QEMU on it, where the guest may be."""

    def __init__(self, lab: Lab, port: str, arguments: list[str]) -> None:
        self.host = lab.host
        self.events = Events(lab.host.directory / f"{port}.events")
        self.machine: Machine = lab.machine(port, arguments, first=self.events.words)
        self.socket = f"unix:{lab.host.directory}/{port}.incoming"

    def start(self, *options: str) -> None:
        self.machine.kill()
        self.machine.start(*options)
        self.events.begin()

    def expect(self, postcopy: bool) -> None:
        """Waits for a guest to come."""
        self.start("-incoming", "defer")
        allow(self.machine, postcopy)
        self.machine.qmp("migrate-incoming", uri=self.socket)


def allow(machine: Machine, postcopy: bool) -> None:
    machine.qmp("migrate-set-capabilities",
                capabilities=[{"capability": "postcopy-ram", "state": postcopy}])


@dataclass(frozen=True)
class Move:
    """A migration: when the guest stood still and when it went on, and QEMU's figures."""

    stopped: float
    resumed: float
    whole: float                # from when on it never waited for memory
    figures: dict[str, Any]
    faults_handled: bool        # the agent held a userfaultfd after the switch-over


def migrate(source: Place, target: Place, *, postcopy: bool = False) -> Move:
    """Moves the guest and returns when it is all at the target, which expects it."""
    machine = source.machine
    allow(machine, postcopy)

    def reaches(*states: str) -> str:
        status = str(machine.qmp("query-migrate")["status"])
        assert status != "failed", machine.qmp("query-migrate")
        return status if status in states else ""

    if postcopy:
        machine.qmp("migrate-set-parameters", max_bandwidth=SLOWLY, max_postcopy_bandwidth=FAST)
    machine.qmp("migrate", uri=target.socket)
    handled = False
    if postcopy:
        wait_until(lambda: machine.qmp("query-migrate").get("ram", {}).get("transferred", 0)
                   > SLOWLY, "some of the guest's memory is at the target", 60.0)
        machine.qmp("migrate-start-postcopy")
        wait_until(partial(reaches, "postcopy-active", "completed"), "the switch-over", 60.0)
        handled = holds_userfaultfd(target.host)
    wait_until(partial(reaches, "completed"), "the migration is complete", 120.0)
    assert target.machine.wait_status(lambda state: state == "running", 60.0) == "running"
    target.machine.run("true")      # the console came along; QEMU's own words come before this
    completed = time.time()
    resumed = target.events.time_of("RESUME")
    return Move(source.events.time_of("STOP"), resumed, completed if postcopy else resumed,
                machine.qmp("query-migrate"), handled)


def holds_userfaultfd(host: Host) -> bool:
    descriptors = Path(f"/proc/{host.agents[-1].pid}/fd")
    return any("userfaultfd" in str(link.readlink()) for link in descriptors.iterdir())


# --- traffic --------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Answers:
    """What ping -D printed: when each packet that was answered was sent, and came back."""

    sent: dict[int, float]
    back: list[float]

    @classmethod
    def of(cls, said: str) -> Answers:
        found = [(int(seq), float(at), float(ms) / 1e3) for at, seq, ms in re.findall(
            r"\[([\d.]+)\] \d+ bytes from .* icmp_seq=(\d+) ttl=\d+ time=([\d.]+) ms", said)]
        return cls({seq: at - s for seq, at, s in found}, [at for _, at, _ in found])

    def lost(self, number: int) -> list[int]:
        return [seq for seq in range(1, number + 1) if seq not in self.sent]

    @property
    def gap(self) -> float:
        """The longest time without an answer."""
        return max(b - a for a, b in itertools.pairwise(self.back))

    def losses(self) -> list[tuple[float, float]]:
        """When a packet or several in a row were lost: after the first, before the second time."""
        return [(self.sent[before], self.sent[after])
                for before, after in itertools.pairwise(sorted(self.sent)) if after > before + 1]


@contextmanager
def stream(host: Host, address: str) -> Iterator[list[Answers]]:
    """Many packets a second from the bridge's own device, while the body runs; the answers are in
    the list afterwards."""
    answers: list[Answers] = []
    command = [*PING.split(), "-D", "-i", str(STREAM_S), address]
    said = host.directory / "stream"            # a pipe would soon be full
    with said.open("w") as out, subprocess.Popen(host.netns.command(*command), stdout=out) as ping:
        try:
            yield answers
        finally:
            ping.terminate()
    answers.append(Answers.of(said.read_text()))


def begin_pings(source: Machine, address: str, number: int) -> None:
    """So many, PINGS_PER_S a second; returns when the first were answered."""
    source.begin("pings", f"{PING} -D -W 2 -c {number} -i {1 / PINGS_PER_S} {address}")
    source.run("until [ $(grep -c from /tmp/pings) -ge 10 ]; do usleep 100000; done")


# --- memory ---------------------------------------------------------------------------------------

def fill(machine: Machine) -> str:
    """Has the guest fill memory, and change more all the time; the checksum of what stays."""
    machine.run(f"head -c {BLOB_MIB}m /dev/urandom >/tmp/blob")
    machine.begin("work", WORK)
    return checksum(machine)


def checksum(machine: Machine) -> str:
    return machine.run("sha256sum /tmp/blob", 120.0).split()[0]


def check_work(machine: Machine) -> None:
    """The guest goes on to change memory, and finds in it what it wrote."""
    rounds = int(machine.run("wc -l </tmp/rounds"))
    machine.run(f"until [ $(wc -l </tmp/rounds) -gt {rounds + 1} ]; do usleep 100000; done")
    assert machine.run("cat /tmp/wrong 2>/dev/null; true").strip() == ""
