# What a port's front end has said (handshake.pyx), on the connection that is, or on the last where
# it said anything.
from libc.stdint cimport uint8_t, uint32_t, uint64_t


cdef struct front_end:
    uint32_t heard              # messages of the connection that is
    uint32_t last_request       # the number of its last message
    uint64_t asked              # virtio features that it wanted; 0: it has not said yet
    uint64_t offered            # those that it may have: main's, before the driver starts
    uint32_t regions            # pieces of memory that it has shared
    uint32_t given_up           # connections in a row that ended before a guest was ready
    uint8_t was_ready           # a guest was ready
    uint8_t withheld            # a part of a ring lies where it cannot be used (rings.pyx)
