"""One DPDK per process: the runtime is shared, and every test must leave it as it found it."""
from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tools.frontend import FrontEnd
from tools.host import wait_until

EAL = ("test", "--no-huge", "-m", "256", "--no-shconf", "--no-pci", "--no-telemetry",
       "--lcores", f"0@{min(os.sched_getaffinity(0))}")
CORE = max(os.sched_getaffinity(0))

# What a port of a test is unless it says otherwise, and the fields of an entry of changes().
PORT = {"client": False, "iommu": False, "postcopy": False, "tso": False, "max_queue_pairs": 1,
        "mtu": 1500, "room_bytes": 2048, "node": -1, "own_pool": False, "tx_retries_max": 8,
        "tx_hash": False}
MEMBER = {"vlan_mode": "trunk", "vlan": 0, "trunks": (), "cvlans": (), "tpid": 0x88a8,
          "priority_tags": "never", "protected": False}
BRIDGE = {"patches": (), "mirrors": (), "flood_vlans": (), "forward_bpdu": False, "vlan_limit": 1,
          "mac_aging_s": 300, "mac_table_size": 8192, "snooping": None}
STATE = ("slot", "connections", "attached", "connects", "connected", "features", "numa",
         "guest_mtu", "vring_sizes", "enabled_rxqs", "enabled_txqs", "offences", "offence")


class Switch:
    """Ports of one bridge, polled by one PMD, with front ends attached."""

    def __init__(self, runtime: Any, directory: Path) -> None:
        self.runtime = runtime
        self.directory = directory
        self.slots: dict[str, int] = {}
        self.states: dict[int, Any] = {}            # slot -> its entry of changes()
        self.front_ends: list[FrontEnd] = []

    def path(self, name: str) -> str:
        return str(self.directory / name)

    def add_port(self, name: str, path: str | None = None, **options: Any) -> int:
        """One port, on no bridge."""
        self.slots[name] = slot = self.runtime.ports.add_vhost(
            name, path or self.path(name), **{**PORT, **options})
        return int(slot)

    def add(self, *names: str, **options: Any) -> None:
        """Server ports, all on bridge br0."""
        for name in names:
            self.add_port(name, **options)
        self.bridge(*self.slots)

    def bridge(self, *names: str) -> None:
        """All on br0, each a trunk."""
        self.bridges({"br0": {name: {} for name in names}})

    def bridges(self, bridges: dict[str, dict[str, dict[str, Any]]], **settings: Any) -> None:
        """{bridge: {port: its Membership, where it is not the usual one}}"""
        self.runtime.set_bridges([
            {**BRIDGE, "name": name, **settings,
             "members": [(self.slots[port], *{**MEMBER, **how}.values())
                         for port, how in members.items()]}
            for name, members in bridges.items()])

    def attach(self, name: str, **kw: Any) -> FrontEnd:
        """A front end on a port, its queues polled when this returns."""
        front_end = FrontEnd(self.path(name), listen=False, **kw)
        self.front_ends.append(front_end)
        front_end.connect()
        self.poll()
        return front_end

    def poll(self, cores: tuple[int, ...] = (CORE,)) -> None:
        """All rxqs of all ports, dealt out over the cores in turn; no PMD elsewhere."""
        for core in cores:
            if core not in self.cores():
                self.runtime.start_pmd(core, 0, False)
        rxqs = [(state[0], queue) for state in self.observe()
                for queue in range(max(1, len(state[8]) // 2, len(state[9])))]
        lists: dict[int, list[tuple[int, int]]] = {core: [] for core in self.cores()}
        for i, rxq in enumerate(rxqs):
            lists[cores[i % len(cores)]].append(rxq)
        self.runtime.set_poll_lists(lists)
        for core in self.cores():
            if core not in cores:
                self.runtime.stop_pmd(core)

    def cores(self) -> list[int]:
        """Those with a PMD."""
        return [core for core, _ in self.runtime.threads()]

    def remove(self, name: str) -> None:
        slot = self.slots[name]
        self.runtime.set_poll_lists({core: [] for core in self.cores()})
        self.bridge(*(n for n in self.slots if n != name))
        self.runtime.ports.remove(slot)
        del self.slots[name]
        self.states.pop(slot, None)
        self.poll()

    def observe(self) -> list[Any]:
        """The last entry of changes() of every port."""
        self.states.update((state[0], state) for state in self.runtime.changes())
        return [self.states[slot] for slot in self.slots.values()]

    def state(self, name: str) -> dict[str, Any]:
        self.observe()
        return dict(zip(STATE, self.states[self.slots[name]], strict=True))

    def connected(self, name: str) -> bool:
        return bool(self.state(name)["connected"])

    def queues(self, name: str) -> dict[str, list[dict[str, int]]]:
        """{"rx": counters of each rxq, "tx": of each txq}"""
        from pmd_ext.runtime import QUEUE_COUNTER_NAMES

        _, rx, tx = self.runtime.ports.counters(self.slots[name])
        return {direction: [dict(zip(QUEUE_COUNTER_NAMES, values, strict=True)) for values in rows]
                for direction, rows in (("rx", rx), ("tx", tx))}

    def counters(self, name: str) -> dict[str, int]:
        """The port's own, and sums over its queues with rx_ or tx_ in front."""
        from pmd_ext.runtime import PORT_COUNTER_NAMES, QUEUE_COUNTER_NAMES

        port, rx, tx = self.runtime.ports.counters(self.slots[name])
        values = dict(zip(PORT_COUNTER_NAMES, port, strict=True))
        for direction, rows in (("rx", rx), ("tx", tx)):
            for i, counter in enumerate(QUEUE_COUNTER_NAMES):
                values[f"{direction}_{counter.removeprefix('good_')}"] = sum(r[i] for r in rows)
        return values

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
    packets = runtime.memory()[2]
    switch = Switch(runtime, directory)
    try:
        yield switch
    finally:
        switch.close()
        left = list(directory.iterdir())
        shutil.rmtree(directory)
    assert left == []
    assert runtime.changes() == ()
    assert runtime.memory()[2] == packets
    assert runtime.threads() == ()
    assert runtime.packets_in_use() == 0
    # the library keeps its own event thread from the first socket on; one that was joined may be
    # listed for a moment
    wait_until(lambda: len(os.listdir("/proc/self/task")) <= threads + 2, "threads are gone")
