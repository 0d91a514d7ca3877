"""What a service manager hears of the agent: started, alive, ending (systemd: sd_notify(3))."""
from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping


class Notify:
    """Says it to who asked for that in the environment, and to nobody else. Never waits, and never
    raises: an agent whose manager does not listen works on."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        # "@" stands for the NUL that an abstract address begins with
        self._address = environment.get("NOTIFY_SOCKET", "").replace("@", "\0", 1)
        ours = environment.get("WATCHDOG_PID", "") in ("", str(os.getpid()))
        watchdog_us = environment.get("WATCHDOG_USEC", "")
        # Half of the time after which it is taken for hung; 0: nobody watches.
        self._every_ms = int(watchdog_us) // 2000 if ours and watchdog_us.isdecimal() else 0
        self._alive_at_ms = 0
        self._status = ""

    def started(self) -> None:
        self._send("READY=1")

    def ending(self) -> None:
        self._send("STOPPING=1")

    def status(self, sentence: str) -> None:
        """Says it when it is another than before."""
        if sentence != self._status:
            self._status = sentence
            self._send(f"STATUS={sentence}")

    def run(self, now_ms: int) -> None:
        """Says when it is time that the agent is alive. A hung agent does not come here."""
        if self._every_ms and now_ms >= self._alive_at_ms:
            self._alive_at_ms = now_ms + self._every_ms
            self._send("WATCHDOG=1")

    def alive_at_ms(self) -> int | None:
        """When run() has something to say next."""
        return self._alive_at_ms if self._every_ms else None

    def _send(self, line: str) -> None:
        if self._address[:1] not in ("/", "\0"):
            return
        with contextlib.suppress(OSError), \
                socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as to:
            to.sendto(line.encode(), self._address)


def sentence(*, seen: bool, contended: bool, lock: str, remote: str, dpdk: bool, ports: int,
             refused: int) -> str:
    """How the agent is, for people: 'seen' is the database, 'ports' are served, 'refused' not."""
    if contended:
        return f"waiting: another process has the lock {lock} of {remote}"
    if not seen:
        return f"waiting for the database at {remote}"
    off = "" if dpdk else "DPDK is off; "
    wrong = f"; {count(refused)} with an error (Interface.error says which)" if refused else ""
    return f"{off}serving {count(ports)}{wrong}"


def count(ports: int) -> str:
    return f"{ports} port{'' if ports == 1 else 's'}"
