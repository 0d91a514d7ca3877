"""Packet pools: who shares one, and changing it under traffic."""
from __future__ import annotations

import errno
import re
import struct
import threading

from tests.ext.conftest import Switch
from tests.ext.test_ports import refused
from tools.frontend import FrontEnd, ethernet

A, B = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
USUAL = {"mtu": 1500, "room_bytes": 2048, "node": -1, "own_pool": False}
JUMBO = {**USUAL, "mtu": 9000, "room_bytes": 9216}
MIB = 1 << 20


def pool_bytes(switch: Switch) -> int:
    return int(switch.runtime.memory()[2])


def known_pair(switch: Switch, **sizes: int) -> tuple[FrontEnd, FrontEnd]:
    switch.add("a", "b")
    a, b = switch.attach("a", **sizes), switch.attach("b", **sizes)
    b.send([ethernet(A, B)])
    a.recv_wait(1)
    return a, b


def test_like_ports_share_a_pool_that_goes_with_the_last(switch: Switch) -> None:
    usual = pool_bytes(switch)
    assert 35 * MIB < usual < 45 * MIB              # there is one from the start, and it stays
    switch.add("a", "b")
    assert pool_bytes(switch) == usual
    switch.add("c", "d", mtu=9000, room_bytes=9216)
    one = pool_bytes(switch) - usual
    assert 35 * MIB < one < 45 * MIB
    for name in ("a", "b", "c"):
        switch.remove(name)
    assert pool_bytes(switch) == usual + one
    switch.remove("d")
    assert pool_bytes(switch) == usual


def test_nothing_follows_a_buffer_at_once(switch: Switch) -> None:
    text = switch.runtime.mempool_text(switch.add_port("a", own_pool=True))
    (size,) = re.findall(r"\belt_size=(\d+)", text)
    mbuf = headroom = 128
    assert int(size) > mbuf + headroom + 2048


def test_port_can_have_a_pool_for_itself(switch: Switch) -> None:
    switch.add("a")
    one = pool_bytes(switch)
    switch.add("b", "c", own_pool=True)
    assert pool_bytes(switch) == 3 * one
    b, c = switch.attach("b"), switch.attach("c")
    b.send([ethernet(A, B)])
    assert c.recv_wait(1)
    switch.runtime.ports.set_mtu(switch.slots["b"], **USUAL)
    assert pool_bytes(switch) == 2 * one
    switch.runtime.ports.set_mtu(switch.slots["a"], **{**USUAL, "own_pool": True})
    assert pool_bytes(switch) == 3 * one
    b.send([ethernet(A, B)])
    assert c.recv_wait(1)


def test_mtu_is_raised_and_lowered_again(switch: Switch) -> None:
    a, b = known_pair(switch)
    usual = pool_bytes(switch)
    jumbo = ethernet(B, A, b"j" * 9000)
    for name in "ab":
        switch.runtime.ports.set_mtu(switch.slots[name], **JUMBO)
    assert pool_bytes(switch) - usual > 35 * MIB
    a.send([jumbo] * 40)
    assert b.recv_wait(40) == [jumbo] * 40
    switch.runtime.ports.set_mtu(switch.slots["b"], **USUAL)
    a.send([jumbo, ethernet(B, A)])
    assert b.recv_wait(1) == [ethernet(B, A)]
    assert switch.counters("b")["tx_mtu_drops"] == 1
    switch.runtime.ports.set_mtu(switch.slots["a"], **USUAL)
    assert pool_bytes(switch) == usual
    a.send([jumbo, ethernet(B, A)])
    assert b.recv_wait(1) == [ethernet(B, A)]
    assert switch.counters("a")["rx_oversize_drops"] == 1


def test_change_of_the_mtu_loses_nothing(switch: Switch) -> None:
    a, b = known_pair(switch, queue_size=1024)
    stop = threading.Event()
    changes = 0

    def change() -> None:
        nonlocal changes
        while not stop.is_set():
            for size in (JUMBO, USUAL):
                for name in "ab":
                    switch.runtime.ports.set_mtu(switch.slots[name], **size)
                    changes += 1

    changer = threading.Thread(target=change)
    changer.start()
    seen = sent = 0
    try:
        while seen < 50_000 or changes < 20:
            sent += a.send([ethernet(B, A, struct.pack("!I", sent + i)) for i in range(min(
                64, 512 - (sent - seen)))])             # never more than b's ring can hold
            for frame in b.recv():
                assert struct.unpack_from("!I", frame, 14)[0] == seen
                seen += 1
    finally:
        stop.set()
        changer.join()
    counters = switch.counters("a")
    assert counters["rx_oversize_drops"] == counters["rx_malformed_drops"] == 0


def test_without_memory_all_stays_as_it_was(switch: Switch) -> None:
    a, b = known_pair(switch)
    before = pool_bytes(switch)
    slot = switch.slots["a"]
    for impossible in ({**JUMBO, "room_bytes": 65_000}, {**JUMBO, "node": 7}):
        error = refused(switch.runtime.ports.set_mtu, slot, **impossible)
        assert error.errno == errno.ENOMEM
        assert (error.call, error.port) == (                # type: ignore[attr-defined]
            "rte_mempool_populate_default", "a")
        assert refused(switch.add_port, "x", **impossible).errno == errno.ENOMEM
    assert pool_bytes(switch) == before
    b.send([ethernet(A, B, b"x" * 1505), ethernet(A, B)])
    assert a.recv_wait(1) == [ethernet(A, B)]
    assert switch.counters("a")["tx_mtu_drops"] == 1
    switch.add("c")
    assert switch.slots["c"] == 2                       # no slot was lost
