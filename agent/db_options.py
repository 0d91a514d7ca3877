"""The options of commands that ask the database."""
from __future__ import annotations

import os
import sys

import click

from agent import remotes
from agent.remotes import RemoteError, TlsFiles
from agent.settings import PROGRAM, rundir

DB_OPTIONS = (
    click.option("--db", metavar="REMOTE",
                 help="The database (default: unix:$OVS_RUNDIR/db.sock)."),
    click.option("-p", "--private-key", metavar="FILE", help="Our private key, for ssl: remotes."),
    click.option("-c", "--certificate", metavar="FILE", help="Our certificate, for ssl: remotes."),
    click.option("-C", "--ca-cert", metavar="FILE",
                 help="Certificate of who signed those of ssl: remotes."),
)


def database(db: str | None, private_key: str | None, certificate: str | None,
             ca_cert: str | None) -> tuple[str, TlsFiles]:
    """The remote and its files; ends with status 1 and a sentence when no database can be
    there."""
    remote = db or f"unix:{rundir(os.environ)}/db.sock"
    tls = TlsFiles(private_key, certificate, ca_cert)
    try:
        remotes.check(remote, tls)
    except RemoteError as e:
        click.echo(f"{PROGRAM}: {e}", err=True)
        sys.exit(1)
    return remote, tls
