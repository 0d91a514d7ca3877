"""An OVS host in a directory: ovsdb-server, the agent, and the commands a person types at them.

For the demo and the tests. Everything started here dies with this process.
"""
from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from agent.machine import free_hugepage_bytes
from tools.guest import DIE_WITH_PARENT, OWN_GROUP, is_listening
from tools.netns import Netns
from tools.ovsdb_client import Client
from tools.wait import wait_for

T = TypeVar("T")

SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
ENOUGH_HUGEPAGE_BYTES = 256 << 20
ORDINARY_MEMORY = "--no-huge -m 256 --no-shconf"
WIRE = "wire"                   # a veth pair, an end in each of two hosts' network namespaces

AGENT = str(Path(sys.executable).parent / "vhost-agent")


class HostError(Exception):
    """Something of the host did not work; the text says what."""


def wait_until(condition: Callable[[], T], what: str, timeout_s: float = 20.0) -> T:
    """First true value of 'condition'; HostError naming 'what' when it does not come in time."""
    value = wait_for(condition, timeout_s)
    if not value:
        raise HostError(f"not within {timeout_s:g} s: {what}")
    return value


class Host:
    """ovsdb-server and the agent on a directory that serves as OVS_RUNDIR, _LOGDIR and _DBDIR."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.env = {**os.environ, "PATH": PATH, "OVS_SYSLOG_METHOD": "null",
                    "OVS_RUNDIR": str(directory), "OVS_LOGDIR": str(directory),
                    "OVS_DBDIR": str(directory)}
        self.remote = f"unix:{directory}/db.sock"       # where ovs-vsctl finds the database
        self.ovsdb: subprocess.Popen[bytes] | None = None
        self.agents: list[subprocess.Popen[bytes]] = []
        self._intervals_ms = count(60_000)

    @cached_property
    def netns(self) -> Netns:
        """Where daemons run: no device but a loopback, whatever the machine has."""
        netns = Netns()
        netns.run("ip", "link", "set", "lo", "up")
        return netns

    def __enter__(self) -> Host:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    # --- ovsdb-server -----------------------------------------------------------------------------

    def start_ovsdb(self, *options: str, schema: Path = SCHEMA) -> None:
        """Starts ovsdb-server, on a new database when there is none; returns when it listens."""
        database = self.directory / "conf.db"
        new = not database.exists()
        if new:
            self.check("ovsdb-tool", "create", str(database), str(schema))
        self.ovsdb = self.spawn_ovsdb("ovsdb-server", database, "db.sock", *options)
        wait_until(lambda: is_listening(self.directory / "db.sock"), "ovsdb-server listens")
        if new:
            self.vsctl("--no-wait", "init")

    def spawn_ovsdb(self, name: str, database: Path, socket: str, *options: str
                    ) -> subprocess.Popen[bytes]:
        """An ovsdb-server on DIR/SOCKET, listening or not yet, for the caller to end."""
        return subprocess.Popen(
            [*DIE_WITH_PARENT, *self.netns.command("ovsdb-server"), str(database),
             f"--remote=punix:{self.directory}/{socket}",
             f"--unixctl={self.directory}/{name}.ctl", "-vconsole:off",
             f"--log-file={self.directory}/{name}.log", *options],
            env=self.env, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            process_group=OWN_GROUP)

    def kill_ovsdb(self) -> None:
        assert self.ovsdb is not None
        self.ovsdb.kill()
        self.ovsdb.wait()
        self.ovsdb = None

    def enable_dpdk(self, extra: str | None = None) -> None:
        """dpdk-init=true, with 'extra' as dpdk-extra; without it on ordinary memory where
        hugepages are short."""
        words = ["set", "Open_vSwitch", ".", "other_config:dpdk-init=true"]
        if extra is None and free_hugepage_bytes() < ENOUGH_HUGEPAGE_BYTES:
            extra = ORDINARY_MEMORY
        if extra:
            words.append(f'other_config:dpdk-extra="{extra}"')
        self.vsctl("--no-wait", *words)

    # --- the agent --------------------------------------------------------------------------------

    def start_agent(self, *options: str, wait: bool = True) -> subprocess.Popen[bytes]:
        """Starts an agent in the foreground; with 'wait', returns when its control socket
        answers."""
        agent = self.start(*self.agent_command(), "run", *options)
        if wait:
            control = self.directory / f"vhost-agent.{agent.pid}.ctl"
            wait_until(lambda: is_listening(control) or agent.poll() is not None,
                       "the agent starts")
            if agent.poll() is not None:
                raise HostError(f"the agent ended at once: {self.output()[-2000:]}")
        return agent

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        """Starts an agent, or what takes its place, by this command. Its output goes to
        DIR/agent.out."""
        with (self.directory / "agent.out").open("ab") as out:
            agent = subprocess.Popen(
                [*DIE_WITH_PARENT, *command], env=self.env, stdin=subprocess.DEVNULL,
                stdout=out, stderr=out, process_group=OWN_GROUP)
        self.agents.append(agent)
        return agent

    def agent_command(self) -> list[str]:
        """In the host's network namespace, for its bridges are devices there."""
        return self.netns.command(AGENT)

    def output(self) -> str:
        """What agents printed (stdout, stderr) so far."""
        try:
            return (self.directory / "agent.out").read_text(errors="replace")
        except FileNotFoundError:
            return ""

    def kill_agent(self) -> None:
        """SIGKILL to the agent started last."""
        agent = self.agents.pop()
        agent.kill()
        agent.wait()

    def stop_agent(self, number: int = signal.SIGTERM, timeout_s: float = 15.0) -> int:
        """A signal to the agent started last; its exit status."""
        agent = self.agents.pop()
        agent.send_signal(number)
        return agent.wait(timeout_s)

    @property
    def _named(self) -> str:
        """A pattern for command lines that name the directory, not one whose name goes on."""
        return rf"{re.escape(str(self.directory))}([^[:alnum:]_.-]|$)"

    def close(self) -> None:
        """Ends all that runs on the directory, daemons that detached themselves included."""
        while self.agents:
            try:
                self.stop_agent()
            except subprocess.TimeoutExpired as e:
                subprocess.run(["pkill", "-KILL", "-f", self._named], check=False)
                raise HostError("the agent did not end in time") from e
        for pidfile in self.directory.glob("*.pid"):
            with suppress(OSError, ValueError):
                pid = int(pidfile.read_text())
                if b"vhost-agent" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(pid, signal.SIGKILL)    # not whoever got the number of a dead one
        if self.ovsdb is not None:
            self.ovsdb.terminate()
            self.ovsdb.wait()
            self.ovsdb = None
        # An interrupt between the start of a command and knowing its process leaves it behind.
        subprocess.run(["pkill", "-KILL", "-P", str(os.getpid()), "-f", self._named], check=False)
        if "netns" in self.__dict__:
            self.netns.close()
            del self.netns

    # --- commands ---------------------------------------------------------------------------------

    def run(self, *command: str, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, env=self.env, text=True, capture_output=True,
                              timeout=timeout_s, check=False)

    def check(self, *command: str) -> str:
        """Output of a command that must work; HostError with what it said when it does not."""
        done = self.run(*command)
        if done.returncode:
            raise HostError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def vsctl(self, *words: str) -> str:
        return self.check("ovs-vsctl", f"--db={self.remote}", "--retry", "--timeout=30",
                          *words).strip()

    def inside(self, *command: str) -> str:
        """Output of a command that must work in the host's network namespace."""
        return self.check(*self.netns.command(*command))

    def appctl(self, *words: str) -> str:
        """ovs-appctl to the agent started last."""
        control = self.directory / f"vhost-agent.{self.agents[-1].pid}.ctl"
        return self.check("ovs-appctl", "-t", str(control), *words)

    def transact(self, *operations: Mapping[str, Any]) -> list[Any]:
        """Results of one OVSDB transaction (RFC 7047), one for each operation; a "wait" among
        them waits in the server."""
        client = wait_until(self._database, "a server of the database answers")
        assert client is not None
        try:
            with client:
                return client.transact(*operations)
        except OSError as e:
            raise HostError(f"{operations}: {e}") from e

    def _database(self) -> Client | None:
        """A connection to the first server of the database that takes one."""
        for remote in self.remote.split(","):
            with suppress(OSError):
                return Client(Path(remote.removeprefix("unix:")))
        return None

    def get(self, table: str, record: str, column: str) -> Any:
        """A column as Python sees it: sets as lists, maps as dicts, one value as itself. 'record'
        is a name; that of Open_vSwitch is '.'."""
        select = {"op": "select", "table": table, "columns": [column],
                  "where": [] if table == "Open_vSwitch" else [["name", "==", record]]}
        rows = self.transact(select)[0]["rows"]
        if len(rows) != 1:
            raise HostError(f"{table} {record}: {len(rows)} rows")
        return plain(rows[0][column])

    def interface(self, name: str, column: str) -> Any:
        return self.get("Interface", name, column)

    def connected(self, name: str) -> bool:
        return bool(self.interface(name, "link_state") == "up")

    def statistic(self, name: str, key: str) -> int:
        return int(self.interface(name, "statistics").get(key, 0))

    def look(self, prefix: str = "") -> None:
        """Has a daemon do all that it does each statistics interval, as when another one is set:
        one of a minute, so that no more is done until the next look(). 'prefix' is the role's."""
        self.vsctl("set", "Open_vSwitch", ".",
                   f"other_config:{prefix}stats-update-interval={next(self._intervals_ms)}")

    def counted(self, name: str, key: str) -> int:
        """A statistic as of now."""
        self.look()
        return self.statistic(name, key)


def plain(value: Any) -> Any:
    """OVSDB's JSON to plain values; an empty set and a set of one are None and the value."""
    match value:
        case ["map", pairs]:
            return {plain(k): plain(v) for k, v in pairs}
        case ["set", items]:
            return [plain(i) for i in items] or None
        case ["uuid", text]:
            return text
    return value


@contextmanager
def temporary_host(prefix: str) -> Iterator[Host]:
    """A host in a directory of its own that is removed in the end."""
    directory = Path(f"/tmp/{prefix}.{os.getpid()}")
    directory.mkdir(mode=0o755)
    try:
        with Host(directory) as host:
            yield host
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def join(here: Host, there: Host) -> None:
    """Joins the bridges br0 of two hosts by a trunk: a wire between their physical ports up0."""
    here.netns.run("ip", "link", "add", WIRE, "type", "veth", "peer", "name", WIRE, "netns",
                   there.netns.path)
    for host in (here, there):          # the kernel says nothing of its own on it
        host.netns.run("ip", "link", "set", WIRE, "addrgenmode", "none")
        host.netns.run("ip", "link", "set", WIRE, "up")
    for host in (here, there):
        host.vsctl("add-port", "br0", "up0", "--", "set", "Interface", "up0", "type=dpdk",
                   f'options:dpdk-devargs="net_af_packet0,iface={WIRE}"')
        if error := host.interface("up0", "error"):
            raise HostError(f"up0 is not served: {error}")
