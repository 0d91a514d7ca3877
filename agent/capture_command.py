"""The control command behind `vhost-agent capture`."""
from __future__ import annotations

from collections.abc import Callable, Sequence

from agent import control, log
from agent.command import CommandError
from agent.datapath import ApplyError, Datapath
from agent.pcapng import SNAPLEN_MAX
from agent.reconcile import Reconciler

DIRECTIONS = {"rx": (True, False), "tx": (False, True), "both": (True, True)}


def register(reconciler: Reconciler, datapath: Callable[[], Datapath | None]) -> None:
    """'datapath' gives the data plane once there is one."""
    def start(words: Sequence[str]) -> str:
        port, socket, snaplen, direction = words
        if not (snaplen.isdecimal() and 1 <= int(snaplen) <= SNAPLEN_MAX):
            raise CommandError(f"{snaplen} is no number of bytes from 1 to {SNAPLEN_MAX}")
        if direction not in DIRECTIONS:
            raise CommandError(f"{direction} is no direction: rx, tx or both")
        running = datapath()
        if running is None or port not in reconciler.observed.ports:
            raise CommandError(no_port(port, reconciler))
        try:
            running.start_capture(port, socket, int(snaplen), *DIRECTIONS[direction])
        except ApplyError as e:
            raise CommandError(f"cannot capture {port}: {e}") from e
        log.netdev.info(f"{port}: packets are captured ({direction})")
        return ""
    control.register("capture/start", "port socket snaplen rx|tx|both", 4, 4, start)


def no_port(port: str, reconciler: Reconciler) -> str:
    if port in reconciler.desired.ports or port in reconciler.errors:
        return f"port {port} is not served: its Interface.error says why"
    return f"no port {port} is served here: 'ovs-vsctl show' lists ports"
