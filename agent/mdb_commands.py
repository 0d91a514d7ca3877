"""ovs-appctl commands about multicast groups."""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from agent import control
from agent.command import CommandError
from agent.datapath import Datapath
from agent.mcast import mdb_show
from agent.reconcile import Reconciler


class MdbCommands:
    """Answers from the tables of the data plane. For the main thread only.

    'datapath' gives the data plane once there is one; 'ofports' the (bridge, port number) of each
    interface.
    """

    def __init__(self, reconciler: Reconciler, datapath: Callable[[], Datapath | None],
                 ofports: Callable[[], Mapping[str, tuple[str, int]]]) -> None:
        self._reconciler = reconciler
        self._datapath = datapath
        self._ofports = ofports
        control.register("mdb/show", "bridge", 1, 1, self._show)
        control.register("mdb/flush", "[bridge]", 0, 1, self._flush)

    def _snooping(self, name: str) -> None:
        """Raises CommandError for a bridge without snooping."""
        found = [bridge for bridge in self._reconciler.observed.bridges if bridge.name == name]
        if not found:
            raise CommandError("no such bridge")
        if found[0].snooping is None:
            raise CommandError("multicast snooping is disabled")

    def _show(self, words: Sequence[str]) -> str:
        (bridge,) = words
        self._snooping(bridge)
        datapath = self._datapath()
        assert datapath is not None
        numbers = {name: number for name, (_, number) in self._ofports().items()}
        return mdb_show(datapath.mdb(bridge), numbers)

    def _flush(self, words: Sequence[str]) -> str:
        for bridge in words:
            self._snooping(bridge)
        datapath = self._datapath()
        for spec in self._reconciler.observed.bridges:
            if spec.snooping is not None and spec.name in (words or (spec.name,)):
                assert datapath is not None
                datapath.flush_mdb(spec.name)
        return "table successfully flushed"
