"""A second distribution on this machine: a Debian 13 root, made once from Debian's packages.

    python -m tools.debian13 COMMAND...     runs it in there, in a copy of this checkout

The root lies in CACHE, named by what is in it; `rm -r` takes it away. It has
the kernel, QEMU and libvirt of the guests of `make test-guests`, too. Commands see the host's
/tmp, /dev, /sys and processes; what they mount goes with them. Needs root and debootstrap.
"""
from __future__ import annotations

import fcntl
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tools.ending import interrupt_when_told_to_end

CACHE = Path("/var/cache/vhost-agent")
CHECKOUT = Path(__file__).parents[1]
COPY = hashlib.sha256(str(CHECKOUT).encode()).hexdigest()[:8]       # names the copy of it inside
MIRROR = "http://deb.debian.org"
SUITE = "trixie"
KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"
SOURCES = f"""\
deb {MIRROR}/debian {SUITE} main
deb {MIRROR}/debian {SUITE}-updates main
deb {MIRROR}/debian-security {SUITE}-security main
"""
# What `make setup` would install, so that it is done once; then what guests need: their kernel and
# programs, DPDK in them, and what runs them.
PACKAGES = """
make git python3 python3-venv python3-dev gcc libc6-dev pkg-config libdpdk-dev dpkg-dev dpdk-dev
openvswitch-switch openvswitch-common iproute2 iputils-ping ethtool tcpdump iperf3 openssl
util-linux procps
linux-image-amd64 kmod busybox-static pciutils dpdk qemu-system-x86
libvirt-daemon libvirt-daemon-driver-qemu libvirt-daemon-log libvirt-daemon-system libvirt-clients
"""
HUGEPAGES = "/hugepages"            # a hugetlbfs for commands inside
TRUSTED = "/etc/ssl/certs/ca-certificates.crt"

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


def root_path() -> Path:
    """Where the root is, or will be."""
    digest = hashlib.sha256((SOURCES + PACKAGES).encode()).hexdigest()
    return CACHE / f"debian13-{digest[:12]}"


def made_root() -> Path:
    """The root, made if it is not there yet: 80 s and 2 GB. Raises CalledProcessError, with the
    end of what the failing step said already printed."""
    root = root_path()
    with locked("debian13"):
        if not root.exists():
            partial = CACHE / f"{root.name}.partial"
            if partial.exists():
                shutil.rmtree(partial)
            print(f"debian13: making {root} (80 s, once)", file=sys.stderr, flush=True)
            make(partial)
            partial.rename(root)
    return root


def make(root: Path) -> None:
    log = CACHE / "debian13.log"
    log.unlink(missing_ok=True)
    logged(log, *ALONE, "debootstrap", "--variant=minbase", "--include=ca-certificates",
           f"--keyring={KEYS}", SUITE, str(root), f"{MIRROR}/debian")
    (root / "etc/apt/sources.list").write_text(SOURCES)
    policy = root / "usr/sbin/policy-rc.d"          # nothing that is installed is started
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    (root / HUGEPAGES[1:]).mkdir()
    (root / "etc/resolv.conf").touch()              # to mount the host's over
    apt = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"]
    logged(log, *inside(root, *apt, "update"))
    logged(log, *inside(root, *apt, "install", "-y", "--no-install-recommends",
                        *PACKAGES.split()))
    logged(log, *inside(root, *apt, "clean"))


def logged(log: Path, *command: str) -> None:
    with log.open("ab") as out:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    if done.returncode:
        lines = log.read_text(errors="replace").splitlines()[-20:]
        print(*lines, f"debian13: failed: {shlex.join(command)} (all of it in {log})",
              sep="\n", file=sys.stderr, flush=True)
        done.check_returncode()


def inside(root: Path, *command: str, directory: str = "/") -> list[str]:
    """The command, to be run by the host, that runs 'command' in the root; one process, which is
    the command itself in the end."""
    return ["unshare", "--mount", "sh", "-c", ENTER, "debian13", str(root), directory, *command]


@contextmanager
def locked(name: str) -> Iterator[None]:
    """One process at a time, of all that use the cache, does what 'name' stands for."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def source_copy(root: Path) -> str:
    """Where in the root a copy of this checkout is, brought up to date: files that git knows or
    would add. What was built in there before stays."""
    inner = f"/src/{COPY}/vhost-agent"
    target = root / inner[1:]
    target.mkdir(parents=True, exist_ok=True)
    listed = subprocess.run(["git", "-C", str(CHECKOUT), "ls-files", "-z", "--cached", "--others",
                             "--exclude-standard"], check=True, capture_output=True, text=True)
    names = {name for name in listed.stdout.split("\0") if name and (CHECKOUT / name).exists()}
    known = target / ".copied"
    for gone in set(known.read_text().split("\0") if known.exists() else ()) - names:
        (target / gone).unlink(missing_ok=True)
    for name in names:
        source, copy = CHECKOUT / name, target / name
        if not copy.exists() or copy.read_bytes() != source.read_bytes():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, copy)               # a new time: make looks at it
    known.write_text("\0".join(sorted(names)))
    return inner


def environment(root: Path) -> Mapping[str, str]:
    """Of the caller's what has a meaning inside: no path that is not there."""
    kept = {name: value for name, value in os.environ.items()
            if name in ("CI", "TERM", "LANG") or name.lower().endswith("_proxy")
            or (name.startswith("PIP_")
                and not (value.startswith("/") and not (root / value[1:]).exists()))}
    return {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root", **kept}


def main(command: list[str]) -> int:
    interrupt_when_told_to_end()
    root = made_root()
    with locked(f"source-{COPY}"):                  # no command's files change under it
        words = inside(root, *command, directory=source_copy(root))
        child = subprocess.Popen(["setpriv", "--pdeathsig", "TERM", *words], env=environment(root))
        try:
            return child.wait()
        except KeyboardInterrupt:
            child.terminate()
            return child.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]) if sys.argv[1:] else __doc__)
