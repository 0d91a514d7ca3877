"""The command that examines the host, as it is typed."""
from __future__ import annotations

import os
import sys
from typing import Any

import click

from agent.db_options import database, database_options
from agent.role import ROLES
from agent.settings import rundir


@click.command(short_help="Examine the host: what is wrong, why it matters, what mends it.")
@click.option("--json", "as_json", is_flag=True, help="Print findings for a program.")
@click.option("-v", "--verbose", is_flag=True,
              help="Print all details: DPDK's drivers and features, libraries, cores.")
@click.option("--role", type=click.Choice(list(ROLES)),
              help="Of the agent that is to serve the database (default: that of one that runs; "
                   "else companion, where ovs-vswitchd runs or a bridge has "
                   "datapath_type=vhost; else vswitchd).")
@database_options
def doctor(as_json: bool, verbose: bool, role: str | None, **options: Any) -> None:
    """Examine the host: DPDK's libraries and drivers, hugepages, cores, sockets and who may use
    them, modules and limits of the kernel, QEMU and libvirt, the database and its daemons.

    Nothing is changed and no agent is needed; what this user may not see is said.

    Exit status: 0 when nothing is wrong, 1 with warnings, 2 with errors (or a wrong option);
    remarks count as nothing wrong."""
    from agent import doctor as examination

    where = examination.Place(*database(**options, status=2), rundir(os.environ))
    sys.exit(examination.run(where, role, as_json, verbose))
