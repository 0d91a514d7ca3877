"""What the agent would do, without doing it: plans on a data plane that is only imagined. Pure."""
from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace

from agent.access import AS_MADE
from agent.actions import (
    Action,
    AddPort,
    RemovePort,
    RestPmd,
    SetAdminState,
    SetBridges,
    SetHostDevice,
    SetLimits,
    SetMemory,
    SetPollLists,
    SetSocketAccess,
    SetTxHash,
    SetTxRetriesMax,
    StartPmd,
    StopPmd,
)
from agent.eth_values import EthDevice, EthInfo
from agent.model import (
    Desired,
    Observed,
    Placing,
    PmdSpec,
    PollLists,
    PortSpec,
    PortState,
    Rxq,
)
from agent.placing import Placer, served
from agent.plan import plan

ROUNDS = 4                      # as the agent's own

Affinities = Mapping[str, tuple[tuple[int, int], ...]]      # port -> (queue, core)


@dataclass(frozen=True, slots=True)
class Placed:
    """What the rxqs that are polled now were placed by."""

    placing: Placing = field(default_factory=Placing)
    affinities: Affinities = field(default_factory=dict)    # of ports that have one


def affinities(desired: Desired) -> dict[str, tuple[tuple[int, int], ...]]:
    return {name: spec.affinity for name, spec in desired.ports.items() if spec.affinity}


def rehearse(desired: Desired, observed: Observed, placed: Placed, down: Collection[str],
             main_node: int) -> tuple[list[Action], Observed]:
    """All actions, in order, and what the data plane would be like then; no guest does anything
    meanwhile, and nothing is refused."""
    done: list[Action] = []
    for _ in range(ROUNDS):
        actions = plan(desired, observed, places(desired, observed, placed, main_node), down)
        if not actions:
            break
        done += actions
        for action in actions:
            observed = after(observed, action)
    return done, observed


def places(desired: Desired, observed: Observed, placed: Placed, main_node: int) -> PollLists:
    """Who polls what: as it is, unless there is a reason to place all anew. Loads are not known
    here, so where a queue would go then is a guess."""
    states = served(desired, observed)
    names = {state.name for state in states}
    rxqs = {(state.name, queue) for state in states for queue in range(state.n_rxqs)}
    polled: set[Rxq] = {rxq for _, polls in observed.polls for rxq in polls}
    cores = {spec.core for spec in observed.pmds}
    known = {name: pins for name, pins in placed.affinities.items() if name in names}
    if (polled == rxqs and cores == {spec.core for spec in desired.pmds}
            and placed.placing == desired.placing
            and known == {name: pins for name, pins in affinities(desired).items()
                          if name in names}):
        return observed.polls
    placer = Placer(main_node)
    placer.place(desired, observed)
    return placer.placement.lists


def after(observed: Observed, action: Action) -> Observed:
    """The data plane after an action."""
    match action:
        case AddPort(spec):
            return replace(observed, ports={**observed.ports, spec.name: new_port(spec, observed)})
        case RemovePort(name):
            return replace(observed, ports={
                other: state for other, state in observed.ports.items() if other != name})
        case SetBridges(bridges):
            return replace(observed, bridges=bridges)
        case SetPollLists(polls):
            return replace(observed, polls=polls)
        case StartPmd(pmd):
            return replace(observed, pmds=ordered((*observed.pmds, pmd)),
                           polls=tuple(sorted((*observed.polls, (pmd.core, ())))))
        case RestPmd(pmd):
            return replace(observed, pmds=ordered((
                pmd, *(other for other in observed.pmds if other.core != pmd.core))))
        case StopPmd(pmd):
            return replace(
                observed, pmds=tuple(p for p in observed.pmds if p.core != pmd.core),
                polls=tuple(polls for polls in observed.polls if polls[0] != pmd.core))
    state = changed(observed.ports[action.name], action)
    return replace(observed, ports={**observed.ports, action.name: state})


def ordered(pmds: tuple[PmdSpec, ...]) -> tuple[PmdSpec, ...]:
    return tuple(sorted(pmds, key=lambda pmd: pmd.core))


def new_port(spec: PortSpec, observed: Observed) -> PortState:
    assert spec.device is not None
    used = {state.number for state in observed.ports.values()}
    eth = (EthInfo(0, n_rxq=spec.device.n_rxq) if isinstance(spec.device, EthDevice) else None)
    return PortState(spec.name, spec.device, spec.tx_retries_max, spec.memory,
                     number=min(set(range(1, len(used) + 2)) - used), tx_hash=spec.tx_hash,
                     access=AS_MADE if spec.client else spec.access, eth=eth)


def changed(state: PortState, action: Action) -> PortState:
    """A port after an action that concerns it alone."""
    match action:
        case SetTxRetriesMax(_, retries):
            return replace(state, tx_retries_max=retries)
        case SetMemory(_, memory, node):
            return replace(state, memory=memory, node=node)
        case SetHostDevice(_, device):
            return replace(state, device=device)
        case SetTxHash(_, by_flow):
            return replace(state, tx_hash=by_flow)
        case SetLimits(_, limits):
            return replace(state, limits=limits)
        case SetSocketAccess(_, access):
            return replace(state, access=access)
        case SetAdminState(_, up):
            return replace(state, up=up)
    raise AssertionError(action)


def anew(actions: Collection[Action]) -> Iterator[str]:
    """Ports that are removed and added again."""
    removed = {action.name for action in actions if isinstance(action, RemovePort)}
    for action in actions:
        if isinstance(action, AddPort) and action.spec.name in removed:
            yield action.spec.name
