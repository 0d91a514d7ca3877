"""The one step from two snapshots, the database's and the data plane's, to effects.

Nothing here acts on events: an event only means that step() should be called again.
"""
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any

from agent import log, loglines
from agent.access import AS_MADE
from agent.actions import (
    Action,
    AddPort,
    RemovePort,
    RestPmd,
    SetMemory,
    SetSocketAccess,
    SetTxHash,
    SetTxRetriesMax,
    StartPmd,
    StopPmd,
)
from agent.datapath import ApplyError, Datapath
from agent.fdb import flap_problems
from agent.guest_log import GuestLog
from agent.hostconfig import HostConfig, host_config
from agent.model import (
    SERVER_TYPE,
    WITHOUT_QUEUES,
    Desired,
    Observed,
    PmdSpec,
    PortSpec,
    PortState,
    Readings,
    Registration,
    Snapshot,
    place,
)
from agent.options import number_ranges
from agent.placing import Placer
from agent.plan import plan
from agent.quarantine import Conduct, judged
from agent.role import VSWITCHD, Role
from agent.socket_directories import SocketDirectories
from agent.validate import Memo, desired

ROUNDS = 4                      # of look, plan and apply; two are enough unless guests change too
RETRY_FIRST_MS = 500
RETRY_MOST_MS = 16_000


@dataclass(frozen=True, slots=True)
class Failure:
    """A port that the data plane refused, or refused something, and when to try it again."""

    spec: PortSpec
    text: str
    tries: int
    retry_at_ms: int


def next_failure(spec: PortSpec, text: str, before: Failure | None, now_ms: int) -> Failure:
    """Waits twice as long after each refusal: 0.5 s to 16 s."""
    tries = before.tries + 1 if before is not None and before.spec == spec else 1
    wait_ms = min(RETRY_MOST_MS, RETRY_FIRST_MS << min(tries - 1, 16))
    return Failure(spec, text, tries, now_ms + wait_ms)


Failures = dict[str, Failure]   # by port


class Reconciler:
    """Keeps the data plane as the database wants it. For the main thread only."""

    def __init__(self, rundir: str, numa_cores: Mapping[int, Sequence[int]], main_node: int = 0,
                 role: Role = VSWITCHD) -> None:
        self._rundir = rundir
        self._role = role
        self.fills_memory = False           # guests' memory is touched as soon as it is mapped
        self._numa_cores = numa_cores
        self.placer = Placer(main_node)
        self.desired = Desired()
        self.steps = 0                      # calls of step()
        self.actions = 0                    # that the data plane was told to do
        self.refusals = 0                   # of these, what it refused
        self.observed = Observed()
        self._config: HostConfig | None = None
        self._config_of: tuple[Mapping[str, str], bool] | None = None   # what it was made of
        self._config_said: HostConfig | None = None
        self._at_start: Mapping[str, str] | None = None     # other_config when DPDK started
        self._memo: Memo = {}
        self._refused: Failures = {}                        # ports that could not be added
        self._short: Failures = {}                          # ports that get no other memory
        self._denied: Failures = {}         # ports whose sockets keep owner, group and mode
        self._conduct: dict[str, Conduct] = {}              # of ports' front ends
        self.closed: dict[str, Conduct] = {}                # those that are closed for it
        self._down: set[str] = set()                        # ports, by netdev-dpdk/set-admin-state
        self._no_pmd: dict[int, str] = {}                   # core -> why it has none
        self._no_pmd_said: dict[int, str] = {}
        self._news: list[loglines.Line] = []                # about placement, to be said last
        self._pmds_tried: tuple[PmdSpec, ...] = ()          # the wish that they are not part of
        self._pmds_said: list[tuple[int, int]] = []         # (node, core) of each PMD
        self._guest_log = GuestLog()
        self._directories = SocketDirectories(rundir)
        self._problems_said: set[str] = set()
        self._said_deprecated = False
        self._flapping: Mapping[str, tuple[str, ...]] = {}      # port -> what is said of it

    @property
    def errors(self) -> Mapping[str, str]:
        """{interface: why it is not served}, the database's mistakes and the data plane's."""
        return {**self.desired.errors, **{name: f.text for name, f in self._refused.items()},
                **{name: c.text for name, c in self.closed.items()}}

    @property
    def problems(self) -> Mapping[str, tuple[str, ...]]:
        """{interface: what of it the data plane could not do}"""
        problems = {name: [why] for name, why in self.desired.port_problems.items()}
        for name, f in (*self._short.items(), *self._denied.items()):
            problems.setdefault(name, []).append(f.text)
        for core, why in sorted(self._no_pmd.items()):
            for name, spec in self.desired.ports.items():
                if not isinstance(spec.device, WITHOUT_QUEUES):
                    problems.setdefault(name, []).append(f"no PMD thread on core {core}: {why}")
        if self.desired.pmds:       # else it is said that there is none
            unpolled: dict[str, list[int]] = {}
            for name, queue in self.placer.placement.unpolled:
                unpolled.setdefault(name, []).append(queue)
            for name, queues in unpolled.items():
                what = (f"rx queue {queues[0]} is" if len(queues) == 1
                        else f"rx queues {number_ranges(sorted(queues))} are")
                problems.setdefault(name, []).append(
                    f"{what} not polled: every PMD thread is kept for the queues that "
                    f"pmd-rxq-affinity pins to it ({self._role.prefix}pmd-rxq-isolate)")
        for name, said in self._flapping.items():
            problems.setdefault(name, []).extend(said)
        return {name: tuple(texts) for name, texts in problems.items()}

    @property
    def config(self) -> HostConfig | None:
        """Settings of the whole agent as of the last step(); None before the first."""
        return self._config

    @property
    def down(self) -> Set[str]:
        """Ports that are to be administratively down."""
        return self._down

    @property
    def at_start(self) -> Mapping[str, str] | None:
        """other_config when DPDK started; None before."""
        return self._at_start

    def set_admin_state(self, ports: Iterable[str], up: bool) -> None:
        """What the next step() does to ports, and later ones keep until their rows go. To set them
        up also opens those that are closed."""
        names = set(ports)
        self._down = self._down - names if up else self._down | names
        if up:
            self._conduct = {n: c for n, c in self._conduct.items() if n not in names}

    def retry_at_ms(self) -> int | None:
        """When step() should run again although nothing changed; None: not needed."""
        retries = [f.retry_at_ms for failures in (self._refused, self._short, self._denied)
                   for f in failures.values()]
        return min(retries + [c.until_ms for c in self.closed.values()], default=None)

    def wish(self, snapshot: Snapshot, dpdk_initialized: bool) -> HostConfig:
        """Brings 'desired' to the snapshot, and nothing else."""
        config = self._look_at_config(snapshot, dpdk_initialized)
        self.desired = desired(snapshot, config, self._owners, self._memo)
        return config

    def step(self, snapshot: Snapshot, datapath: Datapath | None, now_ms: int, retry_all: bool
             ) -> None:
        """Brings the data plane to 'snapshot'.

        'retry_all' tries refused ports again before their time: something changed.
        """
        self.steps += 1
        if datapath is not None:
            self._look(datapath, now_ms)
        self._say_problems(self.wish(snapshot, datapath is not None))
        if self.desired.pmds != self._pmds_tried:
            self._pmds_tried = self.desired.pmds
            self._no_pmd.clear()
        self._down &= self.desired.ports.keys()
        for name in self._conduct.keys() - self.desired.ports.keys():
            del self._conduct[name]
        for name in list(self._refused):
            spec = self.desired.ports.get(name)
            if spec is None or spec.device is None:
                del self._refused[name]
        if retry_all:
            for failures in (self._refused, self._short, self._denied):
                failures |= {name: replace(f, retry_at_ms=now_ms) for name, f in failures.items()}
        if datapath is not None:
            for _ in range(ROUNDS):
                actions = self._due(now_ms)
                if not actions:
                    break
                without = len(self._no_pmd)
                for action in actions:
                    # no queue goes to a PMD that is not there
                    if len(self._no_pmd) == without or isinstance(action, StartPmd):
                        self._apply(datapath, action, now_ms)
                self._look(datapath, now_ms)
                if (len(self._no_pmd) == without
                        and not any(isinstance(action, AddPort) for action in actions)):
                    break           # only what is new has still to be put to work
            self._say_pmds()
            say(self._news, log.dpif)
            self._news.clear()

    def sample(self, readings: Readings, now_ms: int) -> bool:
        """Takes what PMDs and rxqs did since the last call; whether step() should be called."""
        uneven, lines = self.placer.sample(self.desired, self.observed, readings, now_ms)
        say(lines, log.dpif)
        return uneven

    def watch_tables(self, datapath: Datapath) -> bool:
        """Removes aged addresses and groups, and looks for addresses that flap; whether 'problems'
        changed. To be called once a second."""
        datapath.expire_fdb()
        datapath.expire_mdb()
        before, self._flapping = self._flapping, flap_problems(datapath.fdb_flaps())
        for name in sorted(self._flapping.keys()):
            for text in self._flapping[name]:
                if text not in before.get(name, ()):
                    log.bridge.warn(f"{name}: {text}")
        return self._flapping != before

    def _say_pmds(self) -> None:
        """How many PMD threads each NUMA node has, when some were started or stopped."""
        cores = [(spec.node, spec.core) for spec in self.observed.pmds]
        if cores != self._pmds_said:
            self._pmds_said = cores
            say([loglines.pmd_threads(node, sum(n == node for n, _ in cores))
                 for node in sorted({node for node, _ in cores})], log.dpif)

    def _owners(self) -> Mapping[str, str]:
        """{path in use: the port that has it}"""
        return {path: name for name, state in self.observed.ports.items()
                if (path := place(state.device)) is not None}

    def _look_at_config(self, snapshot: Snapshot, dpdk_initialized: bool) -> HostConfig:
        made_of = (snapshot.other_config, dpdk_initialized)
        if dpdk_initialized and self._at_start is None:
            self._at_start = snapshot.other_config
        if self._config is None or made_of != self._config_of:
            self._config_of = made_of
            self._config = host_config(
                snapshot.other_config, rundir=self._rundir, numa_cores=self._numa_cores,
                dpdk_initialized=dpdk_initialized, at_start=self._at_start,
                tso_on=self._config is not None and self._config.tso,
                access_before=self._config.access if self._config is not None else AS_MADE,
                fills_memory=self.fills_memory, role=self._role)
            if dpdk_initialized:
                say(loglines.config_lines(self._config_said, self._config, self._rundir))
                say(loglines.pmd_config_lines(self._config_said, self._config), log.dpif)
                self._config_said = self._config
        return self._config

    def _due(self, now_ms: int) -> Sequence[Action]:
        """What is to be done, but for what was refused and whose time has not come."""
        wanted = self.desired
        self.closed = {name: c for name, c in self._conduct.items()
                       if c.until_ms > now_ms and c.spec == wanted.ports.get(name)}
        waiting = {name for name, f in self._refused.items() if f.retry_at_ms > now_ms}
        waiting |= self.closed.keys()
        if waiting:
            wanted = replace(wanted, ports={
                name: spec for name, spec in wanted.ports.items() if name not in waiting})
        if self._no_pmd:
            wanted = replace(wanted, pmds=tuple(
                spec for spec in wanted.pmds if spec.core not in self._no_pmd))
        self._news += self.placer.place(wanted, self.observed)
        actions = plan(wanted, self.observed, self.placer.placement.lists, self._down)
        for kind, failures in ((SetMemory, self._short), (SetSocketAccess, self._denied)):
            if not failures:
                continue
            wished = {a.name for a in actions if isinstance(a, kind)}
            for name in failures.keys() - wished:       # not wanted any more
                del failures[name]
            actions = tuple(a for a in actions if not isinstance(a, kind) or a.name not in failures
                            or failures[a.name].retry_at_ms <= now_ms)
        return actions

    def _apply(self, datapath: Datapath, action: Action, now_ms: int) -> None:
        if isinstance(action, RemovePort):
            say(loglines.removing(self.observed.ports[action.name]))
        self.actions += 1
        try:
            datapath.apply(action)
        except ApplyError as e:
            self.refusals += 1
            self._failed(action, str(e), now_ms)
            return
        match action:
            case AddPort(spec):
                self._refused.pop(spec.name, None)
                say(loglines.added(spec))
                say(("warn", text) for text in self._directories.exposures(spec))
            case SetMemory(name):
                self._short.pop(name, None)
            case SetSocketAccess(name, access):
                self._denied.pop(name, None)
                say([loglines.socket_access(name, access)])
            case SetTxRetriesMax(name, retries):
                say([loglines.retries(name, retries)])
            case SetTxHash(name, by_flow):
                say([loglines.tx_steering(name, by_flow)])
            case StartPmd(pmd):
                say(loglines.pmd_created(pmd, datapath.lcore(pmd.core)), log.dpif)
                self._no_pmd_said.pop(pmd.core, None)
            case RestPmd(pmd):
                before = {spec.core: spec.sleep_max_us for spec in self.observed.pmds}
                if before[pmd.core] != pmd.sleep_max_us:
                    say([loglines.pmd_sleep(pmd)], log.dpif)
            case StopPmd(pmd):
                say([loglines.pmd_destroyed(pmd)], log.dpif)

    def _failed(self, action: Action, text: str, now_ms: int) -> None:
        match action:
            case AddPort(spec):
                failures = self._refused
            case SetMemory(name, memory):
                failures, spec = self._short, self.desired.ports[name]
                mtu = self.observed.ports[name].memory.mtu
                stays = (f"the MTU stays {mtu} until there is memory for {memory.mtu}"
                         if mtu != memory.mtu else "the port keeps those it has until there are")
                text = f"no packet buffers of {memory.room_bytes} bytes ({text}): {stays}"
            case SetSocketAccess(name):
                failures, spec = self._denied, self.desired.ports[name]
            case StartPmd(pmd):
                self._no_pmd[pmd.core] = text
                if self._no_pmd_said.get(pmd.core) != text:
                    log.dpif.err(f"no PMD thread on core {pmd.core}: {text}")
                self._no_pmd_said[pmd.core] = text
                return
            case _:
                log.dpif.err(f"{action}: {text}")
                return
        self._note(failures, spec, text, now_ms)

    def _note(self, failures: Failures, spec: PortSpec, text: str, now_ms: int) -> None:
        before = failures.get(spec.name)
        failures[spec.name] = next_failure(spec, text, before, now_ms)
        if before is None or before.text != text:
            log.netdev.err(text if failures is self._refused else f"{spec.name}: {text}")

    def _look(self, datapath: Datapath, now_ms: int) -> None:
        before = self.observed.ports
        self.observed = datapath.observe()
        for name, state in self.observed.ports.items():
            if state.host.lost and name not in self._refused and name in self.desired.ports:
                self._note(self._refused, self.desired.ports[name], state.host.lost, now_ms)
            was = before.get(name)
            if was is not state:
                say(self._guest_log.lines(was or loglines.without_guest(state), state, now_ms))
                if isinstance(state.device, Registration) and name in self.desired.ports:
                    self._judge(datapath, was, state, now_ms)
        self._guest_log.keep(self.observed.ports)

    def _judge(self, datapath: Datapath, was: PortState | None, state: PortState, now_ms: int
               ) -> None:
        name, before = state.name, self._conduct.get(state.name)
        asked = 0
        if state.offences > (was.offences if was is not None else 0):
            asked = datapath.handshake(name).last_request
        after = judged(before, self.desired.ports[name], state, asked, now_ms)
        self._conduct[name] = after
        if after.until_ms > now_ms and after != before:
            log.netdev.err(after.text)

    def _say_problems(self, config: HostConfig) -> None:
        """Each problem once for as long as it lasts; what concerns all ports is said once."""
        shared = set(config.problems)
        problems = {*self.desired.problems, *self.desired.errors.values()}
        problems |= {f"{name}: {p}" for name, spec in self.desired.ports.items()
                     for p in spec.problems if p not in shared}
        problems |= {f"{name}: {p}" for name, p in self.desired.port_problems.items()}
        for problem in sorted(problems - self._problems_said):
            log.bridge.warn(problem)
        self._problems_said = problems
        if not self._said_deprecated and any(
                spec.type == SERVER_TYPE for spec in self.desired.ports.values()):
            log.netdev.warn(loglines.DEPRECATED)
            self._said_deprecated = True


def say(lines: Iterable[loglines.Line], module: Any = log.netdev) -> None:
    for level, text in lines:
        getattr(module, level)(text)
