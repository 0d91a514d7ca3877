"""The commands that show a running agent, as they are typed."""
from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from agent.db_options import database, database_options
from agent.role import ROLES
from agent.settings import rundir
from agent.sorts import SORTS
from agent.target import target_option


@click.command()
@click.argument("bridge", required=False)
@target_option
def show(bridge: str | None, target: str) -> None:
    """Show all of a running agent on one screen: what is wrong, what PMD threads do, and the ports
    of each bridge, or of BRIDGE alone."""
    from agent import live_command

    sys.exit(live_command.show(target, rundir(os.environ), bridge))


@click.command()
@click.option("-d", "--delay", "seconds", type=click.FloatRange(0.5, 3600), default=2.0,
              show_default=True, metavar="SECONDS", help="Time between two tables.")
@click.option("-n", "--count", type=click.IntRange(min=1), metavar="COUNT",
              help="End after so many tables (default: with Ctrl-C).")
@click.option("--once", is_flag=True, help="The same as -n 1.")
@click.option("--batch", is_flag=True,
              help="Print one table after the other, as is done without a terminal.")
@click.option("--sort", type=click.Choice(list(SORTS)), default="traffic", show_default=True,
              help="What the first ports have most of; name: in order of their names.")
@target_option
def top(seconds: float, count: int | None, once: bool, batch: bool, sort: str, target: str
        ) -> None:
    """Show what goes on now: packets and bits a second of each port, drops and why, what PMD
    threads are busy with, and who keeps them so."""
    from agent import live_command

    wish = live_command.TopWish(seconds, 1 if once else count, sort,
                                batch or once or not sys.stdout.isatty())
    sys.exit(live_command.run_top(target, rundir(os.environ), wish))


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--exit-code", is_flag=True,
              help="End with status 2 when something would change (default: 0).")
@click.option("--role", type=click.Choice(list(ROLES)),
              help="Of the agent that would be started, where none answers (default: companion, "
                   "where a bridge has datapath_type=vhost; else vswitchd).")
@target_option
@database_options
def plan(file: Path | None, exit_code: bool, role: str | None, target: str, **options: Any) -> None:
    """Say what would change if the agent served the database in FILE, or at REMOTE, and what of it
    could not be used. Nothing is changed."""
    from agent import plan_command

    if file is not None and options["db"] is not None:
        raise click.UsageError("FILE and --db are two databases: one is planned with.")
    sys.exit(plan_command.run(target, rundir(os.environ), plan_command.PlanWish(
        file, *database(**options), exit_code, ROLES[role] if role is not None else None)))
