"""The exception that crosses the door, and the converter that makes it."""
import os


class DatapathError(OSError):
    """A call of the data plane failed.

    ``errno`` (0: the library gave no reason), ``call`` (the DPDK function) and ``port`` (name, or
    None) say which.
    """

    def __init__(self, errno: int, call: str, port: "str | None" = None) -> None:
        super().__init__(errno, f"{call}: {os.strerror(errno) if errno else 'no reason given'}")
        self.call = call
        self.port = port


cdef int check(int rc, str call, object port=None) except -1:
    """DPDK fails with -errno, or with -1, which says nothing: where rte_errno is known to be set
    the caller passes that, and elsewhere it is an older call's."""
    if rc == 0:
        return 0
    raise DatapathError(-rc if rc < -1 else 0, call, port)
