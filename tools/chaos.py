"""`make chaos`: one fault after the other under traffic, and what each cost.

    python -m tools.chaos [--seconds=N] [--seed=N] [--only=TEXT] [--without=TEXT] [--json=FILE]

The order is random, every kind comes before one comes again, and once in any case, be that
longer than was asked for. Exit status 1 when something did not recover by itself, a port that was
to be spared lost a packet, or something leaked.
"""
from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from random import Random

from tools import chaos_database, chaos_limits, chaos_processes, chaos_sockets
from tools.chaos_check import leaks
from tools.chaos_fault import Fault
from tools.chaos_report import Event, losses, record, table, verdict
from tools.chaos_site import Site, WrongError, last_said, site
from tools.ending import interrupt_when_told_to_end
from tools.guest import GuestError
from tools.host import HostError

FAULTS: tuple[Fault, ...] = (*chaos_processes.FAULTS, *chaos_database.FAULTS,
                             *chaos_limits.FAULTS, *chaos_sockets.FAULTS)
LEVEL_WITHIN_S = 10.0


def order(faults: Sequence[Fault], random: Random) -> Iterator[Fault]:
    """All of them, shuffled, again and again."""
    while True:
        yield from random.sample(faults, len(faults))


class Chaos:
    """A run over a site."""

    def __init__(self, here: Site, random: Random) -> None:
        self.events: list[Event] = []
        self._site = here
        self._random = random
        self._before = here.levels()
        self._started_s = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started_s

    def do(self, fault: Fault) -> Event:
        """One fault, and all that is looked at after it."""
        at_s, wrong = self.seconds, []
        self._site.begin()
        try:
            fault.act(self._site, self._random)
        except (WrongError, HostError, GuestError, OSError, subprocess.SubprocessError) as e:
            wrong.append(str(e))
        ended_s = time.monotonic()
        differences = self._site.unsettled()
        agreed_s = None if differences else time.monotonic() - ended_s
        wrong += differences
        if not differences:
            wrong += [f"leak: {what}" for what in last_said(self._leaks, LEVEL_WITHIN_S)]
        streams = self._site.stretches()
        wrong += losses(streams, fault.spared)
        event = Event(fault=fault.name, at_s=at_s, agreed_s=agreed_s, streams=streams,
                      spared=fault.spared, wrong=tuple(wrong))
        self.events.append(event)
        return event

    def _leaks(self) -> list[str]:
        return leaks(self._before, self._site.levels())


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="tools.chaos", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    parser.add_argument("--only", default="", help="faults with this in their name alone")
    parser.add_argument("--without", help="no faults with this in their name")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    faults = [fault for fault in FAULTS if options.only in fault.name
              and (options.without is None or options.without not in fault.name)]
    random = Random(options.seed)
    print(f"chaos: {options.seconds:g} s, {len(faults)} kinds of faults, seed {options.seed}",
          flush=True)
    interrupt_when_told_to_end()
    with site() as here:
        chaos = Chaos(here, random)
        with suppress(KeyboardInterrupt):
            for fault in order(faults, random):
                if chaos.seconds >= options.seconds and len(chaos.events) >= len(faults):
                    break
                print(f"{chaos.seconds:6.1f} s  {fault.name}", flush=True)
                for what in chaos.do(fault).wrong:
                    print(f"          WRONG: {what}", flush=True)
        seconds = chaos.seconds
        wrong = any(event.wrong for event in chaos.events)
        if wrong:
            print(here.output()[-3000:], file=sys.stderr)
    print("\n".join(["", *table(chaos.events, {fault.name: fault.may_cost for fault in faults}), "",
                     verdict(chaos.events, [fault.name for fault in faults], seconds)]))
    if options.json is not None:
        options.json.write_text(json.dumps(
            record(chaos.events, [fault.name for fault in faults], options.seed, seconds),
            indent=1) + "\n")
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
