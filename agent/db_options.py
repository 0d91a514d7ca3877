"""The options of commands that ask a database."""
from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass

import click

from agent import remotes
from agent.remotes import RemoteError, TlsFiles
from agent.settings import PROGRAM, rundir

Command = Callable[..., None]

DATABASE_OPTIONS = (
    click.option("--db", metavar="REMOTE",
                 help="The database (default: unix:$OVS_RUNDIR/db.sock)."),
    click.option("-p", "--private-key", metavar="FILE", help="Our private key, for ssl: remotes."),
    click.option("-c", "--certificate", metavar="FILE", help="Our certificate, for ssl: remotes."),
    click.option("-C", "--ca-cert", metavar="FILE",
                 help="Certificate of who signed those of ssl: remotes."),
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the database is, and the agent's run directory."""

    remote: str
    tls: TlsFiles
    rundir: str


def database_options(command: Command) -> Command:
    for decorate in reversed(DATABASE_OPTIONS):
        command = decorate(command)
    return command


def place(db: str | None, private_key: str | None, certificate: str | None, ca_cert: str | None,
          status: int = 1) -> Place:
    """What these options say; ends with 'status' and a sentence when no database can be there."""
    directory = rundir(os.environ)
    found = Place(db or f"unix:{directory}/db.sock", TlsFiles(private_key, certificate, ca_cert),
                  directory)
    try:
        remotes.check(found.remote, found.tls)
    except RemoteError as e:
        click.echo(f"{PROGRAM}: {e}", err=True)
        sys.exit(status)
    return found
