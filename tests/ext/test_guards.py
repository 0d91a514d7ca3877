"""Nothing lies behind the memory of a guest with an IOMMU that it could reach."""
from __future__ import annotations

import mmap
import struct

import pytest

from tests.ext.conftest import Switch
from tools.frontend import IO_BASE, FrontEnd, ethernet
from tools.host import wait_until

PAGE = mmap.PAGESIZE
ELSEWHERE = 1 << 30             # I/O addresses, from IO_BASE on, that nothing is at


def reach_beyond(guest: FrontEnd, beyond: int, length: int) -> None:
    """Sends a frame from a buffer that begins on the last page of the guest's memory: what comes
    next in I/O addresses is its first page, and in the switch's whatever is there."""
    ring = guest._rings[1]
    for n, place in enumerate((len(ring.memory) - PAGE, 0)):
        start = ELSEWHERE + n * PAGE
        guest._translate(start, start + PAGE, place)
    guest._settle()
    struct.pack_into("<QI", ring.memory, ring.desc, IO_BASE + ELSEWHERE + PAGE - beyond, length)
    ring.post(0)
    ring.publish()


def offence(switch: Switch, name: str) -> str:
    from pmd_ext.runtime import OFFENCE_NAMES

    return str(OFFENCE_NAMES[switch.state(name)["offence"]])


@pytest.mark.parametrize("beyond", [12, 64])
def test_buffer_that_goes_on_behind_the_memory_ends_the_connection(
        switch: Switch, beyond: int) -> None:
    switch.add("a", "b")
    switch.add("hostile", iommu=True)
    a, b = switch.attach("a"), switch.attach("b")
    hostile = switch.attach("hostile", iommu=True)
    reach_beyond(hostile, beyond, 1514)
    wait_until(lambda: switch.state("hostile")["offences"] == 1, "it is noticed")
    assert offence(switch, "hostile") == "beyond"
    wait_until(lambda: not switch.connected("hostile"), "it is disconnected")
    frame = ethernet("ff:ff:ff:ff:ff:ff", "02:00:00:00:00:01")
    a.recv()
    b.recv()
    a.send([frame])
    assert b.recv_wait(1) == [frame]
    assert switch.state("a")["offences"] == switch.state("b")["offences"] == 0


def test_guards_go_with_the_guest(switch: Switch) -> None:
    def guards() -> int:
        with open("/proc/self/maps") as maps:
            return sum("/memfd:guard" in line for line in maps)

    switch.add("a", iommu=True)
    before = guards()
    for _ in range(3):
        guest = switch.attach("a", iommu=True)
        assert guards() > before
        guest.stop()
        wait_until(lambda: not switch.state("a")["attached"], "it has gone")
        assert guards() == before
    with FrontEnd(switch.path("a"), listen=False, iommu=True) as guest:
        guest.connect()
        switch.remove("a")
        assert guards() == before
