"""ovs-appctl commands about QoS (OVS: vswitchd/bridge.c)."""
from __future__ import annotations

from collections.abc import Callable, Sequence

from agent import control
from agent.command import CommandError
from agent.datapath import Datapath
from agent.limits import QOS_TYPES, TRTCM_POLICER, Qos
from agent.model import PortSpec
from agent.policing import rates_of, settings
from agent.reconcile import Reconciler

NO_INTERFACE = "no such interface"


class QosCommands:
    """Answers from what the reconciler knows. For the main thread only; 'datapath' gives the data
    plane once there is one."""

    def __init__(self, reconciler: Reconciler, datapath: Callable[[], Datapath | None]) -> None:
        self._reconciler = reconciler
        self._datapath = datapath
        control.register("qos/show", "interface", 1, 1, self._show)
        control.register("qos/show-types", "interface", 1, 1, self._show_types)

    def _spec(self, name: str) -> PortSpec:
        spec = self._reconciler.desired.ports.get(name)
        if spec is None or name in self._reconciler.errors:
            raise CommandError(NO_INTERFACE)
        return spec

    def _show(self, words: Sequence[str]) -> str:
        name = words[0]
        spec = self._spec(name)
        state = self._reconciler.observed.ports.get(name)
        datapath = self._datapath()
        if state is None or datapath is None:       # without a socket nothing is sent
            return qos_show(name, spec.limits.qos, (0, 0, 0))
        return qos_show(name, state.limits.qos, datapath.queue_counters(name))

    def _show_types(self, words: Sequence[str]) -> str:
        self._spec(words[0])
        return "\n".join(f"QoS type: {name}" for name in QOS_TYPES)


def qos_show(name: str, qos: Qos | None, counted: tuple[int, int, int]) -> str:
    """Reply of qos/show; 'counted' are packets, bytes and red packets of queue 0, the one that
    everything is sent through."""
    if qos is None:
        return f"QoS not configured on {name}"
    lines = [f"QoS: {name} {qos.type}", *(f"{key}: {number}" for key, number in settings(qos))]
    if qos.type == TRTCM_POLICER:
        for queue, rates in qos.queues:
            packets, size, red = (0, 0, 0) if queue else counted
            lines += ["", f"Queue {queue}:" if queue else "Default:",
                      *(f"  {key}: {number}" for key, number in rates_of(rates)),
                      f"  tx_packets: {packets}", f"  tx_bytes: {size}", f"  tx_errors: {red}"]
    return "\n".join(lines)
