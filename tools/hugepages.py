"""Runs a command with hugepages at hand, and gives back what was taken for it.

    python -m tools.hugepages -- COMMAND...

As root on a host without free hugepages of 2 MiB it reserves some for the time of the command;
anywhere else the command runs as it is.
"""
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

POOL = Path("/sys/kernel/mm/hugepages/hugepages-2048kB")
WANTED = 768                    # 1.5 GiB: the agent, the guests, the test process


def reserve(wanted: int) -> int:
    """Raises the pool so that 'wanted' pages are free, as far as the kernel can; returns by how
    many pages it grew."""
    try:
        total = int((POOL / "nr_hugepages").read_text())
        free = int((POOL / "free_hugepages").read_text())
        if free >= wanted:
            return 0
        (POOL / "nr_hugepages").write_text(str(total + wanted - free))
        return int((POOL / "nr_hugepages").read_text()) - total
    except OSError:
        return 0                # no such pool, or a container that may not


def release(pages: int) -> None:
    if pages:
        total = int((POOL / "nr_hugepages").read_text())
        (POOL / "nr_hugepages").write_text(str(max(0, total - pages)))


def main(command: list[str]) -> int:
    taken = reserve(WANTED) if os.geteuid() == 0 else 0
    try:
        return subprocess.run(command, check=False).returncode
    except KeyboardInterrupt:
        return 130
    finally:
        release(taken)


if __name__ == "__main__":
    if len(sys.argv) < 3 or sys.argv[1] != "--":
        sys.exit(__doc__)
    sys.exit(main(sys.argv[2:]))
