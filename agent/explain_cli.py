"""The command that says why a port is down, as it is typed."""
from __future__ import annotations

import os
import sys

import click

from agent.settings import rundir
from agent.target import target_option


@click.command(short_help="Say why a port is down, or how it is.")
@click.argument("port")
@target_option
@click.option("--db", metavar="REMOTE",
              help="The database, which is asked when no agent answers (default: "
                   "unix:$OVS_RUNDIR/db.sock).")
def explain(port: str, target: str, db: str | None) -> None:
    """Say of PORT whether it works, what is wrong and what mends it, and what is known of it.

    Exit status: 0, also of a port that is down; 1 when there is no such port or no agent answers;
    then it is said what the database has of it."""
    from agent import explain_ask

    directory = rundir(os.environ)
    sys.exit(explain_ask.run(port, target, directory, db or f"unix:{directory}/db.sock"))
