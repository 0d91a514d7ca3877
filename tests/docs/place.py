"""Where the commands of a page are typed: a host of its own, in namespaces of this test's.

Its network, /run, /tmp, the database's and the logs' directories are empty at first, so that the
paths of the text are used as they stand; all else can only be read, so that a command which is here
by mistake changes nothing of the machine. All that runs there ends with its first process.

A note in a page, `<!-- test: WORD ... -->`, says what the reader has at that place:

    empty               nothing; on a new host
    database            OVS's database, as its service has it; on a new host
    switch [BRIDGE...]  the same, and an agent in place of ovs-vswitchd, with these bridges
    run COMMAND         a command that must work, and is not shown
    wait COMMAND        the same, until it works
    guest PORT [KEY=N]  a guest on a port, its driver running; keys are those of tools/frontend.py
    talk PORT[=MAC] ... two of these guests send each other a frame every 10 ms from now on
    answer PORT IP      the guest has this address, and answers to ARP and ping
    gone PORT           the guest ends
    status N            the exit status of the next command
"""
from __future__ import annotations

import os
import re
import select
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from agent.machine import free_hugepage_bytes
from tests.docs.neighbour import answer, arp_reply
from tools.doc_pages import ROOT
from tools.frontend import FrontEnd
from tools.guest import DIE_WITH_PARENT
from tools.host import ENOUGH_HUGEPAGE_BYTES, ORDINARY_MEMORY, PATH
from tools.wait import wait_for

COMMAND_S = 30.0
BIN = Path(sys.executable).parent
NAMESPACES = ("unshare", "--mount", "--net", "--uts", "--ipc", "--pid", "--fork", "--kill-child",
              "--mount-proc", "--propagation", "private")
# What is hidden by an empty directory. The checkout and its Python are there again afterwards, if
# they are below one of these.
HIDDEN = ("/run", "/tmp", "/etc/openvswitch", "/var/lib/openvswitch", "/var/log")
KEPT = dict.fromkeys(str(path) for path in (ROOT, BIN.parent, BIN.parent.resolve()))
READ_ONLY = """
while read -r _ target _; do
    case $target in
        /dev*|/proc*) ;;
        /) mount -o remount,bind,ro / ;;
        *) mount -o remount,bind,ro "$target" 2>/dev/null || : ;;       # there may be odd ones
    esac
done </proc/self/mounts
for shared in /proc/sys/vm /proc/sys/kernel; do
    mount --bind $shared $shared
    mount -o remount,bind,ro $shared
done
"""
PREPARE = "\n".join([
    "set -e", "exec 2>&1", "hostname host", f"mkdir -p {' '.join(HIDDEN)}", READ_ONLY,
    "mount -t tmpfs tmpfs /mnt",
    *(f"mkdir /mnt/{n}; mount --bind {shlex.quote(path)} /mnt/{n}" for n, path in enumerate(KEPT)),
    *(f"mount -t tmpfs -o mode={'1777' if path == '/tmp' else '0755'} tmpfs {path}"
      for path in HIDDEN),
    *(f"if [ ! -e {shlex.quote(path)} ]; then mkdir -p {shlex.quote(path)}; "
      f"mount --bind /mnt/{n} {shlex.quote(path)}; "
      f"mount -o remount,bind,ro {shlex.quote(path)}; fi" for n, path in enumerate(KEPT)),
    *(f"cp {path} /mnt; mount --bind /mnt/{path.rpartition('/')[2]} {path}"
      for path in ("/etc/passwd", "/etc/group")),
    "mkdir -p /run/openvswitch /var/log/openvswitch /tmp/home", "cd /tmp/home",
    f"ln -s {shlex.quote(str(BIN.parent))} .venv", "ip link set lo up",
    "sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1", "set +e"])
DATABASE = """
set -e
ovsdb-tool create /etc/openvswitch/conf.db /usr/share/openvswitch/vswitch.ovsschema
ovsdb-server /etc/openvswitch/conf.db --remote=punix:/run/openvswitch/db.sock --pidfile --detach \
    --log-file -vconsole:off
ovs-vsctl --no-wait init
set +e
"""


class PlaceError(Exception):
    """A note's wish did not come true, or a command does not end; the text says what."""


class Place:
    """A shell in such a host, and guests on its ports."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._guests: dict[str, FrontEnd] = {}
        environment = {key: value for key, value in os.environ.items()
                       if not key.startswith(("OVS_", "PYTEST", "COLUMNS", "LINES"))}
        environment |= {"PATH": f"{BIN}:{PATH}", "PYTHONPATH": str(ROOT), "HOME": "/tmp/home",
                        "OVS_SYSLOG_METHOD": "null", "LC_ALL": "C.UTF-8", "TERM": "dumb",
                        "PYTHONDONTWRITEBYTECODE": "1"}
        self._shell = subprocess.Popen(
            [*DIE_WITH_PARENT, *NAMESPACES, "bash", "--noprofile", "--norc"], cwd="/",
            env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
        try:
            self._must(PREPARE)
        except PlaceError:
            self.__exit__()
            raise
        self._inside = f"/proc/{self._child()}/root"

    def __enter__(self) -> Place:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        self._shell.kill()                      # and with it all that runs in its namespaces
        self._shell.wait()
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._shell.stdin.close()
        self._shell.stdout.close()

    def _child(self) -> int:
        """The host's first process, as this one sees it."""
        pid = self._shell.pid
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])

    # --- commands ---------------------------------------------------------------------------------

    def type(self, command: str) -> tuple[int, str]:
        """Exit status and output. Raises PlaceError when it takes too long."""
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._shell.stdin.write(
            f"eval {shlex.quote(command)} </dev/null\nprintf '\\036%d\\n' $?\n".encode())
        self._shell.stdin.flush()
        said, due_s = b"", time.monotonic() + COMMAND_S
        while not (found := re.search(rb"\x1e(\d+)\n$", said)):
            ready, _, _ = select.select([self._shell.stdout], [], [], due_s - time.monotonic())
            more = os.read(self._shell.stdout.fileno(), 65536) if ready else b""
            if not more:
                raise PlaceError(f"not done after {COMMAND_S:g} s: {command}\n"
                                 f"{said.decode(errors='replace')}")
            said += more
        return int(found[1]), said[:found.start()].decode(errors="replace")

    def _must(self, command: str) -> str:
        status, said = self.type(command)
        if status:
            raise PlaceError(f"status {status}: {command}\n{said}")
        return said.strip()

    # --- notes ------------------------------------------------------------------------------------

    def database(self) -> None:
        self._must(DATABASE)
        if free_hugepage_bytes() < ENOUGH_HUGEPAGE_BYTES:
            self._must("ovs-vsctl --no-wait set Open_vSwitch . "
                       f"'other_config:dpdk-extra=\"{ORDINARY_MEMORY}\"'")

    def switch(self, *bridges: str) -> None:
        self.database()
        self._must("ovs-vsctl --no-wait set Open_vSwitch . other_config:dpdk-init=true "
                   "other_config:pmd-idle-mode=block")  # CPUs are for who types
        self._must("vhost-agent run --as ovs-vswitchd --pidfile --log-file --detach")
        for bridge in bridges:
            self._must(f"ovs-vsctl add-br {bridge} -- set Bridge {bridge} datapath_type=netdev")

    def wait(self, command: str) -> None:
        if not wait_for(lambda: self.type(command)[0] == 0, COMMAND_S):
            raise PlaceError(f"does not come true: {command}\n{self.type(command)[1]}")

    def guest(self, port: str, *settings: str) -> None:
        kind = self._must(f"ovs-vsctl get Interface {port} type")
        if kind == "dpdkvhostuserclient":
            path = self._must(f"ovs-vsctl get Interface {port} options:vhost-server-path")
        else:
            path = f"/run/openvswitch/{port}"
        numbers = {key: int(value) for key, _, value in (s.partition("=") for s in settings)}
        enable = range(numbers.pop("enable")) if "enable" in numbers else None
        guest = FrontEnd(self._inside + path.strip('"'), listen=kind == "dpdkvhostuserclient",
                         enable=enable, **numbers)      # type: ignore[arg-type]
        self._guests[port] = guest
        self._stack.callback(guest.close)
        guest.connect()
        self.wait(f"[ $(ovs-vsctl get Interface {port} link_state) = up ]")

    def gone(self, port: str) -> None:
        self._guests.pop(port).close()

    def talk(self, *pair: str) -> None:
        """Returns when each has had a frame of the other."""
        heard = set[str]()
        addresses = {port: address or f"02:00:00:00:00:0{number}" for number, (port, _, address)
                     in enumerate((word.partition("=") for word in pair), 1)}
        ports = tuple(addresses)

        def speak() -> None:
            for number, (port, other) in enumerate((ports, ports[::-1]), 1):
                self._guests[port].send([arp_reply(
                    addresses[port], f"10.10.0.{number}", addresses[other],
                    f"10.10.0.{3 - number}")])
                if self._guests[port].recv():
                    heard.add(port)

        self._again_and_again(speak, 0.01)
        if not wait_for(lambda: len(heard) == len(ports), COMMAND_S):
            raise PlaceError(f"no frames come by {set(ports) - heard}")

    def answer(self, port: str, ip: str) -> None:
        guest, mac = self._guests[port], f"02:00:00:00:01:{int(ip.rpartition('.')[2]):02x}"
        self._again_and_again(lambda: guest.send(
            [reply for frame in guest.recv() if (reply := answer(frame, mac, ip))]), 0.001)

    def _again_and_again(self, act: Callable[[], object], period_s: float) -> None:
        """In a thread of its own, until the place ends."""
        over = threading.Event()

        def acts() -> None:
            while not over.wait(period_s):
                act()

        thread = threading.Thread(target=acts)
        thread.start()
        self._stack.callback(thread.join)
        self._stack.callback(over.set)

    def heed(self, note: str) -> None:
        """Brings about what a note says."""
        word, _, rest = note.partition(" ")
        notes: dict[str, Callable[[], object]] = {
            "empty": lambda: None, "database": self.database,
            "switch": lambda: self.switch(*rest.split()),
            "run": lambda: self._must(rest), "wait": lambda: self.wait(rest),
            "guest": lambda: self.guest(*rest.split()), "gone": lambda: self.gone(rest),
            "talk": lambda: self.talk(*rest.split()),
            "answer": lambda: self.answer(*rest.split())}
        if word not in notes:
            raise PlaceError(f"a note of no known kind: {note}")
        notes[word]()
