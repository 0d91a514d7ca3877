"""A machine of its own with a clean Debian 12, booted by systemd, for what only that can show."""
from __future__ import annotations

from pathlib import Path

from tools.debian12 import DEBIAN12
from tools.qemu import Machine

# No shell is offered on the console, where commands come from.
WORDS = ("systemd 9p=root systemd.show_status=no systemd.mask=serial-getty@ttyS0.service "
         "systemd.mask=console-getty.service systemd.firstboot=off")
# QEMU sees of the host what is in /tmp. There is the root, with what the package depends on: apt
# would take some minutes for that inside.
PREPARE = """
set -eu
root=$1 target=$2 packages=$3
shift 3
mount --make-rprivate /
mount -t tmpfs memory /mnt
mkdir /mnt/upper /mnt/work
mount -t overlay overlay -o lowerdir=$root,upperdir=/mnt/upper,workdir=/mnt/work $target
mount -t proc proc $target/proc
DEBIAN_FRONTEND=noninteractive PATH=$PATH:/usr/sbin:/sbin chroot $target \\
    apt-get -qq install -y --no-install-recommends $packages >&2
umount $target/proc
rm $target/usr/sbin/policy-rc.d
exec "$@"
"""
BOOT_S = 300.0                      # on a busy machine


class SystemdMachine(Machine):
    """Debian 12 under systemd; what is in 'files' is in its /mnt, to be read."""

    def __init__(self, name: str, directory: Path, files: Path, memory_mib: int = 2048) -> None:
        lower = directory / "lower"
        lower.mkdir()
        shares = [("root", lower), ("files", files)]
        super().__init__(name, directory, [
            "-m", str(memory_mib), *(word for tag, path in shares for word in (
                "-virtfs", f"local,path={path},mount_tag={tag},security_model=none,"
                           "multidevs=remap,readonly=on"))], kernel_words=WORDS)
        self.command = ["unshare", "--mount", "sh", "-c", PREPARE, "prepare",
                        str(DEBIAN12.made()), str(lower), DEBIAN12.downloads, *self.command]

    def wait_ready(self, timeout_s: float = BOOT_S) -> None:
        super().wait_ready(timeout_s)
        self.run("mount -t 9p -o ro,trans=virtio,version=9p2000.L files /mnt")
