"""Settings of the whole agent, from Open_vSwitch.other_config: pure."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import schema
from agent import accessconfig
from agent.access import AS_MADE, SocketAccess
from agent.model import ETH_TYPE, VHOST_TYPES, AutoBalance, Placing, PmdSpec
from agent.options import Texts, integer, misspelt, pairs, shown, without_effect
from agent.pmdconfig import auto_balance, placing, pmds, sleeps
from agent.role import VSWITCHD, Role

TABLE, COLUMN = "Open_vSwitch", "other_config"
SOCK_DIR_MAX_CHARS = 255
LOCKED = ("vhost-postcopy-support and mlockall are not compatible. Start the agent without "
          "--mlockall, or with other_config:vhost-postcopy-support=true")
VLAN_TAGS_MOST = 2              # what vlan-limit=0 means


@dataclass(frozen=True, slots=True)
class HostConfig:
    """Settings of the whole agent, with defaults for what could not be used."""

    socket_dir: str                     # of dpdkvhostuser ports
    access: SocketAccess = AS_MADE      # of these sockets
    iommu: bool = False
    postcopy: bool = False
    fills_memory: bool = False          # guests' memory is touched as soon as it is mapped
    tso: bool = False                   # guests may leave segmentation to the switch
    own_memory: bool = False            # packet buffers of each port's own
    shared_mtus: tuple[int, ...] = ()   # sizes of shared packet buffers, ascending
    pmds: tuple[PmdSpec, ...] = ()      # PMD threads, cores ascending
    default_sleep_us: int = 0           # longest sleep of those that have none of their own
    placing: Placing = field(default_factory=Placing)
    auto_balance: AutoBalance | None = None
    numa_nodes: int = 1
    cores: frozenset[int] = frozenset()     # of the host; empty: not known
    stats_interval_ms: int = 5000
    vlan_limit: int = 1                 # VLAN tags of a frame that are looked at, 1 or 2
    dpdk_initialized: bool = False
    role: Role = VSWITCHD
    problems: tuple[str, ...] = ()      # what could not be used, in plain words
    # {port type: problems that concern its ports}
    port_problems: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def socket_dir(texts: Texts, rundir: str) -> str:
    """Directory of the server ports' sockets (OVS: process_vhost_flags)."""
    sub = texts.text("vhost-sock-dir")
    if not sub:
        return rundir
    if ".." in sub or len(sub) > SOCK_DIR_MAX_CHARS:
        why = "contains '..'" if ".." in sub else f"is longer than {SOCK_DIR_MAX_CHARS} characters"
        texts.complain("vhost-sock-dir", f"{shown(sub)} {why}, using {rundir}")
        return rundir
    return f"{rundir}/{sub}"


def shared_mtus(texts: Texts) -> tuple[int, ...]:
    """MTUs of shared-mempool-config, 'mtu', 'mtu:node', 'mtu=node' or 'mtu(node)'; one that cannot
    be used spoils the list (OVS: parse_mempool_config)."""
    mtus = []
    for _, mtu_text, node in pairs(texts.text("shared-mempool-config")):
        mtu = integer(mtu_text)
        low, high = mtu_range()
        if mtu is None or not low <= mtu <= high:
            texts.complain("shared-mempool-config", f"{shown(mtu_text)} is not an MTU of "
                           f"{low}..{high}, the whole list is ignored")
            return ()
        if (integer(node) or 0) < 0:
            texts.complain("shared-mempool-config", f"{shown(node)} is not a NUMA node, the whole "
                           "list is ignored")
            return ()
        mtus.append(mtu)
    return tuple(sorted(mtus))


def wants_postcopy(other_config: Mapping[str, str]) -> bool:
    return bool(Texts(other_config, TABLE, COLUMN).boolean("vhost-postcopy-support"))


def postcopy(texts: Texts, fills_memory: bool) -> bool | None:
    """vhost-postcopy-support, None where it is not set (OVS: process_vhost_flags)."""
    wanted = texts.boolean("vhost-postcopy-support")
    if wanted and fills_memory:
        prefix = texts.typed("")
        texts.problems.append((texts.option("vhost-postcopy-support"), prefix + LOCKED.replace(
            "other_config:", f"other_config:{prefix}")))
        return False
    return wanted


def tso(texts: Texts, on: bool) -> bool:
    """userspace-tso-enable; once it was 'on' it stays on (OVS: userspace_tso_init)."""
    wanted = bool(texts.boolean("userspace-tso-enable"))
    if on and not wanted:
        texts.complain("userspace-tso-enable", "segmentation offload was enabled and stays so "
                       "until the agent ends")
    return on or wanted


def mtu_range() -> tuple[int, int]:
    column = schema.columns()["Interface"]["mtu_request"]
    return column["minimum"], column["maximum"]


def host_config(other_config: Mapping[str, str], *, rundir: str,
                numa_cores: Mapping[int, Sequence[int]], dpdk_initialized: bool,
                at_start: Mapping[str, str] | None = None, tso_on: bool = False,
                access_before: SocketAccess = AS_MADE, fills_memory: bool = False,
                role: Role = VSWITCHD) -> HostConfig:
    """Settings from other_config, as the role's view of the database has it.

    'at_start' is what it was when DPDK started: what changed since then and only counts at a start
    is said. 'tso_on': segmentation offload was enabled before. 'access_before': what the sockets of
    server ports were given by the settings before. 'fills_memory': guests' memory is touched as
    soon as it is mapped.
    """
    texts = Texts(other_config, TABLE, COLUMN, role.prefix)
    default_sleep_us, sleep_us = sleeps(texts)
    config = HostConfig(
        socket_dir=socket_dir(texts, rundir),
        access=accessconfig.access(texts, AS_MADE, access_before,
                                   " for ports without values of their own"),
        iommu=bool(texts.boolean("vhost-iommu-support")),
        postcopy=bool(postcopy(texts, fills_memory)), fills_memory=fills_memory,
        tso=tso(texts, tso_on), own_memory=bool(texts.boolean("per-port-memory")),
        shared_mtus=shared_mtus(texts),
        pmds=pmds(texts, numa_cores, default_sleep_us, sleep_us, last=role.beside),
        default_sleep_us=default_sleep_us, placing=placing(texts),
        auto_balance=auto_balance(texts), numa_nodes=len(numa_cores),
        cores=frozenset(core for cores in numa_cores.values() for core in cores),
        stats_interval_ms=texts.integer("stats-update-interval"),
        vlan_limit=texts.integer("vlan-limit") or VLAN_TAGS_MOST, dpdk_initialized=dpdk_initialized,
        role=role)
    texts.boolean("dpdk-probe-at-init")
    init = texts.text("dpdk-init")
    if init.lower() not in ("true", "try"):
        if at_start is not None and at_start.get("dpdk-init", "").lower() in ("true", "try"):
            texts.complain("dpdk-init", "DPDK has started and goes on until the agent ends")
        elif init.lower() not in ("", "false"):
            texts.complain("dpdk-init", f"{shown(init)} is neither true nor try: DPDK is not "
                           "started")
    for o in schema.options_of(TABLE, COLUMN):
        if (o.takes_effect == "restart" and at_start is not None
                and at_start.get(o.key) != other_config.get(o.key)):
            texts.complain(o.key, "the change takes effect when the agent is started again")
    keys = {o.key: o for o in schema.options_of(TABLE, COLUMN)}
    said: list[tuple[schema.Option | None, str]] = list(texts.problems)
    said += [(keys.get(near), p)
             for near, p in misspelt(other_config, TABLE, COLUMN, role.prefix)]
    said += [(None, p) for p in without_effect(other_config, TABLE, COLUMN, role.prefix)]
    return replace(
        config, problems=tuple(problem for _, problem in said),
        port_problems={type_: tuple(p for o, p in said if o is not None and type_ in o.port_types)
                       for type_ in (ETH_TYPE, *VHOST_TYPES)})
