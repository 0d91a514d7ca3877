"""A host in the small: a database of one bridge, a data plane, and the reconciler between them."""
from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import settings

from agent import log, loglines
from agent.actions import AddPort
from agent.model import CLIENT_TYPE, BridgeRow, InterfaceRow, Snapshot
from agent.reconcile import Reconciler
from tests.unit.fake_datapath import FakeDatapath

RUNDIR = "/run/ovs"

# A busy machine is no failure.
settings.register_profile("unit", deadline=None)
settings.load_profile("unit")


class OneBridge:
    """A database of one bridge, the data plane, the reconciler between them, and the log."""

    def __init__(self, lines: list[loglines.Line], numa_nodes: int = 1) -> None:
        self.lines = lines
        self.datapath: FakeDatapath | None = FakeDatapath()
        self.reconciler = Reconciler(RUNDIR, {node: (node,) for node in range(numa_nodes)})
        self.other_config: dict[str, str] = {}
        self.rows: dict[str, InterfaceRow] = {}
        self.now_ms = 1_000_000

    def client(self, name: str, mtu: int | None = None, **options: str) -> None:
        """Sets a client port's row."""
        given = {key.replace("_", "-"): text for key, text in options.items()}
        self.rows[name] = InterfaceRow(
            UUID(bytes=name.encode().rjust(16, b"\0")), name, CLIENT_TYPE, mtu_request=mtu,
            options={"vhost-server-path": f"/tmp/{name}", **given})

    def step(self, changed: bool = True) -> list[loglines.Line]:
        """One look at everything; what it logged."""
        del self.lines[:]
        bridge = BridgeRow(UUID(int=1), "br0", "netdev", interfaces=tuple(self.rows.values()))
        self.reconciler.step(Snapshot(1, dict(self.other_config), (bridge,)), self.datapath,
                             self.now_ms, retry_all=changed)
        return list(self.lines)

    def later(self) -> list[loglines.Line]:
        """The next look that nothing but the clock asks for."""
        at_ms = self.reconciler.retry_at_ms()
        assert at_ms is not None
        assert at_ms > self.now_ms, "the loop would never rest"
        self.now_ms = at_ms
        return self.step(changed=False)

    def tried(self, kind: type) -> int:
        """How often an action was tried since the last call."""
        count = sum(isinstance(action, kind) for action in self.plane.tried)
        del self.plane.tried[:]
        return count

    @property
    def plane(self) -> FakeDatapath:
        assert self.datapath is not None
        return self.datapath


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[loglines.Line]:
    """What is logged."""
    said: list[loglines.Line] = []
    for module in (log.bridge, log.netdev, log.dpif):
        for level in ("info", "warn", "err"):
            monkeypatch.setattr(module, level,
                                lambda text, level=level: said.append((level, text)))
    return said


@pytest.fixture
def pair(lines: list[loglines.Line]) -> OneBridge:
    """A host with two ports, a and b, served."""
    made = OneBridge(lines)
    made.client("a")
    made.client("b")
    made.step()
    made.tried(AddPort)
    return made
