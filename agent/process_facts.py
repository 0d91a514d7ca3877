"""Reads what doctor has to know of processes, and asks daemons for their version."""
from __future__ import annotations

import grp
import os
import platform
import pwd
import re
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from agent import appctl
from agent.host_facts import text, user_name
from agent.host_values import Daemon, Process, Program, User
from agent.machine import parse_cpu_list
from agent.settings import PROGRAM

PROC = Path("/proc")
CGROUPS = Path("/sys/fs/cgroup")
CONTROL = re.compile(r"(.+)\.(\d+)\.ctl")
VERSION = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?")
VERSION_LIMIT_S = 5.0
ANSWER_MS = 2_000
UNIXCTL = "--unixctl="
NOT_ASKED = ("ovsdb-server",)       # what it is asked as a database is enough
QEMU = re.compile("qemu-system-.*|qemu-kvm")
LIBVIRT_SOCKETS = ("/run/libvirt/libvirt-sock", "/run/libvirt/virtqemud-sock")
QEMU_CONF = Path("/etc/libvirt/qemu.conf")
SETTING = re.compile(r"""^\s*(user|group)\s*=\s*["'](.*?)["']""", re.M)
USUAL_USERS = ("libvirt-qemu", "qemu")      # Debian's, Fedora's
LIBEXEC = ("/usr/libexec/qemu-kvm", "/usr/bin/qemu-kvm")
SBIN = ("/usr/local/sbin", "/usr/sbin", "/sbin")


def this_process() -> Process:
    return process(os.getpid())


def process(pid: int) -> Process:
    """Raises FileNotFoundError when there is none of that number."""
    directory = PROC / str(pid)
    status = dict(line.partition(":\t")[::2]
                  for line in (directory / "status").read_text(errors="replace").splitlines())
    uid = int(status["Uid"].split()[1])
    groups = {int(g) for g in [status["Gid"].split()[1], *status.get("Groups", "").split()]}
    user = User(user_name(uid), uid, frozenset(groups), int(status["CapEff"], 16))
    words = text(directory / "cmdline").rstrip("\0").split("\0")
    descriptors, locked = limits(directory)
    return Process(pid, tuple(filter(None, words)), user, descriptors, locked,
                   parse_cpu_list(status.get("Cpus_allowed_list", "")),
                   cpuset(text(directory / "cgroup")))


def cpuset(cgroups: str, root: Path = CGROUPS) -> tuple[int, ...]:
    """Cores that a process may choose from, of its /proc/PID/cgroup; empty where that is not known.
    Its affinity says less: each thread may set its own."""
    for line in cgroups.splitlines():
        number, controllers, path = line.split(":", 2)
        if "cpuset" in controllers.split(","):      # version 1
            top, names = root / "cpuset", ["cpuset.effective_cpus", "cpuset.cpus"]
        elif number == "0":
            top, names = root, ["cpuset.cpus.effective"]
        else:
            continue
        group = top / path.lstrip("/")
        for directory in (group, *group.parents):
            found = next(filter(None, (text(directory / name) for name in names)), "")
            if found:
                return parse_cpu_list(found)
            if directory == top:
                break
    return ()


def limits(directory: Path) -> tuple[int | None, int | None]:
    """Hard limits of open files and of locked memory, -1 for none; None each: not to be seen."""
    lines = text(directory / "limits").splitlines()

    def hard(name: str) -> int | None:
        for line in lines:
            if line.startswith(name):
                word = line[26:].split()[1]
                return -1 if word == "unlimited" else int(word)
        return None
    return hard("Max open files"), hard("Max locked memory")


def daemons(rundir: str) -> tuple[Daemon, ...]:
    """Those that have a control socket in the run directory, each asked for its version. Raises
    OSError when the directory cannot be read."""
    names = sorted(os.listdir(rundir))
    found = [daemon(f"{rundir}/{name}", match[1], int(match[2])) for name in names
             if (match := CONTROL.fullmatch(name))]
    known = {one.pid for one in found}
    found += [one for name in names if name.endswith(".pid")
              and (one := elsewhere(rundir, name.removesuffix(".pid"))) is not None
              and one.pid not in known]
    return tuple(found)


def found_control(rundir: str) -> str:
    """Control socket of the agent that commands find without -t; empty where they find none."""
    try:
        return appctl.control_socket(PROGRAM, rundir)
    except appctl.NoAgentError:
        return ""


def elsewhere(rundir: str, name: str) -> Daemon | None:
    """The daemon of a pid file, whose control socket is somewhere else (--unixctl)."""
    try:
        pid = int(text(Path(rundir, f"{name}.pid")))
        found = process(pid)
    except (OSError, ValueError, KeyError):
        return None
    # somebody else may have got the number of one that was killed
    programs = {word.rpartition("/")[2] for word in found.words[:3]}
    if not programs & {name, PROGRAM}:
        return None
    control = next((word.removeprefix(UNIXCTL) for word in found.words
                    if word.startswith(UNIXCTL)), "")
    return daemon(control, name, pid) if control.startswith("/") else Daemon(name, pid, "", found)


def daemon(control: str, name: str, pid: int) -> Daemon:
    try:
        found = process(pid)
    except (OSError, ValueError, KeyError):
        if not is_hidden(pid):
            return Daemon(name, pid, control)
        found = Process(pid)
    if name in NOT_ASKED:
        return Daemon(name, pid, control, found)
    try:
        version = appctl.call(control, "version", answer_ms=ANSWER_MS)
    except (appctl.NoAgentError, appctl.RefusedError) as e:
        return Daemon(name, pid, control, found, None, str(e))
    return Daemon(name, pid, control, found, version.partition("\n")[0])


def qemus() -> Iterator[Process]:
    """Virtual machines that run, whoever's."""
    for directory in PROC.glob("[0-9]*"):
        first = text(directory / "cmdline").partition("\0")[0]
        if QEMU.fullmatch(first.rpartition("/")[2]):
            try:
                yield process(int(directory.name))
            except (OSError, ValueError, KeyError):
                continue            # it has ended


def libvirt_user() -> User | None:
    """Whom libvirt starts QEMU as, by its settings, which only root can read on some hosts, or as
    is usual; None where libvirt does not run, or where that is not known."""
    if not any(os.path.exists(path) for path in LIBVIRT_SOCKETS):
        return None
    settings = dict(SETTING.findall(text(QEMU_CONF)))
    name = settings.get("user", "").removeprefix("+")
    usual = [found for user in USUAL_USERS if (found := account(user)) is not None]
    found = account(name) if name else next(iter(usual), None)
    if found is None:
        return None
    groups = {found.pw_gid, *os.getgrouplist(found.pw_name, found.pw_gid)}
    with suppress(KeyError):
        groups.add(grp.getgrnam(settings.get("group", "")).gr_gid)
    return User(found.pw_name, found.pw_uid, frozenset(groups))


def account(name: str) -> pwd.struct_passwd | None:
    """Of a user's name or number."""
    try:
        return pwd.getpwuid(int(name)) if name.isdecimal() else pwd.getpwnam(name)
    except KeyError:
        return None


def is_hidden(pid: int) -> bool:
    """Whether a process runs that /proc does not show to this user (hidepid)."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except OSError:
        pass
    return False


def programs() -> tuple[Program, ...]:
    """QEMU for guests of this machine's kind, and libvirt, where they are installed."""
    machine = {"i686": "i386"}.get(platform.machine(), platform.machine())
    found = []
    qemu = which(f"qemu-system-{machine}") or next(filter(os.path.exists, LIBEXEC), None)
    for name, path in (("QEMU", qemu), ("libvirt", which("libvirtd") or which("virtqemud"))):
        if path is not None:
            found.append(program(name, path))
    return tuple(found)


def which(name: str) -> str | None:
    for directory in (*os.environ.get("PATH", os.defpath).split(":"), *SBIN):
        if os.access(path := f"{directory}/{name}", os.X_OK):
            return path
    return None


def program(name: str, path: str) -> Program:
    try:
        said = subprocess.run([path, "--version"], text=True, errors="replace", check=True,
                              capture_output=True, stdin=subprocess.DEVNULL,
                              timeout=VERSION_LIMIT_S).stdout
    except (OSError, subprocess.SubprocessError) as e:
        return Program(name, problem=f"{path} --version: {e}")
    match = VERSION.search(said)
    if match is None:
        return Program(name, problem=f"{path} --version says no number")
    return Program(name, tuple(int(part) for part in match.groups(default="0")))
