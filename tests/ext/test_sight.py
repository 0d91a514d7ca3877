"""What a front end has said, and what is seen of its guest's memory."""
from __future__ import annotations

import mmap
import os
import struct

import pytest

from tests.ext.conftest import Switch
from tools.frontend import GUEST_BASE, USER_BASE, FrontEnd
from tools.host import wait_until
from tools.vhost_user import Request

OTHERS = 2                      # descriptors of a guest's memory: the library's and the front end's


def sight(switch: Switch, name: str = "a") -> str:
    from pmd_ext.runtime import SIGHT_NAMES

    return str(SIGHT_NAMES[switch.runtime.ports.sight(switch.slots[name])])


def handshake(switch: Switch) -> tuple[int | bool, ...]:
    return tuple(switch.runtime.ports.handshake(switch.slots["a"]))


def descriptors() -> int:
    """Of guests' memory, in this process."""
    found = 0
    for fd in os.listdir("/proc/self/fd"):
        try:
            found += os.readlink(f"/proc/self/fd/{fd}").startswith("/memfd:frontend")
        except OSError:             # of listing them
            continue
    return found


def attach(switch: Switch, *, shared: bool = True) -> FrontEnd:
    front_end = FrontEnd(switch.path("a"), listen=False)
    front_end.mapping = mmap.MAP_SHARED if shared else mmap.MAP_PRIVATE
    switch.front_ends.append(front_end)
    front_end.connect()
    wait_until(lambda: switch.connected("a"), "a is connected")
    return front_end


def test_guest_that_uses_its_rings_is_looked_at_once(switch: Switch) -> None:
    switch.add("a")
    assert sight(switch) == "none"
    guest = attach(switch)
    assert descriptors() == OTHERS + 1
    assert [sight(switch) for _ in range(3)] == ["used"] * 3
    assert descriptors() == OTHERS
    guest.restart(64)
    assert sight(switch) == "used"
    assert descriptors() == OTHERS
    guest.close()
    wait_until(lambda: descriptors() == 0, "all are closed")
    assert sight(switch) == "none"


def test_memory_of_a_private_mapping_is_blank_and_the_next_guests_is_not(switch: Switch) -> None:
    switch.add("a")
    guest = attach(switch, shared=False)
    switch.poll()                   # the library writes into what it takes for rings
    assert [sight(switch) for _ in range(3)] == ["blank"] * 3
    guest.close()
    wait_until(lambda: not switch.connected("a"), "it is gone")
    attach(switch)
    assert sight(switch) == "used"


def test_guest_that_changes_its_memory_all_the_time(switch: Switch) -> None:
    switch.add("a")
    guest = attach(switch, shared=False)
    for number in range(100):
        memfd = os.memfd_create("frontend")
        os.ftruncate(memfd, 1 << 21)
        table = struct.pack("<IIQQQQ", 1, 0, GUEST_BASE, 1 << 21, USER_BASE + number, 0)
        guest._tell(Request.SET_MEM_TABLE, table, memfd)
        os.close(memfd)
        assert sight(switch) in ("none", "blank")
    guest.close()
    wait_until(lambda: descriptors() == 0, "all are closed")


@pytest.mark.parametrize("how", ["unregistered", "gone"])
def test_port_that_goes_leaves_no_descriptor(switch: Switch, how: str) -> None:
    switch.add("a")
    guest = attach(switch, shared=False)
    sight(switch)
    if how == "gone":
        guest.close()
    switch.remove("a")
    guest.close()
    wait_until(lambda: descriptors() == 0, "all are closed")


def test_handshake_is_of_the_last_that_said_anything(switch: Switch) -> None:
    switch.add("a")
    assert handshake(switch)[:3] == (0, 0, 0)
    offered = handshake(switch)[3]
    assert offered
    guest = attach(switch)
    features = guest.features
    heard, last, asked, *rest = handshake(switch)
    assert heard > 5
    assert (last, asked) == (Request.GET_FEATURES, features)
    assert rest == [offered, 1, 0, True, False]
    guest.close()
    wait_until(lambda: handshake(switch)[0] == 0, "it is gone")
    assert handshake(switch)[1:] == (Request.GET_FEATURES, features, *rest)
