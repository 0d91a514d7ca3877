"""changes(): each port that was added or changed, once, with what is true of it."""
from __future__ import annotations

import errno
import os
import resource
import time
from collections.abc import Iterator

import pytest

from tests.ext.conftest import Switch
from tests.ext.test_ports import refused
from tools.frontend import FrontEnd
from tools.host import wait_until


@pytest.fixture
def many_files() -> Iterator[None]:
    """A socket is a descriptor: room for a thousand."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def changed(switch: Switch) -> list[int]:
    return [change[0] for change in switch.runtime.changes()]


def test_port_is_reported_when_added_and_then_when_it_changes(switch: Switch) -> None:
    switch.add("a", "b")
    slots = switch.slots
    assert sorted(changed(switch)) == sorted(slots.values())
    assert changed(switch) == []
    switch.runtime.drain_wake()
    with FrontEnd(switch.path("b"), listen=False, queues=2) as guest:
        guest.connect()
        assert switch.runtime.drain_wake()
        assert changed(switch) == [slots["b"]]
        assert changed(switch) == []
        assert not switch.runtime.drain_wake()
        guest.enable(1, False)
        assert switch.runtime.drain_wake()
        assert changed(switch) == [slots["b"]]
    wait_until(switch.runtime.drain_wake, "the end of the guest is signalled")
    switch.remove("a")
    switch.remove("b")
    assert changed(switch) == []
    switch.add("c")                                 # in a slot that was used before
    assert changed(switch) == [slots["c"]]


def test_attached_is_not_yet_connected(switch: Switch) -> None:
    switch.add("a")
    new = switch.state("a")
    assert new == {"slot": switch.slots["a"], "connections": 0, "attached": False, "connects": 0,
                   "connected": False, "features": 0, "numa": -1, "guest_mtu": 0,
                   "vring_sizes": (), "enabled_rxqs": (), "enabled_txqs": (), "offences": 0,
                   "offence": 0}
    switch.runtime.drain_wake()
    with FrontEnd(switch.path("a"), listen=False, enable=[]) as guest:
        guest.connect()
        assert switch.runtime.drain_wake()
        assert switch.state("a") == {**new, "connections": 1, "attached": True}
        guest.enable(0, True)
        state = switch.state("a")
        assert (state["connections"], state["connects"], state["connected"]) == (1, 1, True)
        assert (state["features"], state["vring_sizes"]) == (guest.features, (256, 256))
    left = {**new, "connections": 1, "connects": 1}
    wait_until(lambda: switch.state("a") == left, "the guest is seen to leave")
    switch.attach("a")
    state = switch.state("a")
    assert (state["connections"], state["connects"]) == (2, 2)
    with pytest.raises((ConnectionError, TimeoutError)):
        FrontEnd(switch.path("a"), listen=False, timeout_s=2).connect()
    assert switch.state("a")["connections"] == 2    # refused is not accepted


def test_queues_and_mtu_of_the_guest(switch: Switch) -> None:
    switch.add("a", "b")
    guest = switch.attach("a", queues=4, queue_size=512, enable=[0, 2], mtu=1400)
    state = switch.state("a")
    assert state["guest_mtu"] == 1400
    assert state["vring_sizes"] == (512,) * 8
    assert state["enabled_rxqs"] == state["enabled_txqs"] == (0, 2)
    guest.enable(3, True)
    assert switch.state("a")["enabled_txqs"] == (0, 2, 3)
    switch.attach("b")
    assert switch.state("b")["guest_mtu"] == 0
    guest.close()
    # the library says first that the guest is gone, then that its connection is
    wait_until(lambda: not switch.connected("a"), "a is seen to leave")
    wait_until(lambda: switch.state("a")["guest_mtu"] == 0, "its MTU is forgotten")


@pytest.mark.usefixtures("many_files")
def test_thousand_ports_are_added_and_watched_quickly(switch: Switch) -> None:
    started = time.monotonic()
    for i in range(1000):
        switch.add_port(f"p{i}", client=True)
    assert time.monotonic() - started < 1
    assert list(switch.slots.values()) == list(range(1000))
    assert len(switch.runtime.changes()) == 1000
    started = time.monotonic()
    for _ in range(1000):
        assert switch.runtime.changes() == ()
    assert time.monotonic() - started < 0.05        # 50 us each, of which most is to spare
    for name in ("p7", "p3", "p900"):
        switch.runtime.ports.remove(switch.slots.pop(name))
    assert [switch.add_port(name, client=True) for name in "xyz"] == [3, 7, 900]
    assert len(switch.runtime.changes()) == 3


def test_vduse_needs_a_dpdk_that_knows_it_and_a_kernel_that_has_it(switch: Switch) -> None:
    from pmd_ext.runtime import dpdk_version

    refused(switch.add_port, "v", "/dev/vduse/v", client=True, max_queue_pairs=4)
    descriptors = len(os.listdir("/proc/self/fd"))
    error = refused(switch.add_port, "v", "/dev/vduse/v", client=True, max_queue_pairs=4)
    assert (error.errno, error.call, error.port) == (       # type: ignore[attr-defined]
        (errno.EOPNOTSUPP, "rte_vhost_driver_set_max_queue_num", "v")
        if dpdk_version() < "DPDK 23.07" else (errno.ENOENT, "rte_vhost_driver_start", "v"))
    assert len(os.listdir("/proc/self/fd")) == descriptors
    switch.add("a")
    assert switch.slots["a"] == 0


@pytest.mark.parametrize("option", ["iommu", "postcopy"])
def test_options_of_a_port_are_what_its_guest_is_offered(switch: Switch, option: str) -> None:
    switch.add("a", **{option: True})
    switch.add("b")
    offers = []
    for name in "ab":
        guest = switch.attach(name)
        offers.append((guest.offered >> 33 & 1, guest.offered_protocol >> 8 & 1))
    assert offers == [(option == "iommu", option == "postcopy"), (False, False)]
