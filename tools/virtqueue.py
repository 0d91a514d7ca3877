"""A split virtqueue as its driver sees it, in shared memory."""

import ctypes
import mmap
import os
import struct
import threading
from collections import deque
from collections.abc import Iterable, Iterator

NET_HEADER_BYTES = 12  # virtio_net_hdr with num_buffers: always this long under VERSION_1

DESC_F_WRITE = 2
AVAIL_F_NO_INTERRUPT = 1
USED_F_NO_NOTIFY = 1


MAP_FIXED = 0x10


def turn_round(memory: mmap.mmap, fd: int, pieces: Iterable[tuple[int, int]]) -> None:
    """Have each piece of the memory show its pages of the file in the opposite order."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    for start, end in pieces:
        for page in range(start, end, mmap.PAGESIZE):
            got = libc.mmap(ctypes.c_void_p(base + page), ctypes.c_size_t(mmap.PAGESIZE),
                            mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED | MAP_FIXED, fd,
                            ctypes.c_long(start + end - page - mmap.PAGESIZE))
            if got != base + page:
                raise OSError(ctypes.get_errno(), "mmap")


class Ring:
    """One split virtqueue as its driver sees it: buffers first, then descriptors, avail, used.

    Descriptor i always points at buffer i, so a used id names the buffer.
    """

    first = 0  # where the switch begins, as SET_VRING_BASE says it

    @staticmethod
    def bytes_needed(size: int, buffer_bytes: int) -> int:
        """Return the room for a whole ring, in full pages so that the next one is aligned."""
        room = size * (buffer_bytes + 16 + 2 + 8) + 16
        return room + -room % mmap.PAGESIZE

    def __init__(
        self, memory: mmap.mmap, start: int, size: int, buffer_bytes: int, base: int
    ) -> None:
        """Lay out a ring at `start` of the memory, whose begin the switch knows as `base`."""
        self.memory = memory
        self.base = base
        self.start = start
        self.size = size
        self.buffer_bytes = buffer_bytes
        self.desc = start + size * buffer_bytes
        self.avail = self.desc + 16 * size
        self.used = self.avail + 2 * (4 + size)  # one word to spare: used wants 4-byte alignment
        self.free = deque(range(size))
        self.posted = 0  # since connect; the ring carries the low 16 bits
        self.taken = 0
        self.kick = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.call = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        # Typed views make every index one aligned store or load, which the switch never sees torn.
        view = memoryview(memory)
        self._desc = view[self.desc : self.avail].cast("I")  # address (2), length, flags and next
        self._avail = view[self.avail : self.avail + 2 * (2 + size)].cast("H")
        used = view[self.used : self.used + 4 + 8 * size]
        self._used, self._entries = used.cast("H"), used.cast("I")
        self._fence = threading.Lock()
        self._avail[0] = AVAIL_F_NO_INTERRUPT  # we poll; spare the switch a system call per burst
        for i in range(size):
            address = base + start + i * buffer_bytes
            struct.pack_into("<QI", memory, self.desc + 16 * i, address, buffer_bytes)

    def places(self, end: int, lazy: bool, scattered: bool) -> Iterator[tuple[int, int, int]]:
        """Yield (start, end, where it is in the memory), of the ring alone if `lazy`."""
        begin = self.desc if lazy else self.start
        if not scattered:
            yield begin, end, begin
            return
        for page in range(begin, end, mmap.PAGESIZE):
            after = page + mmap.PAGESIZE
            yield page, after, self.start + end - after

    def offer_all(self) -> None:
        """Make this an RX ring: the switch may write into every buffer."""
        while self.free:
            ident = self.free.popleft()
            self._desc[4 * ident + 3] = DESC_F_WRITE
            self.post(ident)
        self.publish()

    def interrupts(self) -> int:
        """Want interrupts from now on; return how many came since the last call."""
        self._avail[0] = 0
        try:
            return os.eventfd_read(self.call)
        except BlockingIOError:
            return 0

    def waiting(self) -> int:
        """Return how many used entries have not been taken yet."""
        return (self._used[1] - self.taken) & 0xFFFF

    def peek(self, n: int) -> tuple[int, int]:
        """Return (descriptor, bytes) of the n-th untaken used entry; ValueError if impossible."""
        at = (self.taken + n) % self.size * 2 + 1
        ident, length = self._entries[at], self._entries[at + 1]
        if ident >= self.size or length > self.buffer_bytes:
            raise ValueError(f"the switch returned descriptor {ident} with {length} bytes")
        return ident, length

    def post(self, ident: int) -> None:
        """Offer a descriptor to the switch; it shows with the next publish()."""
        self._avail[2 + self.posted % self.size] = ident
        self.posted += 1

    def post_frame(self, ident: int, frame: bytes, header: bytes) -> None:
        """Fill a buffer and offer it, the virtio-net header in front."""
        at = self.start + ident * self.buffer_bytes
        self.memory[at : at + NET_HEADER_BYTES] = header
        self.memory[at + NET_HEADER_BYTES : at + NET_HEADER_BYTES + len(frame)] = frame
        self._desc[4 * ident + 2] = NET_HEADER_BYTES + len(frame)
        self.post(ident)

    def read(self, ident: int, length: int) -> bytes:
        """Return the first `length` bytes of a buffer, virtio-net header included."""
        at = self.start + ident * self.buffer_bytes
        return self.memory[at : at + length]

    def publish(self) -> None:
        """Show everything posted and wake the switch if it asked for that."""
        self._avail[1] = self.posted & 0xFFFF
        # The index must be visible before the flag is read, or both sides go to sleep. x86 lets a
        # load pass an older store; taking a lock is a locked instruction, hence a full fence.
        with self._fence:
            pass
        if not self._used[0] & USED_F_NO_NOTIFY:
            os.eventfd_write(self.kick, 1)
