"""The facade on pmd_ext: the only importer of it. Converts names to slots; decides nothing."""
from __future__ import annotations

import errno
import select
import socket
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from agent import crossing, vduse
from agent.access import AS_MADE, SocketAccess
from agent.actions import (
    Action,
    AddPort,
    RemovePort,
    RestPmd,
    SetAdminState,
    SetBridges,
    SetHostDevice,
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
from agent.eth_values import EthDevice, EthInfo
from agent.fdb import FdbCounters, Flap
from agent.host_model import SYSTEM, HostDevice, HostState
from agent.host_ports import HostPorts
from agent.mirror_model import MirrorCounters
from agent.model import (
    NO_HOST,
    TSO_ON,
    Bridges,
    Counters,
    FdbEntry,
    MdbEntry,
    Observed,
    PatchDevice,
    PmdCounters,
    PmdSpec,
    PortSpec,
    PortState,
    Readings,
    Registration,
    Rxq,
)
from agent.policing import meters
from agent.reason_model import Handshake, Sight
from agent.refused import sentence
from agent.socket_access import VhostSockets
from pmd_ext.runtime import (
    FDB_COUNTER_NAMES,
    OFFENCE_NAMES,
    PMD_COUNTER_NAMES,
    PORT_COUNTER_NAMES,
    QUEUE_COUNTER_NAMES,
    SIGHT_NAMES,
    DatapathError,
    Runtime,
    dpdk_version,
)

__all__ = ["PmdDatapath", "dpdk_version"]

MIB = 1 << 20
ANY_NODE = -1


class PmdDatapath:
    """The running data plane."""

    def __init__(self, runtime: Runtime, rundir: str) -> None:
        """'rundir' is the directory that sockets of ours are in or below."""
        self._runtime = runtime
        self._host_ports = HostPorts()
        self._sockets = VhostSockets(rundir)
        self._wake = select.epoll()
        self._wake.register(self._runtime.wake_fd, select.EPOLLIN)
        self._wake.register(self._host_ports.events_fd, select.EPOLLIN)
        self._slots: dict[str, int] = {}            # port name -> slot
        self._names: dict[int, str] = {}            # slot -> port name
        self._states: dict[str, PortState] = {}     # as applied, with what guests did
        self._bridges: Bridges = ()
        self._pmds: dict[int, PmdSpec] = {}         # by core
        self._polls: dict[int, tuple[Rxq, ...]] = {}
        self._lcores: dict[int, int] = {}

    @property
    def wake_fd(self) -> int:
        return self._wake.fileno()

    def drain_wake(self) -> bool:
        links_changed = self._host_ports.drain()
        woken = self._runtime.drain_wake()
        if woken:
            self._runtime.ports.end_captures()
        return woken or links_changed

    def observe(self) -> Observed:
        look = set(self._host_names()) if self._host_ports.look_again() else set()
        left: list[int] = []            # whose guest went, if only to come again
        for (slot, connections, attached, connects, connected, features, numa, guest_mtu, sizes,
             rxqs, txqs, offences, offence) in self._runtime.changes():
            name = self._names[slot]
            before = self._states[name]
            if isinstance(before.device, HostDevice):
                look.add(name)
                continue
            if isinstance(before.device, EthDevice):
                self._states[name] = replace(before, eth=self._eth_info(slot))
                continue
            if before.connected and (not connected or connects != before.connects):
                left.append(slot)
            self._states[name] = replace(
                before, connections=connections, attached=attached, connects=connects,
                connected=connected, features=features, numa=numa, guest_mtu=guest_mtu,
                vring_sizes=sizes, enabled_rxqs=rxqs, enabled_txqs=txqs, offences=offences,
                offence=OFFENCE_NAMES[offence] if offence else "")
        if left:
            self._runtime.bridges.flush_ports(left)
        for name in look:
            before, slot = self._states[name], self._slots[name]
            now = self._host_ports.look(before, *self._runtime.ports.host_state(slot))
            if now.host.is_up != before.host.is_up:     # what is sent to it need not be copied
                self._runtime.ports.set_admin_state(slot, now.host.is_up)
            self._states[name] = now
        return Observed(ports=dict(self._states), bridges=self._bridges,
                        polls=tuple(sorted(self._polls.items())),
                        pmds=tuple(spec for _, spec in sorted(self._pmds.items())))

    def look_for_sockets(self) -> bool:
        # While a guest is there its port stays: it needs no socket, and would lose the connection.
        gone = [n for n in self._sockets.gone() if not self._states[n].attached]
        self._states |= {n: replace(self._states[n], socket_gone=True) for n in gone}
        return bool(gone)

    def _host_names(self) -> list[str]:
        return [name for name, state in self._states.items()
                if isinstance(state.device, HostDevice)]

    def apply(self, action: Action) -> None:
        try:
            self._apply(action)
        except OSError as e:        # DatapathError is one
            raise ApplyError(sentence(action, e, dpdk_version())) from e

    def _apply(self, action: Action) -> None:
        runtime, ports = self._runtime, self._runtime.ports
        match action:
            case AddPort(spec):
                self._add(spec)
            case RemovePort(name, tap_stays):
                slot = self._slots[name]
                with self._sockets.closing(name):
                    ports.remove(slot)
                if isinstance(removed := self._states[name].device, HostDevice):
                    self._host_ports.remove(name, removed, tap_stays)
                del self._slots[name], self._names[slot], self._states[name]
            case SetHostDevice(name, device):
                before = self._states[name].device
                assert isinstance(before, HostDevice)
                unset = self._host_ports.set(name, device, before)
                ports.set_host_offloads(self._slots[name], device.tso)
                self._states[name] = replace(
                    self._states[name], device=device,
                    host=replace(self._states[name].host, unset=unset))
            case SetTxRetriesMax(name, retries):
                ports.set_tx_retries_max(self._slots[name], retries)
                self._states[name] = replace(self._states[name], tx_retries_max=retries)
            case SetTxHash(name, by_flow):
                ports.set_tx_hash(self._slots[name], by_flow)
                self._states[name] = replace(self._states[name], tx_hash=by_flow)
            case SetLimits(name, limits):
                ports.set_limits(self._slots[name], meters(limits))
                self._states[name] = replace(self._states[name], limits=limits)
            case SetSocketAccess(name, access):
                state = self._states[name]
                assert isinstance(state.device, Registration)
                self._sockets.set(name, state.device.path, access)
                self._states[name] = replace(state, access=access)
            case SetAdminState(name, up):
                ports.set_admin_state(self._slots[name], up)
                self._states[name] = replace(self._states[name], up=up)
            case SetMemory(name, memory, node):
                ports.set_mtu(self._slots[name], memory.mtu, memory.room_bytes, node, memory.own)
                self._states[name] = replace(self._states[name], memory=memory, node=node)
            case SetBridges(bridges):
                runtime.set_bridges([crossing.bridge(bridge, self._slots) for bridge in bridges])
                self._bridges = bridges
            case StartPmd(spec):
                self._lcores[spec.core] = runtime.start_pmd(spec.core, spec.sleep_max_us,
                                                            spec.block)
                self._pmds[spec.core], self._polls[spec.core] = spec, ()
            case RestPmd(spec):
                runtime.rest_pmd(spec.core, spec.sleep_max_us, spec.block)
                self._pmds[spec.core] = spec
            case StopPmd(spec):
                runtime.stop_pmd(spec.core)
                del self._pmds[spec.core], self._polls[spec.core], self._lcores[spec.core]
            case SetPollLists(polls):
                runtime.set_poll_lists({
                    core: [(self._slots[port], queue) for port, queue in rxqs]
                    for core, rxqs in polls})
                self._polls = dict(polls)

    def _add(self, spec: PortSpec) -> None:
        assert spec.device is not None
        host, access = NO_HOST, AS_MADE
        match spec.device:
            case Registration() as registration:
                slot, access = self._add_vhost(spec, registration)
            case HostDevice() as device:
                slot, host = self._add_host(spec, device)
            case EthDevice() as ethernet:
                slot = self._add_eth(spec, ethernet)
            case PatchDevice():
                slot = self._runtime.ports.add_patch(spec.name)
        self._slots[spec.name], self._names[slot] = slot, spec.name
        # Datapath port 0 is the datapath's own.
        self._states[spec.name] = PortState(
            spec.name, spec.device, spec.tx_retries_max, spec.memory, ANY_NODE, number=slot + 1,
            tx_hash=spec.tx_hash, access=access, host=host)

    def _add_eth(self, spec: PortSpec, device: EthDevice) -> int:
        return self._runtime.ports.add_eth(
            spec.name, device.devargs, n_rxq=device.n_rxq, n_txq=device.n_txq,
            n_rxq_desc=device.n_rxq_desc, n_txq_desc=device.n_txq_desc, lsc=device.lsc,
            mtu=spec.memory.mtu, room_bytes=spec.memory.room_bytes, tx_hash=spec.tx_hash)

    def _eth_info(self, slot: int) -> EthInfo:
        facts: dict[str, Any] = dict(self._runtime.ports.eth_info(slot))
        return EthInfo(dpdk_version=dpdk_version(), **facts)

    def _add_vhost(self, spec: PortSpec, registration: Registration) -> tuple[int, SocketAccess]:
        memory = spec.memory

        def register() -> int:
            return self._runtime.ports.add_vhost(
                spec.name, registration.path, client=registration.client, iommu=registration.iommu,
                postcopy=registration.postcopy, tso=registration.tso == TSO_ON,
                max_queue_pairs=registration.max_queue_pairs, mtu=memory.mtu,
                room_bytes=memory.room_bytes, node=ANY_NODE, own_pool=memory.own,
                tx_retries_max=spec.tx_retries_max, tx_hash=spec.tx_hash)

        if registration.client:
            if vduse.is_vduse(registration.path):
                vduse.make_way(registration.path)
            return self._sockets.connect(spec.name, registration.path, register), AS_MADE
        return self._sockets.listen(spec.name, registration.path, spec.access, register)

    def _add_host(self, spec: PortSpec, device: HostDevice) -> tuple[int, HostState]:
        memory = spec.memory
        fd, unset = self._host_ports.open(spec.name, device)
        try:
            slot = self._runtime.ports.add_host(
                spec.name, fd, packet=device.kind == SYSTEM, offloads=device.tso, mtu=memory.mtu,
                room_bytes=memory.room_bytes, node=ANY_NODE)
        except BaseException:
            self._host_ports.close(spec.name)
            raise
        return slot, HostState(driver=self._host_ports.driver(device), unset=unset)

    def counters(self, port: str) -> Counters:
        values, rx, tx = self._runtime.ports.counters(self._slots[port])
        device: dict[str, int] = {}
        owner = self._states[port].device
        if isinstance(owner, HostDevice):
            device = {"missed": self._host_ports.missed(port, owner)}
        if self._states[port].eth is not None:
            device = dict(self._runtime.ports.eth_statistics(self._slots[port]))
        return Counters(
            dict(zip(PORT_COUNTER_NAMES, values, strict=True)),
            tuple(dict(zip(QUEUE_COUNTER_NAMES, queue, strict=True)) for queue in rx),
            tuple(dict(zip(QUEUE_COUNTER_NAMES, queue, strict=True)) for queue in tx), device)

    def handshake(self, port: str) -> Handshake:
        return Handshake(*self._runtime.ports.handshake(self._slots[port]))

    def sight(self, port: str) -> Sight:
        return Sight(SIGHT_NAMES[self._runtime.ports.sight(self._slots[port])])

    def queue_counters(self, port: str) -> tuple[int, int, int]:
        return self._runtime.ports.queue_counters(self._slots[port])

    def start_capture(self, port: str, path: str, snaplen: int, rx: bool, tx: bool) -> None:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.setblocking(False)
            try:
                connection.connect(path)
                self._runtime.ports.start_capture(self._slots[port], connection.fileno(), snaplen,
                                                  rx, tx)
            except DatapathError as e:
                raise ApplyError("it is being captured already" if e.errno == errno.EBUSY
                                 else e.strerror) from e
            except OSError as e:
                raise ApplyError(f"socket {path}: {e.strerror or e}") from e
            connection.detach()     # it is the capture's

    def lcore(self, core: int) -> int:
        return self._lcores[core]

    def readings(self) -> Readings:
        tsc_hz, pmds, rxqs = self._runtime.readings()
        names = self._names
        return Readings(
            tsc_hz,
            {core: PmdCounters(**dict(zip(PMD_COUNTER_NAMES, values, strict=True)))
             for core, *values in pmds},
            {(names[slot], queue): cycles for slot, queue, cycles in rxqs})

    def describe_mempool(self, port: str | None) -> str:
        return self._runtime.mempool_text(-1 if port is None else self._slots[port])

    def describe_lcores(self) -> str:
        return self._runtime.lcores_text()

    def describe_log_levels(self) -> str:
        return self._runtime.log_levels_text()

    def set_log_level(self, pattern: str, level: int) -> bool:
        return self._runtime.set_log_level(pattern, level)

    def fdb(self, bridge: str) -> Sequence[FdbEntry]:
        names = self._names
        return [FdbEntry(names[slot], vlan, crossing.mac_text(mac), age_s)
                for slot, vlan, mac, age_s in self._runtime.bridges.fdb(bridge) if slot in names]

    def fdb_entry(self, bridge: str, vlan: int, mac: str) -> FdbEntry | None:
        found = self._runtime.bridges.fdb_entry(bridge, vlan, crossing.mac_number(mac))
        return None if found is None else FdbEntry(self._names[found[0]], vlan, mac, found[3])

    def set_fdb(self, bridge: str, port: str, vlan: int, mac: str) -> bool:
        return self._runtime.bridges.set_fdb(bridge, self._slots[port], vlan,
                                             crossing.mac_number(mac))

    def delete_fdb(self, bridge: str, vlan: int, mac: str) -> bool:
        return self._runtime.bridges.delete_fdb(bridge, vlan, crossing.mac_number(mac))

    def flush_fdb(self, bridge: str) -> None:
        self._runtime.bridges.flush_fdb(bridge)

    def expire_fdb(self) -> None:
        self._runtime.bridges.expire_fdb()

    def mirror_counters(self) -> Mapping[UUID, MirrorCounters]:
        return {UUID(name): MirrorCounters(packets, octets)
                for name, packets, octets in self._runtime.bridges.mirror_counters()}

    def fdb_flaps(self) -> Sequence[Flap]:
        names = self._names
        return [Flap(crossing.mac_text(mac), vlan, (names[one], names[other]))
                for _, vlan, mac, one, other in self._runtime.bridges.fdb_flaps()
                if one in names and other in names]

    def fdb_counters(self, bridge: str) -> FdbCounters:
        entries, statics, events, cleared = self._runtime.bridges.fdb_counters(bridge)
        return FdbCounters(entries, statics, dict(zip(FDB_COUNTER_NAMES, events, strict=True)),
                           dict(zip(FDB_COUNTER_NAMES, cleared, strict=True)))

    def clear_fdb_counters(self, bridge: str) -> None:
        self._runtime.bridges.clear_fdb_counters(bridge)

    def mdb(self, bridge: str) -> Sequence[MdbEntry]:
        names = self._names
        return [MdbEntry(names[slot], vlan, *crossing.group(address, protocol), age_s)
                for slot, vlan, address, protocol, age_s in self._runtime.bridges.mdb(bridge)
                if slot in names]

    def flush_mdb(self, bridge: str) -> None:
        self._runtime.bridges.flush_mdb(bridge)

    def expire_mdb(self) -> None:
        self._runtime.bridges.expire_mdb()

    def usage(self) -> Mapping[str, int]:
        return {"packet-buffers-in-use": self._runtime.packets_in_use(),
                "pmds": len(self._runtime.threads()), "ports": len(self._slots)}

    def memory(self) -> tuple[int, int, int]:
        return self._runtime.memory()

    def memory_line(self) -> str:
        reserved, used, packets = self._runtime.memory()
        return (f"DPDK memory: {reserved // MIB} MiB reserved, {used // MIB} MiB used: "
                f"{packets // MIB} MiB packet buffers for all ports, {(used - packets) // MIB} MiB "
                f"DPDK's own; each connected guest adds less than 1 MiB")

    def close(self) -> None:
        hosts = self._host_names()
        with self._sockets.closing(*self._slots):
            self._runtime.close()
        for name in hosts:
            self._host_ports.close(name)
