"""Which daemons run on the run directory, and who can have the lock of the database: pure.

The lock is not asked for: where nobody has it, who asks gets it, and an agent that starts at that
moment would find it taken.
"""
from __future__ import annotations

from collections.abc import Iterator, Sequence

from agent import VERSION
from agent.finding import ERROR, INFO, OK, WARNING, Finding
from agent.host_values import Daemon, Process
from agent.role import COMPANION, VSWITCHD, Role
from agent.shell import quoted

OURS, THEIRS = "vhost-agent", "ovs-vswitchd"
OUR_VERSION = "(ovs-vhost-agent)"
BESIDE = {f"--role={COMPANION.name}", COMPANION.name}       # words of a companion
START = "vhost-agent run --pidfile --log-file --detach"
START_UNIT = "systemctl restart vhost-agent"


def is_agent(daemon: Daemon) -> bool:
    """Whether it is one of ours, under whatever name (--as)."""
    if daemon.version is not None:
        return OUR_VERSION in daemon.version
    words = daemon.process.words if daemon.process is not None else ()
    return any(word.rpartition("/")[2] == OURS for word in words[:3]) or (
        not words and daemon.name == OURS)


def is_vswitchd(daemon: Daemon) -> bool:
    return daemon.name == THEIRS and not is_agent(daemon)


def vswitchds(daemons: Sequence[Daemon]) -> list[Daemon]:
    """Real ones that run."""
    return [daemon for daemon in daemons if daemon.process is not None and is_vswitchd(daemon)]


def agents(daemons: Sequence[Daemon]) -> list[Daemon]:
    return [daemon for daemon in daemons if daemon.process is not None and is_agent(daemon)]


def running(daemons: Sequence[Daemon], role: Role) -> Process | None:
    """The process of the agent of the role, if one runs."""
    return next((daemon.process for daemon in agents(daemons) if role_of(daemon) == role), None)


def target(daemons: Sequence[Daemon], role: Role, found: str) -> str:
    """' -t SOCKET' of the agent of the role, unless that is the control socket that was found
    without; empty where it is not known."""
    control = next((d.control for d in agents(daemons) if role_of(d) == role), "")
    return f" -t {quoted(control)}" if control and control != found else ""


def wanted_lock(daemon: Daemon) -> str | None:
    """The one of the database that a running daemon wants, if any."""
    if daemon.process is None or not (is_agent(daemon) or is_vswitchd(daemon)):
        return None
    return role_of(daemon).lock


def role_of(daemon: Daemon) -> Role:
    words = daemon.process.words if daemon.process is not None else ()
    return COMPANION if is_agent(daemon) and BESIDE & set(words) else VSWITCHD


def check(daemons: Sequence[Daemon], ports: int, role: Role = VSWITCHD, prefix: str = ""
          ) -> list[Finding]:
    """'ports' of the database are to be served by an agent of the role. With a 'prefix', below
    which the program is installed, its unit starts it."""
    return [*running_ones(daemons, ports, role, bool(prefix)), *lock(daemons, role),
            *leftovers(daemons)]


def start(role: Role) -> str:
    return START + (f" --role={role.name}" if role.beside else "")


def named(daemon: Daemon) -> str:
    return f"{daemon.name} (process {daemon.pid})"


def running_ones(daemons: Sequence[Daemon], ports: int, role: Role, unit: bool
                 ) -> Iterator[Finding]:
    found = agents(daemons)
    if running(daemons, role) is None:
        why = f"{ports} ports of the database are not served" if ports else (
            "ports are not served before one runs")
        what = f"no agent of the role {role.name}" if role.beside else "no agent"
        yield Finding("agent-not-running", WARNING, f"{what} runs on this run directory", why,
                      START_UNIT if unit else start(role))
    for daemon in found:
        if daemon.version is None and "Permission denied" in daemon.silence:
            yield Finding("not-seen", INFO, f"{named(daemon)} may not be asked by this user",
                          "whether it answers is not known", "sudo vhost-agent doctor")
        elif not daemon.control:
            yield Finding("not-seen", INFO, f"{named(daemon)} runs with a control socket "
                          "elsewhere (--unixctl)", "whether it answers is not known")
        elif daemon.version is None:
            yield Finding(
                "agent-silent", ERROR, f"{named(daemon)} does not answer",
                "it hangs, or was stopped: changes of the database are not carried out",
                f"kill -CONT {daemon.pid}     # if it was stopped; else kill it, and start it "
                "again", (daemon.silence,))
        elif not daemon.version.endswith(f"{OUR_VERSION} {VERSION}"):
            yield Finding("agent-version", WARNING, f"{named(daemon)} is {daemon.version}, "
                          f"installed is {VERSION}", "it was not started again since the update",
                          START_UNIT if unit else f"ovs-appctl -t {quoted(daemon.control)} exit && "
                          f"{start(role_of(daemon))}")
        else:
            yield Finding("agent", OK, f"{named(daemon)} runs and answers: {daemon.version}")


def lock(daemons: Sequence[Daemon], role: Role) -> Iterator[Finding]:
    companions = [daemon for daemon in daemons if wanted_lock(daemon) == COMPANION.lock]
    found = [daemon for daemon in daemons if wanted_lock(daemon) == VSWITCHD.lock]
    yield from alone(companions, COMPANION.lock)
    names = ", ".join(map(named, found))
    if len(found) == 1 and is_vswitchd(found[0]) and not role.beside:
        yield Finding(
            "vswitchd-runs", WARNING, f"{names} runs and has the lock {VSWITCHD.lock}",
            "an agent that takes its place waits until it has ended",
            "ovs-appctl exit                # or systemctl stop ovs-vswitchd")
    else:
        yield from alone(found, VSWITCHD.lock)


def alone(found: Sequence[Daemon], lock: str) -> Iterator[Finding]:
    """Whether there is one at most that wants the lock."""
    names = ", ".join(map(named, found))
    if len(found) > 1:
        # ports that a real ovs-vswitchd serves would be down
        last = (agents(found) or found)[-1]
        yield Finding(
            "lock-contended", WARNING, f"{len(found)} processes want the lock {lock}: {names}",
            "only the one that has it serves the database; the others wait, and say so in their "
            "logs", f"ovs-appctl -t {quoted(last.control or last.name)} exit     "
            "# the one that is to go")
    elif found:
        yield Finding("lock", OK, f"{names} is the only process here that wants the lock {lock}")


def leftovers(daemons: Sequence[Daemon]) -> Iterator[Finding]:
    for daemon in daemons:
        if daemon.process is None:
            yield Finding("control-socket-left", INFO, f"{daemon.control} is of process "
                          f"{daemon.pid}, which has ended", "it was killed; ovs-appctl may ask "
                          "there in vain", f"rm {daemon.control}")
