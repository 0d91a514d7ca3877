"""ovs-appctl commands."""
from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import ovs.fatal_signal
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
    """Listens for commands of the agent's own user and of root. For the main thread only.

    One that somebody removed is made again, for what the agent says of itself is needed most when
    somebody does such things."""

    def __init__(self, path: str) -> None:
        """Raises OSError when it cannot be had."""
        make_way(path)          # python-ovs would remove whatever is there
        # before it listens: who finds it finds no other that nobody answers
        if Path(path).name == f"{ovs.util.PROGRAM_NAME}.{os.getpid()}.ctl":
            remove_stale(Path(path).parent)
        with own_user_alone():
            error, self._server = ovs.unixctl.server.UnixctlServer.create(path)
        if error:
            raise OSError(error, os.strerror(error))
        self._path, self._made = path, identity(path)
        self._look_at_ms = 0

    def run(self, now_ms: int) -> None:
        self._server.run()
        if now_ms >= self._look_at_ms:
            self._look_at_ms = now_ms + LOOK_MS
            if not os.path.lexists(self._path):
                self._listen_anew()

    def _listen_anew(self) -> None:
        with own_user_alone():
            error, listener = ovs.stream.PassiveStream.open(f"punix:{self._path}")
        if error:                               # its directory is gone, perhaps: tried again
            return
        self._server._listener.socket.close()   # its close() would remove the new one's name
        self._server._listener = listener
        self._made = identity(self._path)
        log.main.warn(f"somebody removed the control socket {self._path}: it is there again")

    def wait(self, poller: ovs.poller.Poller) -> None:
        self._server.wait(poller)
        poller.timer_wait_until(self._look_at_ms)

    def close(self) -> None:
        """Removes the socket, and nothing that has taken its place."""
        self._server.run()                      # replies that are still to be sent
        if identity(self._path) != self._made:
            self._server._listener.bind_path = None
            ovs.fatal_signal.remove_file_to_unlink(self._path)
        self._server.close()


def remove_stale(directory: Path) -> None:
    """Who is killed leaves a control socket behind, and nobody would ever have its number again."""
    for path in directory.glob(f"{ovs.util.PROGRAM_NAME}.*.ctl"):
        with suppress(OSError):                     # somebody listens
            make_way(str(path))


@contextmanager
def own_user_alone() -> Iterator[None]:
    """What python-ovs gives a socket is no file's mode: that is the umask's."""
    umask = os.umask(0o777 & ~stat.S_IRWXU)
    try:
        yield
    finally:
        os.umask(umask)


def register(name: str, usage: str, minimum: int, maximum: int,
             answer: Callable[[Sequence[str]], str]) -> None:
    """Registers a command that answers at once, and whatever happens in it."""
    def callback(connection: Any, argv: Sequence[str], _: object) -> None:
        connection.reply(line(answer(argv)))
    ovs.unixctl.command_register(name, usage, minimum, maximum, guarded(name, callback), None)


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
