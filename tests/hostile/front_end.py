"""A front end that says and writes what it likes, over sockets of both directions."""
from __future__ import annotations

import mmap
import os
import select
import socket
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tests.hostile.rings import HandRing, PackedRing
from tools.frontend import GUEST_BASE, USER_BASE, FrontEnd
from tools.vhost_user import F_RING_PACKED, MESSAGE, RING_F_INDIRECT_DESC, Request, message_of

SWITCH_S = 5.0                  # within which the switch has to do what it does


class Hostile(FrontEnd):
    """Attaches and starts its rings as a guest does, unless told otherwise; then anything goes."""

    ring = HandRing

    def __init__(self, path: str, *, listen: bool = False, packed: bool = False,
                 features: int = RING_F_INDIRECT_DESC, queue_size: int = 256,
                 tx_buffer_bytes: int = 2048, **options: object) -> None:
        if packed:
            self.ring = PackedRing
        super().__init__(path, listen=listen, queue_size=queue_size,
                         tx_buffer_bytes=tx_buffer_bytes,
                         features=features | (F_RING_PACKED if packed else 0),
                         **options)         # type: ignore[arg-type]

    @property
    def rx(self) -> HandRing:
        """The ring that the switch writes to."""
        return self._rings[0]               # type: ignore[return-value]

    @property
    def tx(self) -> HandRing:
        return self._rings[1]               # type: ignore[return-value]

    def attach(self) -> Hostile:
        """Connects and says nothing yet."""
        self._detach()
        self._attach()
        return self

    def negotiate(self) -> Hostile:
        """attach(), and what comes before memory and rings."""
        self.attach()
        self._negotiate()
        return self

    def tell(self, request: int, payload: bytes = b"", fds: Sequence[int] = (), flags: int = 0,
             size: int | None = None) -> bool:
        """Says a message of `size`, its payload's by default; False when nobody hears it."""
        return self.say(message_of(request, payload, flags, size), fds)

    def say(self, data: bytes, fds: Sequence[int] = ()) -> bool:
        """Any bytes, with these descriptors; False when nobody hears them."""
        try:
            socket.send_fds(self._socket, [data], fds)
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    def ask(self, request: int, payload: bytes = b"", fds: Sequence[int] = (), flags: int = 0
            ) -> bytes | None:
        """The payload of the answer; None when the switch hung up. Closes what came with it."""
        if not self.tell(request, payload, fds, flags):
            return None
        try:
            answer, got, _, _ = socket.recv_fds(self._socket, 4096, 8)
        except ConnectionResetError:
            return None
        for fd in got:
            os.close(fd)
        return answer[MESSAGE.size:] if answer else None

    def settled(self) -> bool:
        """Whether the switch, done with all that was said before, still talks to us."""
        return self.ask(Request.GET_FEATURES) is not None

    def hung_up(self, timeout_s: float = SWITCH_S) -> bool:
        """Whether the switch ends the connection, within that time. Reads what it says until
        then."""
        if self._socket.fileno() < 0:       # it was found out before
            return True
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        try:
            while poll.poll(timeout_s * 1e3):
                if not self._socket.recv(65536):
                    return True
        except ConnectionResetError:
            return True
        return False


@dataclass(frozen=True)
class Region:
    """An entry of a memory table; addresses of guest and user space, and bytes."""

    fd: int
    size: int
    guest: int = GUEST_BASE
    user: int = USER_BASE
    offset: int = 0


def table(regions: Iterable[Region], count: int | None = None) -> bytes:
    """The payload of SET_MEM_TABLE; `count` is what it says, true or not."""
    regions = list(regions)
    return struct.pack("<II", len(regions) if count is None else count, 0) + b"".join(
        struct.pack("<QQQQ", r.guest, r.size, r.user, r.offset) for r in regions)


def memfd(size: int, name: str = "hostile", flags: int = 0) -> int:
    """The descriptor of a new memory file."""
    fd = os.memfd_create(name, flags | os.MFD_CLOEXEC)
    os.ftruncate(fd, size)
    return fd


PAGE = mmap.PAGESIZE
