"""What 'vhost-agent plan' does: the agent's own functions on another database, without effects."""
from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from agent import appctl, machine, plan_words, read_database
from agent.appctl import NoAgentError, RefusedError
from agent.ask import AskError
from agent.hostconfig import HostConfig, host_config
from agent.model import Desired, Observed, Snapshot, place
from agent.rehearsal import Placed, rehearse
from agent.remotes import TlsFiles
from agent.role import ROLES, Role
from agent.settings import PROGRAM
from agent.validate import desired
from agent.values_json import FORMAT, FormError, decode

CHANGES = 2                     # exit status with --exit-code
COLOURS = {plan_words.ADD: "green", plan_words.REMOVE: "red", plan_words.CHANGE: "yellow",
           plan_words.LATER: "cyan"}


@dataclass(frozen=True, slots=True)
class PlanWish:
    """What 'vhost-agent plan' was asked for."""

    file: Path | None               # None: the database at 'remote'
    remote: str
    tls: TlsFiles
    exit_code: bool
    role: Role | None               # of an agent that would be started; None: the usual one


@dataclass(frozen=True, slots=True)
class Now:
    """What the running agent knows; the defaults are those of no agent."""

    role: Role
    observed: Observed = field(default_factory=Observed)
    down: frozenset[str] = frozenset()
    placed: Placed = field(default_factory=Placed)
    rundir: str = ""
    dpdk_initialized: bool = False
    at_start: Mapping[str, str] | None = None
    tso: bool = False
    fills_memory: bool = False
    said: frozenset[str] = frozenset()      # errors and problems, as told() has them


def run(target: str, rundir: str, wish: PlanWish) -> int:
    """Prints the plan; the exit status."""
    now, why = None, ""
    try:
        now = ask(target, rundir)
    except NoAgentError as e:
        why = str(e)
    except (RefusedError, FormError) as e:
        click.echo(f"{PROGRAM}: {e}", err=True)
        return 1
    try:
        with progress("reading the database"):
            source = (nullcontext(wish.remote) if wish.file is None
                      else read_database.served(wish.file))
            with source as remote:
                role, snapshot = read_database.snapshot(
                    remote, wish.tls, now.role if now is not None else wish.role)
    except AskError as e:
        click.echo(f"{PROGRAM}: {e}", err=True)
        return 1
    if snapshot is None:
        click.echo(f"{PROGRAM}: the database holds no Open_vSwitch row: nothing would change "
                   "before there is one (ovs-vsctl init)", err=True)
        return 1
    if now is None:
        click.echo(f"{PROGRAM}: {why}; planning for one of the role {role.name} that is started "
                   "now", err=True)
        now = Now(role, rundir=rundir)
    changes = tell(now, snapshot, click.secho)
    return CHANGES if changes and wish.exit_code else 0


def ask(target: str, rundir: str) -> Now:
    """Raises NoAgentError, RefusedError and FormError."""
    answer = json.loads(appctl.call(appctl.control_socket(target, rundir), "vhost/observed"))
    if answer["format"] != FORMAT:
        raise RefusedError(f"the agent speaks format {answer['format']}, this command format "
                           f"{FORMAT}: they are of different versions")
    return Now(
        ROLES[answer["role"]], decode(answer["observed"]), frozenset(answer["down"]),
        decode(answer["placed"]), answer["rundir"], answer["dpdk_initialized"],
        answer["at_start"], answer["tso"], answer["fills_memory"], frozenset(answer["said"]))


def tell(now: Now, snapshot: Snapshot, echo: Callable[..., Any]) -> int:
    """Prints everything; how many changes there are."""
    config, wanted = wish_of(now, snapshot)
    changes: list[str] = []
    if config.dpdk_initialized and not now.dpdk_initialized:
        changes.append(f"{plan_words.ADD} DPDK is started")
    if config.dpdk_initialized:
        cores = machine.numa_cores()
        actions, then = rehearse(wanted, now.observed, now.placed, now.down,
                                 machine.main_node(cores))
        changes += plan_words.lines(wanted, now.observed, actions, then)
    for line in changes:
        echo(line, fg=COLOURS[line[0]])
    there = plan_words.told(wanted)
    new = [line for line in there if line not in now.said]
    for line in new:
        echo(f"! {line}", fg="red")
    if old := len(there) - len(new):
        echo(f"{old} problem{'s' * (old != 1)} that there {'are' if old != 1 else 'is'} already: "
             f"{PROGRAM} show")
    echo(f"{len(changes)} change{'s' * (len(changes) != 1)}, {len(new)} new "
         f"problem{'s' * (len(new) != 1)}." if changes or new else "Nothing would change.")
    if changes:
        echo(plan_words.UNKNOWN, dim=True)
    return len(changes)


def wish_of(now: Now, snapshot: Snapshot) -> tuple[HostConfig, Desired]:
    """What the agent would make of the database."""
    starts = snapshot.other_config.get("dpdk-init", "").lower() in ("true", "try")
    initialized = now.dpdk_initialized or starts
    config = host_config(
        snapshot.other_config, rundir=now.rundir, numa_cores=machine.numa_cores(),
        dpdk_initialized=initialized, tso_on=now.tso, fills_memory=now.fills_memory,
        at_start=now.at_start if now.dpdk_initialized else snapshot.other_config, role=now.role)

    def owners() -> Mapping[str, str]:
        return {path: name for name, state in now.observed.ports.items()
                if (path := place(state.device)) is not None}

    return config, desired(snapshot, config, owners)


@contextmanager
def progress(what: str) -> Iterator[None]:
    """Says on a terminal that something goes on."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(what):
        yield
