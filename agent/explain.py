"""The answer of `vhost-agent explain`, of what is known of one port: pure."""
from __future__ import annotations

import difflib
import re
import textwrap
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from agent.drops import blame
from agent.eth_values import EthDevice
from agent.front_end_reason import who
from agent.host_model import HostDevice
from agent.model import PatchDevice, PortSpec, PortState, Registration
from agent.options import number_ranges, shown
from agent.reason_model import Facts, Found, Reason
from agent.table import printable
from agent.virtio import features, request

WIDTH = 100                     # columns
NAME = 10                       # of them for the name of a fact
QUOTED = re.compile(r"(?<!\w)'[^']*'")      # not the apostrophe of a genitive
NO_BREAK = "\xa0"               # printable() leaves none
NEAR_MOST = 3                   # names like an unknown one that are told


@dataclass(frozen=True, slots=True)
class View:
    """A port of the database, and what is known of it."""

    name: str
    type: str                       # as its row has it
    bridge: str
    served: bool = True             # the agent serves its bridge
    error: str = ""
    problems: tuple[str, ...] = ()
    pending: str = ""
    spec: PortSpec | None = None
    state: PortState | None = None
    reasons: tuple[Reason, ...] = ()
    facts: Facts = field(default_factory=Facts)
    statistics: Mapping[str, int] = field(default_factory=dict)


def unknown(name: str, names: Collection[str]) -> str:
    """A sentence about a port that there is not."""
    near = difflib.get_close_matches(name, names, NEAR_MOST)
    like = f"; did you mean {printable(' or '.join(near))}?" if near else ""
    return f"no port {shown(name)} is in the database{like or ': '}" + (
        "" if like else "'ovs-vsctl show' lists ports")


def text(view: View) -> str:
    """A line that says how the port is, what is wrong and what to do, then the facts."""
    lines = [printable(f"{view.name} {headline(view)}")]
    said = view.reasons[0:1] if not view.error and not is_up(view) else ()
    if said and said[0].mend:
        lines += wrapped("    do: ", said[0].mend)
    for reason in view.reasons[len(said):]:
        lines += wrapped("  - ", reason.text)
        if reason.mend:
            lines += wrapped("    do: ", reason.mend)
    for problem in view.problems:
        lines += wrapped("  - ", problem)
    if view.pending:
        lines += wrapped("  - waits: ", view.pending)
    for name, fact in facts(view):
        lines += wrapped(f"  {name:{NAME}}", fact)
    return "\n".join([*lines, ""])


def wrapped(head: str, words: str) -> list[str]:
    """Lines of at most WIDTH columns, but that words, paths and what is in quotes stay whole."""
    whole = QUOTED.sub(lambda found: found[0].replace(" ", NO_BREAK), printable(words))
    lines = textwrap.wrap(whole, WIDTH, initial_indent=head, subsequent_indent=" " * len(head),
                          break_long_words=False, break_on_hyphens=False) or [head.rstrip()]
    return [line.replace(NO_BREAK, " ") for line in lines]


def headline(view: View) -> str:
    if view.error:
        return f"is not served: {view.error}"
    if not view.served:
        return f"is on bridge {view.bridge}, which another daemon serves"
    if is_up(view):
        return "is up" + (", with something to say:" if view.reasons or view.problems else "")
    if view.reasons:
        return f"is down: {view.reasons[0].text}"
    if view.spec is not None and view.spec.device is None:
        return "is down: it has no socket yet"
    return "is down"


def is_up(view: View) -> bool:
    """As link_state has it."""
    state = view.state
    if view.error or not view.served or state is None or not state.up:
        return False
    match state.device:
        case Registration():
            return state.connected
        case EthDevice():
            return state.eth is not None and state.eth.link_up
        case HostDevice():
            return state.host.link is not None and state.host.link.running
    return True


# --- facts ----------------------------------------------------------------------------------------

def facts(view: View) -> Iterator[tuple[str, str]]:
    yield "type", f"{view.type or 'system'} on bridge {view.bridge}"
    state = view.state
    if state is None:
        return
    match state.device:
        case Registration() as device:
            yield from of_guest(view, state, device)
        case EthDevice(devargs):
            yield "device", f"{devargs}" + (
                "" if state.eth is None else f", {state.eth.driver_name}, {state.eth.n_rxq} rx and "
                f"{state.eth.n_txq} tx queues, NUMA node {state.eth.numa_id}")
        case HostDevice(_, name) if state.host.link is not None:
            yield "device", f"{name}, {state.host.driver[0] or 'no driver'}"
        case PatchDevice(peer):
            yield "peer", peer
    if not isinstance(state.device, PatchDevice):
        yield "MTU", str(state.memory.mtu if state.eth is None else state.eth.mtu)
    if view.facts.cores:
        yield "polled", "; ".join(polled(view.facts))
    dropped = [f"{key} {count} ({blame(key)})" for key, count in sorted(view.statistics.items())
               if count and blame(key) and "_q" not in key]
    if dropped or view.statistics:
        yield "drops", ", ".join(dropped) or "none"


def polled(facts: Facts) -> Iterator[str]:
    """Which rx queues each core polls."""
    for core in sorted({*facts.cores.values()}):
        queues = sorted(q for q, polling in facts.cores.items() if polling == core)
        what = "rx queue" if len(queues) == 1 else "rx queues"
        yield f"{what} {number_ranges(queues)} by core {core} (NUMA node {facts.nodes[core]})"


def of_guest(view: View, state: PortState, device: Registration) -> Iterator[tuple[str, str]]:
    said = view.facts.handshake
    yield "socket", f"{device.path}; {'the agent connects' if device.client else 'guests connect'}"
    socket = view.facts.socket
    if socket is not None and socket.found is Found.SOCKET and socket.access is not None:
        yield "", f"{socket.access}; {who(socket.access)} may connect to it"
    if state.connected:
        yield "guest", f"ready, the {ordinal(state.connects)} since the port was added"
        yield "features", features(state.features) or "none"
        pairs = len(state.vring_sizes) // 2
        yield "queues", (f"{pairs} pair{'s' if pairs != 1 else ''}; enabled: rx "
                         f"{listed(state.enabled_rxqs)}, tx {listed(state.enabled_txqs)}")
        yield "rings", (f"the guest sends by {sizes(state.vring_sizes[1::2])} and receives by "
                        f"{sizes(state.vring_sizes[::2])} descriptors")
        if state.numa >= 0:
            yield "memory", f"on NUMA node {state.numa}"
        return
    yield "guest", f"{'connected, not ready' if state.attached else 'none'}; before: " + (
        f"{state.connections} connections, {state.connects} guests that were ready"
        if state.connections else "none")
    if said.last_request:
        yield "", (f"its last request was {request(said.last_request)}"
                   + (f", it took {features(said.asked)}" if said.asked else ""))
    if said.offered:
        yield "offered", features(said.offered)


def ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(
        number % 10, "th")
    return f"{number}{ending}"


def listed(numbers: Sequence[int]) -> str:
    return " ".join(map(str, numbers)) or "none"


def sizes(found: Sequence[int]) -> str:
    return " or ".join(map(str, sorted({*found}))) or "no"
