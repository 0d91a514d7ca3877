"""The one step from two snapshots, the database's and the data plane's, to effects.

Nothing here acts on events: an event only means that step() should be called again.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from agent import log
from agent.datapath import ApplyError, Datapath
from agent.model import Action, AddPort, Desired, Observed, PortSpec, Snapshot
from agent.plan import plan
from agent.validate import desired

ROUNDS = 4                      # of look, plan and apply; two are enough unless guests change too
RETRY_FIRST_MS = 500
RETRY_MOST_MS = 16_000


@dataclass(frozen=True, slots=True)
class Failure:
    """A port that the data plane refused, and when to try it again."""

    spec: PortSpec
    text: str
    tries: int
    retry_at_ms: int


def next_failure(spec: PortSpec, text: str, before: Failure | None, now_ms: int) -> Failure:
    """Waits twice as long after each refusal: 0.5 s to 16 s."""
    tries = before.tries + 1 if before is not None and before.spec == spec else 1
    wait_ms = min(RETRY_MOST_MS, RETRY_FIRST_MS << min(tries - 1, 16))
    return Failure(spec, text, tries, now_ms + wait_ms)


class Reconciler:
    """Keeps the data plane as the database wants it. For the main thread only."""

    def __init__(self, rundir: str, numa_cores: Sequence[Sequence[int]]) -> None:
        self._rundir = rundir
        self._numa_cores = numa_cores
        self.desired = Desired()
        self.observed = Observed()
        self._failures: dict[str, Failure] = {}
        self._problems_said: set[str] = set()

    @property
    def errors(self) -> dict[str, str]:
        """{interface: why it is not served}, the database's mistakes and the data plane's."""
        return {**self.desired.errors, **{f.spec.name: f.text for f in self._failures.values()}}

    def retry_at_ms(self) -> int | None:
        """When step() should run again although nothing changed; None: not needed."""
        return min((f.retry_at_ms for f in self._failures.values()), default=None)

    def step(self, snapshot: Snapshot | None, datapath: Datapath | None, now_ms: int,
             retry_all: bool) -> None:
        """Brings the data plane to 'snapshot' (None: serve nothing).

        'retry_all' tries refused ports again at once, as after any change of the database.
        """
        owners = {state.path: state.name for state in self.observed.ports}
        self.desired = Desired() if snapshot is None else desired(
            snapshot, rundir=self._rundir, numa_cores=self._numa_cores, owners=owners,
            dpdk_initialized=datapath is not None)
        self._say_problems()
        if retry_all:
            self._failures = {name: replace(f, retry_at_ms=now_ms)
                              for name, f in self._failures.items()}
        wanted = {spec.name: spec for spec in self.desired.ports}
        self._failures = {name: f for name, f in self._failures.items() if name in wanted}
        if datapath is not None:
            for _ in range(ROUNDS):
                self._observe(datapath)
                actions = plan(self._due(now_ms), self.observed)
                if not actions:
                    break
                for action in actions:
                    self._apply(datapath, action, now_ms)
            self._observe(datapath)

    def _due(self, now_ms: int) -> Desired:
        """What is wanted, but for refused ports whose time has not come."""
        waiting = {name for name, f in self._failures.items() if f.retry_at_ms > now_ms}
        return replace(self.desired, ports=tuple(
            p for p in self.desired.ports if p.name not in waiting))

    def _apply(self, datapath: Datapath, action: Action, now_ms: int) -> None:
        try:
            datapath.apply(action)
        except ApplyError as e:
            if not isinstance(action, AddPort):
                log.dpif.err(f"{action}: {e}")
                return
            spec = action.spec
            before = self._failures.get(spec.name)
            failure = next_failure(spec, str(e), before, now_ms)
            self._failures[spec.name] = failure
            if before is None or before.text != failure.text:
                log.netdev.err(failure.text)
        else:
            if isinstance(action, AddPort):
                self._failures.pop(action.spec.name, None)
                say_added(action.spec)

    def _observe(self, datapath: Datapath) -> None:
        before = {state.name: state for state in self.observed.ports}
        self.observed = datapath.observe()
        for state in self.observed.ports:
            was = before.get(state.name)
            if was is not None and was.connected and (
                    not state.connected or was.connects != state.connects):
                log.netdev.info(f"vHost Device '{state.path}' has been removed")
            if state.connected and (was is None or not was.connected
                                    or was.connects != state.connects):
                log.netdev.info(f"vHost Device '{state.path}' has been added on numa node "
                                f"{max(0, state.numa)}")

    def _say_problems(self) -> None:
        """Each problem once for as long as it lasts."""
        problems = {*self.desired.problems, *self.desired.errors.values()}
        problems |= {f"{spec.name}: {p}" for spec in self.desired.ports for p in spec.problems}
        for problem in sorted(problems - self._problems_said):
            log.bridge.warn(problem)
        self._problems_said = problems


def say_added(spec: PortSpec) -> None:
    if spec.client:
        log.netdev.info(f"vHost User device '{spec.name}' created in 'client' mode, "
                        f"using client socket '{spec.path}'")
    else:
        log.netdev.info(f"Socket {spec.path} created for vhost-user port {spec.name}")
