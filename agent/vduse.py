"""VDUSE devices, which librte_vhost makes in place of a socket: pure but for a file that is in the
way of one."""
from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from agent.shell import quoted

VDUSE_DIR = "/dev/vduse/"
CONTROL_QUEUE = ("the kernel makes no VDUSE network device with a control queue, which more than "
                 "one queue pair needs: set vhost-max-queue-pairs=1")


def is_vduse(path: str) -> bool:
    """Whether the library takes the path for a VDUSE device."""
    return path.startswith(VDUSE_DIR)


def named(path: str) -> bool:
    """Whether the path names a device that there can be."""
    name = path.removeprefix(VDUSE_DIR)
    return bool(name) and "/" not in name and name not in ("control", ".", "..")


def reason(error: int, path: str, pairs: int, dpdk_version: str) -> str | None:
    """Why a device of so many queue pairs cannot be had; None where the system's words say it."""
    match error:
        case errno.EOPNOTSUPP:
            return f"VDUSE needs DPDK 24.11, this is {dpdk_version}"
        case errno.ENOENT:
            return "there is no VDUSE in /dev (modprobe vduse)"
        case errno.EBUSY:
            return ("another process serves it, or it was left with other queue pairs or features, "
                    "or without its file in /var/run/vduse "
                    f"(vdpa dev del {quoted(path.removeprefix(VDUSE_DIR))})")
        case errno.EINVAL if pairs > 1:
            return CONTROL_QUEUE
    return None


def kept_state(path: str, environment: Mapping[str, str], root: bool) -> Path:
    """The file in which the library keeps what it needs to serve the device after a restart."""
    usual = "/var/run" if root else environment.get("XDG_RUNTIME_DIR", "/tmp")
    directory = environment.get("RUNTIME_DIRECTORY", usual)
    return Path(directory, "vduse", path.removeprefix(VDUSE_DIR))


def make_way(path: str) -> None:
    """Removes what was kept of a device that is gone: beside it the library makes no new one."""
    if named(path) and not os.path.lexists(path):
        with suppress(OSError):         # the library says what is wrong with the directory
            kept_state(path, os.environ, os.getuid() == 0).unlink()
