"""ovs-appctl commands."""
from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from typing import Any

import ovs.fatal_signal
import ovs.poller
import ovs.unixctl
import ovs.unixctl.server
import ovs.util

from agent import VERSION, log
from agent.command import CommandError
from agent.stale_socket import make_way


def register(name: str, usage: str, minimum: int, maximum: int,
             answer: Callable[[Sequence[str]], str]) -> None:
    """Registers a command that answers at once, and whatever happens in it."""
    def callback(connection: Any, argv: Sequence[str], _: object) -> None:
        connection.reply(line(answer(argv)))
    ovs.unixctl.command_register(name, usage, minimum, maximum, guarded(name, callback), None)


class ControlSocket:
    """Listens for commands of the agent's own user and of root. For the main thread only."""

    def __init__(self, path: str) -> None:
        """Raises OSError when it cannot be had."""
        make_way(path)          # python-ovs would remove whatever is there
        # What python-ovs gives the socket is no file's mode: that is the umask's.
        umask = os.umask(0o777 & ~stat.S_IRWXU)
        try:
            error, self._server = ovs.unixctl.server.UnixctlServer.create(path)
        finally:
            os.umask(umask)
        if error:
            raise OSError(error, os.strerror(error))
        self._path, self._made = path, identity(path)

    def run(self) -> None:
        self._server.run()

    def wait(self, poller: ovs.poller.Poller) -> None:
        self._server.wait(poller)

    def close(self) -> None:
        """Removes the socket, and nothing that has taken its place."""
        if identity(self._path) != self._made:
            self._server._listener.bind_path = None
            ovs.fatal_signal.remove_file_to_unlink(self._path)
        self._server.close()


def identity(path: str) -> tuple[int, int] | None:
    """Device and inode of the file itself; None: there is none."""
    try:
        file = os.lstat(path)
    except OSError:
        return None
    return file.st_dev, file.st_ino


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
