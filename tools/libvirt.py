"""libvirt of the Debian 13 root: its daemons, virsh, and the consoles of its domains.

For tests and for trying things out. All of it dies with the thread that started it.
"""
from __future__ import annotations

import subprocess
from pathlib import Path

from tools.console import Console
from tools.debian13 import made_root
from tools.debian_root import inside
from tools.guest import DIE_WITH_PARENT, OWN_GROUP, GuestError
from tools.wait import wait_for

# In a mount namespace of its own: ROOT COMMAND...
LAYER = """
set -eu
root=$1
shift
mount --make-rslave /
mount -t tmpfs memory /mnt
mkdir /mnt/upper /mnt/work
mount -t overlay overlay $root -o lowerdir=$root,upperdir=/mnt/upper,workdir=/mnt/work
exec "$@"
"""
# In the root, as process 1, which reaps QEMU. Without control groups, so that none are left behind;
# terminals of its own; and QEMU with this /dev, for one that libvirt makes has nothing to open
# terminals with in here. Who may do what stays as Debian has it.
DAEMONS = """
set -eu
while umount /dev/pts; do :; done
mount -t devpts -o ptmxmode=0666 devpts /dev/pts
umount --recursive /sys/fs/cgroup
echo 'namespaces = []' >>/etc/libvirt/qemu.conf
virtlogd &
libvirtd &
wait
"""


class Libvirt:
    """libvirtd and virtlogd, as Debian configures them, and the domains that they run.

    They live on the root under an overlay in memory, with processes and a network of their own:
    whatever they leave ends with them. They see the host's /tmp.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self._first = 0                 # of their processes, by its number outside

    def start(self) -> None:
        """Returns when virsh is answered. Raises GuestError when it is not."""
        root = made_root()
        with (self.directory / "libvirtd.log").open("wb") as log:
            self._process = subprocess.Popen(
                [*DIE_WITH_PARENT, "unshare", "--mount", "--net", "--pid", "--fork", "--kill-child",
                 "sh", "-c", LAYER, "layer", str(root),
                 *inside(root, "sh", "-c", DAEMONS)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, process_group=OWN_GROUP)
        if not wait_for(self._answers, 60.0):
            raise GuestError(f"libvirtd does not answer: {self.directory}/libvirtd.log")

    def _answers(self) -> bool:
        assert self._process is not None
        unshare = self._process.pid
        children = Path(f"/proc/{unshare}/task/{unshare}/children").read_text().split()
        if not children:
            return False
        self._first = int(children[0])
        is_there = Path(f"/proc/{self._first}/root").readlink() != Path("/")
        return is_there and self.attempt("uri").returncode == 0

    def command(self, *words: str) -> list[str]:
        """What runs a command where the daemons are."""
        return ["nsenter", f"--target={self._first}", "--mount", "--pid", "--root", "--wd", *words]

    def virsh_command(self, *words: str) -> list[str]:
        return self.command("virsh", "--connect", "qemu:///system", *words)

    def attempt(self, *words: str, timeout_s: float = 120.0) -> subprocess.CompletedProcess[str]:
        """virsh with these words."""
        return subprocess.run(self.virsh_command(*words), stdin=subprocess.DEVNULL, text=True,
                              capture_output=True, timeout=timeout_s)

    def virsh(self, *words: str) -> str:
        """Output of a virsh that must work."""
        done = self.attempt(*words)
        if done.returncode:
            raise GuestError(f"virsh {' '.join(words)}: {done.stderr.strip()}")
        return done.stdout

    def run(self, *words: str) -> str:
        """Output of a command where the daemons are, which must work."""
        return subprocess.run(self.command(*words), check=True, text=True,
                              capture_output=True).stdout

    def console(self, name: str) -> Console:
        """'virsh console' of a domain, not started yet, on a terminal as it wants one."""
        virsh = f"virsh --connect qemu:///system console {name}"
        return Console(name, self.directory / f"{name}.log",
                       self.command("script", "--quiet", "--flush", "--command", virsh,
                                    "/dev/null"))

    def close(self) -> None:
        """Ends the daemons and all domains."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
