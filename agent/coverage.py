"""Events that are counted: replies of coverage/show and coverage/read-counter, and memory/show's
line. Pure."""
from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Mapping

from agent.command import CommandError

INTERVAL_MS = 5000
MINUTE = 60_000 // INTERVAL_MS          # intervals
HOUR = 60 * MINUTE
NAMES = (
    "bridge_reconfigure", "datapath_drop_invalid_port", "datapath_drop_lock_error",
    "datapath_drop_meter", "datapath_drop_rx_invalid_packet", "datapath_drop_upcall_error",
    "drop_action_of_pipeline", "mac_learning_evicted", "mac_learning_expired", "mac_learning_held",
    "mac_learning_learned", "mac_learning_moved", "mac_learning_refused",
    "mac_learning_static_none_move", "netdev_received", "netdev_sent", "vhost_tx_contention",
)


class Coverage:
    """The totals of all counters, and what they were every 5 s of the last hour."""

    def __init__(self, now_ms: int) -> None:
        self.due_ms = now_ms + INTERVAL_MS      # when an interval ends
        self._given: Mapping[str, int] = {}
        self._totals = dict.fromkeys(NAMES, 0)
        self._past = deque([dict(self._totals)], maxlen=HOUR + 1)

    def sample(self, now_ms: int, totals: Mapping[str, int]) -> None:
        """Takes what was counted so far, at any time; a name that is left out counted nothing.
        A total that fell, with a port that went, is no event."""
        for name, total in totals.items():
            self._totals[name] += max(0, total - self._given.get(name, 0))
        self._given = dict(totals)
        if now_ms < self.due_ms:
            return
        # what was counted in several intervals is spread over them
        intervals = (now_ms - self.due_ms) // INTERVAL_MS + 1
        before = self._past[-1]
        for n in range(1, intervals + 1):
            self._past.append({name: before[name] + (total - before[name]) * n // intervals
                               for name, total in self._totals.items()})
        self.due_ms = now_ms + INTERVAL_MS

    def show(self) -> str:
        """Reply of coverage/show."""
        hit = [name for name in NAMES if self._totals[name]]
        lines = [f"Event coverage, avg rate over last: {INTERVAL_MS // 1000} seconds, last minute, "
                 f"last hour,  hash={zlib.crc32(' '.join(hit).encode()):08x}:"]
        for name in hit:
            lines.append(f"{name:<24} {self._rate(name, 1):5.1f}/sec "
                         f"{self._rate(name, MINUTE):9.3f}/sec {self._rate(name, HOUR):13.4f}/sec"
                         f"   total: {self._totals[name]}")
        lines.append(f"{len(NAMES) - len(hit)} events never hit")
        return "".join(f"{line}\n" for line in lines)

    def read_counter(self, name: str) -> str:
        """Reply of coverage/read-counter."""
        if name not in self._totals:
            raise CommandError("No such counter")
        return f"{self._totals[name]}\n"

    def _rate(self, name: str, intervals: int) -> float:
        """Events a second; times before the start count as times without events."""
        first = self._past[max(0, len(self._past) - 1 - intervals)]
        return (self._past[-1][name] - first[name]) * 1000 / (intervals * INTERVAL_MS)


def memory_line(usage: Mapping[str, int]) -> str:
    """Reply of memory/show."""
    return " ".join(f"{key}:{value}" for key, value in sorted(usage.items()))
