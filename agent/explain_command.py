"""ovs-appctl vhost/explain."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from agent import control, explain, quarantine, report, report_eth, report_host, validate
from agent.command import CommandError
from agent.datapath import Datapath
from agent.explain import View
from agent.host_model import HostDevice
from agent.model import (
    BridgeRow,
    InterfaceRow,
    PortSpec,
    PortState,
    Registration,
    Snapshot,
)
from agent.port_reasons import PortReasons
from agent.reason import no_dpdk
from agent.reconcile import Reconciler


def of_device(spec: PortSpec, state: PortState) -> Iterator[str]:
    """What status:problems has of a device besides."""
    if state.eth is not None:
        yield from report_eth.shortcomings(spec, state.eth)
    if isinstance(state.device, HostDevice):
        yield from (*state.host.unset, *report_host.shortcomings(spec, state))


class ExplainCommand:
    """Answers from what is desired and what is observed. For the main thread only."""

    def __init__(self, reconciler: Reconciler, reasons: PortReasons,
                 datapath: Callable[[], Datapath | None],
                 snapshot: Callable[[], Snapshot | None],
                 bridge_of: Callable[[str], tuple[str, str] | None],
                 now_ms: Callable[[], int]) -> None:
        """'bridge_of' is rows.bridge_of() of the whole database."""
        self._reconciler = reconciler
        self._reasons = reasons
        self._datapath = datapath
        self._snapshot = snapshot
        self._bridge_of = bridge_of
        self._now_ms = now_ms
        control.register("vhost/explain", "port", 1, 1, lambda words: self._explain(words[0]))

    def _explain(self, name: str) -> str:
        snapshot = self._snapshot()
        if snapshot is None:
            raise CommandError("the database was not seen yet, or is empty: nothing is known of "
                               "ports")
        rows = {row.name: (bridge, row) for bridge in snapshot.bridges
                for row in bridge.interfaces}
        if name not in rows and (elsewhere := self._bridge_of(name)) is not None:
            bridge, type_ = elsewhere
            return explain.text(View(name, type_, bridge, served=False))
        if name not in rows:
            raise CommandError(explain.unknown(name, rows))
        return explain.text(self._view(*rows[name]))

    def _view(self, bridge: BridgeRow, row: InterfaceRow) -> View:
        desired, observed = self._reconciler.desired, self._reconciler.observed
        spec, state = desired.ports.get(row.name), observed.ports.get(row.name)
        error, datapath = self._reconciler.errors.get(row.name, ""), self._datapath()
        if error:
            closed = self._reconciler.closed.get(row.name)
            return View(row.name, row.type, bridge.name, error=error, reasons=(
                () if closed is None else (quarantine.closed(closed, self._now_ms()),)))
        if spec is None:
            local = validate.is_local(bridge, row)
            return View(row.name, row.type, bridge.name, served=local,
                        reasons=(no_dpdk(self._reasons.prefix),) if local else ())
        view = View(row.name, row.type, bridge.name, spec=spec, state=state, problems=(
            *spec.problems, *self._reconciler.problems.get(row.name, ()),
            *(of_device(spec, state) if state is not None else ())))
        if datapath is None or state is None:
            return view
        said, facts = self._reasons.explain(spec, state, desired, observed, datapath,
                                            self._now_ms())
        counted = report.statistics_of(spec, datapath.counters(row.name),
                                       connected=state.connected)
        pending = (report.pending(spec.device, state.device)
                   if isinstance(state.device, Registration) else "")
        return replace(view, reasons=said, facts=facts, statistics=counted, pending=pending)
