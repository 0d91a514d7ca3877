"""Guests that nobody here wrote: DPDK's testpmd behind a net_virtio_user device.

Owns the processes, network namespaces and sockets it makes. Knows nothing of the switch
under test beyond the path of a vhost-user socket. Linux, root and Debian's dpdk-dev needed.

Every process started here dies with the thread that started it (PR_SET_PDEATHSIG), so start
guests from a thread that lives as long as they shall: the main thread, usually.
"""

import os
import random
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from agent.machine import free_hugepage_bytes
from tools.wait import wait_for

DIE_WITH_PARENT = ("setpriv", "--pdeathsig", "KILL")
# Popen's process_group, of what Ctrl-C is not for. In a session of its own a PMD could wait for the
# guest that polls on the same core: see tools.borrow, which not all are run by.
OWN_GROUP = 0
_OFFLOADS = ("tx", "rx", "tso", "gso", "gro", "txvlan", "rxvlan")
_SUN_PATH_BYTES = 108  # of sockaddr_un, the closing NUL included
_SO_ACCEPTCON = 0x10000  # in the flags of /proc/net/unix: the socket listens


class GuestError(RuntimeError):
    """A guest died, or would not do as told; the text ends with the last lines of its log."""


def last_cpu() -> int:
    """The highest CPU id that this process may run on."""
    return max(os.sched_getaffinity(0))


def is_listening(path: Path) -> bool:
    """Whether a unix socket listens at ``path``; found out without connecting to it."""
    for table in _unix_tables():
        for line in table.splitlines()[1:]:
            fields = line.split(maxsplit=7)
            if len(fields) == 8 and fields[7] == str(path) and int(fields[3], 16) & _SO_ACCEPTCON:
                return True
    return False


def _unix_tables() -> Iterator[str]:
    """/proc/net/unix of each network namespace that a process is in: sockets are listed apart."""
    seen = set()
    for process in ("self", *filter(str.isdigit, os.listdir("/proc"))):
        try:
            namespace = os.readlink(f"/proc/{process}/ns/net")
            if namespace not in seen:
                seen.add(namespace)
                yield Path(f"/proc/{process}/net/unix").read_text(errors="replace")
        except OSError:     # it ended
            continue


def _free_ifindex() -> int:
    """An interface index of which the low 16 bits are zero.

    net_af_packet names its fanout group by those 16 bits, exclusive-or the process id. Of two
    guests started in a row, pids and indexes would often give the same name, and the second guest
    would silently be left without its port.
    """
    taken = {index for index, _ in socket.if_nameindex()}
    return random.choice([index for index in range(1 << 16, 1 << 31, 1 << 16)
                          if index not in taken])


def _run(*cmd: str) -> None:
    done = subprocess.run(cmd, capture_output=True, text=True)
    if done.returncode != 0:
        raise OSError(f"{' '.join(cmd)}: {done.stderr.strip() or done.returncode}")


@dataclass(kw_only=True)
class Namespace:
    """A network namespace with one Ethernet port: ``eth0`` inside, ``outer`` outside.

    ``name`` (at most 13 characters) must be unused on this host; ``address`` is IPv4 with a prefix
    length, as in "10.10.0.1/24". Made by ``open``, removed by ``close``, even when half made.
    """

    name: str
    mac: str
    address: str
    _undo: list[tuple[str, ...]] = field(default_factory=list, init=False, repr=False)
    _processes: list[subprocess.Popen[str]] = field(default_factory=list, init=False, repr=False)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,13}", self.name):  # "v-" + name is a link's name
            raise ValueError(f"{self.name!r} is no name of 1 to 13 letters, digits, '_' and '-'")

    @property
    def outer(self) -> str:
        """Name of the end outside, which a guest takes as its second port."""
        return f"v-{self.name}"

    @property
    def ip(self) -> str:
        """The address without its prefix length."""
        return self.address.partition("/")[0]

    def open(self) -> None:
        """Make it; OSError says which step failed, and nothing is left then."""
        try:
            self._make("ip", "netns", "add", self.name, undo=("ip", "netns", "del", self.name))
            for key in ("all", "default"):  # before eth0 comes: no router solicitations, no MLD
                _run(*self._inside(["sysctl", "-qew", f"net.ipv6.conf.{key}.disable_ipv6=1"]))
            self._make(*f"ip link add {self.outer} index {_free_ifindex()} type veth".split(),
                       *f"peer name eth0 address {self.mac} netns {self.name}".split(),
                       undo=("ip", "link", "del", self.outer))
            _run("sysctl", "-qew", f"net.ipv6.conf.{self.outer}.disable_ipv6=1")
            off = [word for name in _OFFLOADS for word in (name, "off")]
            _run("ethtool", "-K", self.outer, *off)
            _run(*self._inside(["ethtool", "-K", "eth0", *off]))
            _run("ip", "-n", self.name, "address", "add", self.address, "dev", "eth0")
            for link in ("lo", "eth0"):
                _run("ip", "-n", self.name, "link", "set", link, "up")
            _run("ip", "link", "set", self.outer, "up")
        except BaseException:
            self.close()
            raise

    def _make(self, *cmd: str, undo: tuple[str, ...]) -> None:
        _run(*cmd)
        self._undo.append(undo)  # only what was made here is ever removed

    def close(self) -> None:
        """Kill what ``popen`` started and remove both links and the namespace; may be repeated."""
        for process in self._processes:
            process.kill()
            process.wait()
        self._processes.clear()
        while self._undo:  # links first: the kernel drops a namespace's own links in its own time
            subprocess.run(self._undo.pop(), capture_output=True)  # gone already is fine

    def add_neighbour(self, ip: str, mac: str) -> None:
        """Make ARP for ``ip`` needless, so that it neither delays nor drops a first packet."""
        _run("ip", "-n", self.name, *f"neigh replace {ip} lladdr {mac} dev eth0".split())

    def forget_neighbours(self) -> None:
        """Have the kernel ask anew for who it learned of, and for who did not answer."""
        _run("ip", "-n", self.name, "neigh", "flush", "dev", "eth0")

    def run(self, cmd: Sequence[str], **kw: Any) -> subprocess.CompletedProcess[str]:
        """Run ``cmd`` inside to its end; ``kw`` is for subprocess.run."""
        return subprocess.run(self._inside(cmd), text=True, **kw)

    def popen(self, cmd: Sequence[str], **kw: Any) -> subprocess.Popen[str]:
        """Start ``cmd`` inside, killed by ``close``; its pid is the command's own."""
        process = subprocess.Popen(self._inside(cmd), text=True, **kw)
        self._processes.append(process)
        return process

    def _inside(self, cmd: Sequence[str]) -> list[str]:
        return ["ip", "netns", "exec", self.name, *DIE_WITH_PARENT, *cmd]

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(frozen=True, kw_only=True)
class PortStats:
    """What testpmd's ``show port stats`` says of one port, since its start."""

    rx_packets: int
    rx_missed: int
    rx_bytes: int
    rx_errors: int
    rx_nombuf: int
    tx_packets: int
    tx_errors: int
    tx_bytes: int


@dataclass(kw_only=True)
class Guest:
    """One testpmd: port 0 is virtio, port 1 (with a namespace only) the outer end of its veth.

    ``server``: the guest makes the socket, for a switch that connects (dpdkvhostuserclient).
    Without it the switch must listen before ``start``. ``log`` is appended to. ``mac`` defaults to
    the namespace's, which then is the guest's inside. ``forward`` is a testpmd forward mode,
    ``extra`` more testpmd arguments, ``devargs`` more of net_virtio_user (",packed_vq=1").
    ``cpu`` runs both lcores; the worker never sleeps. ``hugepages`` None: if enough are free.
    """

    name: str
    socket: Path
    log: Path
    server: bool = False
    mac: str | None = None
    namespace: Namespace | None = None
    forward: str = "io"
    extra: Sequence[str] = ()
    devargs: str = ""
    cpu: int = field(default_factory=last_cpu)
    queues: int = 1
    queue_size: int = 1024
    hugepages: bool | None = None
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False, repr=False)
    _ready: bool = field(default=False, init=False, repr=False)
    _marks: int = field(default=0, init=False, repr=False)
    _log_start: int = field(default=0, init=False, repr=False)

    def __post_init__(self) -> None:
        self.socket = self.socket.absolute()
        if len(os.fsencode(self.socket)) >= _SUN_PATH_BYTES:  # DPDK would cut it without a word
            raise ValueError(f"socket path {self.socket} is longer than the kernel allows")
        if self.mac is None and self.namespace is not None:
            self.mac = self.namespace.mac

    def start(self) -> None:
        """Start the process and return at once; OSError when there is no testpmd."""
        if self.running:
            raise GuestError(f"guest {self.name} runs already")
        self._unlink_stale()  # binding to what a crash left would fail
        # Without shared configuration testpmd carries on when it cannot make its runtime
        # directory, so that a path below which none can be made leaves no files, even if killed.
        env = {**os.environ, "RUNTIME_DIRECTORY": "/dev/null"}
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            self._ready = False
            self._process = subprocess.Popen(
                [*DIE_WITH_PARENT, "stdbuf", "-oL", "dpdk-testpmd", *self._arguments()],
                stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, bufsize=0, env=env)

    def _arguments(self) -> list[str]:
        mbufs = 8192 + 2 * self.queues * self.queue_size  # rings full both ways, and some in flight
        memory_mb = 64 + mbufs * 5 // 2048  # 2.5 KiB an mbuf
        huge = self.hugepages
        if huge is None:
            huge = free_hugepage_bytes() >= (memory_mb << 20)
        virtio = f"net_virtio_user0,path={self.socket},queues={self.queues}"
        virtio += f",queue_size={self.queue_size}{self.devargs}"
        virtio += ",server=1" if self.server else ""
        virtio += f",mac={self.mac}" if self.mac else ""
        virtio += ",cq=1" if self.queues > 1 else ""  # pairs are switched on over it
        vdevs = ["--vdev", virtio]
        if self.namespace is not None:
            packet = f"net_af_packet0,iface={self.namespace.outer},qpairs={self.queues}"
            packet += ",framecnt=1024"  # packets it may wait for the core: 1 s of 1000 a second
            vdevs += ["--vdev", packet]
        memory = ["--in-memory", "--single-file-segments"] if huge else ["--no-huge", "--no-shconf"]
        # testpmd flushes what waits at its start, and must: until net_af_packet has bound its
        # socket, that collects frames of every interface here, other guests' among them.
        return [f"--lcores=0@{self.cpu},1@{self.cpu}", "--no-pci", "--no-telemetry",
                "--iova-mode=va", "-m", str(memory_mb), *memory, *vdevs, "--",
                "-i", "--auto-start", "--disable-link-check",
                f"--forward-mode={self.forward}",
                f"--total-num-mbufs={mbufs}", f"--rxq={self.queues}", f"--txq={self.queues}",
                *self.extra]

    @property
    def pid(self) -> int:
        """Process id of testpmd itself; GuestError before the first start."""
        if self._process is None:
            raise GuestError(f"guest {self.name} was never started")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    def wait_listening(self, timeout_s: float = 10.0) -> None:
        """Return once a server guest's socket listens and the switch may connect."""
        self._wait(lambda: is_listening(self.socket), timeout_s, f"listening at {self.socket}")

    def wait_ready(self, timeout_s: float = 20.0) -> None:
        """Return once packets are forwarded; for a server guest, after the switch connected."""
        self._answer_to("", timeout_s)  # forwarding is started before the first command is read
        self._ready = True
        ports = 1 if self.namespace is None else 2
        if len(self.port_stats()) != ports:  # testpmd goes on without a device that failed
            raise self._error(f"has not its {ports} ports")

    def command(self, text: str, timeout_s: float = 10.0) -> str:
        """Type a testpmd command; what was logged until it was done, its echo included.

        GuestError when that takes too long or the guest dies.
        """
        return self._answer_to(text + "\n", timeout_s)

    def port_stats(self) -> dict[int, PortStats]:
        """Counters by port.

        What a full ring kept from being sent is no error and not among them:
        ``command("show fwd stats all")`` has it, as TX-dropped.
        """
        parts = re.split(r"NIC statistics for port (\d+)", self.command("show port stats all"))
        stats = {}
        for port, text in zip(parts[1::2], parts[2::2], strict=True):
            values = re.findall(r"([RT]X-\w+):\s*(\d+)", text)
            stats[int(port)] = PortStats(
                **{key.lower().replace("-", "_"): int(value) for key, value in values})
        return stats

    def stop(self, timeout_s: float = 10.0) -> None:
        """End it and remove what it left; cleanly when ``wait_ready`` had returned.

        It is killed when that takes more than ``timeout_s``, and when it was not ready yet.
        """
        # A guest waiting in accept() reads no command, and one on its way there ignores SIGTERM.
        if self._ready and self._process is not None:
            self._type("quit\n")
            with suppress(subprocess.TimeoutExpired):  # the switch may owe it an answer
                self._process.wait(timeout_s)
        self.kill()

    def kill(self) -> None:
        """End it as a crash would, and remove its socket so that it may start again."""
        process = self._process
        if process is None or process.stdin is None or process.stdin.closed:
            return  # stopped before: the socket at that path may be somebody else's by now
        process.kill()
        process.wait()
        process.stdin.close()
        self._unlink_stale()

    def _unlink_stale(self) -> None:
        if self.server and not is_listening(self.socket):
            self.socket.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _log_text(self, start: int) -> str:
        with self.log.open("rb") as log:
            log.seek(start)
            return log.read().decode(errors="replace")

    def _wait(self, condition: Callable[[], bool], timeout_s: float, what: str) -> None:
        in_time = wait_for(lambda: condition() or not self.running, timeout_s)
        if not self.running:
            raise self._error(f"died before {what}")
        if not in_time:
            raise self._error(f"is not {what} after {timeout_s:g} s")

    def _error(self, what: str) -> GuestError:
        lines = self._log_text(self._log_start).splitlines()[-25:]
        return GuestError("\n".join([f"guest {self.name} {what}; its log:", *lines]))

    def _type(self, text: str) -> None:
        stdin = self._process.stdin if self._process is not None else None
        if stdin is not None and not stdin.closed:
            with suppress(BrokenPipeError):  # whoever waits for the answer sees that it died
                stdin.write(text.encode())

    def _answer_to(self, text: str, timeout_s: float) -> str:
        """Type ``text`` and a comment, and return what is logged until that is echoed.

        testpmd reads it only after it has done the rest; its prompt always looks the same.
        """
        self._marks += 1
        mark = f"# mark {self._marks}"
        start, due_s = self.log.stat().st_size, 0.0
        self._type(text)

        def is_echoed() -> bool:
            nonlocal due_s
            if time.monotonic() >= due_s:  # again each second: other threads' lines tear echoes
                self._type(f"{mark}\n")
                due_s = time.monotonic() + 1.0
            return f"{mark}\r\n" in self._log_text(start)

        self._wait(is_echoed, timeout_s, "answering")
        return self._log_text(start).partition(mark)[0]
