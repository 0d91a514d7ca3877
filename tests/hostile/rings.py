"""Rings that are written by hand: any descriptor, any index, on either layout."""
from __future__ import annotations

import os
import struct

from tools.virtqueue import Ring

DESC_F_NEXT, DESC_F_WRITE, DESC_F_INDIRECT = 1, 2, 4
PACKED_F_AVAIL, PACKED_F_USED = 1 << 7, 1 << 15

SPLIT = struct.Struct("<QIHH")          # address, length, flags, next
PACKED = struct.Struct("<QIHH")         # address, length, id, flags


class HandRing(Ring):
    """A split ring. Places are offsets into the memory; addresses are the switch's."""

    def buffer(self, i: int) -> int:
        """The address of the i-th of the buffers that lie in front of the ring."""
        return self.base + self.start + i * self.buffer_bytes

    def describe(self, i: int, address: int, length: int, flags: int = 0, following: int = 0
                 ) -> None:
        """Writes descriptor i."""
        SPLIT.pack_into(self.memory, self.desc + SPLIT.size * i, address, length, flags, following)

    def offer(self, *heads: int) -> None:
        """Shows chains that begin with these descriptors to the switch."""
        for head in heads:
            self.post(head)
        self.publish()

    def say_available(self, index: int) -> None:
        """Whatever was offered: the avail index is this one."""
        self.posted = index
        self.publish()

    def say_used(self, index: int) -> None:
        """Writes the index that is the switch's to write."""
        struct.pack_into("<H", self.memory, self.used + 2, index & 0xffff)

    @property
    def used_index(self) -> int:
        found: int = struct.unpack_from("<H", self.memory, self.used + 2)[0]
        return found


class PackedRing(HandRing):
    """A packed ring in the same room: descriptors, the driver's event area, the device's."""

    first = 1 << 15             # the wrap counter of the first round

    def describe(self, i: int, address: int, length: int, flags: int = 0, following: int = 0
                 ) -> None:
        """Writes descriptor i of id `following`, not yet available; see offer()."""
        PACKED.pack_into(self.memory, self.desc + PACKED.size * i, address, length, following,
                         flags)

    def offer(self, *heads: int) -> None:
        """Makes these descriptors available, the last one first, in the ring's first round."""
        for head in reversed(heads):
            at = self.desc + PACKED.size * head + 14
            (flags,) = struct.unpack_from("<H", self.memory, at)
            struct.pack_into("<H", self.memory, at, flags | PACKED_F_AVAIL)
        self.publish()

    def publish(self) -> None:
        os.eventfd_write(self.kick, 1)

    def offer_all(self) -> None:
        """Makes this an RX ring."""
        for i in range(self.size):
            PACKED.pack_into(self.memory, self.desc + PACKED.size * i, self.buffer(i),
                             self.buffer_bytes, i, DESC_F_WRITE | PACKED_F_AVAIL)
        self.free.clear()

    @property
    def used_index(self) -> int:
        """How many descriptors from the first on are marked as used."""
        flags = (struct.unpack_from("<H", self.memory, self.desc + PACKED.size * i + 14)[0]
                 for i in range(self.size))
        return sum(bool(f & PACKED_F_USED) for f in flags)
