"""Owner, group and mode of real sockets."""
from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent import socket_access
from agent.access import AS_MADE, SocketAccess
from agent.socket_access import VhostSockets
from agent.stale_socket import make_way

SLOT = 5
MINE = SocketAccess(str(os.geteuid()), str(os.getegid()), 0o600)    # needs no privilege
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="root alone gives files away")


class Sockets:
    """Sockets of server ports, as librte_vhost would make them, in a directory."""

    def __init__(self, directory: Path) -> None:
        self.path = str(directory / "p")
        self.server = VhostSockets()
        self.bound: list[socket.socket] = []
        self.seen: list[tuple[int, int, int]] = []      # of the socket, whenever it was looked at

    def bind(self) -> int:
        self.bound.append(socket.socket(socket.AF_UNIX))
        self.bound[-1].bind(self.path)
        self.bound[-1].listen()
        self.look()
        return SLOT

    def look(self) -> tuple[int, int, int]:
        """Owner, group and mode."""
        file = os.lstat(self.path)
        self.seen.append((file.st_uid, file.st_gid, stat.S_IMODE(file.st_mode)))
        return self.seen[-1]

    def listen(self, access: SocketAccess = AS_MADE) -> tuple[int, SocketAccess]:
        return self.server.listen("p", self.path, access, self.bind)

    def set(self, access: SocketAccess) -> None:
        self.server.set("p", self.path, access)

    def refused(self, access: SocketAccess) -> str:
        with pytest.raises(OSError) as e:           # noqa: PT011
            self.set(access)
        return str(e.value.strerror)


@pytest.fixture
def umask() -> Iterator[Callable[[int], None]]:
    before = os.umask(0)
    yield lambda mask: (os.umask(mask), None)[1]
    os.umask(before)


@pytest.fixture
def sockets(tmp_path: Path, umask: Callable[[int], None]) -> Iterator[Sockets]:
    """With a umask of 0002: what the process makes is open to its group."""
    umask(0o002)
    made = Sockets(tmp_path)
    yield made
    for bound in made.bound:
        bound.close()


def in_force() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


AS_THE_PROCESS_MAKES_IT = (os.geteuid(), os.getegid(), 0o775)


# --- a new socket ---------------------------------------------------------------------------------

def test_socket_without_settings_is_as_the_process_makes_it(sockets: Sockets) -> None:
    assert sockets.listen() == (SLOT, AS_MADE)
    assert sockets.seen == [AS_THE_PROCESS_MAKES_IT]
    assert sockets.look() == AS_THE_PROCESS_MAKES_IT


@pytest.mark.parametrize("mode", [0o600, 0o666, 0])
def test_new_socket_is_closed_to_others_until_it_has_its_mode(sockets: Sockets, mode: int) -> None:
    access = SocketAccess(mode=mode)
    assert sockets.listen(access) == (SLOT, access)
    assert sockets.seen == [(*AS_THE_PROCESS_MAKES_IT[:2], 0o700)]
    assert sockets.look()[2] == mode
    assert in_force() == 0o002


@as_root
def test_new_socket_has_owner_group_and_mode(sockets: Sockets) -> None:
    access = SocketAccess("nobody", "12345", 0o660)
    assert sockets.listen(access) == (SLOT, access)
    assert sockets.look() == (65534, 12345, 0o660)
    sockets.set(AS_MADE)
    assert sockets.look() == AS_THE_PROCESS_MAKES_IT


def test_owner_and_group_alone_leave_the_mode_that_the_process_gives(sockets: Sockets) -> None:
    sockets.listen(SocketAccess(MINE.owner, MINE.group))
    assert sockets.look() == AS_THE_PROCESS_MAKES_IT


def test_new_socket_for_nobody_who_is_there_is_as_the_process_makes_it(sockets: Sockets) -> None:
    assert sockets.listen(SocketAccess("no-such-user", mode=0o600)) == (SLOT, AS_MADE)
    assert sockets.look() == AS_THE_PROCESS_MAKES_IT


def test_socket_that_the_library_refuses_leaves_the_umask_alone(sockets: Sockets) -> None:
    def refuse() -> int:
        raise OSError(12, "no")

    for access in (AS_MADE, MINE):
        with pytest.raises(OSError, match="no"):
            sockets.server.listen("p", sockets.path, access, refuse)
        assert in_force() == 0o002


def test_stale_socket_makes_way(sockets: Sockets) -> None:
    sockets.listen(SocketAccess(mode=0o000))
    sockets.bound.pop().close()
    with sockets.server.closing("p"):
        pass
    assert sockets.listen(SocketAccess(mode=0o640))[1].mode == 0o640
    assert sockets.look()[2] == 0o640


# --- a change -------------------------------------------------------------------------------------

def test_mode_changes_and_comes_back(sockets: Sockets) -> None:
    sockets.listen()
    for mode in (0o600, 0o077, 0, 0o777):
        sockets.set(SocketAccess(mode=mode))
        assert sockets.look()[2] == mode
    sockets.set(AS_MADE)
    assert sockets.look() == AS_THE_PROCESS_MAKES_IT


@as_root
def test_in_between_nobody_may_connect_who_may_neither_before_nor_after(
        sockets: Sockets, monkeypatch: pytest.MonkeyPatch) -> None:
    sockets.listen(SocketAccess("1", "2", 0o620))
    for call in ("chmod", "chown"):
        really = getattr(os, call)

        def watched(*args: object, really: Callable[..., None] = really) -> None:
            really(*args)
            sockets.look()

        monkeypatch.setattr(socket_access.os, call, watched)
    before, wanted = sockets.look(), (3, 4, 0o602)
    del sockets.seen[:]
    sockets.set(SocketAccess("3", "4", 0o602))
    assert sockets.seen[-1] == wanted
    for owner, group, mode in sockets.seen:
        allowed = [m for o, g, m in (before, wanted) if (o, g) == (owner, group)]
        assert any(mode | m == m for m in allowed), sockets.seen
    assert {(o, g) for o, g, _ in sockets.seen} == {(1, 2), (3, 4)}


@pytest.mark.parametrize(("access", "said"), [
    (SocketAccess("no-such-user", "0", 0o600),
     "vhost-sock-owner: this host has no user 'no-such-user' (allowed: a user's name or number)"),
    (SocketAccess("", "no such group", 0o600),
     "vhost-sock-group: this host has no group 'no such group' (allowed: a group's name or number)")
])
def test_unknown_name_is_said_and_nothing_is_changed(sockets: Sockets, access: SocketAccess,
                                                     said: str) -> None:
    sockets.listen(SocketAccess(mode=0o640))
    before = sockets.look()
    why = sockets.refused(access)
    assert why.startswith(f"{said}; the socket keeps owner ")
    assert why.endswith(", mode 0640")
    assert sockets.look() == before


@as_root
def test_owner_without_a_name_is_said_by_number(sockets: Sockets) -> None:
    sockets.listen(SocketAccess("12345", "23456", 0o600))
    assert sockets.refused(SocketAccess("no-such-user")).endswith(
        "; the socket keeps owner 12345, group 23456, mode 0600")


# --- what is no socket of ours --------------------------------------------------------------------

def in_its_place(sockets: Sockets, what: str) -> Path:
    """Puts something else where the socket was; what must stay as it is."""
    aside = Path(sockets.path + ".aside")
    os.rename(sockets.path, aside)
    victim = Path(sockets.path + ".victim")
    if what == "link to itself":
        os.symlink(aside, sockets.path)
        return aside
    if what == "socket":
        other = socket.socket(socket.AF_UNIX)
        sockets.bound.append(other)
        other.bind(sockets.path)
        return Path(sockets.path)
    if what == "file":
        Path(sockets.path).touch()
        return Path(sockets.path)
    victim.touch()
    if what == "link":
        os.symlink(victim, sockets.path)
    return victim


@pytest.mark.parametrize("what", ["link", "link to itself", "socket", "file", "nothing"])
def test_what_took_the_place_of_the_socket_is_left_alone(sockets: Sockets, what: str) -> None:
    sockets.listen(SocketAccess(mode=0o640))
    victim = in_its_place(sockets, what)
    before = os.lstat(victim)
    why = sockets.refused(SocketAccess(MINE.owner, MINE.group, 0o666))
    assert why.startswith(f"socket {sockets.path}: ")
    assert why.endswith("No such file or directory: its owner, group and mode stay as they are"
                        if what == "nothing" else "what is there is not the socket that the agent "
                        "made: its owner, group and mode are left alone")
    assert os.lstat(victim) == before
    # as soon as it is back
    os.rename(sockets.path + ".aside", sockets.path)
    sockets.set(SocketAccess(mode=0o666))
    assert sockets.look()[2] == 0o666


@pytest.mark.parametrize("what", ["link", "socket of another name"])
def test_socket_that_is_replaced_the_moment_it_is_made_is_left_alone(sockets: Sockets, what: str
                                                                     ) -> None:
    other = socket.socket(socket.AF_UNIX)
    sockets.bound.append(other)
    other.bind(sockets.path + ".other")
    before = os.lstat(sockets.path + ".other").st_mode

    def bind_and_lose() -> int:
        sockets.bind()
        os.unlink(sockets.path)
        (os.symlink if what == "link" else os.link)(sockets.path + ".other", sockets.path)
        return SLOT

    got = sockets.server.listen("p", sockets.path, SocketAccess(mode=0o666), bind_and_lose)
    assert got == (SLOT, AS_MADE)
    assert "not the socket that the agent made" in sockets.refused(SocketAccess(mode=0o666))
    assert os.lstat(sockets.path + ".other").st_mode == before


@as_root
def test_socket_of_another_user_that_came_in_between_is_left_alone(sockets: Sockets) -> None:
    def bind_and_lose() -> int:
        sockets.bind()
        os.unlink(sockets.path)
        sockets.bind()
        os.chown(sockets.path, 1, 1)
        return SLOT

    access = SocketAccess(mode=0o666)
    assert sockets.server.listen("p", sockets.path, access, bind_and_lose) == (SLOT, AS_MADE)
    assert sockets.look() == (1, 1, 0o700)


def test_socket_of_a_port_that_is_gone_is_left_alone(sockets: Sockets) -> None:
    sockets.listen()
    with sockets.server.closing("p"):
        pass
    assert "not the socket that the agent made" in sockets.refused(MINE)


@pytest.mark.parametrize("what", ["link", "socket", "file"])
def test_what_took_its_place_is_not_removed_with_the_socket(sockets: Sockets, what: str) -> None:
    sockets.listen()
    in_its_place(sockets, what)
    before = os.lstat(sockets.path)
    with sockets.server.closing("another", "p"):        # as the vhost library does
        assert not os.path.lexists(sockets.path)
    assert os.lstat(sockets.path).st_ino == before.st_ino


def test_socket_itself_is_removed(sockets: Sockets) -> None:
    sockets.listen()
    with sockets.server.closing("p"):
        os.unlink(sockets.path)
    assert not os.listdir(os.path.dirname(sockets.path))


# --- where it is ----------------------------------------------------------------------------------

def test_no_link_leads_out_of_the_root(tmp_path: Path) -> None:
    for name in ("run", "run/sub", "elsewhere", "runaway"):
        (tmp_path / name).mkdir()
    (tmp_path / "r").symlink_to("run")                  # as /var/run is a link to /run
    for name, target in (("out", tmp_path / "elsewhere"), ("near", "../runaway"), ("in", "sub")):
        (tmp_path / "run" / name).symlink_to(target)
    server = VhostSockets(str(tmp_path / "r"))
    for name in ("out", "near"):
        with pytest.raises(OSError, match=r"a link leads from .*, which is not below") as e:
            server.listen("p", f"{tmp_path}/r/{name}/p", AS_MADE, lambda: SLOT)
        assert e.value.errno == errno.EXDEV
    for name in ("sub", "in", "."):
        assert server.listen(name, f"{tmp_path}/r/{name}/p", AS_MADE, lambda: SLOT)[0] == SLOT
        with server.closing(name):
            pass


@pytest.mark.parametrize("first", ["client", "server"])
@pytest.mark.parametrize("path", ["link/s", "../run/s", "ring"])
def test_socket_is_one_ports_however_it_is_called(tmp_path: Path, first: str, path: str) -> None:
    """By a link to its directory, or to itself, or a way there and back."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run/link").symlink_to(tmp_path / "run")
    (tmp_path / "run/ring").symlink_to("s")
    sockets, real = VhostSockets(), f"{tmp_path}/run/s"

    def made() -> int:
        return SLOT
    makes = {"server": lambda: sockets.listen("server", real, AS_MADE, made)[0],
             "client": lambda: sockets.connect("client", f"{tmp_path}/run/{path}", made)}
    assert makes.pop(first)() == SLOT
    ((second, make),) = makes.items()
    with pytest.raises(OSError, match=f"port {first} of this agent has that socket, {real}, "
                       "already: a socket is for one port and one guest") as e:
        make()
    assert e.value.errno == errno.EADDRINUSE
    with sockets.closing(first):
        pass
    assert make() == SLOT               # it is free
    assert sockets.connect("other", f"{real}2", made) == SLOT
    with sockets.closing(second), pytest.raises(ZeroDivisionError):
        sockets.connect(first, real, lambda: 1 // 0)
    assert sockets.connect(second, real, made) == SLOT      # what was not made has none


def test_directory_that_there_is_no_way_to_is_told_apart(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("pool")
    (tmp_path / "pool").symlink_to("loop")
    for directory, why in (("none", "its directory does not exist"),
                           ("file", "there is a file in place of its directory"),
                           ("file/x", "there is a file in place of its directory, or of one on"),
                           ("loop", "the symbolic links on the way to its directory lead in a"),
                           ("loop/x", "the symbolic links on the way to its directory lead in a")):
        with pytest.raises(OSError, match=why):
            make_way(f"{tmp_path}/{directory}/s")


@pytest.mark.parametrize("length", [20, 200])
def test_way_is_made_of_stale_sockets_alone(tmp_path: Path, length: int) -> None:
    """However long the path."""
    directory = tmp_path / ("x" * length)
    directory.mkdir()
    path, here = directory / "s", os.open(directory, os.O_PATH)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(f"/proc/self/fd/{here}/s")
        bound.listen()
        with pytest.raises(OSError, match="another process listens on it"):
            make_way(str(path))
    make_way(str(path))
    assert not path.exists()
    victim = directory / "victim"
    victim.touch()
    for make in (path.touch, lambda: path.symlink_to(victim), path.mkdir,
                 lambda: os.mkfifo(path)):
        make()
        with pytest.raises(OSError, match="a file that is not a socket is in the way"):
            make_way(str(path))
        path.rename(directory / f"kept{len(os.listdir(directory))}")
    os.close(here)
