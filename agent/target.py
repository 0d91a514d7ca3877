"""The option of commands that ask a running agent."""
from __future__ import annotations

import click

from agent.settings import PROGRAM

target_option = click.option(
    "-t", "--target", default=PROGRAM, show_default=True, metavar="TARGET",
    help="Name of the agent, or its control socket, as for ovs-appctl; one that runs --as "
         "ovs-vswitchd, or as vhost-agent.service, is found without.")
