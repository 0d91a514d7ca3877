"""One question to a running agent, over its control socket, as ovs-appctl asks."""
from __future__ import annotations

import os
from collections.abc import Sequence

from agent import jsonrpc
from agent.jsonrpc import NoReplyError
from agent.settings import PACKAGED_CONTROL, PACKAGED_RUNDIR, PROGRAM, companion_rundir

IN_PLACE = "ovs-vswitchd"       # what --as calls an agent there
ANSWER_MS = 10_000              # an agent that says nothing for so long hangs


class NoAgentError(Exception):
    """No agent answers; the text says where it was looked for, and why not."""


class RefusedError(Exception):
    """The agent refuses; the text is its own."""


def control_socket(target: str, rundir: str) -> str:
    """Of the agent that is called 'target', found as ovs-appctl does; of the usual name also one in
    place of ovs-vswitchd, or that of vhost-agent.service. Raises NoAgentError."""
    if target.startswith("/"):
        return target
    try:
        return _found(target, _pid(f"{rundir}/{target}.pid"), rundir)
    except NoAgentError:
        if target == PROGRAM:
            if (pid := _in_place(rundir)) is not None:
                return _found(IN_PLACE, pid, rundir)
            if companion_rundir(rundir) == PACKAGED_RUNDIR:
                return PACKAGED_CONTROL
        raise


def _found(name: str, pid: int, rundir: str) -> str:
    return f"{rundir}/{name}.{pid}.ctl"


def _pid(pidfile: str) -> int:
    """Raises NoAgentError."""
    try:
        with open(pidfile, encoding="ascii") as f:
            return int(f.read())
    except (OSError, ValueError) as e:
        reason = e.strerror if isinstance(e, OSError) else "no number in it"
        raise NoAgentError(f"no agent is known as {os.path.basename(pidfile)[:-4]}: {pidfile}: "
                           f"{reason} (start it with --pidfile, or name it or its control socket "
                           "with -t)") from e


def _in_place(rundir: str) -> int | None:
    """Process of an agent that was started --as ovs-vswitchd, and is no ovs-vswitchd."""
    try:
        pid = _pid(f"{rundir}/{IN_PLACE}.pid")
        with open(f"/proc/{pid}/cmdline", "rb") as f:
            return pid if PROGRAM.encode() in f.read() else None
    except (NoAgentError, OSError):
        return None


def call(control: str, command: str, words: Sequence[str] = (), *, answer_ms: int = ANSWER_MS
         ) -> str:
    """What the agent at the control socket answers. Raises NoAgentError and RefusedError."""
    try:
        reply = jsonrpc.call(f"unix:{control}", command, words, answer_ms)
    except NoReplyError as e:
        raise NoAgentError(f"the agent at {control} does not answer: {e}" if e.connected
                           else f"no agent answers at {control}: {e}") from e
    if reply.error is not None:
        raise RefusedError(str(reply.error).strip())
    return str(reply.result)
