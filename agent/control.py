"""ovs-appctl commands."""
from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import ovs.poller
import ovs.stream
import ovs.unixctl
import ovs.unixctl.server
import ovs.util

from agent import VERSION, log
from agent.command import CommandError
from agent.stale_socket import make_way

LOOK_MS = 2000          # how often it is seen whether the socket is still there


class ControlSocket:
    """Where ovs-appctl reaches the agent. One that somebody removed is made again, for what the
    agent says of itself is needed most when somebody does such things."""

    def __init__(self, path: str | None) -> None:
        """At 'path', or where ovs-appctl looks for the program. OSError when that cannot be."""
        error, self._server = ovs.unixctl.server.UnixctlServer.create(path)
        if error:
            raise OSError(error, os.strerror(error))
        self._path = Path(self._server._listener.bind_path)
        self._look_at_ms = 0
        if path is None:
            self._remove_stale()

    def _remove_stale(self) -> None:
        """Who is killed leaves a socket behind, and nobody would ever have its number again."""
        for path in self._path.parent.glob(f"{ovs.util.PROGRAM_NAME}.*.ctl"):
            with suppress(OSError):             # somebody listens
                make_way(str(path))

    def run(self, now_ms: int) -> None:
        self._server.run()
        if now_ms >= self._look_at_ms:
            self._look_at_ms = now_ms + LOOK_MS
            if not os.path.lexists(self._path):
                self._listen_anew()

    def _listen_anew(self) -> None:
        error, listener = ovs.stream.PassiveStream.open(f"punix:{self._path}")
        if error:                               # its directory is gone, perhaps: tried again
            return
        self._server._listener.socket.close()   # its close() would remove the new one's name
        self._server._listener = listener
        log.main.warn(f"somebody removed the control socket {self._path}: it is there again")

    def wait(self, poller: ovs.poller.Poller) -> None:
        self._server.wait(poller)
        poller.timer_wait_until(self._look_at_ms)

    def close(self) -> None:
        self._server.run()                      # replies that are still to be sent
        self._server.close()


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
