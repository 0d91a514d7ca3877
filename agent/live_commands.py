"""The commands that show all of a running agent: vhost/state and vhost/show."""
from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from agent import control, machine, show
from agent.command import CommandError
from agent.datapath import Datapath
from agent.model import Readings, Snapshot
from agent.picture import (
    AgentFacts,
    DatabaseFacts,
    Hugepages,
    Memory,
    Picture,
    Seen,
    picture,
)
from agent.plan_words import told
from agent.publish import Publisher
from agent.reconcile import Reconciler
from agent.rehearsal import Placed, affinities
from agent.values_json import FORMAT, encode


class LiveCommands:
    """Answers with what is so at that moment. For the main thread only."""

    def __init__(self, agent: AgentFacts, database: Callable[[], DatabaseFacts],
                 reconciler: Reconciler, publisher: Publisher,
                 datapath: Callable[[], Datapath | None],
                 snapshot: Callable[[], Snapshot | None], reasons: Callable[[], Mapping[str, str]],
                 rundir: str) -> None:
        self._reasons = reasons
        self._rundir = rundir
        self._agent = agent
        self._database = database
        self._reconciler = reconciler
        self._publisher = publisher
        self._datapath = datapath
        self._snapshot = snapshot
        control.register("vhost/state", "", 0, 0, lambda _: json.dumps(
            self._picture(), separators=(",", ":")))
        control.register("vhost/show", "[bridge]", 0, 1, self._show)
        control.register("vhost/observed", "", 0, 0, lambda _: json.dumps(
            self._observed(), separators=(",", ":")))

    def _show(self, words: Sequence[str]) -> str:
        shown = self._picture()
        if words and words[0] not in {bridge["name"] for bridge in shown["bridges"]}:
            raise CommandError(f"there is no bridge {words[0]}")
        return show.text(shown, words[0] if words else None)

    def _picture(self) -> Picture:
        reconciler, datapath = self._reconciler, self._datapath()
        observed = reconciler.observed
        counters, readings, memory = {}, Readings(), Memory()
        if datapath is not None:
            counters = {name: datapath.counters(name) for name in observed.ports}
            readings = datapath.readings()
            memory = Memory(*datapath.memory(), datapath.usage()["packet-buffers-in-use"])
        loads = reconciler.placer.loads
        return picture(Seen(
            now_ms=time.monotonic_ns() // 1_000_000, agent=self._agent,
            database=self._database(), snapshot=self._snapshot(), desired=reconciler.desired,
            observed=observed, errors=reconciler.errors, problems=reconciler.problems,
            reasons=self._reasons(),
            ofports=self._publisher.ofports(), dpdk_initialized=datapath is not None,
            counters=counters, readings=readings,
            loads={pmd.core: loads.pmd_load(pmd.core) for pmd in observed.pmds}, memory=memory,
            hugepages=[Hugepages(*pool) for pool in machine.hugepages()],
            steps=reconciler.steps, actions=reconciler.actions, refusals=reconciler.refusals))

    def _observed(self) -> dict[str, Any]:
        """What 'vhost-agent plan' begins with."""
        reconciler, wanted = self._reconciler, self._reconciler.desired
        config = reconciler.config
        return {
            "format": FORMAT, "role": self._agent.role.name,
            "observed": encode(reconciler.observed), "down": sorted(reconciler.down),
            "placed": encode(Placed(wanted.placing, affinities(wanted))),
            "rundir": self._rundir, "dpdk_initialized": self._datapath() is not None,
            "at_start": reconciler.at_start, "tso": config is not None and config.tso,
            "fills_memory": reconciler.fills_memory,
            "said": told(wanted)}
