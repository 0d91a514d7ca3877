"""A front end by hand, message by message."""
from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.vhost_user import MESSAGE, VHOST_USER_VERSION, Request

ANSWER_S = 10.0


class Talker:
    """A front end that says what a test has it say, on a socket that it listens on."""

    def __init__(self, path: str) -> None:
        Path(path).unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.settimeout(ANSWER_S)
        self._listener.bind(path)
        self._listener.listen(1)
        self._socket = socket.socket(socket.AF_UNIX)

    def accept(self) -> Talker:
        self._socket.close()
        self._socket, _ = self._listener.accept()
        self._socket.settimeout(ANSWER_S)
        return self

    def ask(self, request: Request) -> int:
        self.tell(request)
        return int.from_bytes(self._socket.recv(512)[MESSAGE.size:], "little")

    def tell(self, request: Request, payload: bytes = b"") -> None:
        self._socket.send(MESSAGE.pack(request, VHOST_USER_VERSION, len(payload)) + payload)

    def take(self, features: int) -> None:
        """Has these features, as a driver that starts does."""
        self.tell(Request.SET_FEATURES, struct.pack("<Q", features))

    def hang_up(self) -> None:
        self._socket.close()

    def close(self) -> None:
        self._listener.close()
        self._socket.close()


@contextmanager
def talker(path: str) -> Iterator[Talker]:
    front_end = Talker(path)
    try:
        yield front_end
    finally:
        front_end.close()
