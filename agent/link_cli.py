"""The commands that join a bridge of the companion with one of ovs-vswitchd, as they are typed."""
from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import click

from agent.db_options import DB_OPTIONS, database

BRIDGES = (click.argument("bridge"), click.argument("ovs_bridge", metavar="OVS-BRIDGE"))


def shared(command: Callable[..., None]) -> Callable[..., None]:
    for decorate in reversed((*BRIDGES, *DB_OPTIONS)):
        command = decorate(command)
    return command


@click.command(short_help="Join a bridge of the companion with one of ovs-vswitchd.")
@shared
@click.option("--name", metavar="NAME",
              help="Name of the tap, 15 bytes at most (default: made of the bridges' names).")
def link(bridge: str, ovs_bridge: str, name: str | None, **options: Any) -> None:
    """Join BRIDGE, which run --role companion serves, with OVS-BRIDGE, which ovs-vswitchd serves,
    by a tap that is a port of both. It is in the database, and so comes back by itself after
    restarts and reboots."""
    from agent import link_command

    sys.exit(link_command.link(*database(**options), bridge, ovs_bridge, name))


@click.command(short_help="Part two bridges that 'link' has joined.")
@shared
def unlink(bridge: str, ovs_bridge: str, **options: Any) -> None:
    """Part BRIDGE and OVS-BRIDGE, which 'link' has joined: removes both ports, and the tap."""
    from agent import link_command

    sys.exit(link_command.unlink(*database(**options), bridge, ovs_bridge))
