"""Ports of the host's kernel: taps and packet sockets in a namespace of the test."""
from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress

import pytest

from agent import netdev
from tests.ext.conftest import Switch
from tests.ext.packets import (
    GUEST_TSO,
    HOST_TSO,
    NOTHING,
    TCP,
    UDP,
    Header,
    Packet,
    cut_header,
    header,
    ipv4,
    ipv6,
    tcp,
    udp,
)
from tools.frontend import ethernet
from tools.host import wait_until
from tools.netns import Netns

A, B, C = (f"02:00:00:00:00:0{x}" for x in "abc")
ALL = "ff:ff:ff:ff:ff:ff"
TYPE = 0x88B5                       # of the test's own frames
ETH_P_ALL = 3
HOST = {"offloads": False, "mtu": 1500, "room_bytes": 2048, "node": -1}
SOL_PACKET, PACKET_AUXDATA, PACKET_IGNORE_OUTGOING = 263, 8, 23


class Machine:
    """The kernel's side of the ports: a namespace with their devices."""

    def __init__(self, netns: Netns, switch: Switch, stack: ExitStack) -> None:
        self.netns, self.switch, self._stack = netns, switch, stack
        self._fds: dict[str, int] = {}

    def tap(self, name: str, **options: int) -> socket.socket:
        """A tap that is a port; what a program of the host has of it."""
        fd = self.netns.call(lambda: netdev.open_tap(name))
        netdev.set_tap_offloads(fd, bool(options.get("offloads")))
        self._add(name, fd, packet=False, **options)
        return self.own(name)

    def veth(self, name: str, **options: int) -> socket.socket:
        """One end of a veth pair that is a port; what is at the other end, NAME-x."""
        self.run(f"link add {name} type veth peer name {name}-x")
        self.run(f"link set {name}-x up")
        self.run(f"link set {name} up")
        self._add(name, self.netns.call(lambda: netdev.open_packet(name)), packet=True, **options)
        return self.own(f"{name}-x")

    def _add(self, name: str, fd: int, *, packet: bool, **options: int) -> None:
        self.run(f"link set {name} up")
        self._fds[name] = fd
        self.switch.slots[name] = self.switch.runtime.ports.add_host(
            name, fd, packet=packet, **{**HOST, **options})

    def own(self, name: str, protocol: int = TYPE) -> socket.socket:
        """A program's packet socket on the device."""
        def opened() -> socket.socket:
            found = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            found.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
            found.bind((name, protocol))
            found.settimeout(10)
            return found
        return self._stack.enter_context(self.netns.call(opened))

    def run(self, words: str) -> None:
        self.netns.run("ip", *words.split())

    def remove(self, name: str) -> None:
        self.switch.remove(name)
        os.close(self._fds.pop(name))

    def close(self) -> None:
        for fd in self._fds.values():
            os.close(fd)


@pytest.fixture
def machine(switch: Switch) -> Iterator[Machine]:
    """Descriptors are closed after the switch let go of them, and none may be left."""
    before = len(os.listdir("/proc/self/fd"))
    with ExitStack() as stack:
        machine = Machine(stack.enter_context(Netns()), switch, stack)
        machine.netns.run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1",
                          "net.ipv6.conf.default.disable_ipv6=1")
        yield machine
        switch.close()
        machine.close()
    # the data plane's own of the thread: an eventfd and an epoll instance, once in a process
    assert len(os.listdir("/proc/self/fd")) <= before + 8


KINDS: list[Callable[[Machine, str], socket.socket]] = [Machine.tap, Machine.veth]


@pytest.mark.parametrize("make", KINDS)
def test_frames_pass_both_ways(
        machine: Machine, make: Callable[[Machine, str], socket.socket]) -> None:
    switch = machine.switch
    program = make(machine, "h0")
    switch.add("a")
    guest = switch.attach("a")
    guest.send([ethernet(ALL, A, b"to the host")])
    assert program.recv(2048) == ethernet(ALL, A, b"to the host")
    program.send(ethernet(A, B, b"to the guest"))
    assert guest.recv_wait(1) == [ethernet(A, B, b"to the guest")]
    guest.send([ethernet(B, A)])        # both are learned now
    assert program.recv(2048) == ethernet(B, A)
    found = switch.counters("h0")
    assert (found["rx_packets"], found["rx_bytes"]) == (1, 60)
    switch.wait_counter("h0", "tx_packets", 2)
    assert {slot for slot, *_ in switch.runtime.bridges.fdb("br0")} == set(switch.slots.values())


def test_two_devices_reach_each_other_without_any_pmd(machine: Machine) -> None:
    here, there = machine.tap("h0"), machine.veth("h1")
    machine.switch.bridge("h0", "h1")
    assert machine.switch.runtime.threads() == ()
    here.send(ethernet(ALL, A))
    assert there.recv(2048) == ethernet(ALL, A)
    there.send(ethernet(A, B))
    assert here.recv(2048) == ethernet(A, B)


@pytest.mark.parametrize("make", KINDS)
def test_vlan_modes(machine: Machine, make: Callable[[Machine, str], socket.socket]) -> None:
    """The kernel takes tags off what a packet socket gets; they come back."""
    program = make(machine, "h0")
    machine.switch.add("a")
    guest = machine.switch.attach("a")
    machine.switch.bridges({"br0": {"h0": {}, "a": {"vlan_mode": "access", "vlan": 7}}})
    tagged = ethernet(ALL, B, b"x", vlan=7)
    program.send(tagged)
    assert guest.recv_wait(1) == [tagged[:12] + tagged[16:]]
    program.send(ethernet(ALL, B, vlan=8))
    machine.switch.wait_counter("h0", "rx_no_output_drops", 1)
    tap = machine.own(program.getsockname()[0], ETH_P_ALL)      # of what the kernel still knows
    tap.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
    guest.send([ethernet(B, A)])
    frame, ((_, _, about),), *_ = tap.recvmsg(2048, 64)
    assert frame == ethernet(B, A)
    assert struct.unpack_from("HH", about, 16) == (7, 0x8100)


def test_checksum_that_was_left_to_the_device_is_completed(machine: Machine) -> None:
    """UDP of the kernel over a veth, which offers checksum offload."""
    machine.veth("h0")
    machine.run("address add 10.9.0.1/24 dev h0-x")
    machine.run(f"neigh add 10.9.0.2 lladdr {A} dev h0-x")
    machine.switch.add("a")
    guest = machine.switch.attach("a")

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.sendto(b"odd", ("10.9.0.2", 9))
    machine.netns.call(send)
    frames = wait_until(lambda: [f for f in guest.recv() if f[12:14] == b"\x08\x00"], "UDP")
    ip = frames[0][14:]
    (length,) = struct.unpack_from("!H", ip, 2)
    udp = ip[20:length]
    pseudo = ip[12:20] + struct.pack("!HH", 17, len(udp))
    data = pseudo + udp + bytes(len(udp) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    assert total == 0xffff


def test_flood_from_the_host_does_not_starve_another_device(machine: Machine) -> None:
    loud, quiet = machine.tap("h0"), machine.tap("h1")
    switch = machine.switch
    switch.add("a")
    guest = switch.attach("a")
    loud.settimeout(0)

    def heard() -> bool:
        for _ in range(100):
            with suppress(BlockingIOError):
                loud.send(ethernet(A, B))
        quiet.send(ethernet(A, C, b"heard"))
        return ethernet(A, C, b"heard") in guest.recv()
    wait_until(heard, "the quiet one is heard")


def test_flood_to_a_device_that_takes_nothing_is_counted(machine: Machine) -> None:
    """A tap that is down refuses each frame; the guest's other neighbour gets all of its own."""
    machine.tap("h0")
    machine.run("link set h0 down")
    switch = machine.switch
    switch.add("a", "b")
    a, b = switch.attach("a"), switch.attach("b")
    for _ in range(20):
        a.send([ethernet(ALL, A)] * 32)
        assert len(b.recv_wait(32)) == 32

    def drops() -> int:                     # by the kernel, or where the host thread got no core
        return sum(switch.counters("h0")[key] for key in ("tx_failure_drops", "tx_busy_drops"))
    wait_until(lambda: drops() == 640, "each is counted")
    assert switch.counters("h0")["tx_failure_drops"] > 0
    assert switch.counters("h0")["tx_packets"] == 0
    machine.run("link set h0 up")
    a.send([ethernet(ALL, A)])
    switch.wait_counter("h0", "tx_packets", 1)


@pytest.mark.parametrize(("length", "counter"), [(1519, "tx_mtu_drops"), (1518, "tx_packets")])
def test_longest_frame_to_a_device(machine: Machine, length: int, counter: str) -> None:
    machine.tap("h0")
    machine.switch.add("a")
    machine.switch.attach("a").send([ethernet(ALL, A).ljust(length, b"x")])
    machine.switch.wait_counter("h0", counter, 1)


def test_deleted_tap_is_noticed_and_costs_nobody_else(machine: Machine) -> None:
    switch = machine.switch
    machine.tap("h0")
    other = machine.tap("h1")
    switch.add("a")
    guest = switch.attach("a")
    assert switch.runtime.ports.host_state(switch.slots["h0"]) == (0, False)
    switch.observe()
    machine.run("link del h0")
    wait_until(lambda: switch.runtime.ports.host_state(switch.slots["h0"])[0] == errno.EBADFD,
               "it is noticed")
    assert switch.slots["h0"] in [entry[0] for entry in switch.runtime.changes()]
    guest.send([ethernet(ALL, A)])
    assert other.recv(2048) == ethernet(ALL, A)
    switch.wait_counter("h0", "tx_failure_drops", 1)
    machine.remove("h0")
    machine.tap("h0")                   # the slot and the name serve again
    switch.bridge("h0", "h1", "a")
    guest.send([ethernet(ALL, A)])
    switch.wait_counter("h0", "tx_packets", 1)


def test_device_that_goes_down_serves_again_when_it_is_up(machine: Machine) -> None:
    far = machine.veth("h0")
    machine.switch.add("a")
    guest = machine.switch.attach("a")
    machine.run("link set h0 down")
    machine.run("link set h0 up")

    def arrives() -> list[bytes]:
        far.send(ethernet(ALL, B))      # the kernel drops what comes before the carrier is back
        return guest.recv()

    assert set(wait_until(arrives, "a frame arrives")) == {ethernet(ALL, B)}
    assert machine.switch.runtime.ports.host_state(machine.switch.slots["h0"]) == (0, False)


def test_buffers_change_under_traffic(machine: Machine) -> None:
    program = machine.tap("h0")
    switch = machine.switch
    machine.run("link set h0 mtu 9000")
    switch.add("a", mtu=9000, room_bytes=9216)
    guest = switch.attach("a")
    packets = switch.runtime.memory()[2]
    guest.send([ethernet(ALL, A)] * 32)
    switch.runtime.ports.set_mtu(switch.slots["h0"], 9000, 9216, -1, False)
    guest.send([ethernet(ALL, A).ljust(9000, b"x")])
    got = [program.recv(16384) for _ in range(33)]
    assert [len(frame) for frame in got] == [60] * 32 + [9000]
    program.send(ethernet(A, B).ljust(9000, b"y"))
    assert guest.recv_wait(1) == [ethernet(A, B).ljust(9000, b"y")]
    assert switch.runtime.memory()[2] != packets


@pytest.mark.parametrize("fd", [-1, "file"])
def test_descriptor_that_cannot_be_waited_for_is_refused(switch: Switch, fd: int | str) -> None:
    from pmd_ext.runtime import DatapathError

    opened = os.open(__file__, os.O_RDONLY) if fd == "file" else -1
    try:
        with pytest.raises(DatapathError) as refused:
            switch.runtime.ports.add_host("h0", opened, packet=False, **HOST)
    finally:
        if opened >= 0:
            os.close(opened)
    assert refused.value.errno in (errno.EBADF, errno.EPERM)
    assert refused.value.port == "h0"


# --- what is left to the other side ---------------------------------------------------------------

SEGMENT = 1400
PACKET_VNET_HDR = 15


def long_tcp(payload: bytes, six: bool) -> tuple[bytes, Header]:
    """A frame to be cut, and its header."""
    frame = (ipv6 if six else ipv4)(TCP, tcp(payload, six=six))
    return frame, cut_header(frame, gso_size=SEGMENT, hdr_len=len(frame) - len(payload))


def with_headers(machine: Machine, program: socket.socket) -> socket.socket:
    """Another socket like it: each frame has a virtio-net header in front, as the kernel has it."""
    found = machine.own(program.getsockname()[0], ETH_P_ALL)
    found.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    return found


LENGTHS = [1, SEGMENT, 2 * SEGMENT + 1, 45 * SEGMENT]


@pytest.mark.parametrize("six", [False, True], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("make", KINDS)
def test_what_a_guest_left_is_left_to_the_kernel(
        machine: Machine, make: Callable[..., socket.socket], six: bool) -> None:
    switch = machine.switch
    program = with_headers(machine, make(machine, "h0", offloads=True))
    switch.add("a", tso=True)
    a = switch.attach("a", features=HOST_TSO, tx_buffer_bytes=1 << 16)
    for length in LENGTHS:
        frame, asked = long_tcp(bytes(i * 31 >> 3 & 255 for i in range(length)), six)
        a.send([frame], header=asked.bytes())
        whole = program.recv(1 << 17)
        said = Header(*struct.unpack_from("=BBHHHH", whole))
        assert whole[10:] == frame, length              # the sum of the pseudo-header, too
        assert (said.flags, said.csum_start, said.csum_offset) == (
            1, asked.csum_start, asked.csum_offset)
        assert (said.gso_type, said.gso_size) == (
            (asked.gso_type, SEGMENT) if length > SEGMENT else (0, 0))
    assert switch.counters("h0")["tx_failure_drops"] == 0


@pytest.mark.parametrize("make", KINDS)
def test_nothing_is_left_to_the_kernel_unless_that_was_said(
        machine: Machine, make: Callable[..., socket.socket]) -> None:
    switch = machine.switch
    name = make(machine, "h0").getsockname()[0]
    program = machine.own(name, ETH_P_ALL)
    switch.add("a", tso=True)
    a = switch.attach("a", features=HOST_TSO, tx_buffer_bytes=1 << 16)
    frame, asked = long_tcp(bytes(45 * SEGMENT), six=False)
    a.send([frame], header=asked.bytes())
    segments = [Packet(program.recv(1 << 17)) for _ in range(45)]
    assert all(p.complete() for p in segments)
    assert {len(p.payload) for p in segments} == {SEGMENT}
    switch.runtime.ports.set_host_offloads(switch.slots["h0"], True)
    a.send([frame], header=asked.bytes())
    assert program.recv(1 << 17) == frame


@pytest.mark.parametrize("six", [False, True], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("make", KINDS)
def test_what_the_kernel_left_goes_on_whole_or_is_cut(
        machine: Machine, make: Callable[..., socket.socket], six: bool) -> None:
    switch = machine.switch
    program = with_headers(machine, make(machine, "h0", offloads=True))
    switch.add("a", "b", tso=True)
    takes = switch.attach("a", features=GUEST_TSO)
    plain = switch.attach("b")
    for length in LENGTHS:
        payload = bytes(i * 31 >> 3 & 255 for i in range(length))
        frame, asked = long_tcp(payload, six)
        program.send(asked.bytes()[:10] + frame)
        segments = [Packet(f) for f in plain.recv_wait(-(-length // SEGMENT))]
        assert all(p.complete() for p in segments)
        assert b"".join(p.payload for p in segments) == payload
        assert [Packet(f).payload for f in takes.recv_wait(1)] == [payload]


def test_long_frame_of_the_kernel_keeps_its_tag(machine: Machine) -> None:
    program = with_headers(machine, machine.veth("h0"))
    machine.switch.add("a")
    a = machine.switch.attach("a")
    payload = bytes(2 * SEGMENT)
    frame = ipv4(TCP, tcp(payload), tags=(7,))
    program.send(cut_header(frame, gso_size=SEGMENT, hdr_len=len(frame) - len(payload)).bytes()[:10]
                 + frame)
    segments = [Packet(f) for f in a.recv_wait(2)]
    assert [p.tags for p in segments] == [[7], [7]]
    assert all(p.complete() for p in segments)


def test_long_frame_of_udp_is_dropped_and_said(machine: Machine) -> None:
    program = with_headers(machine, machine.veth("h0"))
    machine.switch.add("a")
    a = machine.switch.attach("a")
    frame = ipv4(UDP, udp(bytes(3000)))
    program.send(header(frame, gso_type=5, gso_size=1000, hdr_len=42).bytes()[:10] + frame)
    machine.switch.wait_counter("h0", "rx_oversize_drops", 1)
    assert machine.switch.runtime.ports.host_state(machine.switch.slots["h0"]) == (0, True)
    program.send(NOTHING.bytes()[:10] + ethernet(ALL, B))
    assert a.recv_wait(1) == [ethernet(ALL, B)]
