"""ovs-appctl commands about PMD threads, DPDK and what was counted."""
from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from agent import control, dpdk_log, pmd_show
from agent.command import CommandError
from agent.coverage import Coverage, memory_line
from agent.datapath import Datapath
from agent.model import ETH_TYPE, VHOST_TYPES, Counters, Readings, Rxq
from agent.reconcile import Reconciler

NOT_DPDK = "Not a DPDK Interface"
STATES = {"up": True, "down": False}


class PmdCommands:
    """Answers from what the reconciler knows. For the main thread only.

    'datapath' gives the data plane once there is one; 'counters' a port's counters as of its last
    statistics; 'changed' is called when something is to be done that the reconciler was told;
    'fdb_events' counts what happened in MAC tables.
    """

    def __init__(self, reconciler: Reconciler, datapath: Callable[[], Datapath | None],
                 counters: Callable[[str], Counters], changed: Callable[[], None],
                 fdb_events: Callable[[], Mapping[str, int]]) -> None:
        self._reconciler = reconciler
        self._datapath = datapath
        self._counters = counters
        self._changed = changed
        self._fdb_events = fdb_events
        self._cleared = pmd_show.Cleared(now_ms())
        self._coverage = Coverage(now_ms())
        self._reconfigured = 0
        for name, usage, most, answer in (
            ("dpif-netdev/pmd-rxq-show", "[-pmd core] [-secs secs] [dp]", 5, self._rxq_show),
            ("dpif-netdev/pmd-stats-show", "[-pmd core] [dp]", 3, self._stats_show),
            ("dpif-netdev/pmd-stats-clear", "[-pmd core] [dp]", 3, self._stats_clear),
            ("dpif-netdev/pmd-perf-show", "[-nh] [-it iter-history-len] [-ms ms-history-len] "
             "[-pmd core] [dp]", 8, self._perf_show),
            ("dpif-netdev/pmd-sleep-show", "[dp]", 1, self._sleep_show),
            ("dpif-netdev/pmd-rxq-rebalance", "[dp]", 1, self._rebalance),
            ("netdev-dpdk/get-mempool-info", "[netdev]", 1, self._mempool_info),
            ("netdev-dpdk/set-admin-state", "[netdev] up|down", 2, self._set_admin_state),
            ("coverage/show", "", 0, self._coverage_show),
            ("memory/show", "", 0, self._memory_show),
        ):
            least = 1 if name.endswith("set-admin-state") else 0
            control.register(name, usage, least, most, answer)
        control.register("coverage/read-counter", "counter", 1, 1, self._read_counter)

    def dpdk_started(self, datapath: Datapath) -> None:
        """Registers the commands that there are only with DPDK."""
        control.register("dpdk/log-list", "", 0, 0, lambda _: datapath.describe_log_levels())
        control.register("dpdk/lcore-list", "", 0, 0, lambda _: datapath.describe_lcores())
        control.register("dpdk/log-set", "{level | pattern:level}", 0, 4096,
                         lambda words: log_set(words, datapath))

    def reconfigured(self) -> None:
        """The database asked for something else."""
        self._reconfigured += 1

    def sample(self, readings: Readings) -> None:
        """Keeps what was counted up to date; at least every 5 s."""
        pmds = readings.pmds.values()
        self._coverage.sample(now_ms(), {
            "bridge_reconfigure": self._reconfigured,
            **self._fdb_events(),
            "vhost_tx_contention": sum(c.tx_contentions for c in pmds),
            "netdev_received": sum(c.rx_packets for c in pmds),
            "netdev_sent": sum(c.tx_packets for c in pmds),
            "datapath_drop_rx_invalid_packet": sum(
                self._counters(port).port.get("rx_malformed_drops", 0)
                for port in self._reconciler.observed.ports)})

    # --- PMD threads ------------------------------------------------------------------------------

    def _asked(self, words: Sequence[str]) -> pmd_show.Asked:
        return pmd_show.parse(words, bool(self._reconciler.desired.bridges))

    def _readings(self) -> Readings:
        datapath = self._datapath()
        return Readings() if datapath is None else datapath.readings()

    def _rxq_show(self, words: Sequence[str]) -> str:
        asked, observed = self._asked(words), self._reconciler.observed
        placer = self._reconciler.placer
        cores = {rxq: core for core, rxqs in observed.polls for rxq in rxqs}

        def enabled(rxq: Rxq) -> bool:
            state = observed.ports[rxq[0]]
            return rxq[1] in state.enabled_rxqs if state.connected else not state.connects

        return pmd_show.rxq_show(
            asked, observed.pmds, observed.polls, placer.placement.isolated, enabled,
            lambda rxq, secs: placer.loads.usage(cores[rxq], rxq, secs), placer.loads.overhead)

    def _stats_show(self, words: Sequence[str]) -> str:
        return pmd_show.stats_show(self._asked(words), self._reconciler.observed.pmds,
                                   self._cleared.since(self._readings()))

    def _stats_clear(self, words: Sequence[str]) -> str:
        self._cleared.clear(self._readings(), now_ms(), self._asked(words).core)
        return ""

    def _perf_show(self, words: Sequence[str]) -> str:
        asked, readings = self._asked(words), self._readings()
        return pmd_show.perf_show(
            asked, self._reconciler.observed.pmds, self._cleared.since(readings), readings.tsc_hz,
            self._cleared.main_ms(now_ms()), time.time_ns() // 1_000_000)

    def _sleep_show(self, words: Sequence[str]) -> str:
        self._asked(words)
        config = self._reconciler.config
        return pmd_show.sleep_show(self._reconciler.observed.pmds,
                                   config.default_sleep_us if config is not None else 0)

    def _rebalance(self, words: Sequence[str]) -> str:
        pmd_show.parse_datapath(words, bool(self._reconciler.desired.bridges))
        self._reconciler.placer.ask()
        self._changed()
        return "pmd rxq rebalance requested."

    # --- DPDK -------------------------------------------------------------------------------------

    def _mempool_info(self, words: Sequence[str]) -> str:
        datapath = self._datapath()
        if not words and datapath is not None:
            return datapath.describe_mempool(None)
        if not words or words[0] not in self._dpdk_ports() or datapath is None:
            raise CommandError(NOT_DPDK)
        state = self._reconciler.observed.ports.get(words[0])
        # OVS has none before the first guest
        if state is None or (state.eth is None and not state.connects):
            raise CommandError("Not allocated")
        return datapath.describe_mempool(words[0])

    def _dpdk_ports(self) -> set[str]:
        return {name for name, spec in self._reconciler.desired.ports.items()
                if spec.type in (ETH_TYPE, *VHOST_TYPES)}

    def _set_admin_state(self, words: Sequence[str]) -> str:
        *names, state = words
        if state.lower() not in STATES:
            raise CommandError("Invalid Admin State")
        ports = self._dpdk_ports()
        if not ports >= set(names):
            raise CommandError(NOT_DPDK)
        self._reconciler.set_admin_state(names or ports, STATES[state.lower()])
        self._changed()
        return "OK"

    # --- what was counted -------------------------------------------------------------------------

    def _coverage_show(self, _: Sequence[str]) -> str:
        self.sample(self._readings())
        return self._coverage.show()

    def _read_counter(self, words: Sequence[str]) -> str:
        self.sample(self._readings())
        return str(self._coverage.read_counter(words[0]))

    def _memory_show(self, _: Sequence[str]) -> str:
        datapath = self._datapath()
        return memory_line(datapath.usage() if datapath is not None else {})


def log_set(words: Sequence[str], datapath: Datapath) -> str:
    dpdk_log.set_levels(words, datapath.set_log_level)
    return ""


def now_ms() -> int:
    return time.monotonic_ns() // 1_000_000
