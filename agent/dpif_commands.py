"""ovs-appctl commands about the datapath as a whole."""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from agent import control, dpif_show, report
from agent.datapath import Datapath
from agent.model import Snapshot
from agent.publish import Publisher
from agent.reconcile import Reconciler


class DpifCommands:
    """Answers from what is desired and what is observed. For the main thread only."""

    def __init__(self, reconciler: Reconciler, publisher: Publisher,
                 datapath: Callable[[], Datapath | None],
                 snapshot: Callable[[], Snapshot | None]) -> None:
        self._reconciler = reconciler
        self._publisher = publisher
        self._datapath = datapath
        self._snapshot = snapshot
        control.register("dpif/show", "", 0, 0,
                         lambda _: dpif_show.dpif_show(self._bridges(), self._lookups()))
        control.register("dpctl/show", "[-s] [dp]", 0, 4096, lambda words: dpif_show.dpctl_show(
            words, self._bridges(), self._lookups(), self._counted))
        control.register("ofproto/list", "", 0, 0,
                         lambda _: dpif_show.ofproto_list(self._bridges()))

    def _lookups(self) -> int:
        datapath = self._datapath()
        return 0 if datapath is None else sum(
            counters.rx_packets for counters in datapath.readings().pmds.values())

    def _bridges(self) -> Mapping[str, Sequence[dpif_show.Shown]]:
        """{bridge: its ports}, of netdev bridges and ports that have a number."""
        snapshot, numbers = self._snapshot(), self._publisher.ofports()
        served = {bridge.name for bridge in self._reconciler.desired.bridges}
        if snapshot is None:
            return {}
        return {bridge.name: [self._port(row.name, number) for row in bridge.interfaces
                              if (number := numbers.get(row.name, ("", 0))[1]) > 0]
                for bridge in snapshot.bridges if bridge.name in served}

    def _port(self, name: str, ofport: int) -> dpif_show.Shown:
        return dpif_show.Shown(name, ofport, self._reconciler.desired.ports.get(name),
                               self._reconciler.observed.ports.get(name))

    def _counted(self, port: dpif_show.Shown) -> Mapping[str, int]:
        datapath = self._datapath()
        if datapath is None or port.spec is None or port.state is None:
            return {}
        return report.statistics_of(port.spec, datapath.counters(port.name),
                                    connected=port.state.connected)
