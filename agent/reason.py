"""Why a port is down, or does only half of what it could: pure."""
from __future__ import annotations

from collections.abc import Iterator, Mapping

from agent.eth_values import EthDevice
from agent.front_end_reason import SHARED, no_guest
from agent.host_model import HostDevice
from agent.model import PortSpec, PortState, Registration
from agent.options import number_ranges
from agent.reason_model import Facts, Reason, Sight
from agent.shell import argument, quoted
from agent.virtio import ACCESS_PLATFORM, RING_SIZES


def no_dpdk(prefix: str = "") -> Reason:
    """Of every port, while DPDK has not started; 'prefix' as of Facts."""
    return Reason("no-dpdk", "DPDK has not started",
                  f"ovs-vsctl set Open_vSwitch . other_config:{prefix}dpdk-init=true")


def reasons(spec: PortSpec, state: PortState | None, facts: Facts) -> tuple[Reason, ...]:
    """What keeps a served port from working, or from working well; what weighs most first."""
    return tuple(_reasons(spec, state, facts))


def _reasons(spec: PortSpec, state: PortState | None, facts: Facts) -> Iterator[Reason]:
    if state is None:
        return                      # its row says why, or that it has no socket yet
    if not state.up:
        yield Reason("admin-down", "it was set down",
                     "ovs-appctl -t vhost-agent netdev-dpdk/set-admin-state "
                     f"{quoted(spec.name)} up")
    match state.device:
        case Registration() if state.connected:
            yield from half_working(spec, state, facts)
            yield from polling(spec, state, facts)
        case Registration():
            yield from no_guest(spec, state, facts)
        case EthDevice():
            if state.eth is not None and not state.eth.link_up:
                yield Reason("no-link", "the device has no link: a cable, or the other end, is "
                             "missing or down")
            yield from polling(spec, state, facts)
        case HostDevice() if spec.name == spec.bridge:
            pass                # who has no use for the bridge's own port leaves it down
        case HostDevice() if state.host.link is not None and not state.host.link.up:
            yield Reason("device-down", "the device is down",
                         f"ip link set {quoted(state.device.name)} up")
        case HostDevice() if state.host.link is not None and not state.host.link.running:
            yield Reason("no-carrier", "the device has no carrier: the other end is missing or "
                         "down")
    if facts.deaf:
        both = argument(spec.bridge, facts.deaf)
        yield Reason("tap-not-taken-up", "the switch at the other end of the tap does not listen "
                     "to it: the tap was made anew, and that switch has kept the old one, or it "
                     "does not run", f"vhost-agent unlink {both} && vhost-agent link {both}, or "
                     "restart ovs-vswitchd")
    if facts.silent:
        yield Reason("bridge-silent", f"bridge {spec.bridge} forwards nothing: fail_mode is "
                     "secure, and there is no OpenFlow here",
                     f"ovs-vsctl del-fail-mode {quoted(spec.bridge)}")


# --- a guest that is connected --------------------------------------------------------------------

def half_working(spec: PortSpec, state: PortState, facts: Facts) -> Iterator[Reason]:
    if facts.sight is Sight.BLANK and facts.settled:
        yield Reason("memory-not-shared", "the guest's memory is not shared: its driver has "
                     "started, and the switch sees only zeros in it",
                     SHARED.format(argument(spec.name)))
    elif facts.stuck and state.enabled_txqs and facts.sight is Sight.USED:
        yield stuck(state)
    if facts.sight is Sight.UNUSED and facts.settled:
        yield Reason("guest-interface-down", "the guest's driver has not put a buffer into a ring "
                     "yet: its interface is down", "in the guest: ip link set DEVICE up")
    yield from queues(state)
    yield from asked(spec, state)


def stuck(state: PortState) -> Reason:
    rings = " or ".join(map(str, sorted({size for size in state.vring_sizes[::2] if size})))
    full = f"its ring of {rings} is full"
    if state.features & ACCESS_PLATFORM:
        full += ", or its IOMMU does not answer"
    return Reason("guest-stuck", f"the guest takes no packets: {full}, and all that was sent to it "
                  "in the last statistics interval was dropped", "see whether the guest hangs or "
                  "is paused, or its program no longer reads the device")


def queues(state: PortState) -> Iterator[Reason]:
    pairs = len(state.vring_sizes) // 2
    enabled = len({*state.enabled_rxqs} & {*state.enabled_txqs})
    if enabled < pairs:
        are = "is" if enabled == 1 else "are"
        yield Reason("queues-disabled", f"{enabled} of {pairs} queue pairs of the guest {are} "
                     "enabled", f"in the guest: ethtool -L DEVICE combined {pairs}")


def asked(spec: PortSpec, state: PortState) -> Iterator[Reason]:
    """Of what the row asks for and the guest decides."""
    wanted, name = dict(spec.asked), argument(spec.name)
    pairs = len(state.vring_sizes) // 2
    if "n_rxq" in wanted and pairs != wanted["n_rxq"]:
        n = wanted["n_rxq"]
        yield Reason("queues-asked", f"n_rxq={n} was asked for, and the guest has {counted(pairs)}",
                     f"start it with as many: vhost-agent qemu-args --queues {n} {name}")
    # a receive queue of the switch is a ring that the guest sends by
    for key, first, option in (("n_rxq_desc", 1, "--tx-queue-size"),
                               ("n_txq_desc", 0, "--rx-queue-size")):
        sizes = {size for size in state.vring_sizes[first::2] if size}
        if key in wanted and sizes and sizes != {wanted[key]}:
            has = " and ".join(map(str, sorted(sizes)))
            can = wanted[key] in RING_SIZES
            yield Reason("ring-size", f"{key}={wanted[key]} was asked for, and the guest's rings "
                         f"have {has}",
                         f"start it with longer ones: vhost-agent qemu-args {option} {wanted[key]} "
                         f"{name}" if can and max(sizes) < wanted[key] else
                         f"start it with others: vhost-agent qemu-args {option} {wanted[key]} "
                         f"{name}" if can else
                         f"QEMU has {', '.join(map(str, RING_SIZES))}")


def counted(pairs: int) -> str:
    return "1 queue pair" if pairs == 1 else f"{pairs} queue pairs"


# --- PMDs -----------------------------------------------------------------------------------------

def polling(spec: PortSpec, state: PortState, facts: Facts) -> Iterator[Reason]:
    enabled = range(state.n_rxqs) if state.eth is not None else state.enabled_rxqs
    unpolled = [q for q in enabled if q not in facts.cores]
    if unpolled:
        yield Reason("not-polled", f"{rx_queues(unpolled)} not polled by any PMD thread",
                     "see status:problems, and ovs-appctl -t vhost-agent "
                     "dpif-netdev/pmd-rxq-show")
    node = state.eth.numa_id if state.eth is not None else state.numa
    if node < 0 or len(facts.numa_cores) < 2:
        return
    pins = dict(spec.affinity)
    far = [q for q in enabled if q in facts.cores and facts.nodes.get(facts.cores[q], node) != node]
    if not far:
        return
    cores = sorted({facts.cores[q] for q in far})
    what = (f"{rx_queues(far)} polled from another NUMA node, by "
            f"{'core' if len(cores) == 1 else 'cores'} {number_ranges(cores)}, for "
            f"{'its' if state.eth is not None else 'the guest'}'s memory is on node {node}")
    yield Reason("other-numa-node", what, far_mend(spec, node, far, pins, facts))


def far_mend(spec: PortSpec, node: int, far: list[int], pins: Mapping[int, int], facts: Facts
             ) -> str:
    here = facts.numa_cores.get(node, ())
    if not here:
        return f"node {node} has no core that the agent may use: give the guest memory of another"
    if any(q in pins for q in far):
        return (f"pin it to a core of node {node} ({number_ranges(here)}): ovs-vsctl set Interface "
                f"{quoted(spec.name)} other_config:pmd-rxq-affinity={far[0]}:{here[0]}")
    if node in facts.nodes.values():
        return (f"the PMD threads of node {node} are kept for the queues that pmd-rxq-affinity "
                "pins to them: ovs-vsctl set Open_vSwitch . "
                f"other_config:{facts.prefix}pmd-rxq-isolate=false")
    mask = sum(1 << core for core in {*facts.nodes, here[0]})
    return (f"no PMD thread is on node {node}, whose cores are {number_ranges(here)}: ovs-vsctl "
            f"set Open_vSwitch . other_config:{facts.prefix}pmd-cpu-mask={mask:#x}")


def rx_queues(queues: list[int]) -> str:
    if len(queues) == 1:
        return f"rx queue {queues[0]} is"
    return f"rx queues {number_ranges(queues)} are"
