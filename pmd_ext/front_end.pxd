# What a port's front end has said (handshake.pyx), on the connection that is, or on the last where
# it said anything.
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

from pmd_ext.dpdk.eal cimport rte_spinlock_t


cdef enum:
    MAX_PIECES = 8              # of memory, in the library, too
    SEEN_RINGS = 16             # whose places are kept: enough to see that a guest has a driver
    SAID_RINGS = 256            # librte_vhost: VHOST_MAX_VRING

# Why the switch ended a connection. runtime.OFFENCE_NAMES has them in this order.
cdef enum:
    OFFENCE_NONE
    OFFENCE_BROKEN              # the library did: an invalid message, or half of one
    OFFENCE_RING                # a ring that cannot be, or is changed while it is placed
    OFFENCE_LAYOUT              # features that say how placed rings are laid out
    OFFENCE_MEMORY              # memory that cannot be mapped, or is not there
    OFFENCE_DESCRIPTOR          # an interrupt or a kick that is no eventfd
    OFFENCE_REQUEST             # a request that no network device has a use for
    OFFENCE_SHRUNK              # the file of its memory was made shorter
    OFFENCE_BEYOND              # a buffer that goes on behind its memory
    OFFENCE_ENDLESS             # a ring that is walked for long, and gives nothing
    OFFENCE_STUCK               # a descriptor of its kept a thread of the switch waiting
    OFFENCE_DEAF                # it does not read what it is answered
    OFFENCE_ELSEWHERE           # it listens for another port
    OFFENCE_NAMELESS            # its connection cannot be told from others
    # not its own: what the switch would need for it is not to be had
    OFFENCE_NO_MEMORY           # memory, or addresses, to map what it shares
    OFFENCE_NO_FILES            # descriptors, for those that it sends

# Of a ring, what its front end said since it was stopped.
cdef struct ring_said:
    uint16_t size               # entries; 0: not said
    uint16_t base               # where the switch is to begin, as SET_VRING_BASE has it
    uint8_t placed              # its places were said
    uint8_t started             # and a kick descriptor, or that there is none

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
    uint8_t patient             # it may take a second to answer: main's, before the driver starts
    uint32_t regions            # pieces of memory that it has shared
    uint32_t given_up           # connections in a row that ended before a guest was ready
    uint8_t was_ready           # a guest was ready
    uint8_t unguarded           # a piece of its memory has something else behind it (guards.pyx)
    uint8_t withheld            # a part of a ring lies where it cannot be used (rings.pyx)
    uint8_t moving              # its memory arrives from another host, page by page (post-copy)
    uint64_t layout             # the last features that it took
    ring_said rings[SAID_RINGS]
    # callbacks, main, PMDs and the watchdog, under the lock
    rte_spinlock_t lock
    int32_t socket              # 1 + a descriptor of our own of the connection; 0: none
    int32_t backend             # 1 + one of the channel that the library asks on; 0: none
    uint8_t dropped             # the connection was ended here
    uint32_t offences           # connections that were, since the port was added
    uint32_t offence            # why the last one was: OFFENCE_BROKEN ...
    # callbacks and main, under the lock
    uint8_t used                # main has seen that it uses its rings, and looks no more
    seen_memory memory
