"""Whether the agent and the guests' QEMUs can meet at the sockets of ports: pure."""
from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from agent.access import AS_MADE
from agent.accessconfig import EVERYBODY
from agent.finding import ERROR, INFO, OK, WARNING, Finding
from agent.host_values import SEARCH, WRITE, FileFacts, User
from agent.model import PortSpec, Registration
from agent.reach import CLOSED, LOOP, MISSING, Obstacle, obstacle, opening
from agent.shell import quoted
from agent.vduse import is_vduse

SETTINGS = ("ovs-vsctl set Open_vSwitch . other_config:{prefix}vhost-sock-owner={user} \\\n"
            "    other_config:{prefix}vhost-sock-mode=0660")
PREFIX = "{prefix}"


@dataclass(frozen=True, slots=True)
class Qemu:
    """Whom a QEMU runs as, or would."""

    user: User
    words: tuple[str, ...] = ()     # of one that runs; empty: one that libvirt would start

    def names(self, path: str) -> bool:
        return any(path in word for word in self.words)


def sockets(ports: Sequence[PortSpec]) -> dict[str, Registration]:
    """{port: its socket}, but for VDUSE devices and paths that depend on a directory."""
    return {port.name: port.device for port in ports
            if isinstance(port.device, Registration) and not is_vduse(port.device.path)
            and port.device.path.startswith("/")}


def paths(ports: Sequence[PortSpec]) -> list[str]:
    return [registration.path for registration in sockets(ports).values()]


def check(ports: Sequence[PortSpec], files: Mapping[str, FileFacts], agent: User,
          qemus: Sequence[Qemu], prefix: str = "") -> list[Finding]:
    """'files' has all paths(), with what leads to them; 'agent' is whom the agent runs as, 'prefix'
    what a user types before keys of other_config."""
    found: dict[tuple[str, str, str, str, str | None], list[str]] = {}
    looked_at = sockets(ports)
    specs = {port.name: port for port in ports}
    for name, registration in looked_at.items():
        path = os.path.abspath(registration.path)
        one = client if registration.client else server
        for finding in one(path, files, agent, qemus):
            if finding.id == "socket-closed-to-qemu" and specs[name].access != AS_MADE:
                continue            # it gets what the database says as soon as there is an agent
            fix = finding.fix and finding.fix.replace(PREFIX, prefix)
            key = (finding.id, finding.severity, finding.title, finding.why, fix)
            found.setdefault(key, []).append(name)
    if found:
        return [Finding(id, severity, title, why, fix, named(names))
                for (id, severity, title, why, fix), names in found.items()]
    if not looked_at:
        return []
    users = sorted({agent.name, *(qemu.user.name for qemu in qemus)})
    who = f"users {' and '.join(users)} are" if len(users) > 1 else f"user {users[0]} is"
    return [Finding("sockets", OK, f"sockets of {len(looked_at)} "
                    f"{'ports' if len(looked_at) > 1 else 'port'}: {who} let in",
                    details=tuple(f"{name}: {r.path}" for name, r in looked_at.items()))]


def named(names: Sequence[str]) -> tuple[str, ...]:
    return (f"concerns {'ports' if len(names) > 1 else 'port'} {', '.join(names)}",)


def server(path: str, files: Mapping[str, FileFacts], agent: User, qemus: Sequence[Qemu]
           ) -> Iterator[Finding]:
    """A socket that the agent makes."""
    directory = os.path.dirname(path)
    need = WRITE | SEARCH
    if stop := obstacle(files, directory, agent, need):
        yield from stopped(stop, ERROR, agent, need, "the agent cannot make the socket there")
        return
    file = files[path]
    if not file.error and file.kind != "socket":
        yield Finding("socket-path-taken", ERROR, f"{path} is there and is no socket",
                      "the agent does not remove what it did not make", f"rm -i {quoted(path)}")
        return
    for qemu in qemus:
        if stop := obstacle(files, path, qemu.user, WRITE):
            if stop.kind != CLOSED:
                continue
            way = stop.at != path
            yield Finding(
                "socket-closed-to-qemu", ERROR if qemu.names(path) else WARNING,
                f"{stop.text}: {whose(qemu)}", f"the agent runs as {agent.name}; a guest can only "
                "connect to a socket that its QEMU may write to",
                opening(stop, qemu.user, SEARCH) if way else
                SETTINGS.replace("{user}", quoted(qemu.user.name)))
    if files[directory].mode & EVERYBODY:
        yield Finding("socket-directory-open", WARNING, f"{directory}: every user of this host may "
                      "put files there", "anybody can put a socket in place of the agent's, and be "
                      "taken for the switch by the guest's QEMU", f"chmod o-w {quoted(directory)}")


def client(path: str, files: Mapping[str, FileFacts], agent: User, qemus: Sequence[Qemu]
           ) -> Iterator[Finding]:
    """A socket that QEMU makes, and the agent connects to."""
    stop = obstacle(files, path, agent, WRITE)
    directory = os.path.dirname(path)
    if stop is None:
        if files[path].kind != "socket":
            yield Finding("socket-path-taken", ERROR, f"{path} is there and is no socket",
                          "QEMU cannot listen there", f"rm -i {quoted(path)}")
    elif stop.kind != MISSING:
        need = WRITE if stop.at == path else SEARCH
        yield from stopped(stop, ERROR, agent, need, "the agent cannot connect to the guest")
    elif stop.at != path:
        yield from stopped(stop, WARNING, agent, SEARCH, "QEMU cannot listen there, and the port "
                           "stays down")
    else:
        for qemu in qemus:
            need = WRITE | SEARCH
            if not qemu.words and (shut := obstacle(files, directory, qemu.user, need)):
                yield Finding(
                    "socket-closed-to-qemu", WARNING, f"{shut.text}: {whose(qemu)}",
                    "QEMU cannot make the socket that the agent is to connect to",
                    opening(shut, qemu.user, need if shut.at == directory else SEARCH))


def stopped(stop: Obstacle, severity: str, user: User, need: int, why: str) -> Iterator[Finding]:
    if stop.kind == MISSING:
        yield Finding("socket-directory-missing", severity, f"{stop.text}: the directory of a "
                      "port's socket", why, f"mkdir -p {quoted(stop.at)}")
    elif stop.kind == CLOSED:
        yield Finding("socket-closed-to-agent", severity, stop.text, f"the agent runs as "
                      f"{user.name}: {why}", opening(stop, user, need))
    elif stop.kind == LOOP:
        yield Finding("socket-link-loop", severity, stop.text, why, f"namei -l {quoted(stop.at)}")
    else:
        yield Finding("not-seen", INFO, f"{stop.text}: this user cannot look there",
                      "nothing is said of sockets below it", "sudo vhost-agent doctor")


def whose(qemu: Qemu) -> str:
    return "a QEMU runs as that user" if qemu.words else "libvirt starts QEMU as that user"
