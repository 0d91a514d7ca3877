"""What a plan would do, in words: pure."""
from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from agent import report
from agent.actions import (
    Action,
    AddPort,
    RemovePort,
    RestPmd,
    SetAdminState,
    SetHostDevice,
    SetLimits,
    SetMemory,
    SetSocketAccess,
    SetTxHash,
    SetTxRetriesMax,
    StartPmd,
    StopPmd,
)
from agent.eth_values import EthDevice
from agent.host_model import HostDevice
from agent.model import (
    BridgeSpec,
    Desired,
    Device,
    Observed,
    PatchDevice,
    PortState,
    Registration,
)
from agent.rehearsal import anew
from agent.show import some

ADD, REMOVE, CHANGE, LATER = "+", "-", "~", ">"
UNKNOWN = ("Not known here: what guests do meanwhile, what DPDK or the kernel refuses, and the "
           "loads that rx queues are placed by.")


def lines(desired: Desired, before: Observed, actions: Sequence[Action], then: Observed
          ) -> Iterator[str]:
    """One line for each thing that would change; each begins with a sign. Ports first, then
    bridges, then threads."""
    again = set(anew(actions))
    for action in actions:
        yield from port_lines(desired, before, action, again)
    for name, spec in desired.ports.items():
        state = then.ports.get(name)
        if state is not None and isinstance(state.device, Registration) and (
                waiting := report.pending(spec.device, state.device)):
            yield f"{LATER} port {name}: {waiting}"
    yield from bridge_lines(before, then)
    for action in actions:
        match action:
            case StartPmd(pmd):
                yield f"{ADD} PMD thread on core {pmd.core} (node {pmd.node})"
            case RestPmd(pmd):
                was = next(p for p in before.pmds if p.core == pmd.core)
                yield f"{CHANGE} PMD thread on core {pmd.core}: {changes(was, pmd)}"
    yield from queue_lines(before, then)
    for action in actions:
        if isinstance(action, StopPmd):
            yield f"{REMOVE} PMD thread on core {action.spec.core}"


# --- ports ----------------------------------------------------------------------------------------

def port_lines(desired: Desired, before: Observed, action: Action, again: Collection[str]
               ) -> Iterator[str]:
    match action:
        case RemovePort(name) if name not in again:
            yield f"{REMOVE} port {name}{parting(before.ports[name])}"
        case AddPort(spec) if spec.name in again:
            state = before.ports[spec.name]
            yield (f"{REMOVE}{ADD} port {spec.name} is made anew: {where(state.device)} -> "
                   f"{where(spec.device)}{parting(state)}")
        case AddPort(spec):
            yield (f"{ADD} port {spec.name} on bridge {spec.bridge}: {spec.type or 'system'}, "
                   f"{where(spec.device)}")
        case _:
            if (words := setting(before, action)) is not None:
                yield f"{CHANGE} {words}"


def setting(before: Observed, action: Action) -> str | None:
    """What an action changes of one port that is there; None for other actions."""
    name = getattr(action, "name", "")
    state = before.ports.get(name)
    if state is None:
        return None
    match action:
        case SetTxRetriesMax(_, retries):
            what = f"tx-retries-max {state.tx_retries_max} -> {retries}"
        case SetMemory(_, memory, node):
            what = changes(state.memory, memory) or f"packet buffers on NUMA node {node}"
        case SetHostDevice(_, device):
            what = changes(state.device, device)
        case SetTxHash(_, by_flow):
            what = f"tx-steering {'hash' if by_flow else 'thread'}"
        case SetLimits(_, limits):
            what = changes(state.limits, limits)
        case SetSocketAccess(_, access):
            what = f"its socket has {access}"
        case SetAdminState(_, up):
            what = f"administratively {'up' if up else 'down'}"
        case _:
            return None
    return f"port {name}: {what}"


def where(device: Device | None) -> str:
    match device:
        case Registration(path, client):
            return f"connects to {path}" if client else f"listens at {path}"
        case EthDevice(devargs):
            return f"device {devargs}"
        case HostDevice(kind, name):
            return f"{kind} device {name}"
        case PatchDevice(peer):
            return f"peer {peer}"
    return "nowhere"


def parting(state: PortState) -> str:
    """What that means for its guest."""
    if not isinstance(state.device, Registration) or not state.attached:
        return ""
    return (": a guest is connected and loses its link" if state.device.client else
            ": a guest is connected, and must connect again or be started again")


# --- bridges and threads --------------------------------------------------------------------------

def bridge_lines(before: Observed, then: Observed) -> Iterator[str]:
    was, now = by_name(before), by_name(then)
    for name in sorted(was.keys() | now.keys()):
        if name not in now:
            yield f"{REMOVE} bridge {name}"
        elif name not in was:
            yield f"{ADD} bridge {name}"
        else:
            yield from between(was[name], now[name])


def by_name(observed: Observed) -> Mapping[str, BridgeSpec]:
    return {bridge.name: bridge for bridge in observed.bridges}


def between(was: BridgeSpec, now: BridgeSpec) -> Iterator[str]:
    if settings := changes(was, now, without=("members", "patches", "mirrors")):
        yield f"{CHANGE} bridge {now.name}: {settings}"
    if was.mirrors != now.mirrors:
        yield f"{CHANGE} bridge {now.name}: mirrors {len(was.mirrors)} -> {len(now.mirrors)}"
    members = dict(was.members)
    for port, how in now.members:
        if port in members and (words := changes(members[port], how)):
            yield f"{CHANGE} port {port}: {words}"


def queue_lines(before: Observed, then: Observed) -> Iterator[str]:
    """Whether queues move, and not merely go."""
    was = {rxq: core for core, rxqs in before.polls for rxq in rxqs}
    now = {rxq: core for core, rxqs in then.polls for rxq in rxqs}
    if any(was.get(rxq) != core for rxq, core in now.items()):
        cores = ", ".join(str(core) for core, _ in then.polls)
        which = "1 rx queue is" if len(now) == 1 else f"{len(now)} rx queues are"
        several = "thread of core" if len(then.polls) == 1 else "threads of cores"
        yield f"{CHANGE} {which} placed anew, on the PMD {several} {cores}"


# --- what is wrong --------------------------------------------------------------------------------

def told(desired: Desired) -> list[str]:
    """Lines that say what of a database cannot be used; what many ports have in common is one."""
    same: dict[str, list[str]] = {}
    for name, error in desired.errors.items():
        same.setdefault(f"not served: {error}", []).append(name)
    for name, spec in desired.ports.items():
        for text in (*spec.problems, *filter(None, [desired.port_problems.get(name)])):
            if text not in desired.problems:
                same.setdefault(text, []).append(name)
    return [*desired.problems, *(f"{some(names)}: {text}" for text, names in same.items())]


# --- values ---------------------------------------------------------------------------------------

def changes(was: Any, now: Any, without: Collection[str] = ()) -> str:
    """The fields in which two values of a kind differ."""
    if type(was) is not type(now):
        return f"{said(was)} -> {said(now)}"
    return ", ".join(
        f"{field.name.replace('_', ' ')} {said(getattr(was, field.name))} -> "
        f"{said(getattr(now, field.name))}" for field in fields(now)
        if field.name not in without and getattr(was, field.name) != getattr(now, field.name))


def said(value: Any) -> str:
    if is_dataclass(value) and not isinstance(value, type):
        return "(" + ", ".join(f"{field.name.replace('_', ' ')} {said(getattr(value, field.name))}"
                               for field in fields(value)) + ")"
    if isinstance(value, tuple):
        return ",".join(map(said, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value) or "none"
