"""Where rxqs are, and when they are placed anew."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agent.balance import AutoBalancer
from agent.load import Loads
from agent.loglines import Line
from agent.model import Desired, Observed, PortState, Readings, RxqLoad
from agent.schedule import Placement, place

SAMPLE_MS = 5000                # how often loads are read


class Placer:
    """Places rxqs when what they are placed by changes, when somebody asks for it, and when the
    PMDs' loads do. Loads alone move nothing. For the main thread only."""

    def __init__(self, main_node: int) -> None:
        self._main_node = main_node     # where the memory of ports is that no guest came to yet
        self._made_of: Any = None
        self._placed_by: Any = None     # what of it matters
        self._asked = False
        self._sample_at_ms = 0
        self._balancer = AutoBalancer()
        self.loads = Loads()
        self.placement = Placement()

    @property
    def sample_at_ms(self) -> int:
        """When sample() is due."""
        return self._sample_at_ms

    def ask(self) -> None:
        """The next place() places everything anew (pmd-rxq-rebalance)."""
        self._asked = True

    def place(self, desired: Desired, observed: Observed) -> Sequence[Line]:
        """Updates 'placement' for the ports that are in both; what the log should say of it."""
        states = served(desired, observed)
        # What did not change mostly is the same object: to compare a thousand takes no time.
        made_of = (desired.pmds, desired.placing, states,
                   [desired.ports[state.name] for state in states])
        if made_of == self._made_of and not self._asked:
            return ()
        self._made_of = made_of
        placed_by = ([(pmd.core, pmd.node) for pmd in desired.pmds], desired.placing,
                     [(state.name, state.number, state.n_rxqs, self._node(state),
                       desired.ports[state.name].affinity) for state in states])
        if placed_by == self._placed_by and not self._asked:
            return ()
        self._placed_by, self._asked = placed_by, False
        before = self.placement.cores
        self.placement = place(self._rxqs(desired, states), desired.pmds, desired.placing)
        return self.placement.news(before)

    def sample(self, desired: Desired, observed: Observed, readings: Readings, now_ms: int
               ) -> tuple[bool, Sequence[Line]]:
        """Takes the loads since the last call; whether they ask for another placement, and what
        the log should say of it."""
        self._sample_at_ms = now_ms + SAMPLE_MS
        self.loads.sample(readings, observed.polls)
        uneven, lines = self._balancer.run(
            now_ms, desired.auto_balance, desired.placing, desired.pmds, self.placement,
            lambda: self._rxqs(desired, served(desired, observed)), self.loads)
        self._asked = self._asked or uneven
        return uneven, lines

    def _rxqs(self, desired: Desired, states: list[PortState]) -> list[RxqLoad]:
        rxqs, cycles = [], self.loads.cycles
        for state in states:
            affinity = desired.ports[state.name].affinity
            pins = dict(affinity) if affinity else {}
            name, number, node = state.name, state.number, self._node(state)
            for q in range(state.n_rxqs):
                rxqs.append(RxqLoad(name, q, number, node, pins.get(q), cycles((name, q))))
        return rxqs

    def _node(self, state: PortState) -> int:
        return state.numa if state.numa >= 0 else self._main_node


def served(desired: Desired, observed: Observed) -> list[PortState]:
    """Ports that there are and that there should be."""
    return [state for name, state in observed.ports.items() if name in desired.ports]
