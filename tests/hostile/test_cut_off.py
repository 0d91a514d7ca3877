"""What is said of a port whose front end was cut off, and how it is opened again."""
from __future__ import annotations

import os
import re
import resource
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.hostile.arena import Arena
from tests.hostile.front_end import PAGE, Hostile, Region, memfd, table
from tools.frontend import USER_BASE, FrontEnd
from tools.host import wait_until
from tools.vhost_user import Request

Make = Callable[..., Hostile]


@pytest.fixture
def path(arena: Arena) -> str:
    """The socket of a new server port."""
    return arena.port()


def error(arena: Arena, path: str) -> str:
    """Interface.error of the port, once it has one."""
    name = os.path.basename(path)
    wait_until(lambda: arena.host.interface(name, "error"), "an error is said")
    return str(arena.host.interface(name, "error"))


def test_who_does_not_read_is_told_from_who_makes_no_sense(
        arena: Arena, hostile: Make, path: str) -> None:
    deaf, broken = hostile(path).negotiate(), hostile(other := arena.port()).negotiate()
    wait_until(lambda: not deaf.tell(Request.GET_FEATURES), "nobody hears it any more")
    assert "did not read the answers to its requests; its last request was GET_FEATURES" in (
        error(arena, path))
    broken.tell(41)
    assert broken.hung_up()
    assert "sent a request that makes no sense, or a part of one; its" in error(arena, other)


@contextmanager
def limited(pid: int, limit: int, most: int) -> Iterator[None]:
    """A process that can have so much of something, for a while."""
    soft, hard = resource.prlimit(pid, limit)
    resource.prlimit(pid, limit, (most, hard))
    try:
        yield
    finally:
        resource.prlimit(pid, limit, (soft, hard))


def test_memory_that_the_host_has_not_is_no_offence_of_the_guest(
        arena: Arena, hostile: Make, path: str) -> None:
    guest, size = hostile(path).negotiate(), 1 << 30
    (kib,) = re.findall(r"VmSize:\s*(\d+) kB", Path(f"/proc/{arena.pid}/status").read_text())
    fd = memfd(size)
    with limited(arena.pid, resource.RLIMIT_AS, int(kib) * 1024 + size // 2):
        guest.tell(Request.SET_MEM_TABLE, table([Region(fd, size)]), [fd])
        assert guest.hung_up()
    os.close(fd)
    said = error(arena, path)
    assert ": this host is short of memory: what the guest shares cannot be mapped, " in said
    assert said.endswith("; the port is closed for 1 s")
    assert "QEMU" not in said


@pytest.mark.loses_files
def test_descriptors_that_the_agent_may_not_have_are_no_offence_of_the_guest(
        arena: Arena, hostile: Make, path: str) -> None:
    guest = hostile(path).negotiate()
    used = {int(fd) for fd in os.listdir(f"/proc/{arena.pid}/fd")}
    with limited(arena.pid, resource.RLIMIT_NOFILE, min({*range(len(used) + 1)} - used)):
        fds = [memfd(PAGE) for _ in range(4)]
        guest.tell(Request.SET_MEM_TABLE, table(
            Region(fd, PAGE, guest=i * PAGE, user=USER_BASE + i * PAGE)
            for i, fd in enumerate(fds)), fds)
        assert guest.hung_up()
    for fd in fds:
        os.close(fd)
    assert ": this host is short of file descriptors: the agent may have no more " in (
        error(arena, path))


def test_explain_tells_when_a_port_opens_and_what_opens_it_at_once(
        arena: Arena, hostile: Make, path: str) -> None:
    name = os.path.basename(path)
    for _ in range(3):
        guest = hostile(path).negotiate()
        guest.tell(Request.SET_VRING_NUM, struct.pack("<II", 0, 3))
        assert guest.hung_up()
        assert "set a ring to a size or an index that it cannot have" in error(arena, path)
        said = " ".join(arena.host.appctl("vhost/explain", name).split())
        open_at_once = f"netdev-dpdk/set-admin-state {name} up"
        assert "and opens again by itself in " in said
        assert f"to open the port at once: ovs-appctl -t vhost-agent {open_at_once} type " in said
        arena.host.appctl(*open_at_once.split())
        wait_until(lambda: arena.host.interface(name, "error") is None, "it is open")
    assert "times in a row" not in said     # all is forgotten each time
    with FrontEnd(path, listen=False) as guest:
        guest.connect()


def test_own_end_of_the_connection_as_a_kick_keeps_no_port(
        arena: Arena, hostile: Make, path: str) -> None:
    """Whoever holds it never sees the front end go, and never serves the next."""
    guest = hostile(path).connect()
    guest.tell(Request.SET_VRING_KICK, bytes(8), [guest._socket.fileno()])
    assert guest.hung_up()
    assert "by what is no eventfd; its last request was SET_VRING_KICK" in error(arena, path)


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_link_to_the_socket_of_another_port_brings_no_guest(
        arena: Arena, link: Callable[[str, str], None]) -> None:
    """It is made when both ports are there already, by who may write to the directory of one."""
    here, there = (arena.port("client", str(arena.host.directory / name))
                   for name in ("here.sock", "there.sock"))
    name = arena.host.check("ovs-vsctl", "--bare", "--columns=name", "find", "Interface",
                            f"options:vhost-server-path={here}").strip()
    with FrontEnd(there, listen=True) as guest:
        guest.connect()
        link(there, here)
        assert "listens for another port, to whose socket this one's path leads" in (
            error(arena, name))
        guest.enable(0, True)               # it is served as before
    os.unlink(here)


@contextmanager
def renamed(path: str) -> Iterator[socket.socket]:
    """Listens on that path under a name that the file no longer has."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{path}.bound")
        os.rename(f"{path}.bound", path)
        listener.listen()
        listener.settimeout(10)
        yield listener
    os.unlink(path)


def send_half(guest: socket.socket) -> None:
    """The header of a message, and nothing follows."""
    guest.sendall(struct.pack("<III", Request.SET_MEM_TABLE, 1, 1000))


def test_who_renamed_its_socket_is_waited_for_no_longer_than_others(arena: Arena) -> None:
    path = arena.port("client")
    with renamed(path) as listener, listener.accept()[0] as guest:
        guest.settimeout(10)
        send_half(guest)
        assert guest.recv(1) == b""
        assert "sent a request that makes no sense, or a part of one" in (
            error(arena, os.path.basename(path)))


@pytest.mark.loses_files
def test_sockets_that_a_front_end_sent_are_in_the_way_once(arena: Arena, hostile: Make) -> None:
    """They look like one with who renamed its socket, and the library never closes them."""
    path = arena.port("client")
    name = os.path.basename(path)
    with ExitStack() as stack:
        other = stack.enter_context(socket.socket(socket.AF_UNIX))
        other.bind(f"{path}.other")
        other.listen()
        ends = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(2)]
        for end in ends:
            end.connect(f"{path}.other")
        sender = hostile().negotiate()
        sender.tell(Request.SET_VRING_NUM, struct.pack("<II", 256, 256),
                    [end.fileno() for end in ends])
        assert sender.hung_up()
    os.unlink(f"{path}.other")
    with renamed(path) as listener:
        with listener.accept()[0] as guest:
            guest.settimeout(10)
            assert guest.recv(1) == b""
            assert "gave its socket another name than the port's path" in error(arena, name)
        with listener.accept()[0] as guest:
            guest.settimeout(10)
            send_half(guest)
            assert guest.recv(1) == b""
            wait_until(lambda: "or a part of one" in error(arena, name), "it is heard this time")


@pytest.mark.parametrize("first", [True, False])
def test_link_to_the_socket_of_another_port_that_was_renamed_brings_no_guest(
        arena: Arena, first: bool) -> None:
    """Be it there before the other port's guest, or made later; that port is not to blame."""
    here, there = (arena.port("client") for _ in range(2))
    if first:
        os.symlink(there, here)
    with renamed(there) as listener, listener.accept()[0]:
        if not first:
            os.symlink(there, here)
        assert "listens for another port, to whose socket this one's path leads" in (
            error(arena, os.path.basename(here)))
        assert arena.host.interface(os.path.basename(there), "error") is None
    os.unlink(here)


def test_socket_of_somebody_else_in_place_of_a_servers(arena: Arena, path: str) -> None:
    """While its maker listens the port says so; once it has ended, guests can come again."""
    with socket.socket(socket.AF_UNIX) as thief:
        thief.bind(f"{path}.new")
        thief.listen()
        os.rename(f"{path}.new", path)
        arena.host.look()
        assert "another process listens on it" in error(arena, path)
    wait_until(lambda: arena.host.interface(os.path.basename(path), "error") is None, "it is open")
    with FrontEnd(path, listen=False) as guest:
        guest.connect()
    arena.host.vsctl("remove", "Open_vSwitch", ".", "other_config", "stats-update-interval")
