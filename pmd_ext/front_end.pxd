# What a port's front end has said (handshake.pyx), on the connection that is, or on the last where
# it said anything.
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from pmd_ext.dpdk.eal cimport rte_spinlock_t


cdef enum:
    MAX_PIECES = 8              # of memory, in the library, too
    SEEN_RINGS = 16             # whose places are kept: enough to see that a guest has a driver

# A piece of the guest's memory: where it is for the front end, and in its file.
cdef struct piece:
    uint64_t user
    uint64_t bytes
    uint64_t offset
    int fd                      # our own

# Of a ring, where they are for the front end.
cdef struct ring_places:
    uint64_t desc
    uint64_t avail
    uint64_t used

cdef struct seen_memory:
    uint32_t n
    piece pieces[MAX_PIECES]
    ring_places rings[SEEN_RINGS]

# Callbacks write and main reads where nothing else is said.
cdef struct front_end:
    uint32_t heard              # messages of the connection that is
    uint32_t last_request       # the number of its last message
    uint64_t asked              # virtio features that it wanted; 0: it has not said yet
    uint64_t offered            # those that it may have: main's, before the driver starts
    uint32_t regions            # pieces of memory that it has shared
    uint32_t given_up           # connections in a row that ended before a guest was ready
    uint8_t was_ready           # a guest was ready
    uint8_t withheld            # a part of a ring lies where it cannot be used (rings.pyx)
    # callbacks and main, under the lock
    rte_spinlock_t lock
    uint8_t used                # main has seen that it uses its rings, and looks no more
    seen_memory memory
