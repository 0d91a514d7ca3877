"""ovs-appctl commands."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ovs.unixctl
import ovs.util

from agent import VERSION, log
from agent.command import CommandError


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
