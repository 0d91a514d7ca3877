"""The commands that show a running agent, as they are typed."""
from __future__ import annotations

import os
import sys

import click

from agent.settings import rundir
from agent.target import target_option


@click.command()
@click.argument("bridge", required=False)
@target_option
def show(bridge: str | None, target: str) -> None:
    """Show all of a running agent on one screen: what is wrong, what PMD threads do, and the ports
    of each bridge, or of BRIDGE alone."""
    from agent import live_command

    sys.exit(live_command.show(target, rundir(os.environ), bridge))
