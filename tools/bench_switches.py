"""The switches that are measured beside each other: the agent, OVS's own daemon, testpmd.

Each has ports whose sockets it listens at, one polling thread on a core of its own, and can be
paused, so that all may be set up and take turns.
"""
from __future__ import annotations

import os
import platform
import re
import shutil
import signal
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tools.guest import DIE_WITH_PARENT, is_listening
from tools.host import AGENT, Host, HostError, wait_until

OVS_DAEMON = Path("/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk")
BRIDGE = "br0"
MAC_TABLE = 131_072             # addresses; both daemons have 8192 unless told
TESTPMD_MEGABYTES = 512


@dataclass(frozen=True, slots=True)
class Layout:
    """What a switch is set up for."""

    ports: int
    mtu: int = 1500
    core: int = 1               # of the polling thread
    first_core: int = 0         # of all else


class Switch(ABC):
    """One switch in a directory of its own. ``start`` once, ``stop`` once."""

    name: str
    version: Sequence[str]      # a command whose output has it

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @abstractmethod
    def start(self, layout: Layout, settings: Sequence[str] = ()) -> list[Path]:
        """Sockets of its ports, which it listens at; 'settings' are columns of Open_vSwitch.
        HostError."""

    @abstractmethod
    def pids(self) -> Sequence[int]:
        """Processes that make it up."""

    @abstractmethod
    def stop(self) -> None:
        """Ends it, paused or not; may be repeated."""

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        for pid in self.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, number)


class Daemon(Switch):
    """A daemon that serves an OVSDB."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.host = Host(directory)

    @abstractmethod
    def launch(self) -> None:
        """Starts the daemon on the host."""

    def start(self, layout: Layout, settings: Sequence[str] = ()) -> list[Path]:
        host = self.host
        host.start_ovsdb()
        host.enable_dpdk()
        host.vsctl("--no-wait", "set", "Open_vSwitch", ".",
                   f"other_config:pmd-cpu-mask={1 << layout.core:x}", *settings)
        self.launch()
        host.vsctl("add-br", BRIDGE, "--", "set", "Bridge", BRIDGE, "datapath_type=netdev",
                   f"other_config:mac-table-size={MAC_TABLE}")
        names = [f"p{number}" for number in range(layout.ports)]
        words = [word for name in names for word in self.port(name, layout.mtu)]
        if words:
            host.vsctl(*words[1:])
        wait_until(lambda: all(is_listening(host.directory / name) for name in names),
                   f"{self.name} listens for {layout.ports} guests")
        return [host.directory / name for name in names]

    @staticmethod
    def port(name: str, mtu: int = 1500) -> list[str]:
        return ["--", "add-port", BRIDGE, name, "--", "set", "Interface", name,
                "type=dpdkvhostuser", f"mtu_request={mtu}"]

    def pids(self) -> Sequence[int]:
        return [agent.pid for agent in self.host.agents]

    def stop(self) -> None:
        self.resume()
        self.host.close()


class Agent(Daemon):
    name = "agent"
    version = (AGENT, "--version")

    def launch(self) -> None:
        self.host.start_agent("--log-file", "-vconsole:off")


class Ovs(Daemon):
    name = "OVS"
    version = (str(OVS_DAEMON), "--version")

    def launch(self) -> None:
        self.host.start(*self.host.netns.command(
            str(OVS_DAEMON), "--disable-system", "--pidfile", "--log-file", "-vconsole:off"))


class Other(Agent):
    """The agent of another checkout of this repository."""

    name = "other"
    checkout = Path()

    def launch(self) -> None:
        self.host.start(*self.host.netns.command(
            str(self.checkout / ".venv/bin/vhost-agent"), "run", "--log-file", "-vconsole:off"))


class Testpmd(Switch):
    """io forwarding between neighbouring ports, without a look at a frame: the library's limit."""

    name = "testpmd"
    version = ("pkg-config", "--modversion", "libdpdk")

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, layout: Layout, settings: Sequence[str] = ()) -> list[Path]:
        sockets = [self.directory / f"p{number}" for number in range(layout.ports)]
        devices = [word for number, path in enumerate(sockets)
                   for word in ("--vdev", f"net_vhost{number},iface={path}")]
        jumbo = [] if layout.mtu <= 1500 else [f"--mbuf-size={layout.mtu + 1024}",
                                               f"--max-pkt-len={layout.mtu + 18}"]
        with (self.directory / "testpmd.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*DIE_WITH_PARENT, "stdbuf", "-oL", "dpdk-testpmd",
                 f"--lcores=0@{layout.first_core},1@{layout.core}", "--no-pci", "--no-telemetry",
                 "--iova-mode=va", "--in-memory", "-m", str(TESTPMD_MEGABYTES), *devices, "--",
                 "-i", "--auto-start", "--disable-link-check", "--forward-mode=io", *jumbo],
                stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT)
        process = self.process
        wait_until(lambda: process.poll() is not None or all(map(is_listening, sockets)),
                   f"testpmd listens for {layout.ports} guests")
        if process.poll() is not None:
            raise HostError("testpmd ended at once: "
                            + (self.directory / "testpmd.log").read_text(errors="replace")[-2000:])
        return sockets

    def pids(self) -> Sequence[int]:
        return [self.process.pid] if self.process is not None else []

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


def versions(sides: Sequence[type[Switch]]) -> dict[str, str]:
    """Of each its version, without the words around it."""
    said = {kind.name: subprocess.run(kind.version, capture_output=True, text=True,
                                      check=True).stdout for kind in sides}
    return {name: found[0] for name, text in said.items()
            if (found := re.search(r"\d+\.\d[\d.]*", text))}


def machine() -> str:
    """Where this runs, in a few words."""
    model = re.search(r"^model name\s*: (.*)", Path("/proc/cpuinfo").read_text(), re.M)
    return (f"{len(os.sched_getaffinity(0))} cores of {model[1] if model else platform.machine()}, "
            f"{platform.freedesktop_os_release()['PRETTY_NAME']}")


@contextmanager
def started(kind: type[Switch], layout: Layout, settings: Sequence[str] = ()
            ) -> Iterator[tuple[Switch, list[Path]]]:
    """A switch in a directory that is removed in the end, and its sockets."""
    directory = Path(f"/tmp/vhost-bench.{os.getpid()}.{kind.name}")
    directory.mkdir(mode=0o755)
    switch = kind(directory)
    try:
        yield switch, switch.start(layout, settings)
    finally:
        try:
            switch.stop()
        finally:
            shutil.rmtree(directory, ignore_errors=True)
