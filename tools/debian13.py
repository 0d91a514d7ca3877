"""A second distribution on this machine: a Debian 13 root, made once from Debian's packages.

    python -m tools.debian13 COMMAND...     runs it in there, in a copy of this checkout

It has the kernel, QEMU and libvirt of the guests of `make test-guests`, too.
"""
from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tools.debian_root import DebianRoot, inside, locked
from tools.ending import interrupt_when_told_to_end

CHECKOUT = Path(__file__).parents[1]
COPY = hashlib.sha256(str(CHECKOUT).encode()).hexdigest()[:8]       # names the copy of it inside
# What `make setup` would install, so that it is done once; then what guests need: their kernel and
# programs, DPDK in them, and what runs them.
PACKAGES = """
make git python3 python3-venv python3-dev gcc libc6-dev pkg-config libdpdk-dev dpkg-dev dpdk-dev
openvswitch-switch openvswitch-common iproute2 iputils-ping ethtool tcpdump iperf3 openssl
util-linux procps
linux-image-amd64 kmod busybox-static pciutils dpdk qemu-system-x86
libvirt-daemon libvirt-daemon-driver-qemu libvirt-daemon-log libvirt-daemon-system libvirt-clients
"""
DEBIAN13 = DebianRoot("debian13", "trixie", PACKAGES, "80 s, 2 GB")


def made_root() -> Path:
    """The root, made if it is not there yet."""
    return DEBIAN13.made()


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
