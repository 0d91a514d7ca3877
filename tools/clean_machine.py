"""A Debian 12 as it comes from Debian, and commands in it: namespaces of its own on a copy of the
root that is kept in memory. The host's /tmp and hugepages are there, too; nothing of it is left.

It has no init: what is started goes with it. For one with systemd see tools/systemd_machine.py.
"""
from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Self

from tools.debian12 import DEBIAN12
from tools.guest import DIE_WITH_PARENT
from tools.wait import wait_for

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ENTER = """
set -eu
lower=$1
mount --make-rprivate /
mount -t tmpfs memory /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay overlay -o lowerdir=$lower,upperdir=/mnt/upper,workdir=/mnt/work /mnt/root
cd /mnt/root
mount -t proc proc proc
mount -t sysfs sys sys
mount -t tmpfs -o mode=755 run run
mount --rbind /dev dev
mkdir -p run/hugepages
mount -t hugetlbfs hugetlbfs run/hugepages
mount --rbind /tmp tmp
ip link set lo up
exec chroot . sh -c 'touch /run/ready; while :; do sleep 1000; done'
"""


class CleanMachine:
    """Namespaces, and a first process that ends with the thread that started it."""

    def __init__(self) -> None:
        self._outside = subprocess.Popen(
            [*DIE_WITH_PARENT, "unshare", "--mount", "--pid", "--net", "--uts", "--ipc", "--fork",
             "--kill-child", "sh", "-c", ENTER, "enter", str(DEBIAN12.made())],
            stdin=subprocess.DEVNULL)
        children = Path(f"/proc/{self._outside.pid}/task/{self._outside.pid}/children")
        wait_for(lambda: children.read_text().split(), 10.0)
        self.pid = int(children.read_text())
        wait_for(self.path("/run/ready").exists, 10.0)

    def path(self, inner: str) -> Path:
        """A file of it, as this process sees it."""
        return Path(f"/proc/{self.pid}/root{inner}")

    def command(self, *words: str) -> list[str]:
        """The command that runs 'words' in it."""
        return ["nsenter", "--target", str(self.pid), "--mount", "--pid", "--net", "--uts", "--ipc",
                "--root", "env", "-i", "-C", "/", f"PATH={PATH}", "HOME=/root", "LC_ALL=C.UTF-8",
                "DEBIAN_FRONTEND=noninteractive", *words]

    def attempt(self, script: str, timeout_s: float = 120.0) -> tuple[int, str]:
        """Exit status and output of a shell script."""
        done = subprocess.run(self.command("sh", "-ec", script), stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=timeout_s)
        return done.returncode, done.stdout

    def run(self, script: str, timeout_s: float = 120.0) -> str:
        """Output of a shell script that must work."""
        status, said = self.attempt(script, timeout_s)
        assert status == 0, f"{script}: status {status}: {said}"
        return said.strip()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._outside.kill()
        self._outside.wait()
