"""ovs-appctl commands."""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ovs.unixctl
import ovs.util

from agent import VERSION, log
from agent.command import CommandError
from agent.model import OFPORT_LOCAL, FdbEntry

FDB_HEADER = " Port  VLAN  MAC                Age"


def register(name: str, usage: str, minimum: int, maximum: int,
             answer: Callable[[Sequence[str]], str]) -> None:
    """Registers a command that answers at once, and whatever happens in it."""
    def callback(connection: Any, argv: Sequence[str], _: object) -> None:
        connection.reply(line(answer(argv)))
    ovs.unixctl.command_register(name, usage, minimum, maximum, guarded(name, callback), None)


def line(text: str) -> str:
    """The text with a line feed at its end, as ovs-vswitchd's replies have it."""
    return text if not text or text.endswith("\n") else f"{text}\n"


def guard_commands() -> None:
    """Makes every registered command answer whatever happens in it, python-ovs's own included:
    an exception would end the agent's round and leave the client without a reply for ever."""
    for name, command in ovs.unixctl.commands.items():
        command.callback = guarded(name, command.callback)


def guarded(name: str, callback: Callable[[Any, Sequence[str], object], None]
            ) -> Callable[[Any, Sequence[str], object], None]:
    def guard(connection: Any, argv: Sequence[str], aux: object) -> None:
        try:
            callback(connection, argv, aux)
        except CommandError as e:
            connection.reply_error(line(str(e)))
        except OSError as e:
            connection.reply_error(line(f"{name}: {e.filename or ''}: {e.strerror}"))
        except Exception as e:
            log.main.exception(f"{name} failed")
            connection.reply_error(line(f"{name} failed: {e}"))
    return guard


def version_text(dpdk: str) -> str:
    return f"{ovs.util.PROGRAM_NAME} (ovs-vhost-agent) {VERSION}\n{dpdk}\n"


def fdb_lines(entries: Sequence[FdbEntry], ofports: Mapping[str, int]) -> list[str]:
    """Rows of fdb/show, the longest unseen first (OVS: ofproto_unixctl_fdb_show)."""
    lines = []
    for entry in sorted(entries, key=lambda e: (-e.age_s, e.mac, e.vlan)):
        number = ofports.get(entry.port, 0)
        shown = "LOCAL" if number == OFPORT_LOCAL else str(number)
        lines.append(f"{shown:>5}  {entry.vlan:>4}  {entry.mac}  {entry.age_s:>3}")
    return lines


def fdb_show(tables: Mapping[str, Sequence[FdbEntry]], ofports: Mapping[str, int],
             several: bool) -> str:
    """Reply of fdb/show; with 'several' a column names the bridge."""
    if not several:
        rows = [line for entries in tables.values() for line in fdb_lines(entries, ofports)]
        return "\n".join([FDB_HEADER, *rows, ""])
    width = max([6, *map(len, tables)]) + 1
    lines = [f" {'Bridge':<{width}}{FDB_HEADER}"]
    for bridge, entries in tables.items():
        rows = fdb_lines(entries, ofports) or [""]
        lines += [f" {bridge if i == 0 else '':<{width}}{row}".rstrip()
                  for i, row in enumerate(rows)]
    return "\n".join([*lines, ""])
