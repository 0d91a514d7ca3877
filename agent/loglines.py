"""The lines about ports, guests and PMD threads that operators and scripts wait for: pure.

Texts and levels as ovs-vswitchd's (lib/netdev-dpdk.c, lib/dpif-netdev.c), made from what changed
between two looks.
"""
from __future__ import annotations

from collections.abc import Iterator

import schema
from agent.access import SocketAccess
from agent.hostconfig import HostConfig
from agent.model import AutoBalance, Counters, PmdSpec, PortSpec, PortState, Registration
from agent.pmdconfig import MINUTE_MS

Line = tuple[str, str]          # (level, text); a level is a method of Vlog
DEPRECATED = ("dpdkvhostuser ports are considered deprecated;  please migrate to "
              "dpdkvhostuserclient ports.")


def enabled(yes: bool) -> str:
    return "enabled" if yes else "disabled"


def config_lines(before: HostConfig | None, now: HostConfig, rundir: str) -> Iterator[Line]:
    """What is in force for all ports: all of it when DPDK has started, then what changed."""
    def differ(field: str) -> bool:
        return before is None or getattr(before, field) != getattr(now, field)

    if differ("own_memory"):
        yield "info", f"Per port memory for DPDK devices {enabled(now.own_memory)}."
    if differ("shared_mtus"):
        for mtu in now.shared_mtus:
            yield "info", f"User configured shared mempool set for: MTU {mtu}, NUMA ALL."
    if differ("socket_dir"):
        if now.socket_dir == rundir:
            yield "info", f"No vhost-sock-dir provided - defaulting to {rundir}"
        else:
            sub = now.socket_dir.removeprefix(f"{rundir}/")
            yield "info", f"User-provided vhost-sock-dir in use: {sub}"
    if differ("iommu"):
        yield "info", f"IOMMU support for vhost-user-client {enabled(now.iommu)}."
    if differ("postcopy"):
        yield "info", f"POSTCOPY support for vhost-user-client {enabled(now.postcopy)}."


def pmd_config_lines(before: HostConfig | None, now: HostConfig) -> Iterator[Line]:
    """What is in force for all PMD threads, when it changed."""
    if before is None or before.default_sleep_us != now.default_sleep_us:
        yield "info", f"Default PMD thread max sleep: {now.default_sleep_us:4} us."
    if before is not None and before.placing.algorithm != now.placing.algorithm:
        yield "info", f"Rxq to PMD assignment mode changed to: '{now.placing.algorithm}'."
    blocked = before is not None and any(spec.block for spec in before.pmds)
    if blocked != any(spec.block for spec in now.pmds):
        yield "info", ("PMD threads poll without a pause." if blocked else
                       "PMD threads wait in the kernel while their queues are silent.")
    if (before.auto_balance if before is not None else None) != now.auto_balance:
        yield "info", auto_balance(now.auto_balance)


def auto_balance(when: AutoBalance | None) -> str:
    if when is None:
        return "PMD auto load balance is disabled."
    return (f"PMD auto load balance is enabled, interval {when.interval_ms // MINUTE_MS} mins, pmd "
            f"load threshold {when.load_percent}%, improvement threshold "
            f"{when.improvement_percent}%.")


def pmd_created(spec: PmdSpec, lcore: int) -> Iterator[Line]:
    """A PMD thread that has started; 'lcore' is DPDK's number for it, -1 without."""
    yield "info", f"{pmd(spec)} created."
    if lcore >= 0:
        yield "info", f"PMD thread uses DPDK lcore {lcore}."
    else:
        yield "warn", ("DPDK max threads count has been reached. PMD thread performance may be "
                       "impacted.")
    yield pmd_sleep(spec)


def pmd_destroyed(spec: PmdSpec) -> Line:
    return "info", f"{pmd(spec)} destroyed."


def pmd_sleep(spec: PmdSpec) -> Line:
    """How long a PMD thread may sleep: one that starts, or is told another time."""
    return "info", f"{pmd(spec)}, max sleep: {spec.sleep_max_us:4} us."


def pmd(spec: PmdSpec) -> str:
    return f"PMD thread on numa_id: {spec.node}, core id: {spec.core:2}"


def pmd_threads(node: int, count: int) -> Line:
    """To be said of each node that has PMD threads when some were started or stopped."""
    return "info", f"There are {count} pmd threads on numa node {node}"


def added(spec: PortSpec) -> Iterator[Line]:
    if not isinstance(spec.device, Registration):
        return
    path = spec.device.path
    if spec.client:
        if spec.tx_retries_max != schema.option("Interface", "options", "tx-retries-max").default:
            yield retries(spec.name, spec.tx_retries_max)
        yield "info", (f"vHost User device '{spec.name}' created in 'client' mode, using client "
                       f"socket '{path}'")
    else:
        yield "info", f"Socket {path} created for vhost-user port {spec.name}"


def retries(port: str, most: int) -> Line:
    return "info", f"Max Tx retries for vhost device '{port}' set to {most}"


def tx_steering(port: str, by_hash: bool) -> Line:
    return "info", (f"{port}: Tx packet steering mode has been set to "
                    f"'{'hash' if by_hash else 'thread'}'.")


def socket_access(port: str, access: SocketAccess) -> Line:
    """Of a socket that was there already."""
    return "info", f"{port}: the socket has {access} now"


def removing(state: PortState) -> Iterator[Line]:
    """Before a port is removed: its guest will not find back to a socket of ours by itself."""
    if state.attached and isinstance(state.device, Registration) and not state.device.client:
        yield "err", f"Removing port '{state.name}' while vhost device still attached."
        yield "err", ("To restore connectivity after re-adding of port, VM on socket "
                      f"'{state.device.path}' must be restarted.")


def guest_lines(before: PortState, now: PortState) -> Iterator[Line]:
    """What a port's guest did between two looks."""
    if not isinstance(now.device, Registration):
        return
    if before.device != now.device:
        before = without_guest(now)     # the port was made anew: its old guest left no line
    path = now.device.path
    left = before.connected and (not now.connected or now.connects != before.connects)
    if left:
        yield "info", f"vHost Device '{path}' has been removed"
    if before.attached and (not now.attached or now.connections != before.connections):
        if not now.connects:        # no guest ever got further; a later one is not warned of
            yield "warn", f"Connection on socket '{path}' closed during initialization."
        yield "info", f"vHost Device '{path}' connection has been destroyed"
    if now.attached:
        same = now.connections == before.connections
        for vring, kind, queue, on in vrings(before if same else without_guest(now), now):
            yield "info", (f"State of queue {vring} ( {kind}_qid {queue} ) of vhost device "
                           f"'{path}' changed to '{enabled(on)}'")
    if now.connected and (left or not before.connected):
        yield "info", f"vHost Device '{path}' has been added on numa node {max(0, now.numa)}"


def without_guest(state: PortState) -> PortState:
    """The same port before any guest came."""
    return PortState(state.name, state.device, state.tx_retries_max, state.memory)


def vrings(before: PortState, now: PortState) -> Iterator[tuple[int, str, int, bool]]:
    """(vring, rx or tx, queue, whether it is enabled now) of each vring that was switched."""
    switched = [(2 * q + 1, "rx", q, q in now.enabled_rxqs)
                for q in {*before.enabled_rxqs} ^ {*now.enabled_rxqs}]
    switched += [(2 * q, "tx", q, q in now.enabled_txqs)
                 for q in {*before.enabled_txqs} ^ {*now.enabled_txqs}]
    return iter(sorted(switched))


def oversize(name: str, mtu: int, before: Counters, now: Counters) -> Iterator[Line]:
    """Frames that were too long for a guest since the last statistics."""
    if now.port.get("tx_mtu_drops", 0) > before.port.get("tx_mtu_drops", 0):
        yield "warn", (f"{name}: Too big size {now.port['tx_oversize_bytes']} max_packet_len "
                       f"{mtu + 18}")
