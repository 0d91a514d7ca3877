"""The console of a guest that booted tools/guest_image.py: commands to it, and their answers."""
from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from tools.guest import DIE_WITH_PARENT, OWN_GROUP, GuestError
from tools.guest_image import END, READY
from tools.wait import wait_for

BOOT_S = 90.0                   # several guests may boot on a machine of two cores


class Console:
    """A command whose standard input goes to the guest's first serial port, and whose output, kept
    in 'log', comes from there. Raises GuestError when it ends or the guest does not answer."""

    def __init__(self, name: str, log: Path, command: Sequence[str]) -> None:
        self.name = name
        self.log = log
        self.command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._at = 0                            # where in the log the next answer begins
        self._owed = 0                          # answers to come, those that came too late too

    # --- the process ------------------------------------------------------------------------------

    def start(self, *options: str) -> None:
        """Starts the command, which dies with the thread that started it."""
        with self.log.open("ab") as log:
            self._at = log.tell()
            self._owed = 0
            self._process = subprocess.Popen(
                [*DIE_WITH_PARENT, *self.command, *options],
                stdin=subprocess.PIPE, stdout=log, stderr=log, process_group=OWN_GROUP)

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """Ends it as a crash would. May be repeated."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    # --- the guest --------------------------------------------------------------------------------

    def wait_ready(self, timeout_s: float = BOOT_S) -> None:
        """Returns when the guest has booted, once for each time that it boots."""
        self._read_until(rf"{READY}\n", timeout_s, "booted")
        self._owed = 0

    @property
    def booted(self) -> bool:
        """Whether the guest has booted, until 'wait_ready' says so."""
        return f"{READY}\n" in self._log_text()

    def run(self, command: str, timeout_s: float = 60.0) -> str:
        """Output of a shell command in the guest that must work."""
        status, output = self.attempt(command, timeout_s)
        if status:
            raise GuestError(f"guest {self.name}: {command}: status {status}: {output.strip()}")
        return output

    def attempt(self, command: str, timeout_s: float = 60.0) -> tuple[int, str]:
        """Exit status and output of a shell command in the guest."""
        self.type(command)
        return self.answer(timeout_s)

    def type(self, command: str) -> None:
        """Has the guest begin with a command; 'answer' returns what came of it."""
        assert self._process is not None
        assert self._process.stdin is not None
        assert "\n" not in command
        assert len(command) < 4000          # what a terminal takes as a line
        self._process.stdin.write(f"{command}\n".encode())
        self._process.stdin.flush()
        self._owed += 1

    def answer(self, timeout_s: float = 60.0) -> tuple[int, str]:
        """Exit status and output of the last command that was typed."""
        while True:
            found = self._read_until(rf"\n{END}(\d+)\n", timeout_s, "done with a command")
            self._owed -= 1
            if self._owed <= 0:
                return int(found[1]), found.string[:found.start()]

    def begin(self, name: str, command: str) -> None:
        """Starts a command in the guest that goes on beside others; 'name' is a file's name."""
        self.run(f"rm -f /tmp/{name}.status; "
                 f"(sh -c {shlex.quote(command)} >/tmp/{name} 2>&1; echo $? >/tmp/{name}.status) "
                 f">/dev/null 2>&1 &")

    def finish(self, name: str, timeout_s: float = 60.0) -> str:
        """Waits for what 'begin' started, and returns its output."""
        return self.run(f"until [ -s /tmp/{name}.status ]; do sleep 0.1; done; "
                        f"cat /tmp/{name}", timeout_s)

    def _read_until(self, pattern: str, timeout_s: float, what: str) -> re.Match[str]:
        def found() -> re.Match[str] | None:
            return re.search(pattern, self._log_text())

        wait_for(lambda: found() or not self.running, timeout_s)
        match = found()                         # one that ended may have had its last words
        if match is None:
            lines = self._log_text().splitlines()[-25:]
            state = f"not {what} after {timeout_s:g} s" if self.running else "ended"
            raise GuestError("\n".join([f"guest {self.name} {state}; its console:", *lines]))
        self._at += len(match.string[:match.end()].encode("latin1"))
        return match

    def _log_text(self) -> str:
        with self.log.open("rb") as log:
            log.seek(self._at)
            return log.read().decode("latin1")
