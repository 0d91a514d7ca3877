"""A network namespace without a process in it, and what happens inside. Needs root."""
from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import TypeVar

T = TypeVar("T")

CLONE_NEWNET = 0x40000000


class Netns:
    """A namespace of this process alone: it goes when it is closed, with every link in it."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.fd = self._thread.submit(self._make).result()

    def _make(self) -> int:
        if self._libc.unshare(CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "no network namespace")
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    @property
    def path(self) -> str:
        """A file that names it, for commands, while this process lives."""
        return f"/proc/{os.getpid()}/fd/{self.fd}"

    def call(self, function: Callable[[], T]) -> T:
        """Calls it in a thread that is inside: descriptors that it opens stay there."""
        return self._thread.submit(function).result()

    def command(self, *words: str) -> list[str]:
        """A command that runs inside; the process that starts it has to live meanwhile."""
        return ["nsenter", f"--net={self.path}", *words]

    def run(self, *words: str) -> str:
        """Output of a command inside that must work."""
        return subprocess.run(self.command(*words), check=True, text=True,
                              capture_output=True).stdout

    def close(self) -> None:
        self._thread.shutdown()
        os.close(self.fd)

    def __enter__(self) -> Netns:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()
