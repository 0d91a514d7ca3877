"""Making way for a socket of the agent's own."""
from __future__ import annotations

import errno
import os
import socket
import stat
from contextlib import suppress

# What keeps one from looking at a directory.
NO_WAY = {
    errno.ENOENT: "its directory does not exist",
    errno.ENOTDIR: "there is a file in place of its directory, or of one on the way",
    errno.ELOOP: "the symbolic links on the way to its directory lead in a circle",
    errno.EACCES: "no permission to enter a directory on the way",
}


def make_way(path: str, root: str = "") -> None:
    """Removes the stale socket of a process that died; OSError says why 'path' cannot be had.
    Nothing but a socket without a process is removed. A directory below 'root' must be there, and
    lead nowhere else."""
    parent = os.path.dirname(path)
    try:
        if not stat.S_ISDIR(os.stat(parent).st_mode):
            raise OSError(errno.ENOTDIR, NO_WAY[errno.ENOTDIR])
    except OSError as e:
        raise OSError(e.errno, NO_WAY.get(e.errno or 0, f"its directory: {e.strerror}")) from e
    if not os.access(parent, os.W_OK | os.X_OK):
        raise OSError(errno.EACCES, "no permission to create it in its directory")
    if root and os.path.commonpath((within := os.path.realpath(root),
                                    there := os.path.realpath(parent))) != within:
        raise OSError(errno.EXDEV, f"a link leads from {parent} to {there}, which is not below "
                      f"{root}")
    # From here on it is this directory, whatever takes its name.
    directory = os.open(parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _make_way(directory, os.path.basename(path))
    finally:
        os.close(directory)


def _make_way(directory: int, name: str) -> None:
    try:
        if not stat.S_ISSOCK(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
            raise OSError(errno.EEXIST, "a file that is not a socket is in the way")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        # a path of any length
        if probe.connect_ex(f"/proc/self/fd/{directory}/{name}") != errno.ECONNREFUSED:
            raise OSError(errno.EADDRINUSE, "another process listens on it")
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=directory)
