"""The facade on pmd_ext: the only importer of it. Converts names to slots; decides nothing."""
from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from agent.datapath import ApplyError
from agent.model import (
    Action,
    AddPort,
    FdbEntry,
    Observed,
    PortSpec,
    PortState,
    RemovePort,
    SetBridges,
    SetCores,
    SetPollLists,
    SetTxRetriesMax,
)
from agent.report import MTU_BYTES
from agent.validate import NO_DEVICE, NO_OFPORT
from pmd_ext.runtime import COUNTER_NAMES, DatapathError, Runtime, dpdk_version, open_log

__all__ = ["PmdDatapath", "dpdk_version", "open_log"]

MIB = 1 << 20


def make_way(path: str) -> None:
    """Removes the stale socket of a process that died; OSError says why 'path' cannot be had."""
    parent = os.path.dirname(path)
    if not os.path.isdir(parent):
        raise OSError(errno.ENOENT, "its directory does not exist")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise OSError(errno.EACCES, "no permission to create it in its directory")
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise OSError(errno.EEXIST, "a file that is not a socket is in the way")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        if probe.connect_ex(path) != errno.ECONNREFUSED:
            raise OSError(errno.EADDRINUSE, "another process listens on it")
    Path(path).unlink(missing_ok=True)


class PmdDatapath:
    """The running data plane. Starts DPDK; raises ApplyError when it refuses."""

    def __init__(self, argv: Sequence[str]) -> None:
        try:
            self._runtime = Runtime(argv)
        except DatapathError as e:
            raise ApplyError(e.strerror) from e
        self._slots: dict[str, int] = {}            # port name -> slot
        self._specs: dict[str, PortSpec] = {}       # as applied
        self._bridges: tuple[tuple[str, tuple[str, ...]], ...] = ()
        self._polls: dict[int, tuple[tuple[str, int], ...]] = {}

    @property
    def wake_fd(self) -> int:
        return self._runtime.wake_fd

    def drain_wake(self) -> bool:
        return self._runtime.drain_wake()

    def observe(self) -> Observed:
        names = {slot: name for name, slot in self._slots.items()}
        ports = []
        for slot, connects, connected, features, numa, sizes, rxqs in self._runtime.observe():
            spec = self._specs[names[slot]]
            ports.append(PortState(
                name=spec.name, path=spec.path or "", client=spec.client,
                tx_retries_max=spec.tx_retries_max, connects=connects, connected=connected,
                features=features, numa=numa, vring_sizes=sizes, enabled_rxqs=rxqs))
        return Observed(ports=tuple(ports), bridges=self._bridges,
                        polls=tuple(sorted(self._polls.items())))

    def apply(self, action: Action) -> None:
        try:
            self._apply(action)
        except OSError as e:        # DatapathError is one
            raise ApplyError(self._sentence(action, e)) from e

    def _sentence(self, action: Action, e: OSError) -> str:
        if not isinstance(action, AddPort):
            return str(e.strerror)
        spec = action.spec
        head = (NO_OFPORT.format(spec.name, "Invalid argument") if spec.client
                else NO_DEVICE.format(spec.name, "Unknown error -1"))
        return f"{head}: socket {spec.path}: {e.strerror}"

    def _apply(self, action: Action) -> None:
        runtime = self._runtime
        match action:
            case AddPort(spec):
                assert spec.path is not None
                if not spec.client:
                    make_way(spec.path)
                self._slots[spec.name] = runtime.add_port(
                    spec.name, spec.path, spec.client, MTU_BYTES, spec.tx_retries_max)
                self._specs[spec.name] = spec
            case RemovePort(name):
                runtime.remove_port(self._slots[name])
                del self._slots[name], self._specs[name]
            case SetTxRetriesMax(name, retries):
                runtime.set_tx_retries_max(self._slots[name], retries)
                self._specs[name] = replace(self._specs[name], tx_retries_max=retries)
            case SetBridges(bridges):
                runtime.set_bridges([(bridge, [self._slots[m] for m in members])
                                     for bridge, members in bridges])
                self._bridges = bridges
            case SetCores(cores):
                runtime.set_cores(cores)
                self._polls = {core: self._polls.get(core, ()) for core in cores}
            case SetPollLists(polls):
                runtime.set_poll_lists({
                    core: [(self._slots[port], queue) for port, queue in rxqs]
                    for core, rxqs in polls})
                self._polls = dict(polls)

    def counters(self, port: str) -> Mapping[str, int]:
        return dict(zip(COUNTER_NAMES, self._runtime.counters(self._slots[port]), strict=True))

    def fdb(self, bridge: str) -> Sequence[FdbEntry]:
        names = {slot: name for name, slot in self._slots.items()}
        return [FdbEntry(names[slot], vlan, ":".join(f"{b:02x}" for b in mac.to_bytes(6, "big")),
                         age_s)
                for slot, vlan, mac, age_s in self._runtime.fdb(bridge) if slot in names]

    def flush_fdb(self, bridge: str) -> None:
        self._runtime.flush_fdb(bridge)

    def expire_fdb(self) -> None:
        self._runtime.expire_fdb()

    def usage(self) -> Mapping[str, int]:
        return {"packet-buffers-in-use": self._runtime.packets_in_use(),
                "pmds": len(self._runtime.threads()), "ports": len(self._runtime.observe())}

    def memory_line(self) -> str:
        reserved, used, packets = self._runtime.memory()
        return (f"DPDK memory: {reserved // MIB} MiB reserved, {used // MIB} MiB used: "
                f"{packets // MIB} MiB packet buffers for all ports, {(used - packets) // MIB} MiB "
                f"DPDK's own; each connected guest adds less than 1 MiB")

    def close(self) -> None:
        self._runtime.close()
