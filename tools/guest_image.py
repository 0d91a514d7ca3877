"""What a guest boots: Debian 13's kernel and an initramfs of busybox, ethtool, ping and iperf3.

Its init reads commands from the first serial port, one a line, and answers each with its output
and a line that ends it (END and the exit status). With `9p=TAG` on the kernel's command line the
commands run in that directory of the host, under an overlay in memory; with `systemd` before it
that directory is booted, and a service of it reads the commands.
"""
from __future__ import annotations

import hashlib
import lzma
import re
import shutil
import subprocess
from pathlib import Path

from tools.debian_root import CACHE, inside, locked, logged

READY = "@ready"
END = "@end "
# For the kernel of a guest with several: QEMU 10's TCG may abort ("iotlb_to_section: Assertion")
# when one processor moves PCI devices about, as at boot, while others run.
ONE_PROCESSOR = "maxcpus=1"
PROGRAMS = ("/usr/bin/busybox", "/usr/sbin/ethtool", "/usr/bin/ping", "/usr/bin/iperf3",
            "/usr/lib/x86_64-linux-gnu/libgcc_s.so.1")      # iperf3 loads it when threads end
MODULES = ("virtio_pci", "virtio_net", "af_packet", "9p", "9pnet_virtio", "overlay",
           "tun", "crc32c_generic", "openvswitch")
READ = f"""\
exec </dev/ttyS0 >/dev/ttyS0 2>&1
stty -echo -onlcr
echo {READY}
while IFS= read -r line; do
    $shell -c "$line" </dev/null
    printf '\\n{END}%d\\n' $?
done
"""
UNIT = """\
[Service]
ExecStart=/bin/sh /usr/local/lib/console
Environment=shell=sh HOME=/root
[Install]
WantedBy=multi-user.target
"""
INIT = f"""\
#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
mkdir -p /dev/pts /dev/shm /tmp /root
mount -t devpts devpts /dev/pts
for module in virtio_pci virtio_net af_packet; do modprobe $module; done
ip link set lo up
sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
shell=sh systemd=
for word in $(cat /proc/cmdline); do
    case $word in
    systemd) systemd=yes ;;
    9p=*)
        modprobe -a 9p 9pnet_virtio overlay
        mkdir -p /lower /memory /guest
        mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=262144,cache=loose \\
            ${{word#9p=}} /lower
        mount -t tmpfs memory /memory
        mkdir /memory/upper /memory/work
        mount -t overlay overlay /guest \\
            -o lowerdir=/lower,upperdir=/memory/upper,workdir=/memory/work
        if [ $systemd ]; then
            modprobe -a tun crc32c_generic openvswitch
            units=/guest/etc/systemd/system
            mkdir -p $units/multi-user.target.wants /guest/usr/local/lib
            cat >$units/console.service <<'END'
{UNIT}END
            ln -s ../console.service $units/multi-user.target.wants/
            cat >/guest/usr/local/lib/console <<'END'
{READ}END
            umount -l /dev/pts /dev/shm /dev /proc /sys
            exec switch_root /guest /lib/systemd/systemd
        fi
        for place in dev proc sys; do mount --rbind /$place /guest/$place; done
        mount -t tmpfs tmpfs /guest/tmp
        mount -t tmpfs tmpfs /guest/run
        shell="chroot /guest sh"
    esac
done
{READ}"""


def kernel(root: Path) -> Path:
    """The kernel of the root, as it is in there."""
    (found,) = (root / "boot").glob("vmlinuz-*")
    return found


def made_initramfs(root: Path) -> Path:
    """The initramfs for this root, made anew when what it is made of has changed: another checkout
    may use another one at the same time."""
    digest = hashlib.sha256("\n".join([INIT, *PROGRAMS, *MODULES]).encode()).hexdigest()[:12]
    target = root / f"guest/initramfs-{digest}"
    with locked("initramfs"):
        if target.exists():
            return target
        tree = root / "guest/tree"
        shutil.rmtree(tree, ignore_errors=True)
        for directory in ("usr/bin", "usr/sbin", "dev", "proc", "sys", "etc"):
            (tree / directory).mkdir(parents=True)
        for link in ("bin", "sbin"):
            (tree / link).symlink_to(f"usr/{link}")
        for program in PROGRAMS:
            copy(root, program, tree)
        for applet in run(root, "busybox", "--list").split():
            if not (tree / "usr/bin" / applet).exists():
                (tree / "usr/bin" / applet).symlink_to("busybox")
        copy_modules(root, tree)
        (tree / "init").write_text(INIT)
        (tree / "init").chmod(0o755)
        logged(CACHE / "initramfs.log", *inside(
            root, "sh", "-c", "find . | busybox cpio -o -H newc >../initramfs.partial",
            directory="/guest/tree"))
        (root / "guest/initramfs.partial").rename(target)
    return target


def run(root: Path, *command: str) -> str:
    return subprocess.run(inside(root, *command), check=True, capture_output=True, text=True).stdout


def copy(root: Path, path: str, tree: Path) -> None:
    """A program, and the libraries that it needs, to the same places."""
    listed = subprocess.run(inside(root, "ldd", path), capture_output=True, text=True).stdout
    for name in (path, *re.findall(r"(/\S+) \(0x", listed)):
        target = tree / name[1:]
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / name[1:], target)


def copy_modules(root: Path, tree: Path) -> None:
    """MODULES and what they need, uncompressed, with the tables of modprobe."""
    version = kernel(root).name.removeprefix("vmlinuz-")
    source, target = root / "lib/modules" / version, tree / "lib/modules" / version
    target.mkdir(parents=True)
    shown = run(root, "modprobe", "--set-version", version, "--show-depends", "--all", *MODULES)
    for name in set(re.findall(rf"/lib/modules/{re.escape(version)}/(\S+)", shown)):
        module = target / name.removesuffix(".xz")
        module.parent.mkdir(parents=True, exist_ok=True)
        content = (source / name).read_bytes()
        module.write_bytes(lzma.decompress(content) if name.endswith(".xz") else content)
    for table in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
        shutil.copy(source / table, target)
    inner = "/" + str(tree.relative_to(root))
    run(root, "depmod", "--basedir", inner, version)
