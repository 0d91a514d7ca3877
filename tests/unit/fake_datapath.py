"""A data plane without packets, with the rules of the real one.

What a caller must never do fails an assertion; what the host may refuse is an ApplyError, where a
test says so.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from uuid import UUID

from agent.access import AS_MADE
from agent.actions import (
    Action,
    AddPort,
    RemovePort,
    RestPmd,
    SetAdminState,
    SetBridges,
    SetLimits,
    SetMemory,
    SetPollLists,
    SetSocketAccess,
    SetTxHash,
    SetTxRetriesMax,
    StartPmd,
    StopPmd,
)
from agent.datapath import ApplyError
from agent.fdb import FdbCounters, Flap
from agent.mirror_model import MirrorCounters
from agent.model import (
    Bridges,
    Counters,
    FdbEntry,
    MdbEntry,
    Observed,
    PmdSpec,
    PollLists,
    PortState,
    Readings,
    Registration,
    place,
)
from agent.reason_model import Handshake, Sight


class FakeDatapath:
    """Nothing names a port that is not there; no queue has two pollers; a core that polls stays."""

    wake_fd = -1

    def __init__(self) -> None:
        self.ports: dict[str, PortState] = {}
        self.bridges: Bridges = ()
        self.polls: PollLists = ()
        self.pmds: dict[int, PmdSpec] = {}
        self.read = Readings()
        self.flaps: Sequence[Flap] = ()
        self.said: dict[str, Handshake] = {}            # what front ends of ports said
        self.expired: list[str] = []                    # tables that aged entries were removed from
        self.tried: list[Action] = []                   # all actions, the refused ones too
        self.refused: dict[tuple[type, str], str] = {}  # (action, port) -> why

    def members(self, bridge: str) -> tuple[str, ...]:
        """Ports of a bridge."""
        return next(tuple(n for n, _ in b.members) for b in self.bridges if b.name == bridge)

    # --- the facade -------------------------------------------------------------------------------

    def observe(self) -> Observed:
        return Observed(dict(self.ports), self.bridges, self.polls,
                        tuple(spec for _, spec in sorted(self.pmds.items())))

    def look_for_sockets(self) -> bool:
        return False

    def apply(self, action: Action) -> None:
        self.tried.append(action)
        why = self.refused.get((type(action), name_of(action)))
        if why is not None:
            raise ApplyError(why)
        match action:
            case AddPort(spec):
                assert spec.device is not None
                assert spec.name not in self.ports
                where = place(spec.device)
                assert where is None or where not in {
                    place(state.device) for state in self.ports.values()}
                can = (SetSocketAccess, spec.name) not in self.refused
                used = {state.number for state in self.ports.values()}
                self.ports[spec.name] = PortState(
                    spec.name, spec.device, spec.tx_retries_max, spec.memory,
                    number=min(set(range(1, len(used) + 2)) - used), tx_hash=spec.tx_hash,
                    access=spec.access if can else AS_MADE)
            case RemovePort(name):
                assert name not in {n for b in self.bridges for n, _ in b.members}
                assert name not in {port for _, polled in self.polls for port, _ in polled}
                del self.ports[name]
            case SetTxRetriesMax(name, retries):
                self.ports[name] = replace(self.ports[name], tx_retries_max=retries)
            case SetMemory(name, memory, node):
                self.ports[name] = replace(self.ports[name], memory=memory, node=node)
            case SetBridges(bridges):
                assert {n for b in bridges for n, _ in b.members} <= self.ports.keys()
                self.bridges = bridges
            case SetTxHash(name, by_flow):
                self.ports[name] = replace(self.ports[name], tx_hash=by_flow)
            case SetLimits(name, limits):
                self.ports[name] = replace(self.ports[name], limits=limits)
            case SetSocketAccess(name, access):
                device = self.ports[name].device
                assert isinstance(device, Registration)
                assert not device.client, "the guest made it"
                self.ports[name] = replace(self.ports[name], access=access)
            case SetAdminState(name, up):
                self.ports[name] = replace(self.ports[name], up=up)
            case StartPmd(spec):
                assert spec.core not in self.pmds
                self.pmds[spec.core] = spec
                self.polls = tuple(sorted((*self.polls, (spec.core, ()))))
            case RestPmd(spec):
                assert spec.core in self.pmds
                self.pmds[spec.core] = spec
            case StopPmd(spec):
                assert not dict(self.polls)[spec.core], "it polls"
                del self.pmds[spec.core]
                self.polls = tuple((c, polled) for c, polled in self.polls if c != spec.core)
            case SetPollLists(polls):
                flat = [rxq for _, polled in polls for rxq in polled]
                assert len(flat) == len(set(flat)), "two pollers"
                assert {port for port, _ in flat} <= self.ports.keys()
                assert [core for core, _ in polls] == [core for core, _ in self.polls]
                self.polls = polls

    def drain_wake(self) -> bool:
        return False

    def counters(self, port: str) -> Counters:
        assert port in self.ports
        return Counters()

    def handshake(self, port: str) -> Handshake:
        return self.said.get(port, Handshake())

    def sight(self, port: str) -> Sight:
        return Sight.NONE

    def queue_counters(self, port: str) -> tuple[int, int, int]:
        assert port in self.ports
        return 0, 0, 0

    def lcore(self, core: int) -> int:
        return core

    def readings(self) -> Readings:
        return self.read

    def describe_mempool(self, port: str | None) -> str:
        return ""

    def describe_lcores(self) -> str:
        return ""

    def describe_log_levels(self) -> str:
        return ""

    def start_capture(self, port: str, path: str, snaplen: int, rx: bool, tx: bool) -> None:
        pass

    def set_log_level(self, pattern: str, level: int) -> bool:
        return True

    def fdb(self, bridge: str) -> Sequence[FdbEntry]:
        return ()

    def fdb_entry(self, bridge: str, vlan: int, mac: str) -> FdbEntry | None:
        return None

    def set_fdb(self, bridge: str, port: str, vlan: int, mac: str) -> bool:
        return False

    def delete_fdb(self, bridge: str, vlan: int, mac: str) -> bool:
        return False

    def flush_fdb(self, bridge: str) -> None:
        pass

    def expire_fdb(self) -> None:
        self.expired.append("fdb")

    def mirror_counters(self) -> Mapping[UUID, MirrorCounters]:
        return {}

    def fdb_flaps(self) -> Sequence[Flap]:
        return self.flaps

    def fdb_counters(self, bridge: str) -> FdbCounters:
        return FdbCounters()

    def clear_fdb_counters(self, bridge: str) -> None:
        pass

    def mdb(self, bridge: str) -> Sequence[MdbEntry]:
        return ()

    def flush_mdb(self, bridge: str) -> None:
        pass

    def expire_mdb(self) -> None:
        self.expired.append("mdb")

    def usage(self) -> Mapping[str, int]:
        return {}

    def memory_line(self) -> str:
        return ""

    def close(self) -> None:
        pass

    # --- guests -----------------------------------------------------------------------------------

    def guest(self, port: str, rxqs: tuple[int, ...] = (0,), numa: int = -1) -> None:
        """A guest runs these queues of the port, whoever did before."""
        state = self.ports[port]
        self.ports[port] = replace(
            state, connections=state.connections + 1, attached=True, connects=state.connects + 1,
            connected=True, numa=numa, vring_sizes=(256,) * 2 * (max(rxqs, default=0) + 1),
            enabled_rxqs=rxqs, enabled_txqs=rxqs)

    def stop(self, port: str) -> None:
        """The guest's driver stops; its front end stays connected."""
        self.ports[port] = replace(self.ports[port], connected=False, numa=-1, vring_sizes=(),
                                   enabled_rxqs=(), enabled_txqs=())

    def leave(self, port: str) -> None:
        """No guest is connected to the port."""
        self.stop(port)
        self.ports[port] = replace(self.ports[port], attached=False)


def name_of(action: Action) -> str:
    """The port that an action is about; 'core N' of a start; empty for the others."""
    match action:
        case AddPort(spec):
            return spec.name
        case (RemovePort(name) | SetTxRetriesMax(name) | SetTxHash(name) | SetAdminState(name)
              | SetMemory(name) | SetLimits(name) | SetSocketAccess(name)):
            return name
        case StartPmd(spec):
            return f"core {spec.core}"
        case _:
            return ""
