"""Whole virtual machines: QEMU of the Debian 13 root, its guest's console, and its monitor.

For tests and for trying things out. A machine dies with the thread that started it. It runs under
TCG, which needs no KVM and is the same everywhere; a guest boots in some seconds.
"""
from __future__ import annotations

import json
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tools.console import Console
from tools.debian13 import made_root
from tools.debian_root import inside
from tools.guest import GuestError
from tools.guest_image import kernel, made_initramfs
from tools.wait import wait_for


class Machine(Console):
    """One QEMU and the guest in it.

    'arguments' are QEMU's beyond what boots the guest: `vhost-agent qemu-args` prints them. 'first'
    are those that must stand before them (a machine type, an IOMMU), 'kernel_words' go to the
    guest's kernel. With 'debian' the guest's commands run in the Debian 13 root, not in the
    initramfs. Raises GuestError when QEMU ends or the guest does not answer.
    """

    def __init__(self, name: str, directory: Path, arguments: Sequence[str] = (), *,
                 first: Sequence[str] = (), kernel_words: str = "", cpus: int = 1,
                 debian: bool = False) -> None:
        self.monitor = directory / f"{name}.qmp"
        root = made_root()
        initramfs = made_initramfs(root)
        words = f"console=ttyS0 quiet panic=-1 {kernel_words}"
        command = [
            "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none",
            "-accel", "tcg", "-cpu", "max", "-smp", str(cpus),
            "-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
            "-qmp", f"unix:{self.monitor},server=on,wait=off", *first,
            "-kernel", inner(root, kernel(root)), "-initrd", inner(root, initramfs)]
        if debian:
            words += " 9p=root"
            command += ["-virtfs", "local,path=/,mount_tag=root,security_model=none,"
                                   "multidevs=remap,readonly=on"]
        command += ["-append", words, *arguments]
        super().__init__(name, directory / f"{name}.log", inside(root, *command))

    def start(self, *options: str) -> None:
        """Starts QEMU; the guest may take some seconds more ('wait_ready')."""
        self.monitor.unlink(missing_ok=True)
        super().start(*options)

    # --- the monitor ------------------------------------------------------------------------------

    def qmp(self, command: str, **arguments: Any) -> Any:
        """What QEMU's monitor returns to a command; GuestError with its words when it refuses, or
        has ended. Names of arguments have "_" where QEMU's have "-"."""
        wait_for(lambda: self.monitor.exists() or not self.running, 10.0)
        try:
            return self._ask_monitor(command, arguments)
        except (OSError, ValueError) as e:      # ValueError: half an answer is no JSON
            raise GuestError(f"QEMU {self.name}: {command}: no answer: {e}") from e

    def _ask_monitor(self, command: str, arguments: dict[str, Any]) -> Any:
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
