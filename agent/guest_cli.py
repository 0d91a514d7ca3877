"""The commands that print what a guest needs, as they are typed."""
from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from agent.db_options import DB_OPTIONS, database
from agent.settings import rundir
from agent.virtio import QUEUE_PAIRS_MAX, RING_SIZES

if TYPE_CHECKING:
    from agent.guest_nic import Question

MIB_OF = {"": 1, "M": 1, "G": 1 << 10, "T": 1 << 20}
SIZE = re.compile("([0-9]{1,12})([MGT]?)")
MEMORY_MIB_MAX = 1 << 24
VCPUS_MAX = 4096                # more than QEMU's machines have

Command = Callable[..., None]


def size(_: click.Context, __: click.Parameter, text: str) -> int:
    """Memory in MiB, written as QEMU takes it."""
    match = SIZE.fullmatch(text.upper())
    mib = int(match[1]) * MIB_OF[match[2]] if match else 0
    if not 1 <= mib <= MEMORY_MIB_MAX:
        raise click.BadParameter(f"'{text}' is no size of 1M to {MEMORY_MIB_MAX >> 20}T: a number "
                                 "of MiB, or a number and M, G or T.")
    return mib


def directory(_: click.Context, __: click.Parameter, path: str | None) -> str | None:
    """An absolute path. Whether it is there is for QEMU to see, maybe elsewhere."""
    if path is not None and not path.startswith("/"):
        raise click.BadParameter(f"'{path}' is no absolute path, as /dev/hugepages is.")
    return path


def ring_option(name: str, what: str) -> Callable[[Command], Command]:
    return click.option(name, type=click.Choice([str(size) for size in RING_SIZES]),
                        help=f"Entries of each of the guest's {what} queues (default: QEMU's, "
                             f"{RING_SIZES[0]}).")


# Of both commands, in the order of their help.
SHARED = (
    click.argument("ports", nargs=-1, required=True, metavar="PORT..."),
    click.option("--memory", "memory_mib", callback=size, default="1024M", show_default=True,
                 metavar="SIZE", help="Memory of the guest: a number of MiB, or with M, G or T."),
    click.option("--queues", type=click.IntRange(1, QUEUE_PAIRS_MAX), metavar="PAIRS",
                 help="Queue pairs of each device (default: options:n_rxq of its port, else 1)."),
    ring_option("--rx-queue-size", "receive"),
    ring_option("--tx-queue-size", "transmit"),
    *DB_OPTIONS,
)


def shared(command: Command) -> Command:
    for decorate in reversed(SHARED):
        command = decorate(command)
    return command


@click.command("qemu-args", short_help="Print QEMU's arguments for a guest with these ports.")
@shared
@click.option("--hugepages", callback=directory, metavar="DIR",
              help="Take the memory from the hugetlbfs on DIR (default: a memfd of ordinary "
                   "pages).")
def qemu_args(memory_mib: int, hugepages: str | None, **options: Any) -> None:
    """Print QEMU's arguments for a guest with these ports:

    qemu-system-x86_64 ... $(vhost-agent qemu-args PORT...)"""
    from agent import guest_command, qemu_args

    sys.exit(guest_command.run(question(**options), lambda nics: qemu_args.command_line(
        qemu_args.arguments(nics, memory_mib, hugepages), sys.stdout.isatty())))


@click.command("libvirt-xml", short_help="Print libvirt's <interface> for each of these ports.")
@shared
@click.option("--vcpus", type=click.IntRange(1, VCPUS_MAX), default=1, show_default=True,
              metavar="NUMBER", help="Virtual CPUs of the domain, which share its memory.")
@click.option("--hugepages", is_flag=True,
              help="Take the memory from hugepages (default: a memfd of ordinary pages).")
def libvirt_xml(memory_mib: int, vcpus: int, hugepages: bool, **options: Any) -> None:
    """Print libvirt's <interface> for each of these ports, and in a comment what the domain needs
    besides."""
    from agent import guest_command, libvirt_xml

    sys.exit(guest_command.run(question(**options), lambda nics: libvirt_xml.text(
        nics, memory_mib, vcpus, hugepages)))


def question(*, ports: tuple[str, ...], db: str | None, private_key: str | None,
             certificate: str | None, ca_cert: str | None, queues: int | None,
             rx_queue_size: str | None, tx_queue_size: str | None) -> Question:
    """What the options ask; ends with status 1 and a sentence when no database can be there."""
    from agent.guest_nic import Question, Wish

    remote, tls = database(db, private_key, certificate, ca_cert)
    wish = Wish(queues, *(int(size) if size else None for size in (rx_queue_size, tx_queue_size)))
    return Question(ports, remote, tls, rundir(os.environ), wish)
