"""Replies of ovs-appctl dpif-netdev/pmd-*, to the byte as ovs-vswitchd has them: pure.

Packets are looked up in the MAC table alone: what counts hits of flow caches stays 0, and every
packet passes the datapath once. The main thread switches none; where OVS lists it, it is listed.
"""
from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from datetime import UTC, datetime, timedelta

from agent.command import CommandError
from agent.model import PmdCounters, PmdSpec, PollLists, Readings, Rxq
from agent.options import integer

DATAPATH = "ovs-netdev"
MOST_SECS = 60                  # that usage is kept for
INTERVAL_SECS = 5               # that it is measured in
UINT_MAX = (1 << 32) - 1
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Percent = float | None          # None: not measured yet


# --- words ----------------------------------------------------------------------------------------

@dataclass(frozen=True, slots=True)
class Asked:
    """What a command is to show."""

    core: int | None = None     # of one PMD; None: all, and the main thread
    secs: int = MOST_SECS       # of the past; whole intervals


def parse(words: Sequence[str], datapath: bool) -> Asked:
    """The words of pmd-...-show and pmd-stats-clear; 'datapath': there is a netdev bridge.

    As in OVS only the lack of a datapath is an error. -pmd or -secs at the end, options of other
    commands and names of no datapath say nothing while there is one datapath; nor does a core that
    is no number.
    """
    if not datapath:
        raise no_datapath()
    core, secs, rest = None, 0, iter(words)
    for word in rest:
        if word in ("-pmd", "-secs") and (value := next(rest, None)) is not None:
            number = unsigned(value)
            if word == "-secs":
                secs = number or 0
            elif number is not None:
                core = number
    if not 0 < secs <= MOST_SECS:
        return Asked(core)
    return Asked(core, -(-secs // INTERVAL_SECS) * INTERVAL_SECS)


def parse_datapath(words: Sequence[str], datapath: bool) -> None:
    """The words of pmd-rxq-rebalance: nothing, or the datapath's name. Here a wrong one counts."""
    if not datapath or (words and words[0] != DATAPATH):
        raise no_datapath()


def no_datapath() -> CommandError:
    return CommandError("please specify an existing datapath")


def unsigned(text: str) -> int | None:
    number = integer(text.lstrip())
    return number if number is not None and 0 <= number <= UINT_MAX else None


# --- counters since they were cleared -------------------------------------------------------------

class Cleared:
    """What pmd-stats-clear left behind: counters count from there."""

    def __init__(self, now_ms: int) -> None:
        self._main_since_ms = now_ms
        self._at: dict[int, PmdCounters] = {}       # core -> counters when they were cleared

    def clear(self, readings: Readings, now_ms: int, core: int | None) -> None:
        """Clears those of a PMD; without 'core' all, and the main thread's."""
        if core is None:
            self._main_since_ms = now_ms
        self._at |= {c: counters for c, counters in readings.pmds.items() if core in (None, c)}

    def keep(self, cores: Collection[int]) -> None:
        """Forgets PMDs that are not there any more: a new one on the core counts from 0."""
        self._at = {core: counters for core, counters in self._at.items() if core in cores}

    def since(self, readings: Readings) -> dict[int, PmdCounters]:
        """Counters of each PMD; the cycles say how long it counted."""
        self.keep(readings.pmds)
        return {core: self._minus(core, counters) for core, counters in readings.pmds.items()}

    def _minus(self, core: int, counters: PmdCounters) -> PmdCounters:
        cleared = self._at.get(core)
        if cleared is None:
            return counters
        grown = [now - before for now, before in zip(
            astuple(counters), astuple(cleared), strict=True)]
        if cleared.thread != counters.thread or min(grown) < 0:
            del self._at[core]  # another thread than the one that was cleared
            return counters
        return PmdCounters(*grown)

    def main_ms(self, now_ms: int) -> int:
        """How long the main thread counted."""
        return now_ms - self._main_since_ms


# --- replies --------------------------------------------------------------------------------------

def rxq_show(asked: Asked, pmds: Sequence[PmdSpec], polls: PollLists, isolated: Collection[int],
             enabled: Callable[[Rxq], bool], usage: Callable[[Rxq, int], Percent],
             overhead: Callable[[int, int], Percent]) -> str:
    """Reply of pmd-rxq-show. Of the last 'secs' seconds of a PMD 'usage' tells the percentage that
    an rxq took, and 'overhead' what took time and was no rxq's."""
    lists, shown = dict(polls), of_core(asked, pmds)
    lines = [f"Displaying last {asked.secs} seconds pmd usage %"]
    for pmd in shown:
        lines += [title(pmd), f"  isolated : {'true' if pmd.core in isolated else 'false'}"]
        rxqs = sorted(lists.get(pmd.core, ()))
        for port, queue in rxqs:
            state = "(enabled) " if enabled((port, queue)) else "(disabled)"
            took = percentage(usage((port, queue), asked.secs))
            lines.append(f"  port: {port:<16}  queue-id: {queue:>2} {state}  pmd usage: {took}")
        if rxqs:
            lines.append(f"  overhead: {percentage(overhead(pmd.core, asked.secs))}")
    return text(lines if shown or asked.core is None else ())


def sleep_show(pmds: Sequence[PmdSpec], default_us: int) -> str:
    """Reply of pmd-sleep-show."""
    lines = [f"Default max sleep: {default_us:>4} us"]
    for pmd in of_core(Asked(), pmds):
        lines += [title(pmd), f"  max sleep: {pmd.sleep_max_us:>4} us"]
    return text(lines)


def stats_show(asked: Asked, pmds: Sequence[PmdSpec], counters: Mapping[int, PmdCounters]) -> str:
    """Reply of pmd-stats-show."""
    lines: list[str] = []
    for pmd in of_core(asked, pmds):
        lines += [title(pmd), *stats_lines(counters.get(pmd.core, PmdCounters()))]
    if asked.core is None:
        lines += ["main thread:", *stats_lines(PmdCounters())]
    return text(lines)


def perf_show(asked: Asked, pmds: Sequence[PmdSpec], counters: Mapping[int, PmdCounters],
              tsc_hz: int, main_ms: int, wall_ms: int) -> str:
    """Reply of pmd-perf-show, without what pmd-perf-metrics would add. The main thread counted for
    'main_ms'; 'wall_ms' is the time of day, as milliseconds since 1970."""
    now = EPOCH + timedelta(milliseconds=wall_ms)
    time = f"Time: {now:%H:%M:%S}.{now.microsecond // 1000:03}"
    lines: list[str] = []
    for pmd in of_core(asked, pmds):
        c = counters.get(pmd.core, PmdCounters())
        seconds = c.cycles * 1000 // tsc_hz / 1000
        lines += ["", time, f"Measurement duration: {seconds:.3f} s", "", title(pmd), ""]
        if seconds > 0:
            lines += [*iteration_lines(c, tsc_hz), *packet_lines(c, seconds)]
    if asked.core is None:
        lines += ["", time, f"Measurement duration: {main_ms / 1000:.3f} s", "", "main thread:", ""]
        if main_ms > 0:
            lines += packet_lines(PmdCounters(), main_ms / 1000)
    return text(lines)


# --- their lines ----------------------------------------------------------------------------------

def of_core(asked: Asked, pmds: Sequence[PmdSpec]) -> list[PmdSpec]:
    return sorted((pmd for pmd in pmds if asked.core in (None, pmd.core)), key=lambda p: p.core)


def title(pmd: PmdSpec) -> str:
    return f"pmd thread numa_id {pmd.node} core_id {pmd.core}:"


def text(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def percentage(value: Percent) -> str:
    return "NOT AVAIL" if value is None else f"{value:2.0f} %"


def ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def idle_cycles(c: PmdCounters) -> int:
    # a sleep counts when it is over: it may have begun before the counters were cleared
    return max(0, c.cycles - c.busy_cycles - c.sleep_cycles)


def stats_lines(c: PmdCounters) -> Iterator[str]:
    packets, busy, idle = c.rx_packets, c.busy_cycles, idle_cycles(c)
    used = idle + busy
    yield f"  packets received: {packets}"
    yield "  packet recirculations: 0"
    yield f"  avg. datapath passes per packet: {1.0 if packets else 0.0:.2f}"
    for what in ("phwol", "mfex opt", "simple match", "emc", "smc", "megaflow"):
        yield f"  {what} hits: 0"
    yield "  avg. subtable lookups per megaflow hit: 0.00"
    yield "  miss with success upcall: 0"
    yield "  miss with failed upcall: 0"
    yield f"  avg. packets per output batch: {ratio(c.tx_packets, c.tx_batches):.2f}"
    if used:
        yield f"  idle cycles: {idle} ({idle / used * 100:.2f}%)"
        yield f"  processing cycles: {busy} ({busy / used * 100:.2f}%)"
    if used and packets:
        yield f"  avg cycles per packet: {used / packets:.2f} ({used}/{packets})"
        yield f"  avg processing cycles per packet: {busy / packets:.2f} ({busy}/{packets})"


def row(label: str, value: int | str, note: str) -> str:
    return f"  {label:<20}{value:>12}  ({note})"


def iteration_lines(c: PmdCounters, tsc_hz: int) -> Iterator[str]:
    idle = idle_cycles(c)
    used = idle + c.busy_cycles
    slept_us = c.sleep_cycles * 1e6 / tsc_hz
    each_us = ratio((used + c.sleep_cycles) * 1e6 / tsc_hz, c.iterations)
    yield row("Iterations:", c.iterations, f"{each_us:.2f} us/it")
    yield row("- Used TSC cycles:", used, f"{100 * ratio(used, c.cycles):5.1f} % of total cycles")
    yield row("- idle iterations:", max(0, c.iterations - c.busy_iterations),
              f"{100 * ratio(idle, used):5.1f} % of used cycles")
    yield row("- busy iterations:", c.busy_iterations,
              f"{100 * ratio(c.busy_cycles, used):5.1f} % of used cycles")
    yield row("- sleep iterations:", c.sleep_iterations,
              f"{100 * ratio(c.sleep_iterations, c.iterations):5.1f} % of iterations")
    yield row("Sleep time (us):", f"{slept_us:.0f}",
              f"{ratio(slept_us, c.sleep_iterations):3.0f} us/iteration avg.")


def packet_lines(c: PmdCounters, seconds: float) -> Iterator[str]:
    if c.rx_packets:
        each = ratio(c.busy_cycles, c.rx_packets)
        yield row("Rx packets:", c.rx_packets,
                  f"{c.rx_packets / seconds / 1000:.0f} Kpps, {each:.0f} cycles/pkt")
        yield row("Datapath passes:", c.rx_packets, "1.00 passes/pkt")
        for what in ("PHWOL", "Simple Match", "EMC", "SMC"):
            yield row(f"- {what} hits:", 0, "  0.0 %")
        yield row("- Megaflow hits:", 0, "  0.0 %, 0.00 subtbl lookups/hit")
        yield row("- Upcalls:", 0, "  0.0 %, 0.0 us/upcall")
        yield row("- Lost upcalls:", 0, "  0.0 %")
    else:
        yield f"  {'Rx packets:':<20}{0:>12}"
    if c.tx_packets:
        yield row("Tx packets:", c.tx_packets, f"{c.tx_packets / seconds / 1000:.0f} Kpps")
        yield row("Tx batches:", c.tx_batches,
                  f"{ratio(c.tx_packets, c.tx_batches):.2f} pkts/batch")
    else:
        yield f"  {'Tx packets:':<20}{0:>12}\n"
