"""One DPDK per process: the runtime is shared, and every test must leave it as it found it."""
from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.frontend import FrontEnd
from tools.host import wait_until

EAL = ("test", "--no-huge", "-m", "256", "--no-shconf", "--no-pci", "--no-telemetry",
       "--lcores", f"0@{min(os.sched_getaffinity(0))}")
CORE = max(os.sched_getaffinity(0))


class Switch:
    """Ports of one bridge, polled by one PMD, with front ends attached."""

    def __init__(self, runtime: Any, directory: Path) -> None:
        self.runtime = runtime
        self.directory = directory
        self.slots: dict[str, int] = {}
        self.front_ends: list[FrontEnd] = []

    def path(self, name: str) -> str:
        return str(self.directory / name)

    def add(self, *names: str, mtu: int = 1500, retries: int = 8) -> None:
        """Server ports, all on bridge br0."""
        for name in names:
            self.slots[name] = self.runtime.add_port(name, self.path(name), False, mtu, retries)
        self.bridge(*self.slots)

    def bridge(self, *names: str) -> None:
        self.runtime.set_bridges([("br0", [self.slots[n] for n in names])])

    def attach(self, name: str, **kw: Any) -> FrontEnd:
        """A front end on a port, its queues polled when this returns."""
        front_end = FrontEnd(self.path(name), listen=False, **kw)
        self.front_ends.append(front_end)
        front_end.connect()
        self.poll()
        return front_end

    def poll(self, cores: tuple[int, ...] = (CORE,)) -> None:
        """Enabled rxqs of all ports, dealt out over the cores in turn."""
        self.runtime.set_cores(sorted({core for core, _ in self.runtime.threads()} | set(cores)))
        rxqs = [(port[0], queue) for port in self.runtime.observe() for queue in port[6]]
        lists: dict[int, list[tuple[int, int]]] = {
            core: [] for core, _ in self.runtime.threads()}
        for i, rxq in enumerate(rxqs):
            lists[cores[i % len(cores)]].append(rxq)
        self.runtime.set_poll_lists(lists)
        self.runtime.set_cores(cores)

    def remove(self, name: str) -> None:
        slot = self.slots.pop(name)
        self.runtime.set_poll_lists({core: [] for core, _ in self.runtime.threads()})
        self.bridge(*self.slots)
        self.runtime.remove_port(slot)
        self.poll()

    def state(self, name: str) -> Any:
        return next(port for port in self.runtime.observe() if port[0] == self.slots[name])

    def connected(self, name: str) -> bool:
        return bool(self.state(name)[2])

    def counters(self, name: str) -> dict[str, int]:
        from pmd_ext.runtime import COUNTER_NAMES

        return dict(zip(COUNTER_NAMES, self.runtime.counters(self.slots[name]), strict=True))

    def wait_counter(self, name: str, key: str, value: int) -> None:
        wait_until(lambda: self.counters(name)[key] >= value, f"{key} of {name} reaches {value}")

    def close(self) -> None:
        for front_end in self.front_ends:
            front_end.close()
        self.runtime.close()


@pytest.fixture(scope="session")
def make_runtime() -> Callable[[], Any]:
    made: list[Any] = []

    def make() -> Any:
        from pmd_ext.runtime import Runtime, open_log

        if not made:
            open_log()                              # nobody reads: a full pipe must not matter
            made.append(Runtime(EAL))
        return made[0]
    return make


@pytest.fixture
def switch(make_runtime: Callable[[], Any]) -> Iterator[Switch]:
    """An empty switch; afterwards no port, thread, packet buffer or socket may be left."""
    runtime = make_runtime()
    directory = Path(tempfile.mkdtemp(prefix="vhost-ext."))
    threads = len(os.listdir("/proc/self/task"))
    switch = Switch(runtime, directory)
    try:
        yield switch
    finally:
        switch.close()
        left = list(directory.iterdir())
        shutil.rmtree(directory)
    assert left == []
    assert runtime.observe() == ()
    assert runtime.threads() == ()
    assert runtime.packets_in_use() == 0
    # the library keeps its own event thread from the first socket on
    assert len(os.listdir("/proc/self/task")) <= threads + 2
