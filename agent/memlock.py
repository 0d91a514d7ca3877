"""Memory that is never paged out, for --mlockall (OVS: vswitchd/ovs-vswitchd.c)."""
from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable

from agent.loglines import Line

MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT = 1, 2, 4      # of sys/mman.h


def mlockall(flags: int) -> int:
    """0, or the error's number."""
    libc = ctypes.CDLL(None, use_errno=True)
    return ctypes.get_errno() if libc.mlockall(flags) else 0


def lock_memory(lock: Callable[[int], int] = mlockall) -> tuple[bool, list[Line]]:
    """Locks pages as they are first touched, or on a kernel older than 4.4 all of them at once.

    True when it was all: then also the memory of guests is touched before they are migrated into
    it, and nobody can be asked for what is missing. And lines for the log.
    """
    error = lock(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT)
    whole = error == errno.EINVAL
    if whole:
        error = lock(MCL_CURRENT | MCL_FUTURE)
    if error:
        return False, [("err", f"mlockall failed: {os.strerror(error)}")]
    return whole, []
