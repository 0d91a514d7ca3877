"""Ports whose front end had to be cut off: how long each stays closed. Pure."""
from __future__ import annotations

from dataclasses import dataclass

from agent.model import PortSpec, PortState, Registration
from agent.reason_model import Reason
from agent.refusal import NO_DEVICE, NO_OFPORT
from agent.shell import argument, quoted
from agent.virtio import request

FIRST_MS = 1000
MOST_MS = 300_000
FORGOTTEN_MS = 600_000          # after a port was opened again, without another offence
# Connections of one port, in so much time, that may come to nothing: a QEMU that cannot start tries
# once a second.
FLOOD_CONNECTIONS = 20
FLOOD_MS = 10_000
FLOOD = "flood"
ELSEWHERE = "elsewhere"

# By the data plane's name of an offence, what the front end did.
DID = {
    "broken": "sent a request that makes no sense, or a part of one",
    "ring": "set a ring to a size or an index that it cannot have, or while it was in use",
    "layout": "changed the layout of rings that were set up",
    "memory": "shared memory that cannot be mapped: its file is shorter than said, sealed, for "
              "reading alone, not in memory, or more than twice what the host has",
    "descriptor": "interrupts, or wants to be interrupted, by what is no eventfd",
    "request": "sent a request that is of no use to a network device",
    "shrunk": "made the file of its memory shorter while it was shared",
    "beyond": "has buffers that go on behind the end of its memory",
    "endless": "has a ring that takes long to walk, and has no room for a frame",
    "stuck": "kept a thread of the switch waiting on a descriptor that takes no more",
    "deaf": "did not read the answers to its requests",
    ELSEWHERE: "listens for another port, to whose socket this one's path leads by a link",
    "nameless": "gave its socket another name than the port's path, so that its connection could "
                "not be told from another that was made at the same moment",
    FLOOD: f"connected more than {FLOOD_CONNECTIONS} times in {FLOOD_MS // 1000} seconds, and no "
           "guest was ready",
}
# Likewise, what this host had not for it.
SHORT = {
    "no-memory": "this host is short of memory: what the guest shares cannot be mapped, for no "
                 "hugepage is left, or the agent may have no more addresses, mappings "
                 "(vm.max_map_count) or locked memory (LimitMEMLOCK=)",
    "no-files": "this host is short of file descriptors: the agent may have no more "
                "(LimitNOFILE=), and did not get those that came with a message",
}


@dataclass(frozen=True, slots=True)
class Conduct:
    """What is remembered of a port's front ends."""

    spec: PortSpec                  # another wish of the operator's has all forgotten
    offences: int = 0               # of the data plane's count, those that were seen
    vain: int = 0                   # connections that came to nothing, as counted at 'since_ms'
    since_ms: int = 0
    times: int = 0                  # that the port was closed in a row
    text: str = ""                  # why it was last
    offence: str = ""               # which that was: of DID or SHORT
    until_ms: int = 0               # when it opens again, or did


def closed_ms(times: int) -> int:
    """How long a port is closed that was closed so many times in a row before."""
    return min(MOST_MS, FIRST_MS << min(times, 16))


def judged(before: Conduct | None, spec: PortSpec, state: PortState, last_request: int,
           now_ms: int) -> Conduct:
    """The same with what the data plane says now. Closed for 1 s at first, twice as long each time
    up to 5 minutes; ten minutes without an offence and all is forgotten."""
    vain = state.connections - state.connects
    if before is None or before.spec != spec or (
            before.times and now_ms - before.until_ms > FORGOTTEN_MS
            and state.offences <= before.offences):
        before = Conduct(spec, 0, vain, now_ms)
    offence = state.offence if state.offences > before.offences else ""
    counted, since_ms = before.vain, before.since_ms
    if vain < counted or now_ms - since_ms > FLOOD_MS:
        counted, since_ms = vain, now_ms
    elif vain - counted > FLOOD_CONNECTIONS:
        offence = offence or FLOOD
    if not offence:
        return Conduct(spec, state.offences, counted, since_ms, before.times, before.text,
                       before.offence, before.until_ms)
    wait_ms = closed_ms(before.times)
    asked = f"; its last request was {request(last_request)}" if last_request else ""
    head = (NO_OFPORT.format(spec.name, "Invalid argument") if spec.client
            else NO_DEVICE.format(spec.name, "Unknown error -1"))
    why = SHORT.get(offence) or f"the guest's QEMU, or another front end, {DID[offence]}{asked}"
    text = f"{head}: {why}; the port is closed for {wait_ms // 1000} s"
    # the port that is opened then counts from 0
    return Conduct(spec, 0, 0, now_ms, before.times + 1, text, offence, now_ms + wait_ms)


def closed(conduct: Conduct, now_ms: int) -> Reason:
    """Since when a port is closed and until when, and what can be done."""
    ago_ms = max(0, now_ms - conduct.until_ms + closed_ms(conduct.times - 1))
    left_ms = max(0, conduct.until_ms - now_ms)
    row = f", {conduct.times} times in a row" if conduct.times > 1 else ""
    return Reason("closed", f"it was closed {ago_ms // 1000} s ago{row}, and opens again by itself "
                  f"in {-(-left_ms // 1000)} s",
                  f"{mend(conduct)}; to open the port at once: ovs-appctl -t vhost-agent "
                  f"netdev-dpdk/set-admin-state {quoted(conduct.spec.name)} up")


def mend(conduct: Conduct) -> str:
    """What keeps a port that is opened again from being closed for the same."""
    if conduct.offence in SHORT:
        return "see what this host and the agent have left: vhost-agent doctor"
    if conduct.offence == ELSEWHERE:
        assert isinstance(conduct.spec.device, Registration)
        return f"namei -l {argument(conduct.spec.device.path)} shows the link: take it away"
    return ("look for what did that in the guest (dmesg, its driver) and in what QEMU said (of "
            "libvirt: /var/log/libvirt/qemu/DOMAIN.log)")
