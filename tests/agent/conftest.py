"""One host for the many tests of the contract, swept clean between two of them."""
from __future__ import annotations

from collections.abc import Iterator

import pytest

from tools.frontend import FrontEnd
from tools.host import Host, temporary_host, wait_until


class Contract:
    """A host with an agent and bridge br0, and what a test asks of them again and again."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.guests: list[FrontEnd] = []

    def sweep(self) -> None:
        """Back to an empty bridge br0, no settings, and no sockets that guests left behind."""
        while self.guests:
            self.guests.pop().close()
        for left in self.host.directory.glob("*.sock"):
            if left.name != "db.sock":
                left.unlink()
        self.host.vsctl("clear", "Open_vSwitch", ".", "bridges", "other_config")
        self.host.enable_dpdk()
        self.host.vsctl("add-br", "br0", "--", "set", "Bridge", "br0", "datapath_type=netdev")
        self.mark = len(self.host.output())

    def log(self) -> str:
        """What the agent logged since the test began."""
        return self.host.output()[self.mark:]

    def path(self, name: str) -> str:
        return str(self.host.directory / f"{name}.sock")

    def client(self, name: str = "c0", *settings: str, bridge: str = "br0") -> str:
        """Adds a client port; the path it connects to."""
        self.host.vsctl("add-port", bridge, name, "--", "set", "Interface", name,
                        "type=dpdkvhostuserclient",
                        f"options:vhost-server-path={self.path(name)}", *settings)
        return self.path(name)

    def server(self, name: str = "s0", *settings: str) -> str:
        """Adds a server port; its socket."""
        self.host.vsctl("add-port", "br0", name, "--", "set", "Interface", name,
                        "type=dpdkvhostuser", *settings)
        return str(self.host.directory / name)

    def attempt(self, name: str, *settings: str, bridge: str = "br0") -> str:
        """Adds a port that may fail; its Interface.error, '' when there is none."""
        self.host.run("ovs-vsctl", "--timeout=30", "add-port", bridge, name, "--", "set",
                      "Interface", name, *settings)
        return str(self.host.interface(name, "error") or "")

    def guest(self, path: str, *, listen: bool = True, **kw: object) -> FrontEnd:
        """A guest on a port, connected and running when this returns."""
        guest = FrontEnd(path, listen=listen, **kw)     # type: ignore[arg-type]
        self.guests.append(guest)
        return guest.connect()

    def joined(self, name: str, *, server: bool = False, **kw: object) -> FrontEnd:
        """The guest of an added port, once link_state is up."""
        path = str(self.host.directory / name) if server else self.path(name)
        guest = self.guest(path, listen=not server, **kw)
        wait_until(lambda: self.host.connected(name), f"{name} is connected")
        return guest

    def attached(self, name: str, *settings: str, server: bool = False, bridge: str = "br0",
                 **kw: object) -> FrontEnd:
        """The guest of a port that is added now. That of a client port listens before, so it is
        connected at once; one that comes after its port waits until the library tries again, each
        second."""
        if server:
            self.server(name, *settings)
            return self.joined(name, server=True, **kw)
        guest = FrontEnd(self.path(name), listen=True, **kw)    # type: ignore[arg-type]
        self.guests.append(guest)
        self.client(name, *settings, bridge=bridge)
        guest.connect()
        wait_until(lambda: self.host.connected(name), f"{name} is connected")
        return guest

    def set(self, name: str, *settings: str) -> None:
        self.host.vsctl("set", "Interface", name, *settings)

    def config(self, *settings: str) -> None:
        """Sets keys of Open_vSwitch.other_config."""
        self.host.vsctl("set", "Open_vSwitch", ".", *(f"other_config:{s}" for s in settings))

    def get(self, name: str, column: str) -> object:
        return self.host.interface(name, column)

    def status(self, name: str) -> dict[str, str]:
        return dict(self.host.interface(name, "status"))

    def statistics(self, name: str) -> dict[str, int]:
        return dict(self.host.interface(name, "statistics"))

    def fresh(self, name: str) -> dict[str, int]:
        """Statistics of this moment: a change of the row has them written."""
        self.host.vsctl("set", "Interface", name, "other_config:test=1")
        self.host.vsctl("remove", "Interface", name, "other_config", "test")
        return self.statistics(name)

    def problems(self, name: str) -> str:
        return self.status(name).get("problems", "")


@pytest.fixture(scope="session")
def contract_host() -> Iterator[Host]:
    with temporary_host("vhost-contract") as host:
        host.start_ovsdb()
        host.enable_dpdk()
        host.start_agent()
        yield host


@pytest.fixture
def contract(contract_host: Host) -> Iterator[Contract]:
    contract = Contract(contract_host)
    contract.sweep()
    yield contract
    log = contract.log()
    while contract.guests:
        contract.guests.pop().close()
    assert contract_host.agents[-1].poll() is None, "the agent died"
    assert "Traceback" not in log
