"""A switch under attack: the real agent, two neighbours at work on it, and ports to attack."""
from __future__ import annotations

import os
import signal
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.hostile.neighbours import Neighbours, Round
from tools.host import ORDINARY_MEMORY, Host, temporary_host, wait_until

STALL_MS = 100.0                # that neighbours may notice
LET_GO_S = 3.0
SETTINGS = {"client": "type=dpdkvhostuserclient", "server": "type=dpdkvhostuser"}


@dataclass(frozen=True)
class Held:
    """What the agent's process holds."""

    files: int
    memory_files: int           # mapped, by other processes made


class Arena:
    """Neighbours are alone on bridge br0; ports to attack are on br1, where a feeder broadcasts."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._ports: list[str] = []
        self._made = 0
        self._standing: str | None = None
        self.host: Host
        self.neighbours: Neighbours
        self.running = False

    def start(self) -> None:
        """A new switch, if there is none that is as it was."""
        if self.running and self.died() is None:
            return
        self.close()
        self.host = self._stack.enter_context(temporary_host("vhost-hostile"))
        self.host.start_ovsdb()
        self.host.enable_dpdk(ORDINARY_MEMORY)
        # with it, there is more that a guest may ask for
        self.host.vsctl("--no-wait", "set", "Open_vSwitch", ".",
                        "other_config:userspace-tso-enable=true",
                        "other_config:vhost-iommu-support=true")
        self.host.start_agent()
        for bridge in ("br0", "br1"):
            self.host.vsctl("add-br", bridge, "--", "set", "Bridge", bridge,
                            "datapath_type=netdev")
        left = self._add("br0", "left", "client")
        paths = [left, self._add("br0", "right", "server"), self._add("br1", "feeder", "server")]
        self.neighbours = Neighbours(self.pid, *paths)
        self._stack.callback(self.neighbours.close)
        for name in ("left", "right", "feeder"):
            wait_until(lambda name=name: self.host.connected(name),  # type: ignore[misc]
                       f"{name} is connected")
        self.neighbours.end_round()             # of these, the first may have come too early
        self.running = True

    @property
    def pid(self) -> int:
        return self.host.agents[-1].pid

    def port(self, kind: str = "server", path: str | None = None) -> str:
        """The socket of a new port to attack; a client port's may be had before there is a port."""
        self._made += 1
        name = f"h{self._made}"
        self._ports.append(name)
        return self._add("br1", name, kind, path)

    def ports(self, count: int) -> list[str]:
        """The sockets of so many new server ports, in one transaction."""
        names = [f"h{self._made + i + 1}" for i in range(count)]
        self._made += count
        self._ports += names
        self.host.vsctl(*" -- ".join(f"add-port br1 {name} -- set Interface {name} "
                                     f"{SETTINGS['server']}" for name in names).split())
        return [str(self.host.directory / name) for name in names]

    def standing_port(self) -> str:
        """The socket of a server port that is not taken away between tests: for front ends that
        the switch has no reason to drop."""
        if self._standing is None:
            self._standing = self._add("br1", "standing", "server")
        return self._standing

    def _add(self, bridge: str, name: str, kind: str, path: str | None = None) -> str:
        path = path or str(self.host.directory / name)
        settings = (f"options:vhost-server-path={path}",) if kind == "client" else ()
        self.host.vsctl("add-port", bridge, name, "--", "set", "Interface", name, SETTINGS[kind],
                        *settings)
        return path

    def clear(self) -> None:
        """Takes the ports away that were attacked."""
        if self._ports:
            self.host.vsctl(*" -- ".join(f"del-port {name}" for name in self._ports).split())
            self._ports.clear()

    def held(self) -> Held:
        maps = Path(f"/proc/{self.pid}/maps").read_text()
        return Held(len(os.listdir(f"/proc/{self.pid}/fd")),
                    maps.count("/memfd:") - maps.count("/memfd:guard"))

    def lets_go(self, held: Held) -> None:
        """Waits until the agent holds no more: a guest sees the end of its connection before the
        library closes the files of the last message."""
        def no_more() -> bool:
            now = self.held()
            return now.files <= held.files and now.memory_files <= held.memory_files

        wait_until(no_more, f"the agent holds no more than {held}", LET_GO_S)

    def died(self) -> str | None:
        """How the agent ended; None while it runs."""
        status = self.host.agents[-1].poll()
        if status is None:
            return None
        return signal.Signals(-status).name if status < 0 else f"status {status}"

    def check(self) -> Round:
        """That the agent lives and that neighbours noticed nothing; what they saw."""
        died = self.died()
        seen = self.neighbours.end_round()
        self.running = died is None and seen.undisturbed
        assert died is None, f"the agent ended: {died}\n{self.host.output()[-1500:]}"
        assert seen.undisturbed, seen
        assert seen.sent > 0
        assert seen.longest_stall_ms < STALL_MS, seen
        return seen

    def close(self) -> None:
        self.running = False
        self._standing = None
        self._ports.clear()
        for agent in self.host.agents if hasattr(self, "host") else ():
            agent.kill()                        # it may be stuck
        self._stack.close()
