"""What `make chaos` breaks: a switch on a small file system, four guests, two streams of packets.

The guests a and b are neighbours whom nobody touches; c and s are those who suffer, c on a
client port, s on a server port. A numbered stream runs from a to b, another from c to s.
"""
from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from agent.machine import free_hugepage_bytes
from tools.chaos_check import COLUMNS, Levels, Stretch, disagreements, levels, stretch
from tools.guest import Guest, Namespace, is_listening
from tools.host import ENOUGH_HUGEPAGE_BYTES, ORDINARY_MEMORY, Host, HostError, plain, wait_until
from tools.probe import Probe, ProbeMark
from tools.wait import wait_for

DISK_MIB = 24                   # of the file system with database, logs and run directory
AGREES_WITHIN_S = 20.0
# Both streams fill a ring until its guest has said something that the switch learns. The longest
# stop is a second, so this ring would outlast it by 0.7 s.
RATE_PPS = 300                  # of each stream
RING = 1024                     # buffers in each; testpmd takes no more than 512 without being told
CLIENTS, SERVER = ("a", "b", "c"), "s"
SPARE = "x"                     # a port that comes and goes, without a guest
NEIGHBOURS, SUFFERERS = "a to b", "c to s"
PAIRS = {NEIGHBOURS: ("a", "b"), SUFFERERS: ("c", SERVER)}
FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")
REAL_TIME = "+0"


class WrongError(Exception):
    """Something was not as it should be during a fault; the text says what."""


class Site(Host):
    """The host with its guests and streams. For the main thread only."""

    def __init__(self, directory: Path, outside: Path, stack: ExitStack) -> None:
        """'directory' is the small file system; 'outside' has what is not the switch's."""
        super().__init__(directory)
        self.outside = outside
        self.clock = outside / "clock"          # how far off the agent's clock is
        self.ports: dict[str, str | None] = {}  # that the database asks for: the guest on each
        self.guests: dict[str, Guest] = {}
        self.streams: dict[str, Probe] = {}
        self._stack = stack
        self._marks: dict[str, list[ProbeMark]] = {}
        self.huge = free_hugepage_bytes() >= ENOUGH_HUGEPAGE_BYTES

    # --- the switch -------------------------------------------------------------------------------

    def agent_command(self) -> list[str]:
        """With a clock that can be set for it alone; its monotonic clock is left as it is."""
        netns, *command = super().agent_command()[:-1], super().agent_command()[-1]
        return [*netns, "env", f"LD_PRELOAD={FAKETIME}", f"FAKETIME_TIMESTAMP_FILE={self.clock}",
                "FAKETIME_DONT_FAKE_MONOTONIC=1", "FAKETIME_NO_CACHE=1", *command]

    def restart_agent(self) -> None:
        """As systemd starts it again after it died."""
        self.start_agent("--pidfile", "--log-file")

    def kill_agent(self) -> None:
        """And takes away what libfaketime leaves of who is killed."""
        pid = self.agents[-1].pid
        super().kill_agent()
        for kind in ("faketime_shm", "sem.faketime_sem"):
            Path(f"/dev/shm/{kind}_{pid}").unlink(missing_ok=True)

    def wish(self) -> list[str]:
        """The words for ovs-vsctl that ask for everything, in one transaction."""
        config = ["other_config:dpdk-init=true"]
        if not self.huge:
            config.append(f'other_config:dpdk-extra="{ORDINARY_MEMORY}"')
        words = ["set", "Open_vSwitch", ".", *config, "--", "add-br", "br0", "--", "set", "Bridge",
                 "br0", "datapath_type=netdev"]
        for name in (*CLIENTS, SERVER):
            words += ["--", *self.port_words(name)]
        return words

    def port_words(self, name: str) -> list[str]:
        typed = (["type=dpdkvhostuser"] if name == SERVER else
                 ["type=dpdkvhostuserclient", f"options:vhost-server-path={self.socket(name)}"])
        return ["add-port", "br0", name, "--", "set", "Interface", name, *typed]

    def socket(self, name: str) -> Path:
        """Of the guest of that name: in its own directory, or in the switch's for a server port."""
        return (self.directory if name == SERVER else self.outside) / name

    def add_port(self, name: str) -> None:
        """A port without a guest."""
        self.vsctl(*self.port_words(name))
        self.ports[name] = None

    def del_port(self, name: str) -> None:
        self.vsctl("del-port", "br0", name)
        del self.ports[name]

    def set_up(self) -> None:
        """All that runs all the while, up to two streams that flow."""
        self.clock.write_text(REAL_TIME)
        self.start_ovsdb()
        self.vsctl("--no-wait", *self.wish())
        self.ports = {name: name for name in (*CLIENTS, SERVER)}
        self.restart_agent()
        for number, name in enumerate(self.ports, 1):
            namespace = self._stack.enter_context(Namespace(
                name=f"vc{os.getpid() % 1_000_000}{name}", mac=f"02:00:00:00:02:{number:02x}",
                address=f"10.30.0.{number}/24"))
            self.guests[name] = self._stack.enter_context(Guest(
                name=name, socket=self.socket(name), server=name != SERVER, namespace=namespace,
                log=self.outside / f"{name}.log", queue_size=RING,
                extra=[f"--rxd={RING}", f"--txd={RING}"]))
        for guest in self.guests.values():
            guest.wait_ready()
        for stream, (source, target) in PAIRS.items():
            ends = [self.guests[name].namespace for name in (source, target)]
            assert ends[0] is not None
            assert ends[1] is not None
            probe = self._stack.enter_context(Probe(ends[0], ends[1], rate=RATE_PPS))
            self.streams[stream] = probe
        # A core's first PMD thread makes two descriptors that the next one there takes over.
        for mask in ("0x3", "0x1"):
            self.vsctl("set", "Open_vSwitch", ".", f"other_config:pmd-cpu-mask={mask}")
        self.vsctl("remove", "Open_vSwitch", ".", "other_config", "pmd-cpu-mask")
        self.begin()
        self.wait_agreed("at the start")

    def restart_server_guest(self) -> None:
        """A guest of a server port has to come again itself when the socket is another one. DPDK's
        does not, so it is started again."""
        guest = self.guests[SERVER]
        guest.kill()
        wait_until(lambda: guest.socket.exists() and is_listening(guest.socket),
                   "the server port has a socket")
        guest.start()

    # --- what is so -------------------------------------------------------------------------------

    @property
    def agent(self) -> subprocess.Popen[bytes]:
        return self.agents[-1]

    def picture(self) -> dict[str, Any]:
        """What the agent says of itself."""
        shown: dict[str, Any] = json.loads(self.appctl("vhost/state"))
        return shown

    def rows(self) -> dict[str, dict[str, Any]]:
        """Interface rows by name, as the database has them now. (ovs-vsctl would make an empty
        database one that asks for nothing.)"""
        select = {"op": "select", "table": "Interface", "where": [], "columns": COLUMNS}
        told = json.loads(self.check("ovsdb-client", "--timeout=5", "transact", self.remote,
                                     json.dumps(["Open_vSwitch", select])))
        rows = [{key: plain(value) for key, value in row.items()} for row in told[0]["rows"]]
        return {row["name"]: row for row in rows}

    def differences(self) -> list[str]:
        """What does not agree at this moment."""
        if self.agent.poll() is not None:
            return [f"the agent ended with status {self.agent.returncode}"]
        try:
            guests = {port: guest is not None and self.guests[guest].running
                      for port, guest in self.ports.items()}
            said = disagreements(self.rows(), self.picture(), guests)
        except (HostError, subprocess.TimeoutExpired) as e:
            return [str(e)]
        return said + [f"nothing comes from {stream}" for stream in self.silent()]

    def unsettled(self) -> list[str]:
        """What does not agree after AGREES_WITHIN_S; empty as soon as all does. A stream flows when
        something comes from now on: what came before may be of before the fault."""
        self.silent()
        return last_said(self.differences, AGREES_WITHIN_S)

    def wait_agreed(self, what: str) -> None:
        """Returns when all agrees; HostError with what does not, if that takes too long."""
        if said := self.unsettled():
            raise HostError(f"{what}: {'; '.join(said)}")

    def levels(self) -> Levels:
        buffers = self.picture()["memory"]["packet_buffers_in_use"]
        return levels(self.agent.pid, self.directory, buffers)

    # --- streams ----------------------------------------------------------------------------------

    def begin(self) -> None:
        """What comes from now on is the next fault's."""
        self._marks = {stream: [probe.mark()] for stream, probe in self.streams.items()}

    def silent(self) -> Sequence[str]:
        """Streams of which nothing came since the look before."""
        silent = []
        for stream, probe in self.streams.items():
            marks = self._marks[stream]
            marks.append(probe.mark())
            if marks[-1].received == marks[-2].received:
                silent.append(stream)
        return silent

    def stretches(self) -> dict[str, Stretch]:
        """What became of each stream since begin()."""
        self.silent()
        return {stream: stretch(marks) for stream, marks in self._marks.items()}


def last_said(look: Callable[[], list[str]], within_s: float) -> list[str]:
    """What is still said when the time is over; empty as soon as nothing is."""
    said: list[str] = []

    def is_settled() -> bool:
        said[:] = look()
        return not said
    wait_for(is_settled, within_s)
    return said


@contextmanager
def site() -> Iterator[Site]:
    """A site on directories of its own, all of which is gone in the end."""
    base = Path(f"/tmp/vhost-chaos.{os.getpid()}")
    directory, outside = base / "run", base / "outside"
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, base)
        for path in (base, directory, outside):
            path.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m,mode=755", "vhost-chaos",
                        str(directory)], check=True)
        # lazily: what the kernel still holds of a process that was killed is none of ours
        stack.callback(subprocess.run, ["umount", "--lazy", str(directory)], check=True)
        inner = stack.enter_context(ExitStack())        # guests and streams end after the switch
        here = Site(directory, outside, inner)
        stack.enter_context(here)
        here.set_up()
        yield here


