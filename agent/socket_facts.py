"""What there is at the path of a port's socket, and who may do what there. Nobody is connected to:
a QEMU takes the first that connects for its switch."""
from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
from functools import cache
from pathlib import Path
from typing import NamedTuple

from agent.reason_model import Access, Found, SocketFacts

UNIX_SOCKETS = Path("/proc/net/unix")
LISTENS = "00010000"                # flags of a socket that does (__SO_ACCEPTCON)
STREAM = "0001"                     # SOCK_STREAM, which vhost-user is spoken over


class Sockets(NamedTuple):
    """Paths of sockets in this network namespace."""

    listening: frozenset[str] = frozenset()         # somebody listens on them
    other_type: frozenset[str] = frozenset()        # they are none of SOCK_STREAM


def sockets() -> Sockets:
    """Those there are now."""
    listening, other_type = set(), set()
    with UNIX_SOCKETS.open(encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:          # Num RefCount Protocol Flags Type St Inode Path
            words = line.split(maxsplit=7)
            if len(words) == 8:
                path = words[7].rstrip("\n")
                if words[4] != STREAM:
                    other_type.add(path)
                elif words[3] == LISTENS:
                    listening.add(path)
    return Sockets(frozenset(listening), frozenset(other_type - listening))


def look(path: str, sockets: Sockets) -> SocketFacts:
    """Facts about a socket. A file system that hangs (NFS) holds up who asks."""
    try:
        file = os.stat(path)
    except FileNotFoundError:
        parent = os.path.dirname(path) or "."
        found = Found.NOTHING if os.path.isdir(parent) else Found.NO_DIRECTORY
        return SocketFacts(path, found, user_name(os.geteuid()))
    except PermissionError:
        closed = closed_directory(path)
        return SocketFacts(path, Found.CLOSED, user_name(os.geteuid()),
                           access(closed) if closed else None, may_connect=False)
    except OSError as e:            # mostly a file in place of a directory
        found = Found.LOOP if e.errno == errno.ELOOP else Found.NO_DIRECTORY
        return SocketFacts(path, found, user_name(os.geteuid()))
    found = (Found.OTHER if not stat.S_ISSOCK(file.st_mode)
             else Found.OTHER_TYPE if path in sockets.other_type else Found.SOCKET)
    return SocketFacts(path, found, user_name(os.geteuid()), access_of(path, file),
                       os.access(path, os.W_OK, effective_ids=True), path in sockets.listening)


def closed_directory(path: str) -> str | None:
    """The first directory on the way to 'path' that this process may not enter."""
    for parent in reversed(Path(os.path.abspath(path)).parents):
        if not os.access(parent, os.X_OK, effective_ids=True):
            return str(parent)
    return None


def access(path: str) -> Access | None:
    try:
        return access_of(path, os.stat(path))
    except OSError:
        return None


def access_of(path: str, file: os.stat_result) -> Access:
    return Access(path, user_name(file.st_uid), group_name(file.st_gid),
                  stat.S_IMODE(file.st_mode))


@cache
def user_name(uid: int) -> str:
    """A user's name, or number where there is none; asked once."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


@cache
def group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
