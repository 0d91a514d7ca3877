"""Ports that are Ethernet devices of DPDK's: a veth pair (net_af_packet), and net_null."""
from __future__ import annotations

import os
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.ext.conftest import CORE, Switch
from tools.frontend import ethernet
from tools.host import wait_until

A, B, C, D = (f"02:00:00:00:00:0{x}" for x in "abcd")
ALL = "ff:ff:ff:ff:ff:ff"
ETH = {"n_rxq": 1, "n_txq": 2, "n_rxq_desc": 512, "n_txq_desc": 512, "lsc": True, "mtu": 1500,
       "room_bytes": 2048, "tx_hash": False}
ETH_P_ALL = 3
SOL_PACKET, PACKET_AUXDATA = 263, 8
AUXDATA = struct.Struct("=IIIHHHH")     # status, ... TCI and TPID of a tag that was taken out
VLAN_VALID, TPID_VALID = 1 << 4, 1 << 6
SYS_POLL = 7                    # of x86-64


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


class Wire:
    """A veth pair: one end is for DPDK, frames go in and out of the other."""

    def __init__(self, name: str) -> None:
        self.near, self.far = f"{name}n{os.getpid() % 10000}", f"{name}f{os.getpid() % 10000}"
        ip("link", "add", self.near, "type", "veth", "peer", "name", self.far)
        for end in (self.near, self.far):       # without an address of its own the kernel is silent
            ip("link", "set", end, "addrgenmode", "none")
            ip("link", "set", end, "up")
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self.socket.bind((self.far, ETH_P_ALL))
        self.socket.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        self.socket.settimeout(5)

    def send(self, *frames: bytes) -> None:
        for frame in frames:
            self.socket.send(frame)

    def recv(self) -> bytes:
        """The next frame that came out of the other end."""
        while True:
            frame, data, _, address = self.socket.recvmsg(2048, 256)
            if address[2] == socket.PACKET_OUTGOING:
                continue
            status, *_, tci, tpid = AUXDATA.unpack(data[0][2])
            if status & VLAN_VALID:
                tag = struct.pack("!HH", tpid if status & TPID_VALID else 0x8100, tci)
                frame = frame[:12] + tag + frame[12:]
            return frame

    def close(self) -> None:
        self.socket.close()
        ip("link", "del", self.near)


@pytest.fixture
def wire() -> Iterator[Wire]:
    wire = Wire("ve")
    yield wire
    wire.close()


def add_eth(switch: Switch, name: str, devargs: str, **options: Any) -> int:
    switch.slots[name] = slot = switch.runtime.ports.add_eth(name, devargs, **{**ETH, **options})
    return int(slot)


def add_wire(switch: Switch, name: str, wire: Wire, **options: Any) -> int:
    return add_eth(switch, name, f"net_af_packet_{name},iface={wire.near}", **options)


def info(switch: Switch, name: str) -> dict[str, Any]:
    return dict(switch.runtime.ports.eth_info(switch.slots[name]))


def fds() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_frames_go_both_ways_and_addresses_are_learned(switch: Switch, wire: Wire) -> None:
    switch.add("a")
    add_wire(switch, "e", wire)
    switch.bridge("a", "e")
    a = switch.attach("a")
    wire.send(ethernet(ALL, B))
    assert a.recv_wait(1) == [ethernet(ALL, B)]
    a.send([ethernet(B, A)])
    assert wire.recv() == ethernet(B, A)
    wire.send(ethernet(A, B))
    assert a.recv_wait(1) == [ethernet(A, B)]

    def counted() -> tuple[int, ...]:
        ours = switch.counters("e")
        device = dict(switch.runtime.ports.eth_statistics(switch.slots["e"]))
        return (ours["rx_packets"], ours["tx_packets"], device["ipackets"], device["opackets"])
    # a driver counts what it sent when it comes back from the kernel: after the frame is there
    wait_until(lambda: counted() == (2, 1, 2, 1), "the port and its device counted both ways")
    assert switch.connected("e")


def test_what_is_flooded_is_the_same_frame_for_each(switch: Switch, wire: Wire) -> None:
    """Tags are written for one port after the other: what a device still sends is a copy."""
    switch.add("a", "b")
    add_wire(switch, "e", wire)
    a, b = switch.attach("a"), switch.attach("b")
    switch.bridges({"br0": {
        "a": {"vlan_mode": "access", "vlan": 10}, "e": {},
        "b": {"vlan_mode": "access", "vlan": 10}}})
    payload = b"x" * 60
    for _ in range(3):
        a.send([ethernet(ALL, A, payload)])
        assert b.recv_wait(1) == [ethernet(ALL, A, payload)]
        assert wire.recv() == ethernet(ALL, A, payload, vlan=10)
    wire.send(ethernet(A, D, payload, vlan=10))
    assert a.recv_wait(1) == [ethernet(A, D, payload)]
    wire.send(ethernet(A, D, payload, vlan=11), ethernet(ALL, D, payload, vlan=10))
    assert b.recv_wait(1) == [ethernet(ALL, D, payload)]


def test_two_queues_are_polled(switch: Switch) -> None:
    add_eth(switch, "n", "net_null0,size=64", n_rxq=2)
    switch.bridge("n")
    switch.poll()
    wait_until(lambda: all(q["good_packets"] for q in switch.queues("n")["rx"]), "both are polled")
    assert info(switch, "n")["n_rxq"] == len(switch.queues("n")["rx"]) == 2


def sender_waits() -> bool:
    """Whether the thread that sends for a port waits inside its driver, for room."""
    for task in Path("/proc/self/task").iterdir():
        if (task / "comm").read_text().startswith("eth-tx-"):
            number = (task / "syscall").read_text().split()[0]
            return number == str(SYS_POLL)
    return False


@pytest.mark.parametrize("trouble", ["down", "full"])
def test_device_that_takes_nothing_stalls_nobody(switch: Switch, wire: Wire, trouble: str
                                                 ) -> None:
    switch.add("a", "b")
    add_eth(switch, "e", f"net_af_packet_e,iface={wire.near},qdisc_bypass=0")
    switch.bridge("a", "b", "e")
    a, b = switch.attach("a"), switch.attach("b")
    if trouble == "down":
        ip("link", "set", wire.near, "down")
    else:                                   # a frame a second at most leaves the kernel
        subprocess.run(f"tc qdisc add dev {wire.near} root tbf rate 8bit burst 2000 limit 99999999"
                       .split(), check=True)
    b.send([ethernet(ALL, B)])
    assert a.recv_wait(1)
    frames = [ethernet(ALL, A)] * 32
    for _ in range(100):                    # more than all rings on the way together hold
        a.send(frames)
        assert len(b.recv_wait(32)) == 32
    if trouble == "full":
        wait_until(sender_waits, "the driver waits for room")
    drops = dict(switch.runtime.ports.eth_statistics(switch.slots["e"]))["sender_drops"]
    assert switch.counters("e")["tx_failure_drops"] + drops > 0
    switch.remove("e")                      # ends the wait
    a.send(frames)
    assert len(b.recv_wait(32)) == 32


def test_link_is_followed(switch: Switch) -> None:
    add_eth(switch, "r", "net_ring_link")
    assert switch.connected("r")
    for up in (False, True):
        switch.runtime.ports.set_admin_state(switch.slots["r"], up)
        assert switch.runtime.drain_wake()
        assert switch.connected("r") == info(switch, "r")["link_up"] == up


def test_pmd_that_may_wait_for_guests_polls_on_for_a_device(switch: Switch, wire: Wire) -> None:
    switch.add("a")
    add_wire(switch, "e", wire)
    switch.bridge("a", "e")
    a = switch.attach("a")
    switch.runtime.rest_pmd(CORE, 0, True)
    # longer than the silence after which a PMD waits, were there guests alone
    wait_until(lambda: iterations(switch) > 100_000, "it polls")
    wire.send(ethernet(ALL, B))
    assert a.recv_wait(1) == [ethernet(ALL, B)]


def iterations(switch: Switch) -> int:
    """Rounds that the PMD polled."""
    _, ((_, *values),), _ = switch.runtime.readings()
    return int(values[3])


def test_device_has_one_port_and_is_free_again_afterwards(switch: Switch, wire: Wire) -> None:
    from pmd_ext.runtime import DatapathError

    before = fds()
    add_wire(switch, "e", wire)
    with pytest.raises(DatapathError) as caught:
        switch.runtime.ports.add_eth("f", f"net_af_packet_e,iface={wire.near}", **ETH)
    assert caught.value.port == "e"
    switch.remove("e")
    wait_until(lambda: fds() <= before + 2, "descriptors are closed")       # a PMD has two
    add_wire(switch, "e", wire)


@pytest.mark.parametrize("devargs", [
    "", "nonsense", "net_af_packet7", "net_af_packet8,iface=none", "0000:99:00.0", "net_null9,x=1",
    "class=eth,mac=02:00:00:00:00:77", "class=eth,mac=x", "net_nobody0", "," * 300])
def test_words_that_name_no_device_are_refused(switch: Switch, devargs: str) -> None:
    from pmd_ext.runtime import DatapathError

    with pytest.raises(DatapathError) as caught:
        add_eth(switch, "e", devargs)
    assert caught.value.call == "rte_dev_probe"
