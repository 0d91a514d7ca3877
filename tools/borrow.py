"""Runs a command with what it borrows from the host, and gives that back.

    python -m tools.borrow [PAGES] -- COMMAND...

As root, for the time of the command: hugepages of 2 MiB, where so many are not free, and that Linux
deals cores to threads, not to sessions first. Anywhere else the command runs as it is.
"""
from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

POOL = Path("/sys/kernel/mm/hugepages/hugepages-2048kB")
AUTOGROUP = Path("/proc/sys/kernel/sched_autogroup_enabled")
WANTED = 768                    # 1.5 GiB: the agent, the guests, the test process


def size() -> int:
    """Pages in the pool, without those that leave it as soon as their user lets go."""
    return int((POOL / "nr_hugepages").read_text()) - int((POOL / "surplus_hugepages").read_text())


def reserve(wanted: int) -> int:
    """Raises the pool so that 'wanted' pages are free, as far as the kernel can; returns by how
    many pages it grew."""
    try:
        total = size()
        free = int((POOL / "free_hugepages").read_text())
        if free >= wanted:
            return 0
        (POOL / "nr_hugepages").write_text(str(total + wanted - free))
        return size() - total
    except OSError:
        return 0                # no such pool, or a container that may not


def release(pages: int) -> None:
    if pages:
        (POOL / "nr_hugepages").write_text(str(max(0, size() - pages)))


def ungroup() -> bool:
    """No groups by session for what is started from now on; whether there were. Linux 6.18 has let
    threads wait for a core for seconds, and its own too, while another session's polled there."""
    try:
        if not int(AUTOGROUP.read_text()):
            return False
        AUTOGROUP.write_text("0")
        return True
    except OSError:
        return False            # a kernel without them, or a container that may not


def group(again: bool) -> None:
    if again:
        AUTOGROUP.write_text("1")


def main(wanted: int, command: list[str]) -> int:
    """The command's exit status. Being told to end, it tells the command and waits: that has
    pages, and more to clean up."""
    child: subprocess.Popen[bytes] | None = None

    def pass_on(number: int, _: object) -> None:
        if child is not None and number != signal.SIGINT:   # a terminal sends that to both
            child.send_signal(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, pass_on)
    root = os.geteuid() == 0
    taken, ungrouped = reserve(wanted) if root else 0, root and ungroup()
    try:
        child = subprocess.Popen(command)
        status = child.wait()
        return status if status >= 0 else 128 - status
    finally:
        release(taken)
        group(ungrouped)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--", *command] if command:
            sys.exit(main(WANTED, command))
        case [pages, "--", *command] if command and pages.isdecimal():
            sys.exit(main(int(pages), command))
    sys.exit(__doc__)
