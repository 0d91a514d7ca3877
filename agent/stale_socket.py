"""Making way for a socket of the agent's own."""
from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path


def make_way(path: str) -> None:
    """Removes the stale socket of a process that died; OSError says why 'path' cannot be had."""
    parent = os.path.dirname(path)
    if not os.path.isdir(parent):
        raise OSError(errno.ENOENT, "its directory does not exist")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise OSError(errno.EACCES, "no permission to create it in its directory")
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise OSError(errno.EEXIST, "a file that is not a socket is in the way")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        if probe.connect_ex(path) != errno.ECONNREFUSED:
            raise OSError(errno.EADDRINUSE, "another process listens on it")
    Path(path).unlink(missing_ok=True)
