"""The command line. Exit status: 0 after a clean end, 1 when the agent could not go on."""
from __future__ import annotations

import os
import sys
from typing import Any

import click

from agent import VERSION, doctor_cli, explain_cli, guest_cli, link_cli, live_cli
from agent.console import Program
from agent.pcapng import SNAPLEN_MAX
from agent.remotes import RemoteError
from agent.role import COMPANION, ROLES, VSWITCHD
from agent.settings import DEFAULT_FILE, PROGRAM, Settings, rundir, settings
from agent.target import target_option

# Options whose value may only follow '=', as getopt_long has it: '--pidfile unix:/x' is an
# option without a value and a remote.
OPTIONAL_VALUES = {"--pidfile": DEFAULT_FILE, "--log-file": DEFAULT_FILE,
                   "--verbose": "any:any:dbg", "-v": "any:any:dbg"}


class GetoptCommand(click.Command):
    """A command whose options with optional values parse as those of OVS's daemons."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        spelled = {"-v": "--verbose"}
        return super().parse_args(ctx, [
            f"{spelled.get(arg, arg)}={OPTIONAL_VALUES[arg]}" if arg in OPTIONAL_VALUES else arg
            for arg in args])


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name=PROGRAM)
def main() -> None:
    """Serves Open vSwitch's DPDK vHost User ports."""


@main.command(cls=GetoptCommand)
@click.argument("where", required=False, metavar="[REMOTE|DIR]")
@click.option("--standalone", is_flag=True,
              help="Run an ovsdb-server of its own on a database in DIR (default: $OVS_DBDIR, else "
                   "~/.local/state/vhost-agent).")
@click.option("--role", type=click.Choice(list(ROLES)), default=VSWITCHD.name, show_default=True,
              help="In place of ovs-vswitchd, or its companion: beside it, for bridges with "
                   "datapath_type=vhost.")
@click.option("--as", "name", default=PROGRAM, show_default=True, metavar="NAME",
              help="Name of the pid file, log file and control socket; 'ovs-vswitchd' is where "
                   "ovs-appctl and scripts look.")
@click.option("--detach", is_flag=True, help="Run in the background; returns when ports work.")
@click.option("--no-chdir", is_flag=True, help="With --detach, stay in this directory.")
@click.option("--monitor", is_flag=True, help="Start again when it has died.")
@click.option("--mlockall", is_flag=True, help="Keep what is used of memory from being paged out.")
@click.option("--pidfile", metavar="[=FILE]", help="Write a pid file (default: in OVS_RUNDIR).")
@click.option("--overwrite-pidfile", is_flag=True, help="Even when another process holds it.")
@click.option("--log-file", metavar="[=FILE]", help="Log to a file (default: in OVS_LOGDIR).")
@click.option("-v", "--verbose", multiple=True, metavar="[=SPEC]",
              help="Log levels, [MODULE:][DESTINATION:]LEVEL, as of ovs-vswitchd.")
@click.option("--unixctl", metavar="FILE", help="Control socket for ovs-appctl.")
@click.option("--metrics", metavar="[IP:]PORT",
              help="Serve metrics for Prometheus there over HTTP (default: nowhere); without an IP "
                   "on the loopback.")
@click.option("-p", "--private-key", metavar="FILE", help="Our private key, for ssl: remotes.")
@click.option("-c", "--certificate", metavar="FILE", help="Our certificate, for ssl: remotes.")
@click.option("-C", "--ca-cert", metavar="FILE",
              help="Certificate of who signed those of ssl: remotes.")
def run(where: str | None, no_chdir: bool, **options: Any) -> None:
    """Serve the vhost-user ports of the database at REMOTE: unix:FILE, tcp:IP:PORT, ssl:IP:PORT,
    or a comma-separated list of a cluster's servers (default: unix:$OVS_RUNDIR/db.sock)."""
    if options["standalone"] and options["role"] == COMPANION.name:
        raise click.UsageError("--standalone has no ovs-vswitchd that --role companion could be "
                               "beside.")
    try:
        parsed = settings(os.environ, where=where, chdir=not no_chdir, **options)
    except RemoteError as e:
        click.echo(f"{PROGRAM}: {e}", err=True)
        sys.exit(1)
    sys.exit(serve(parsed))


@main.command()
@click.argument("port")
@click.option("-w", "file", default="-", metavar="FILE",
              help="Write to FILE, for its owner's eyes alone (default: '-', the standard output).")
@click.option("-s", "snaplen", type=click.IntRange(1, SNAPLEN_MAX), default=SNAPLEN_MAX,
              metavar="BYTES", help="Keep so much of each packet (default: all).")
@click.option("-c", "count", type=click.IntRange(min=1), metavar="COUNT",
              help="End after so many packets.")
@click.option("-d", "direction", type=click.Choice(["rx", "tx", "both"]), default="both",
              help="What the switch receives by the port, sends by it, or both (default).")
@target_option
def capture(port: str, file: str, target: str, **options: Any) -> None:
    """Write the packets of PORT as pcapng, for example into Wireshark:

    vhost-agent capture PORT | wireshark -k -i -

    What a slow reader cannot take is lost for the capture, never for the guests."""
    from agent import capture

    sys.exit(capture.run(capture.Wish(port=port, **options), target, rundir(os.environ), file))


main.add_command(guest_cli.qemu_args)
main.add_command(guest_cli.libvirt_xml)
main.add_command(link_cli.link)
main.add_command(link_cli.unlink)
main.add_command(doctor_cli.doctor)
main.add_command(live_cli.show)
main.add_command(live_cli.top)
main.add_command(live_cli.plan)
main.add_command(explain_cli.explain)


def serve(parsed: Settings) -> int:
    """Runs the agent as a daemon or in the foreground; the exit status."""
    # Not at the top: ovs makes its log modules at import, and `--help` needs none of it.
    from agent import daemon, log
    from agent.exposure import close_umask, exposures

    umask = close_umask()
    try:
        if parsed.standalone is not None:
            parsed.standalone.mkdir(parents=True, exist_ok=True)
        log.start(parsed)
        if parsed.pidfile is not None:
            daemon.check_pidfile(parsed.pidfile)
    except ValueError as e:
        click.echo(f"{PROGRAM}: {e}", err=True)
        return 1
    except OSError as e:
        click.echo(f"{PROGRAM}: cannot create {e.filename}: {e.strerror}", err=True)
        return 1
    for sentence in exposures(parsed, umask):
        log.main.warn(sentence)
    return daemon.run(parsed)
