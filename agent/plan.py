"""What to do next: pure. The only module that knows the safe order of actions.

A port is added before anything names it and removed after nothing does. A plan names only ports
that exist already; those it adds are put to work by the plan after the next look.
"""
from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from agent import mirroring
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
from agent.eth_values import EthDevice
from agent.host_model import HostDevice
from agent.model import (
    TSO_ON,
    Bridges,
    Desired,
    Observed,
    PmdSpec,
    PollLists,
    PortSpec,
    PortState,
    Registration,
)
from agent.tso import next_device, turns


def stays(spec: PortSpec, state: PortState) -> bool:
    """Whether the socket of a port is kept; otherwise the port is made anew.

    A client port moves at once when it is given another path: that is what was asked for. All else
    that needs a new registration waits until no front end is connected: one that only restarts its
    driver might not find back.
    """
    if spec.device is None:
        return False
    wanted, has = spec.device, state.device
    if isinstance(wanted, Registration) and isinstance(has, Registration):
        if wanted is has or replace(wanted, tso=has.tso) == has:
            return not turns(wanted, state)
        if wanted.client != has.client or (wanted.client and wanted.path != has.path):
            return False
        return state.attached
    if isinstance(wanted, HostDevice) and isinstance(has, HostDevice):
        return (wanted.kind, wanted.name, wanted.lasts) == (has.kind, has.name, has.lasts)
    # an Ethernet device has to be stopped for another MTU
    return wanted == has and (not isinstance(has, EthDevice) or spec.memory == state.memory)


def without(polls: PollLists, gone: Collection[str]) -> PollLists:
    if not gone:
        return polls
    return tuple((core, tuple(rxq for rxq in rxqs if rxq[0] not in gone)) for core, rxqs in polls)


def among(bridges: Bridges, names: Collection[str]) -> Bridges:
    """The bridges with those of their ports alone that are in 'names'."""
    return tuple(replace(
        bridge, members=tuple(m for m in bridge.members if m[0] in names),
        patches=tuple((name, peer if peer in names else None)
                      for name, peer in bridge.patches if name in names),
        mirrors=mirroring.among(bridge.mirrors, names)) for bridge in bridges)


def plan(desired: Desired, observed: Observed, placed: PollLists, down: Collection[str] = ()
         ) -> tuple[Action, ...]:
    """Actions, in order, that bring the data plane nearer to 'desired'; empty when it is there.

    'placed' is what the desired PMDs are to poll: rxqs of ports that are in both. Ports in 'down'
    are to be administratively down.
    """
    actions: list[Action] = []
    specs, many_nodes = desired.ports, desired.numa_nodes > 1
    # Registrations, like memory below, mostly are the same object: that is looked at first, for
    # a thousand ports are looked at whenever one changes.
    staying = {name: state for name, state in observed.ports.items()
               if (spec := specs.get(name)) is not None
               and not state.host.lost and not state.socket_gone
               and ((spec.device is state.device and spec.memory is state.memory
                     and not (isinstance(spec.device, Registration)
                              and spec.device.tso == TSO_ON))
                    or stays(spec, state))}
    gone = observed.ports.keys() - staying.keys()
    names = staying.keys()

    polls, bridges = without(observed.polls, gone), observed.bridges
    if polls != observed.polls:
        actions.append(SetPollLists(polls))
    if gone:
        bridges = among(bridges, names)
        if bridges != observed.bridges:
            actions.append(SetBridges(bridges))
    actions += [RemovePort(name, isinstance(device := observed.ports[name].device, HostDevice)
                           and device.lasts and device.name in desired.taps_elsewhere)
                for name in sorted(gone)]
    # server ports first: a client port whose path is another name of such a one's socket is refused
    actions += [AddPort(replace(spec, device=next_device(spec.device, observed.ports.get(name))))
                for name in sorted(specs.keys() - names, key=lambda n: (specs[n].client, n))
                if (spec := specs[name]).device is not None]
    for name, state in staying.items():
        spec = specs[name]
        if state.tx_retries_max != spec.tx_retries_max:
            actions.append(SetTxRetriesMax(name, spec.tx_retries_max))
        if state.tx_hash != spec.tx_hash:
            actions.append(SetTxHash(name, spec.tx_hash))
        if state.up == (name in down):
            actions.append(SetAdminState(name, not state.up))
        if spec.limits is not state.limits and spec.limits != state.limits:
            actions.append(SetLimits(name, spec.limits))
        if spec.access is not state.access and spec.access != state.access:
            actions.append(SetSocketAccess(name, spec.access))
        if spec.device is not state.device and isinstance(spec.device, HostDevice) and (
                spec.device != state.device):
            actions.append(SetHostDevice(name, spec.device))
        node = state.numa if many_nodes and state.numa >= 0 else state.node
        # an Ethernet device keeps its buffers as long as it runs
        if state.eth is None and (node != state.node or (
                spec.memory is not state.memory and spec.memory != state.memory)):
            actions.append(SetMemory(name, spec.memory, node))

    wanted = among(desired.bridges, names)
    if wanted != bridges:
        actions.append(SetBridges(wanted))
    # a port that is made anew is put to work again by the plan after this one
    actions += move_queues(desired.pmds, observed.pmds, without(placed, gone), polls)
    return tuple(actions)


def move_queues(wanted: Collection[PmdSpec], running: Collection[PmdSpec], placed: PollLists,
                polls: PollLists) -> list[Action]:
    """New PMDs start before, old ones stop after the queues have moved."""
    runs = {spec.core: spec for spec in running}
    cores = {spec.core for spec in wanted}
    actions: list[Action] = [StartPmd(spec) for spec in wanted if spec.core not in runs]
    actions += [RestPmd(spec) for spec in wanted if runs.get(spec.core, spec) != spec]
    lists = dict(placed)
    target = tuple((core, lists.get(core, ())) for core in sorted({*runs, *cores}))
    if target != polls:
        actions.append(SetPollLists(target))
    actions += [StopPmd(spec) for spec in running if spec.core not in cores]
    return actions
