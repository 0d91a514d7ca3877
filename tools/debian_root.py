"""Roots of other Debian systems on this machine, each made once from Debian's packages.

They lie in CACHE, named by what is in them; `rm -r` takes them away. Commands in a root see the
host's /tmp, /dev, /sys and processes; what they mount goes with them. Needs root and debootstrap.
"""
from __future__ import annotations

import fcntl
import hashlib
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

CACHE = Path("/var/cache/vhost-agent")
MIRROR = "http://deb.debian.org"
KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"
HUGEPAGES = "/hugepages"            # a hugetlbfs for commands inside
TRUSTED = "/etc/ssl/certs/ca-certificates.crt"
APT = ("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq")

# What it mounts, and what it started, goes with it, however it ends.
ALONE = ("setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child")

# Inside a mount namespace of its own: ROOT DIRECTORY COMMAND...
ENTER = f"""
set -eu
root=$1 directory=$2
shift 2
mount --make-rslave /
mount --bind $root $root            # 'ip netns exec' changes the mount that / is
mount -t tmpfs tmpfs $root/run      # namespaces and sockets go, however the command ends
mkdir $root/run/lock
mount -t proc proc $root/proc
for shared in sys dev tmp; do mount --rbind /$shared $root/$shared; done
for file in /etc/resolv.conf {TRUSTED}; do
    [ ! -e $file ] || mount --bind $file $root$file
done
mount -t hugetlbfs hugetlbfs $root{HUGEPAGES}
exec chroot $root env -C "$directory" "$@"
"""


@dataclass(frozen=True)
class DebianRoot:
    """One such root: what is in it."""

    name: str
    suite: str
    packages: str               # beyond debootstrap's minbase
    costs: str                  # of making it, for who waits: "80 s, 2 GB"
    downloads: str = ""         # packages that lie there, with what they need, to be installed

    @property
    def sources(self) -> str:
        return f"""\
deb {MIRROR}/debian {self.suite} main
deb {MIRROR}/debian {self.suite}-updates main
deb {MIRROR}/debian-security {self.suite}-security main
"""

    @property
    def path(self) -> Path:
        """Where the root is, or will be."""
        made_of = self.sources + self.packages + self.downloads
        return CACHE / f"{self.name}-{hashlib.sha256(made_of.encode()).hexdigest()[:12]}"

    def made(self) -> Path:
        """The root, made if it is not there yet. Raises CalledProcessError, with the end of what
        the failing step said already printed."""
        root = self.path
        with locked(self.name):
            if not root.exists():
                partial = CACHE / f"{root.name}.partial"
                if partial.exists():
                    shutil.rmtree(partial)
                print(f"{self.name}: making {root} ({self.costs}, once)", file=sys.stderr,
                      flush=True)
                self._make(partial)
                partial.rename(root)
        return root

    def _make(self, root: Path) -> None:
        log = CACHE / f"{self.name}.log"
        log.unlink(missing_ok=True)
        logged(log, *ALONE, "debootstrap", "--variant=minbase", "--include=ca-certificates",
               f"--keyring={KEYS}", self.suite, str(root), f"{MIRROR}/debian")
        (root / "etc/apt/sources.list").write_text(self.sources)
        policy = root / "usr/sbin/policy-rc.d"          # nothing that is installed is started
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
        (root / HUGEPAGES[1:]).mkdir()
        (root / "etc/resolv.conf").touch()              # to mount the host's over
        install = [*APT, "install", "-y", "--no-install-recommends"]
        logged(log, *inside(root, *APT, "update"))
        logged(log, *inside(root, *install, *self.packages.split()))
        logged(log, *inside(root, *APT, "clean"))
        if self.downloads:
            logged(log, *inside(root, *install, "--download-only", *self.downloads.split()))


def logged(log: Path, *command: str) -> None:
    with log.open("ab") as out:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    if done.returncode:
        lines = log.read_text(errors="replace").splitlines()[-20:]
        print(*lines, f"{log.stem}: failed: {shlex.join(command)} (all of it in {log})",
              sep="\n", file=sys.stderr, flush=True)
        done.check_returncode()


def inside(root: Path, *command: str, directory: str = "/") -> list[str]:
    """The command, to be run by the host, that runs 'command' in the root; one process, which is
    the command itself in the end."""
    return ["unshare", "--mount", "sh", "-c", ENTER, "enter", str(root), directory, *command]


@contextmanager
def locked(name: str) -> Iterator[None]:
    """One process at a time, of all that use the cache, does what 'name' stands for."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
