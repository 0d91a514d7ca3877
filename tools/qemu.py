"""Whole virtual machines: QEMU of the Debian 13 root, its guest's console, and its monitor.

For tests and for trying things out. A machine dies with the thread that started it. It runs under
TCG, which needs no KVM and is the same everywhere; a guest boots in some seconds.
"""
from __future__ import annotations

import json
import re
import shlex
import socket
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

from tools.debian13 import inside, made_root
from tools.guest import DIE_WITH_PARENT, GuestError
from tools.guest_image import END, READY, kernel, made_initramfs
from tools.wait import wait_for

BOOT_S = 90.0                   # several guests may boot on a machine of two cores


class Machine:
    """One QEMU and the guest in it.

    'arguments' are QEMU's beyond what boots the guest: `vhost-agent qemu-args` prints them. 'first'
    are those that must stand before them (a machine type, an IOMMU), 'kernel_words' go to the
    guest's kernel. With 'debian' the guest's commands run in the Debian 13 root, not in the
    initramfs. Raises GuestError when QEMU ends or the guest does not answer.
    """

    def __init__(self, name: str, directory: Path, arguments: Sequence[str] = (), *,
                 first: Sequence[str] = (), kernel_words: str = "", cpus: int = 1,
                 debian: bool = False) -> None:
        self.name = name
        self.log = directory / f"{name}.log"
        self.monitor = directory / f"{name}.qmp"
        root = made_root()
        initramfs = made_initramfs(root)
        words = f"console=ttyS0 quiet panic=-1 {kernel_words}"
        self.command = [
            "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none",
            "-accel", "tcg", "-cpu", "max", "-smp", str(cpus),
            "-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
            "-qmp", f"unix:{self.monitor},server=on,wait=off", *first,
            "-kernel", inner(root, kernel(root)), "-initrd", inner(root, initramfs)]
        if debian:
            words += " 9p=root"
            self.command += ["-virtfs", "local,path=/,mount_tag=root,security_model=none,"
                                        "multidevs=remap,readonly=on"]
        self.command += ["-append", words, *arguments]
        self._root = root
        self._process: subprocess.Popen[bytes] | None = None
        self._at = 0                            # where in the log the next answer begins

    # --- the process ------------------------------------------------------------------------------

    def start(self, *options: str) -> None:
        """Starts QEMU; the guest may take some seconds more ('wait_ready')."""
        self.monitor.unlink(missing_ok=True)
        with self.log.open("ab") as log:
            self._at = log.tell()
            self._process = subprocess.Popen(
                [*DIE_WITH_PARENT, *inside(self._root, *self.command, *options)],
                stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True)

    def wait_ready(self, timeout_s: float = BOOT_S) -> None:
        """Returns when the guest has booted, once for each time that it boots."""
        self._read_until(rf"{READY}\n", timeout_s, "booted")

    @property
    def booted(self) -> bool:
        """Whether the guest has booted since 'start', until 'wait_ready' says so."""
        return f"{READY}\n" in self._log_text()

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

    def answer(self, timeout_s: float = 60.0) -> tuple[int, str]:
        found = self._read_until(rf"\n{END}(\d+)\n", timeout_s, "done with a command")
        return int(found[1]), found.string[:found.start()]

    def begin(self, name: str, command: str) -> None:
        """Starts a command in the guest that goes on beside others; 'name' is a file's name."""
        self.run(f"rm -f /tmp/{name}.status; "
                 f"(sh -c {shlex.quote(command)} >/tmp/{name} 2>&1; echo $? >/tmp/{name}.status) "
                 f">/dev/null 2>&1 &")

    def finish(self, name: str, timeout_s: float = 60.0) -> str:
        """Waits for what 'begin' started, and returns its output."""
        return self.run(f"until [ -s /tmp/{name}.status ]; do usleep 100000; done; "
                        f"cat /tmp/{name}", timeout_s)

    def _read_until(self, pattern: str, timeout_s: float, what: str) -> re.Match[str]:
        def found() -> re.Match[str] | None:
            return re.search(pattern, self._log_text())

        match = wait_for(lambda: found() or not self.running, timeout_s)
        if not isinstance(match, re.Match):
            lines = self._log_text().splitlines()[-25:]
            state = f"not {what} after {timeout_s:g} s" if self.running else "ended"
            raise GuestError("\n".join([f"guest {self.name} {state}; its console:", *lines]))
        self._at += len(match.string[:match.end()].encode("latin1"))
        return match

    def _log_text(self) -> str:
        with self.log.open("rb") as log:
            log.seek(self._at)
            return log.read().decode("latin1")

    # --- the monitor ------------------------------------------------------------------------------

    def qmp(self, command: str, **arguments: Any) -> Any:
        """What QEMU's monitor returns to a command; GuestError with its words when it refuses.
        Names of arguments have "_" where QEMU's have "-"."""
        wait_for(lambda: self.monitor.exists() or not self.running, 10.0)
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.settimeout(30.0)
            monitor.connect(str(self.monitor))
            stream = monitor.makefile("rw")

            def ask(name: str, given: dict[str, Any]) -> Any:
                stream.write(json.dumps({"execute": name, "arguments": given}) + "\n")
                stream.flush()
                while True:                         # events are of no interest here
                    said = json.loads(stream.readline())
                    if "error" in said:
                        raise GuestError(f"QEMU {self.name}: {command}: {said['error']['desc']}")
                    if "return" in said:
                        return said["return"]

            stream.readline()                       # the greeting
            ask("qmp_capabilities", {})
            return ask(command, {k.replace("_", "-"): v for k, v in arguments.items()})

    def hmp(self, line: str) -> str:
        """What the monitor for people prints."""
        return str(self.qmp("human-monitor-command", command_line=line))

    def wait_status(self, wanted: Callable[[str], bool], timeout_s: float) -> str:
        """QEMU's run state ("running", "prelaunch", "postmigrate") once it is as wanted."""
        def status() -> str:
            return str(self.qmp("query-status")["status"])

        wait_for(lambda: wanted(status()), timeout_s)
        return status()


def inner(root: Path, path: Path) -> str:
    """The path as commands in the root see it."""
    return "/" + str(path.relative_to(root))
