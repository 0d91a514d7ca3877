"""Whose sockets are: one port's each, and owner, group and mode of those that server ports listen
on."""
from __future__ import annotations

import contextlib
import errno
import grp
import os
import pwd
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from agent.access import AS_MADE, SocketAccess
from agent.accessconfig import GROUP, MODE, OWNER
from agent.options import integer, shown
from agent.stale_socket import make_way

OTHERS = 0o077                  # of a umask: what is made is its owner's alone


@dataclass(frozen=True, slots=True)
class _Made:
    """A socket, and what the agent's process makes it with by itself."""

    file: tuple[int, int]       # device and inode: as long as it is bound no other file has them
    uid: int
    gid: int
    mode: int


class VhostSockets:
    """Sockets of vhost-user ports. For the main thread only."""

    def __init__(self, root: str = "") -> None:
        """'root': the directory that those of server ports are in or below; no link may lead out of
        it."""
        self._root = root
        self._real: dict[str, str] = {}         # paths without links, by port
        self._ports: dict[str, str] = {}        # by these
        self._paths: dict[str, str] = {}        # of server ports, by port, while it is there
        self._made: dict[str, _Made] = {}       # by port

    def connect(self, port: str, path: str, register: Callable[[], int]) -> int:
        """Has 'register' make a client port, and returns what that returned."""
        with self._claimed(port, path):
            return register()

    @contextmanager
    def _claimed(self, port: str, path: str) -> Iterator[None]:
        """While the port is made. Ports of equal paths were told apart before; OSError of those
        whose paths lead to one socket by links: as two ends of it they would wait for each other,
        and of two that connect one would never have its guest."""
        real = path
        with contextlib.suppress(OSError):      # a link in /proc that may not be followed
            real = os.path.realpath(path)
        if (owner := self._ports.get(real, port)) != port:
            raise OSError(errno.EADDRINUSE, f"port {owner} of this agent has that socket, {real}, "
                          "already: a socket is for one port and one guest")
        yield
        self._ports[real], self._real[port] = port, real

    def listen(self, port: str, path: str, access: SocketAccess, register: Callable[[], int]
               ) -> tuple[int, SocketAccess]:
        """Makes way for the socket of a port that 'register' makes, and gives it 'access'. Returns
        what that returned, and AS_MADE where the socket could not get it: set() says why.

        At no moment may anybody connect who may not in the end, but for the agent's own user: the
        vhost library binds and listens in one call, so the umask closes the socket until it has its
        owner, group and mode. The umask is the whole process's, but no other thread makes files
        that are for others than the agent's user. Without settings it is not touched.
        """
        with self._claimed(port, path):
            make_way(path, self._root)
            umask = os.umask(OTHERS)        # there is no other way to read it
            os.umask(umask if access == AS_MADE else umask | OTHERS)
            try:
                slot = register()
            finally:
                os.umask(umask)
        self._paths[port] = path
        with contextlib.suppress(OSError):
            self._made[port] = _made(path, 0o777 & ~umask)
        if access == AS_MADE:
            return slot, AS_MADE
        with contextlib.suppress(OSError):
            self.set(port, path, access)
            return slot, access
        with contextlib.suppress(OSError):
            self.set(port, path, AS_MADE)
        return slot, AS_MADE

    def set(self, port: str, path: str, access: SocketAccess) -> None:
        """Gives the socket of a port its owner, group and mode, all or none of them; its guest
        notices nothing. OSError says in words what cannot be, and what the socket has."""
        try:
            # The file itself, not what it leads to; whatever takes its place later, this stays it.
            fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as e:
            raise OSError(e.errno, f"socket {path}: {e.strerror}: its owner, group and mode stay "
                          "as they are") from e
        try:
            file, made = os.fstat(fd), self._made.get(port)
            if made is None or (file.st_dev, file.st_ino) != made.file:
                raise OSError(errno.EEXIST, f"socket {path}: what is there is not the socket that "
                              "the agent made: its owner, group and mode are left alone")
            try:
                uid = _uid(access.owner) if access.owner else made.uid
                gid = _gid(access.group) if access.group else made.gid
                _change(fd, file, uid, gid, made.mode if access.mode is None else access.mode)
            except OSError as e:
                raise OSError(e.errno, f"{e.strerror}; the socket keeps {_has(fd)}") from e
        finally:
            os.close(fd)

    def gone(self) -> list[str]:
        """Ports whose sockets somebody removed, or put something else in the place of: no guest can
        connect."""
        return [port for port, path in self._paths.items()
                if not os.path.lexists(path) or _is_foreign(path, self._made.get(port))]

    @contextmanager
    def closing(self, *ports: str) -> Iterator[None]:
        """While the vhost library closes the sockets of ports, and removes what has their names
        then: what is none of ours is put aside meanwhile. Ports without sockets may be among
        them."""
        aside = {}
        for port in ports:
            self._ports.pop(self._real.pop(port, ""), None)
            path, made = self._paths.pop(port, None), self._made.pop(port, None)
            if path is not None and _is_foreign(path, made):
                aside[path] = f"{path}.{os.getpid()}.aside"
                with contextlib.suppress(OSError):      # then the library cannot remove it either
                    os.rename(path, aside[path])
        try:
            yield
        finally:
            for path, kept in aside.items():
                with contextlib.suppress(OSError):
                    os.rename(kept, path)


def _made(path: str, mode: int) -> _Made:
    """The socket that was made at 'path' just now; OSError when that is something else."""
    file = os.lstat(path)
    # Only this process makes sockets of its user here; a further link would be to an older one.
    if not stat.S_ISSOCK(file.st_mode) or file.st_uid != os.geteuid() or file.st_nlink != 1:
        raise OSError(errno.EEXIST, "not the socket that was made")
    return _Made((file.st_dev, file.st_ino), file.st_uid, file.st_gid, mode)


def _is_foreign(path: str, made: _Made | None) -> bool:
    """Whether something else has the place of a socket of ours."""
    try:
        file = os.lstat(path)
    except OSError:
        return False
    return made is None or (file.st_dev, file.st_ino) != made.file


def _change(fd: int, file: os.stat_result, uid: int, gid: int, mode: int) -> None:
    """Gives an open file that is like 'file' owner, group and mode. At each moment only those may
    connect who may before, or who may afterwards."""
    itself = f"/proc/self/fd/{fd}"      # fchown() and fchmod() do not take a descriptor of O_PATH
    old = stat.S_IMODE(file.st_mode)
    key = MODE
    try:
        if old & mode != old:
            os.chmod(itself, old & mode)
        if (uid, gid) != (file.st_uid, file.st_gid):
            key = OWNER if uid != file.st_uid else GROUP
            os.chown(itself, uid, gid)
        key = MODE
        if mode != old & mode:
            os.chmod(itself, mode)
    except OSError as e:
        _restore(itself, file)
        raise OSError(e.errno, f"{key}: {e.strerror} (without CAP_CHOWN and CAP_FOWNER the agent "
                      "can only give it to a group that it is in)") from e


def _restore(itself: str, file: os.stat_result) -> None:
    """Of a change that failed; what is not given back now is said with what the file has."""
    with contextlib.suppress(OSError):
        os.chown(itself, file.st_uid, file.st_gid)
        os.chmod(itself, stat.S_IMODE(file.st_mode))


def _uid(owner: str) -> int:
    number = integer(owner)
    try:
        return pwd.getpwnam(owner).pw_uid if number is None else number
    except (KeyError, ValueError) as e:
        raise OSError(errno.EINVAL, f"{OWNER}: this host has no user {shown(owner)} (allowed: a "
                      "user's name or number)") from e


def _gid(group: str) -> int:
    number = integer(group)
    try:
        return grp.getgrnam(group).gr_gid if number is None else number
    except (KeyError, ValueError) as e:
        raise OSError(errno.EINVAL, f"{GROUP}: this host has no group {shown(group)} (allowed: a "
                      "group's name or number)") from e


def _has(fd: int) -> SocketAccess:
    """What an open file has."""
    file = os.fstat(fd)
    try:
        owner = pwd.getpwuid(file.st_uid).pw_name
    except KeyError:
        owner = str(file.st_uid)
    try:
        group = grp.getgrgid(file.st_gid).gr_name
    except KeyError:
        group = str(file.st_gid)
    return SocketAccess(owner, group, stat.S_IMODE(file.st_mode))
