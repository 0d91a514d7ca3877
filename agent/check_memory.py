"""Whether the hugepages suffice for what the database asks for: pure."""
from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence

from agent.eth_values import EthDevice
from agent.finding import ERROR, INFO, OK, Finding
from agent.host_model import HostDevice
from agent.host_values import Node, Process
from agent.model import PortSpec, Registration

MIB = 1 << 20
ORDINARY = ("ovs-vsctl --no-wait set Open_vSwitch . other_config:dpdk-extra=\"--no-huge -m 256\"")
DPDK_BYTES = 24 * MIB               # DPDK's own, guests' queues, and some to spare
# As pmd_ext/pools.pyx makes packet buffers.
USUAL_ROOM_BYTES, USUAL_BUFFERS, JUMBO_BUFFERS = 2048, 16384, 4096
BUFFERS_PER_CORE, SPARE_BUFFERS, WAITING_BUFFERS = 512, 1024, 1024
BUFFER_EXTRA_BYTES = 128 + 128 + 64 + 64    # rte_mbuf, headroom, spare, the pool's header
BACKEND = re.compile(r"memory-backend-(\w+)")
SHARED = re.compile(r"\bshare\W{1,3}(on|true|yes)\b")
PRIVATE = re.compile(r"\bshare\W{1,3}(off|false|no)\b")


def packet_bytes(ports: Sequence[PortSpec], cores: int) -> int:
    """Memory of all packet buffers: of those that are always there, and of each kind that ports
    need. 'cores' are all of the host's."""
    per_core = BUFFERS_PER_CORE * cores
    pools: dict[object, int] = {("shared", USUAL_ROOM_BYTES): pool(USUAL_ROOM_BYTES, per_core)}
    for port in ports:
        room = port.memory.room_bytes
        match port.device:
            case Registration(iommu=iommu):
                key = ("own", port.name) if port.memory.own else ("shared", room)
                pools[key] = pool(room, per_core)
                if iommu:
                    pools["waiting"] = (WAITING_BUFFERS + per_core) * (
                        USUAL_ROOM_BYTES + BUFFER_EXTRA_BYTES)
            case HostDevice():
                pools["host", room] = max(JUMBO_BUFFERS, per_core) * (room + BUFFER_EXTRA_BYTES)
            case EthDevice() as eth:
                buffers = (eth.n_rxq * eth.n_rxq_desc + eth.n_txq * eth.n_txq_desc
                           + SPARE_BUFFERS + per_core)
                pools["own", port.name] = buffers * (room + BUFFER_EXTRA_BYTES)
    return sum(pools.values())


def pool(room_bytes: int, per_core: int) -> int:
    usual = USUAL_BUFFERS if room_bytes <= USUAL_ROOM_BYTES else JUMBO_BUFFERS
    return max(usual, per_core) * (room_bytes + BUFFER_EXTRA_BYTES)


def check(ports: Sequence[PortSpec], other_config: Mapping[str, str], nodes: Sequence[Node],
          cores: int, main_node: int, agent: Process | None, prefix: str = "") -> list[Finding]:
    """'agent' is one that runs: what it needs it has. 'main_node' is where packets are kept,
    'prefix' what a user types before keys of other_config."""
    needed = packet_bytes(ports, cores) + DPDK_BYTES
    details = tuple(f"NUMA node {node.number}: {pages.total} pages of {size(pages.size)}, "
                    f"{pages.free} free" for node in nodes for pages in node.pages if pages.total)
    free = sum(pages.free * pages.size for node in nodes for pages in node.pages)
    extra = words(other_config.get("dpdk-extra", ""))
    if "--no-huge" in extra:
        return [ordinary(extra, needed, prefix)]
    if agent is not None:
        return [Finding("hugepages", OK, f"the agent runs and has its memory; {free // MIB} MiB "
                        "of hugepages are free besides", details=details)]
    short = list(nodes_short(other_config, nodes, needed, main_node, details))
    return short or [Finding("hugepages", OK, f"{free // MIB} MiB of hugepages are free, about "
                             f"{-(-needed // MIB)} MiB are needed"
                             + (f" for {len(ports)} ports" if ports else " to start"),
                             details=details)]


def nodes_short(other_config: Mapping[str, str], nodes: Sequence[Node], needed: int,
                main_node: int, details: tuple[str, ...]) -> Iterator[Finding]:
    wanted = asked_for(other_config, nodes, needed, main_node)
    for node in nodes:
        has = sum(pages.free * pages.size for pages in node.pages)
        need = wanted.get(node.number, 0)
        if has < need:
            where = f" on NUMA node {node.number}" if len(nodes) > 1 else ""
            yield Finding(
                "hugepages-short", ERROR, f"{has // MIB} MiB of hugepages are free{where}, about "
                f"{-(-need // MIB)} MiB are needed",
                "DPDK does not start without them, or ports stay without packet buffers",
                reserve(node, need - has, len(nodes)), details)


def asked_for(other_config: Mapping[str, str], nodes: Sequence[Node], needed: int, main_node: int
              ) -> dict[int, int]:
    """Bytes that have to be free on each NUMA node: what is to be taken at the start, and on the
    main one what packets need."""
    wanted = {main_node: needed}
    numbers = [int(word) for word in other_config.get("dpdk-socket-mem", "").split(",")
               if word.strip().isdecimal()]
    for node, mib in zip(nodes, numbers, strict=False):
        wanted[node.number] = max(wanted.get(node.number, 0), mib * MIB)
    return wanted


def reserve(node: Node, lacking: int, of_nodes: int) -> str:
    """The command that reserves so many more bytes in hugepages, of the least size that is used."""
    sizes = [pages for pages in node.pages if pages.total] or list(node.pages)[:1]
    if not sizes:
        return ORDINARY             # this kernel has no hugepages
    pages = sizes[0]
    number = pages.total + -(-lacking // pages.size)
    if of_nodes == 1 and pages.size == 2 * MIB:
        return f"sysctl vm.nr_hugepages={number}"
    return (f"echo {number} >/sys/devices/system/node/node{node.number}/hugepages/"
            f"hugepages-{pages.size >> 10}kB/nr_hugepages")


def size(number: int) -> str:
    return f"{number >> 30} GiB" if number >= 1 << 30 else f"{number >> 20} MiB"


def words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return []


def ordinary(extra: Sequence[str], needed: int, prefix: str) -> Finding:
    """Memory that dpdk-extra takes from ordinary pages."""
    at = extra.index("-m") + 1 if "-m" in extra else len(extra)
    mib = int(extra[at]) if at < len(extra) and extra[at].isdecimal() else 64
    if mib * MIB < needed:
        return Finding(
            "memory-short", ERROR, f"dpdk-extra takes {mib} MiB of ordinary memory, about "
            f"{-(-needed // MIB)} MiB are needed", "ports stay without packet buffers",
            f"ovs-vsctl --no-wait set Open_vSwitch . other_config:{prefix}dpdk-extra="
            f"\"--no-huge -m {-(-needed // MIB) + 64}\"")
    return Finding("hugepages", INFO, f"DPDK runs on {mib} MiB of ordinary memory (--no-huge in "
                   "dpdk-extra)", "hugepages are faster", "ovs-vsctl --no-wait remove "
                   f"Open_vSwitch . other_config {prefix}dpdk-extra")


# --- guests ---------------------------------------------------------------------------------------

def guests(qemus: Sequence[Process], sockets: Sequence[str]) -> Iterator[Finding]:
    """QEMUs on sockets of our ports whose memory the switch cannot map."""
    for qemu in qemus:
        if any(path in word for path in sockets for word in qemu.words) and not shares(qemu.words):
            yield Finding(
                "guest-memory-private", ERROR, f"the memory of {guest_name(qemu)} is not shared",
                "the switch reads and writes packets in the guest's memory: no packet passes "
                "without share=on", "vhost-agent qemu-args PORT      # prints what QEMU needs")


def shares(command: Sequence[str]) -> bool:
    """Whether all memory of a QEMU is shared: that of a memfd unless it says otherwise, of a file
    only if it says so."""
    backends = [word for word in command if BACKEND.search(word)]
    for word in backends:
        found = BACKEND.search(word)
        if found is None or PRIVATE.search(word):
            return False
        if found[1] not in ("memfd", "shm") and not SHARED.search(word):
            return False
    return bool(backends)


def guest_name(qemu: Process) -> str:
    """As the guest is called in its command line."""
    command = list(qemu.words)
    name = command[command.index("-name") + 1] if "-name" in command[:-1] else ""
    name = next((part.removeprefix("guest=") for part in name.split(",") if part), "")
    return f"guest {name} (process {qemu.pid})" if name else f"QEMU's process {qemu.pid}"
