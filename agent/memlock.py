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


def lock_memory(postcopy: bool, lock: Callable[[int], int] = mlockall) -> tuple[bool, list[Line]]:
    """Locks pages as they are first touched, for a start that no guest's memory is mapped at.

    True when the memory of guests to come is touched as soon as it is mapped: then nobody can be
    asked any more for what of a migrated guest is missing. With 'postcopy' it is not, if the kernel
    is 4.4 or newer. And lines for the log.

    What is mapped in the future is left alone with 'postcopy', for with MCL_FUTURE the kernel
    touches hugepages all the same (seen with 6.18).
    """
    future = 0 if postcopy else MCL_FUTURE
    error = lock(MCL_CURRENT | MCL_ONFAULT | future)
    if error == errno.EINVAL:           # a kernel that knows no MCL_ONFAULT
        future = MCL_FUTURE
        error = lock(MCL_CURRENT | future)
    if error:
        return False, [("err", f"mlockall failed: {os.strerror(error)}")]
    return future != 0, []
