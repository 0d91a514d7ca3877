"""What to do next: pure. The only module that knows the safe order of actions.

A port is added before anything names it and removed after nothing does. A plan names only ports
that exist already; those it adds are put to work by the plan after the next look.
"""
from __future__ import annotations

from collections.abc import Collection

from agent.model import (
    Action,
    AddPort,
    Desired,
    Observed,
    PollLists,
    PortSpec,
    PortState,
    RemovePort,
    SetBridges,
    SetCores,
    SetPollLists,
    SetTxRetriesMax,
)
from agent.schedule import schedule


def stays(spec: PortSpec | None, state: PortState) -> bool:
    """Whether the socket of a port is the wanted one; otherwise the port is made anew."""
    return spec is not None and (spec.path, spec.client) == (state.path, state.client)


def without(polls: PollLists, gone: Collection[str]) -> PollLists:
    return tuple((core, tuple(rxq for rxq in rxqs if rxq[0] not in gone)) for core, rxqs in polls)


def among(bridges: tuple[tuple[str, tuple[str, ...]], ...], names: Collection[str]
          ) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return tuple((bridge, tuple(m for m in members if m in names)) for bridge, members in bridges)


def plan(desired: Desired, observed: Observed) -> tuple[Action, ...]:
    """Actions, in order, that bring the data plane nearer to 'desired'; empty when it is there."""
    actions: list[Action] = []
    specs = {spec.name: spec for spec in desired.ports}
    staying = [state for state in observed.ports if stays(specs.get(state.name), state)]
    names = {state.name for state in staying}
    gone = {state.name for state in observed.ports} - names

    polls, bridges = without(observed.polls, gone), among(observed.bridges, names)
    if polls != observed.polls:
        actions.append(SetPollLists(polls))
    if bridges != observed.bridges:
        actions.append(SetBridges(bridges))
    actions += [RemovePort(name) for name in sorted(gone)]
    actions += [AddPort(spec) for spec in desired.ports
                if spec.path is not None and spec.name not in names]
    actions += [SetTxRetriesMax(state.name, specs[state.name].tx_retries_max)
                for state in staying
                if state.tx_retries_max != specs[state.name].tx_retries_max]

    if among(desired.bridges, names) != bridges:
        actions.append(SetBridges(among(desired.bridges, names)))
    actions += move_queues(desired.cores, staying, polls)
    return tuple(actions)


def move_queues(cores: tuple[int, ...], ports: list[PortState], polls: PollLists) -> list[Action]:
    """New PMDs start before, old ones stop after the queues have moved."""
    actions: list[Action] = []
    running = tuple(core for core, _ in polls)
    rxqs = [(state.name, queue) for state in ports for queue in state.enabled_rxqs]
    both = tuple(sorted({*running, *cores}))
    if both != running:
        actions.append(SetCores(both))
        lists = dict(polls)
        polls = tuple((core, lists.get(core, ())) for core in both)
    target = dict(schedule(rxqs, cores, polls))
    wanted = tuple((core, target.get(core, ())) for core in both)
    if wanted != polls:
        actions.append(SetPollLists(wanted))
    if cores != both:
        actions.append(SetCores(cores))
    return actions
