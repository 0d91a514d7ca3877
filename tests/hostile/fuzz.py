"""Random front ends: each session is a connection, what it does a function of seed and number.

What a session does next depends on its random numbers alone, never on what the switch answered, so
that sessions first to last of a seed can be run again by themselves.
"""
from __future__ import annotations

import os
import random
import select
import socket
import struct
from collections import Counter
from contextlib import suppress

from tests.hostile.front_end import PAGE, Hostile, Region, memfd, table
from tests.hostile.rings import HandRing
from tools.frontend import GUEST_BASE, IO_BASE, USER_BASE
from tools.vhost_user import (
    F_LOG_ALL,
    IOTLB,
    MESSAGE,
    NEED_REPLY,
    NET_F_CSUM,
    NET_F_HOST_TSO4,
    RING_F_INDIRECT_DESC,
    VRING_NO_FD,
    Request,
)

RING_SIZE = 64
SESSION = 300                   # steps at most
HEARD = 32                      # steps, after which the switch has to have heard them
HEARD_MS = 500
ANSWER = MESSAGE.pack(Request.GET_FEATURES, 5, 8)       # flags: version 1, an answer
ODD = (0, 1, 2, 3, 7, 12, 63, 64, 65, 127, 128, 255, 256, 257, 1024, 32767, 32768, 32769, 65535,
       65536, 2**31, 2**32 - 1, 2**47, 2**63, 2**64 - 1, PAGE, GUEST_BASE, USER_BASE, IO_BASE)


class Files:
    """Descriptors to send, each of another kind; what is done to them is undone by nobody."""

    def __init__(self) -> None:
        full = os.eventfd(0, os.EFD_CLOEXEC)
        os.eventfd_write(full, 0xffff_ffff_ffff_fffe)
        pipe, written = os.pipe()
        self._sockets = socket.socketpair()
        self.all = [memfd(0), memfd(PAGE), memfd(64 * PAGE), os.eventfd(0, os.EFD_NONBLOCK), full,
                    pipe, written, self._sockets[0].fileno(), os.open("/dev/null", os.O_RDWR)]
        self.memory = self.all[:3]
        self.events = self.all[3:5]

    def close(self) -> None:
        for end in self._sockets:
            end.close()
        for fd in self.all:
            with suppress(OSError):         # a socket's
                os.close(fd)


class Fuzzed(Hostile):
    """Keeps the file of its memory, to cut it off."""

    file = -1

    def _tell(self, request: Request, payload: bytes = b"", *fds: int) -> None:
        if request == Request.SET_MEM_TABLE:
            self.file = os.dup(fds[0])
        super()._tell(request, payload, *fds)

    def close(self) -> None:
        super().close()
        if self.file >= 0:
            os.close(self.file)
            self.file = -1


class Session:
    """One connection's worth. `counts` gets what was done, by kind."""

    def __init__(self, seed: str, files: Files, counts: Counter[str]) -> None:
        self.random = random.Random(seed)
        self.files = files
        self.counts = counts
        self.done: Counter[str] = Counter()             # since the switch was last heard
        self.packed = self.random.random() < 0.4
        self.client = self.random.random() < 0.05
        self.iommu = self.client and self.random.random() < 0.6
        # those that hardly err are let talk for long
        self.sane = self.random.choice((0.95, 0.99, 0.999))
        self.ready = self.random.random() < 0.85        # rings run before it begins
        self.sizeless = [] if self.ready else [0, 1]    # rings that have none

    def guest(self, path: str) -> Fuzzed:
        return Fuzzed(path, listen=self.client, packed=self.packed, iommu=self.iommu,
                      queue_size=RING_SIZE, timeout_s=3.0,
                      features=RING_F_INDIRECT_DESC | NET_F_CSUM | NET_F_HOST_TSO4)

    def run(self, guest: Fuzzed) -> bool:
        """Until it is done, True, or nobody listens any more."""
        if self.ready:
            guest.connect()
        else:
            guest.negotiate()
        self.counts["connections"] += 1
        guest._socket.setblocking(False)
        for step in range(self.random.randrange(1, SESSION)):
            if self.ready and self.random.random() < 0.5:
                self.write_ring(guest, self.random.choice((guest.rx, guest.tx)))
                self.done["ring states"] += 1
                alive = True
            else:
                alive = self.say_something(guest)
            if not alive or (step % HEARD == HEARD - 1 and not self.heard(guest)):
                self.counts["dropped"] += 1
                self.counts["unheard"] += self.done["messages"] + self.done["ring states"]
                return False
        self.counts += self.done
        if self.ready and self.random.random() < 0.05:
            # from here on nobody may touch it, here neither
            os.ftruncate(guest.file, self.random.choice((0, PAGE)))
            self.counts["truncated"] += 1
            return False
        if self.random.random() < 0.3:
            guest.say(self.random.randbytes(self.random.randrange(1, 40)))
            self.counts["halves"] += 1
            return False
        return True

    def heard(self, guest: Fuzzed) -> bool:
        """Whether the switch is done with all that was said, and listens; counts it then."""
        poll = select.poll()
        poll.register(guest._socket, select.POLLIN)
        try:
            guest.tell(Request.GET_FEATURES)
            while poll.poll(HEARD_MS):
                answer = guest._socket.recv(65536)
                if answer[-MESSAGE.size - 8:-8] == ANSWER:
                    self.counts += self.done
                    self.done.clear()
                    return True
                if not answer:
                    return False
        except (ConnectionResetError, BlockingIOError):
            pass
        return False

    def errs(self) -> bool:
        return self.random.random() > 1 - (1 - self.sane) / 8

    def memory_file(self) -> int:
        return self.random.choice(self.files.memory[0 if self.errs() else 1:])

    def number(self, good: int) -> int:
        """Mostly the good one."""
        if self.random.random() < self.sane:
            return good
        odd = self.random.choice(ODD)
        return (odd, odd + self.random.choice((-1, 1, 16, PAGE)), self.random.getrandbits(64)
                )[self.random.randrange(3)] % 2**64

    # --- messages ---------------------------------------------------------------------------------

    def say_something(self, guest: Fuzzed) -> bool:
        request = self.random.choice(REQUESTS)
        if request == Request.IOTLB_MSG and not self.iommu and not self.errs():
            request = Request.SET_VRING_ENABLE          # that ends the connection
        payload, fds = self.payload(guest, request)
        if self.sizeless and not self.errs():           # nor may a ring start without a size
            request, fds = Request.SET_VRING_NUM, []
            payload = struct.pack("<II", self.sizeless.pop(), RING_SIZE)
        elif request == Request.GET_VRING_BASE and payload[0] < 2:
            self.sizeless.append(payload[0])
        elif request == Request.RESET_OWNER:
            self.sizeless += (0, 1)
        flags = NEED_REPLY if self.random.random() < 0.3 else 0
        size = None
        if self.errs():
            payload = self.random.randbytes(self.random.randrange(64))
        if self.errs():
            size = self.number(len(payload)) % 2**32
        if self.errs():
            fds = self.random.choices(self.files.all, k=self.random.randrange(9))
        if self.errs():
            request = self.random.getrandbits(self.random.choice((5, 6, 32)))
        self.done["messages"] += 1
        self.done[NAMES.get(request, "others")] += 1
        try:
            alive = guest.tell(request, payload, fds, flags, size)
            if self.random.random() < 0.9:
                alive &= bool(guest._socket.recv(65536))
        except BlockingIOError:             # the switch reads no more, or said nothing
            return True
        except ConnectionResetError:
            return False
        return alive

    def payload(self, guest: Fuzzed, request: int) -> tuple[bytes, list[int]]:
        index = self.number(self.random.randrange(2)) % 2**32
        match request:
            case Request.SET_MEM_TABLE:
                return self.memory(guest)
            case Request.SET_VRING_NUM:
                return struct.pack("<II", index, self.number(RING_SIZE) % 2**32), []
            case Request.SET_VRING_ADDR:
                base = IO_BASE if self.iommu else USER_BASE
                ring = (guest.rx if index == 0 else guest.tx) if self.ready else None
                places = (ring.desc, ring.used, ring.avail) if ring else (0, PAGE, 2 * PAGE)
                return struct.pack("<IIQQQQ", index, self.random.randrange(2),
                                   *(self.number(base + at) for at in places), self.number(0)), []
            case Request.SET_VRING_KICK | Request.SET_VRING_CALL | Request.SET_VRING_ERR:
                if self.random.random() < 0.3:
                    return struct.pack("<Q", index & 0xff | VRING_NO_FD), []
                return struct.pack("<Q", index), [self.random.choice(self.files.events)]
            case Request.SET_FEATURES:
                features = guest.features | self.random.choice((0, F_LOG_ALL))
                if self.errs():
                    features = guest.offered & ~(1 << self.random.randrange(64))
                return struct.pack("<Q", self.number(features)), []
            case Request.SET_PROTOCOL_FEATURES:
                return struct.pack("<Q", self.number(guest.offered_protocol)), []
            case Request.SET_LOG_BASE:
                return (struct.pack("<QQ", self.number(PAGE), self.number(0)),
                        [self.memory_file()])
            case Request.GET_INFLIGHT_FD | Request.SET_INFLIGHT_FD:
                payload = struct.pack("<QQHH4x", self.number(PAGE), self.number(0),
                                      self.random.choice((0, 1, 2, 256)),
                                      self.random.choice((0, 1, 256, 1024)))
                fds = [self.memory_file()]
                return payload, fds if request == Request.SET_INFLIGHT_FD else []
            case Request.IOTLB_MSG:
                return IOTLB.pack(self.number(IO_BASE + self.random.randrange(16) * PAGE),
                                  self.number(PAGE),
                                  self.number(USER_BASE + self.random.randrange(16) * PAGE),
                                  self.random.randrange(4), self.random.randrange(5)), []
            case Request.SET_BACKEND_REQ_FD | Request.SET_LOG_FD:
                return b"", [self.random.choice(self.files.all)]
        return struct.pack("<II", index, self.random.randrange(3)), []

    def memory(self, guest: Fuzzed) -> tuple[bytes, list[int]]:
        """Mostly what there is, in one or more regions; else of other files."""
        size = os.fstat(guest.file).st_size if guest.file >= 0 else 64 * PAGE
        whole = guest.file if guest.file >= 0 else self.files.memory[2]
        regions = [Region(whole, self.number(size), self.number(GUEST_BASE),
                          self.number(USER_BASE), self.number(0))]
        for _ in range(self.random.choice((0, 0, 1, 3, 7))):
            regions.append(Region(self.memory_file(),
                                  self.number(PAGE), self.number(GUEST_BASE + size),
                                  self.number(USER_BASE + size), self.number(0)))
        count = None if not self.errs() else self.number(len(regions)) % 2**32
        return table(regions, count), [region.fd for region in regions]

    # --- rings ------------------------------------------------------------------------------------

    def write_ring(self, guest: Fuzzed, ring: HandRing) -> None:
        """A few descriptors of any kind, offered by any index."""
        base = ring.base
        for _ in range(self.random.randrange(1, 8)):
            i = self.random.randrange(RING_SIZE)
            address = self.random.choice((ring.buffer(i), ring.buffer(i), base + ring.desc,
                                          base + len(ring.memory) - self.random.randrange(64)))
            flags = self.random.choice((0, 0, 1, 2, 3, 4, 5)) | (2 if ring is guest.rx else 0)
            if self.packed:
                flags |= self.random.choice((0x80, 0x80, 0x8080, 0x8000, 0))
            ring.describe(i, self.number(address), self.number(
                self.random.choice((12, 26, 72, 100, 1500, 2048))) % 2**32, flags,
                self.number(self.random.randrange(RING_SIZE)) % 2**16)
        at = ring.start + self.random.randrange(RING_SIZE) * ring.buffer_bytes
        noise = self.random.randbytes(self.random.choice((12, 26, 64)))
        ring.memory[at:at + len(noise)] = noise         # a net header, or an indirect table
        if self.packed:
            ring.offer()
        elif self.random.random() < 0.9:
            ring.offer(*self.random.choices(range(RING_SIZE), k=self.random.randrange(16)))
        elif self.random.random() < 0.5:
            ring.say_available(self.number(ring.used_index + RING_SIZE))
        else:
            ring.say_used(self.number(ring.used_index))


NAMES = {int(request): request.name for request in Request}
# What leads on more often than what only asks, or ends the connection.
REQUESTS = (*Request, *(request for request in (
    Request.SET_MEM_TABLE, Request.SET_VRING_NUM, Request.SET_VRING_ADDR, Request.SET_VRING_BASE,
    Request.GET_VRING_BASE, Request.SET_VRING_KICK, Request.SET_VRING_CALL,
    Request.SET_VRING_ENABLE, Request.SET_FEATURES, Request.IOTLB_MSG, Request.SET_LOG_BASE)
    for _ in range(60)))
