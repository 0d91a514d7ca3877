"""Why ports are down: gathers the facts, and remembers what was said of them."""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from agent import socket_facts
from agent.datapath import Datapath
from agent.host_model import HostDevice
from agent.model import Desired, Observed, PollLists, PortSpec, PortState, Registration
from agent.reason import reasons
from agent.reason_model import Facts, Handshake, Reason, Sight
from agent.socket_facts import Sockets
from agent.vduse import is_vduse

NO_CORES: Mapping[int, int] = MappingProxyType({})
TAKEN_UP_MS = 3000              # a tap that is new is, by then, by who else has it for a port
SETTLED_MS = 900                # of a port of which nothing has changed for as long


@dataclass(slots=True)
class _Known:
    """A port as it was looked at last."""

    spec: PortSpec
    state: PortState
    facts: Facts
    text: str                   # status:reason
    since_ms: int               # when its front end did something, as far as that was seen

    @property
    def proven(self) -> bool:
        """Its guest has used its rings."""
        return self.facts.sight is Sight.USED

    @property
    def settles_at_ms(self) -> int | None:
        """When to look again at a guest that comes: what it does by then, or that it does nothing
        more. None: it works, is quiet already, or is none."""
        coming = self.state.attached and not (self.state.connected and self.proven)
        return self.since_ms + SETTLED_MS if coming and not self.facts.settled else None


class PortReasons:
    """For the main thread only."""

    def __init__(self, numa_cores: Mapping[int, Sequence[int]], prefix: str,
                 stuck: Callable[[], set[str]]) -> None:
        """'stuck' names ports whose guest takes no packets."""
        self.prefix = prefix                            # as of Facts
        self._stuck = stuck
        self._numa_cores = {node: tuple(cores) for node, cores in numa_cores.items()}
        self._known: dict[str, _Known] = {}
        self._polls: PollLists = ()                     # what the next was made of
        self._cores: dict[str, dict[int, int]] = {}     # {port: {rxq: core}}
        self._nodes: dict[int, int] = {}
        self.texts: Mapping[str, str] = {}              # what look() returned last
        self.look_at_ms: int | None = None              # when look() has more to say by itself

    def look(self, desired: Desired, observed: Observed, datapath: Datapath, now_ms: int,
             due: bool) -> dict[str, str]:
        """{port: status:reason} of those that have one. What changed of ports is looked at always;
        with 'due' also what only shows when it is looked at: sockets, what front ends say. Of a
        guest that comes that is looked at until it is quiet ('look_at_ms')."""
        self._look_at_polling(observed)
        silent, stuck = self._silent(desired), self._stuck()
        sockets: Sockets | None = None
        texts: dict[str, str] = {}
        looks_at_ms: list[int] = []
        for name, spec in desired.ports.items():
            state = observed.ports.get(name)
            known = self._known.get(name)
            if state is None:
                self._known.pop(name, None)
                continue
            if (known is None or known.spec is not spec or known.state is not state
                    or known.facts.silent != (name in silent)
                    or known.facts.stuck != (name in stuck)
                    or known.facts.nodes is not self._nodes
                    or known.facts.cores != self._cores.get(name, NO_CORES)
                    or (due and isinstance(state.device, Registration)
                        and not (state.connected and known.proven))
                    or (known.settles_at_ms is not None and now_ms >= known.settles_at_ms)
                    or (due and (may_be_deaf(state) or known.facts.deaf))):
                if sockets is None and looks_at_socket(state):
                    sockets = socket_facts.sockets()
                known = self._known[name] = self._make(
                    spec, state, desired, name in silent, datapath, now_ms, known,
                    sockets or Sockets())
            if known.text:
                texts[name] = known.text
            if known.settles_at_ms is not None:
                looks_at_ms.append(known.settles_at_ms)
        self.look_at_ms = min(looks_at_ms, default=None)
        if len(self._known) > len(observed.ports):
            self._known = {name: known for name, known in self._known.items()
                           if name in desired.ports}
        self.texts = texts
        return texts

    def explain(self, spec: PortSpec, state: PortState | None, desired: Desired,
                observed: Observed, datapath: Datapath, now_ms: int
                ) -> tuple[tuple[Reason, ...], Facts]:
        """Reasons and facts of one port at this moment."""
        if state is None:
            return (), Facts()
        self._look_at_polling(observed)
        known = self._known.get(spec.name)
        facts, _ = self._facts(spec, state, desired, spec.name in self._silent(desired), datapath,
                               now_ms, known, socket_facts.sockets())
        return reasons(spec, state, facts), facts

    def _look_at_polling(self, observed: Observed) -> None:
        nodes = {pmd.core: pmd.node for pmd in observed.pmds}
        if nodes != self._nodes:
            self._nodes = nodes
        if observed.polls == self._polls:
            return
        self._polls, self._cores = observed.polls, {}
        for core, rxqs in observed.polls:
            for port, queue in rxqs:
                self._cores.setdefault(port, {})[queue] = core

    @staticmethod
    def _silent(desired: Desired) -> frozenset[str]:
        """Ports whose bridge forwards nothing."""
        members = {name for bridge in desired.bridges for name, _ in bridge.members}
        return frozenset(desired.ports.keys() - members)

    def _make(self, spec: PortSpec, state: PortState, desired: Desired, silent: bool,
              datapath: Datapath, now_ms: int, known: _Known | None, sockets: Sockets
              ) -> _Known:
        facts, since_ms = self._facts(spec, state, desired, silent, datapath, now_ms, known,
                                      sockets)
        if (known is not None and known.spec is spec and known.state is state
                and known.facts == facts):
            text = known.text
        else:
            text = "; ".join(map(str, reasons(spec, state, facts)))
        return _Known(spec, state, facts, text, since_ms)

    def _facts(self, spec: PortSpec, state: PortState, desired: Desired, silent: bool,
               datapath: Datapath, now_ms: int, known: _Known | None, sockets: Sockets
               ) -> tuple[Facts, int]:
        """Facts, and since when the front end, or the device, has been as it is."""
        handshake, socket, sight = Handshake(), None, Sight.NONE
        if isinstance(state.device, Registration):
            handshake = datapath.handshake(spec.name)
            if looks_at_socket(state):
                socket = socket_facts.look(state.device.path, sockets)
            if state.connected:
                sight = (Sight.USED if known is not None and known.proven
                         and known.state.connects == state.connects
                         else datapath.sight(spec.name))
        since_ms = now_ms
        if (known is not None and known.facts.handshake == handshake
                and known.state.connections == state.connections
                and known.state.attached == state.attached
                and known.state.host == state.host):
            since_ms = known.since_ms
        deaf = ""
        if may_be_deaf(state) and now_ms - since_ms >= TAKEN_UP_MS:
            assert isinstance(state.device, HostDevice)
            deaf = desired.taps_shared.get(state.device.name, "")
        facts = Facts(handshake, socket, sight, now_ms - since_ms >= SETTLED_MS, silent, deaf,
                      spec.name in self._stuck(), self._cores.get(spec.name, NO_CORES),
                      self._nodes, self._numa_cores, self.prefix)
        return facts, since_ms


def may_be_deaf(state: PortState) -> bool:
    """Whether nobody but the agent takes frames from its tap, if that is one."""
    return (isinstance(state.device, HostDevice) and state.device.lasts
            and state.host.link is not None and not state.host.link.promiscuous)


def looks_at_socket(state: PortState) -> bool:
    """Whether there is something to be learned from the file."""
    return (isinstance(state.device, Registration) and not state.attached
            and not is_vduse(state.device.path))
