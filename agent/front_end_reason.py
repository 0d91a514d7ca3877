"""Why a vhost-user port has no guest: pure."""
from __future__ import annotations

import os
from collections.abc import Iterator

from agent.model import PortSpec, PortState, Registration
from agent.reason_model import Access, Facts, Found, Handshake, Reason, SocketFacts
from agent.shell import argument, quoted
from agent.vduse import VDUSE_DIR, is_vduse
from agent.virtio import ACCESS_PLATFORM, HOST_TSO, features, request

QEMU = "qemu-system-x86_64 ... $(vhost-agent qemu-args {})"
SHARED = ("QEMU: -object memory-backend-memfd,id=mem,size=SIZE,share=on -machine "
          "memory-backend=mem, as vhost-agent qemu-args {} prints it; libvirt: <memoryBacking>"
          "<source type='memfd'/><access mode='shared'/></memoryBacking>")


def no_guest(spec: PortSpec, state: PortState, facts: Facts) -> Iterator[Reason]:
    """Of a port that is not connected, what is wrong first."""
    assert isinstance(state.device, Registration)
    if is_vduse(state.device.path):
        yield vduse(state.device.path)
        return
    said = facts.handshake
    if refused := said.asked & ~said.offered:
        yield feature_refused(spec, refused)
    if state.attached:
        yield from unfinished(spec, state.device.path, facts)
        return
    if said.given_up and not refused:
        yield gave_up(spec, said)
    if facts.socket is not None:
        if state.device.client:
            yield from client_socket(spec, facts.socket)
        else:
            yield from server_socket(spec, facts.socket)


def vduse(path: str) -> Reason:
    name = path.removeprefix(VDUSE_DIR)
    return Reason("vduse-unused", f"the VDUSE device {path} is there, and no driver uses it",
                  f"vdpa dev add name {quoted(name)} mgmtdev vduse; modprobe virtio_vdpa (a "
                  "network device of this host) or vhost_vdpa (for QEMU)")


# --- its socket -----------------------------------------------------------------------------------

def client_socket(spec: PortSpec, socket: SocketFacts) -> Iterator[Reason]:
    path, start = socket.path, f"start the guest: {QEMU.format(argument(spec.name))}"
    match socket.found:
        case Found.NOTHING:
            yield Reason("socket-missing",
                         f"there is no socket {path}, which the guest's QEMU makes", start)
        case Found.NO_DIRECTORY:
            directory = os.path.dirname(os.path.abspath(path))      # of the agent's own
            yield Reason("directory-missing",
                         f"there is no directory {directory} for the socket {path}",
                         f"mkdir -p {argument(directory)}, then {start}")
        case Found.LOOP:
            yield Reason("link-loop", f"the symbolic links on the way to the socket {path} lead in "
                         "a circle", f"namei -l {argument(path)} shows them; make them anew, or "
                         f"ovs-vsctl set Interface {quoted(spec.name)} "
                         "options:vhost-server-path=/path/to/socket")
        case Found.OTHER:
            # a device, a directory or a link that is there on purpose must not be taken away
            yield Reason("not-a-socket", f"{path} is no socket",
                         f"ovs-vsctl set Interface {quoted(spec.name)} "
                         "options:vhost-server-path=/path/to/socket; or, if it is a file that "
                         f"nobody needs, remove it and {start}")
        case Found.OTHER_TYPE:
            yield Reason("not-a-stream", f"the socket {path} is none of SOCK_STREAM, which "
                         "front ends talk over: another program's",
                         f"ovs-vsctl set Interface {quoted(spec.name)} "
                         "options:vhost-server-path=/path/to/socket")
        case Found.CLOSED:
            yield closed(socket)
        case Found.SOCKET if not socket.may_connect and socket.access is not None:
            yield denied(socket.user, socket.access)
        case Found.SOCKET if socket.listening:
            yield Reason("socket-busy", f"somebody listens on the socket {path} and takes no more "
                         "connections: another switch has one", f"ss -xp src {quoted(path)}")
        case Found.SOCKET:
            yield Reason("socket-stale", f"nobody listens on the socket {path}: who made it has "
                         "ended", start)


def closed(socket: SocketFacts) -> Reason:
    what = f"user {socket.user}, who the agent runs as, may not "
    if socket.access is None:
        return Reason("permission-denied", f"{what}look at {socket.path}")
    return Reason("permission-denied", f"{what}enter the directory {socket.access.path} of the "
                  f"socket {socket.path}: it has {socket.access}",
                  f"setfacl -m {quoted(f'u:{socket.user}:x')} {argument(socket.access.path)}")


def denied(user: str, access: Access) -> Reason:
    return Reason("permission-denied", f"user {user}, who the agent runs as, may not connect to "
                  f"the socket {access.path}: it has {access}",
                  f"setfacl -m {quoted(f'u:{user}:rw')} {argument(access.path)}; for good, "
                  "let QEMU and the agent have a group in common, and QEMU a umask of 007")


def server_socket(spec: PortSpec, socket: SocketFacts) -> Iterator[Reason]:
    if socket.found is not Found.SOCKET or socket.access is None:
        yield Reason("socket-removed", f"somebody removed the socket {socket.path}, which the "
                     "agent made: no guest can connect",
                     "the agent makes it again as soon as nothing else is at its place")
        return
    yield Reason("no-guest", f"no guest has connected to the socket {socket.path}; "
                 f"{who(socket.access)} may",
                 f"start it: {QEMU.format(argument(spec.name))}; for a QEMU of another user see "
                 "options:vhost-sock-owner, vhost-sock-group and vhost-sock-mode")


def who(access: Access) -> str:
    """Who may connect to a socket."""
    if access.mode & 0o002:
        return "everybody"
    users = [f"user {access.owner}"] if access.mode & 0o200 else []
    users += [f"group {access.group}"] if access.mode & 0o020 else []
    return " and ".join(users) or "nobody but root"


# --- what its front end said ----------------------------------------------------------------------

def feature_refused(spec: PortSpec, refused: int) -> Reason:
    return Reason("feature-refused", "the guest insists on what the port does not offer: "
                  f"{features(refused)}", how_to_offer(spec, refused))


def gave_up(spec: PortSpec, said: Handshake) -> Reason:
    """A front end that does not say which feature it misses: QEMU ends, with a word of its own."""
    times = f", {said.given_up} times in a row" if said.given_up > 1 else ""
    text = (f"the guest's QEMU ended the connection before a driver ran{times}; its last request "
            f"was {request(said.last_request)}")
    missed = (ACCESS_PLATFORM | HOST_TSO) & ~said.offered
    if not said.asked and missed:
        return Reason("gave-up", f"{text}. Not offered are {features(missed)}",
                      f"see what QEMU said as it ended; {how_to_offer(spec, missed)}")
    return Reason("gave-up", text, "see what QEMU said as it ended")


def how_to_offer(spec: PortSpec, missed: int) -> str:
    """How the port offers features, as far as it can."""
    said = []
    if missed & ACCESS_PLATFORM and spec.client:
        said.append(f"for iommu_platform=on: ovs-vsctl set Interface {quoted(spec.name)} "
                    "options:vhost-iommu-support=true")
    if missed & HOST_TSO:
        said.append("for a guest that ran with segmentation offloads: ovs-vsctl set Open_vSwitch . "
                    "other_config:userspace-tso-enable=true, and start the agent again")
    return "; ".join(said)


def unfinished(spec: PortSpec, path: str, facts: Facts) -> Iterator[Reason]:
    """A front end is connected, and its guest is not ready."""
    said = facts.handshake
    if not said.heard:
        if facts.settled:
            yield Reason("nothing-heard", f"the socket {path} is connected, and nothing comes: "
                         "another switch was first, for QEMU talks to one, or QEMU hangs",
                         f"ss -xp src {quoted(path)}")
        return
    if said.asked and not said.regions:
        if facts.settled and not said.asked & ~said.offered:
            yield Reason("memory-not-shared", "the guest's memory is not shared: its driver has "
                         "started, and QEMU had no memory to give to the switch",
                         SHARED.format(argument(spec.name)))
        return
    if said.withheld:
        yield Reason("ring-withheld", "a ring of the guest lies, behind its IOMMU, on pages that "
                     "cannot be put in a row, which hugepages and post-copy prevent: it is not "
                     "touched", "in the guest's kernel command line: iommu=pt; or ordinary pages")
    elif said.was_ready:
        yield Reason("driver-stopped", "the guest's driver has stopped its queues: it starts "
                     "again, or was taken out", "in the guest: modprobe virtio_net")
    elif said.regions:
        yield Reason("rings-not-ready", "the guest has shared its memory, and its rings are not "
                     f"ready; its last request was {request(said.last_request)}")
    else:
        yield Reason("waiting-for-driver", "the guest is connected, and waits for its driver: it "
                     "boots, is on its way from another host, or has none for this device",
                     "in the guest: modprobe virtio_net")
