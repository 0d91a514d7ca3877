"""An OVSDB client that keeps its connection, as agents of clouds do: RFC 7047 in a few lines."""
from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

TIMEOUT_S = 60                  # of each wait for the server


class Client:
    """One connection to the ovsdb-server at a UNIX socket, for one transaction at a time."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(TIMEOUT_S)
        self._socket.connect(str(path))
        self._received = ""
        self._id = 0

    def transact(self, *operations: Mapping[str, Any]) -> list[Any]:
        """A result for each operation; OSError with what the server says of one that failed."""
        self._id += 1
        self._socket.sendall(json.dumps({
            "id": self._id, "method": "transact",
            "params": ["Open_vSwitch", *operations]}).encode())
        message: Any = {}
        while message.get("id") != self._id or "result" not in message:
            message = self._receive()
            if message.get("method") == "echo":     # the server looks whether we live
                self._socket.sendall(json.dumps({
                    "id": message["id"], "result": [], "error": None}).encode())
        for result in message["result"]:
            if result and "error" in result:
                raise OSError(f"the database says: {result}")
        return list(message["result"])

    def _receive(self) -> Any:
        while True:
            try:
                message, end = json.JSONDecoder().raw_decode(self._received)
            except ValueError:
                data = self._socket.recv(1 << 16)
                if not data:
                    raise ConnectionError("ovsdb-server closed the connection") from None
                self._received += data.decode()
            else:
                self._received = self._received[end:].lstrip()
                return message

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()
