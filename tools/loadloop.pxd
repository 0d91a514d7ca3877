# The load generator's loop, for loadgen.pyx.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from pmd_ext.dpdk.mbuf cimport rte_mbuf, rte_mempool


cdef enum:
    BURST = 32
    SPARE = 8 * BURST
    MAX_ENDS = 32               # DPDK's RTE_MAX_ETHPORTS, as Debian builds it
    TEMPLATE_BYTES = 64
    WINDOW_WORDS = 64
    WINDOW = 64 * WINDOW_WORDS
    FINE = 32                   # buckets of the histogram for each doubling
    BUCKETS = 32 * FINE
    MARK = 0x4c47               # of our frames

# What a frame has behind its Ethernet, IPv4 and UDP headers.
cdef packed struct label:
    uint16_t mark
    uint8_t run                 # frames of an earlier one may still come
    uint8_t home                # on the way back
    uint16_t stream
    uint64_t number
    uint64_t stamp              # TSC

cdef packed struct headers:
    uint8_t destination[6]
    uint8_t source[6]
    uint16_t type
    uint8_t ip[20]
    uint16_t from_port
    uint16_t to_port
    uint32_t rest_of_udp
    label about

# What came of a stream at one place. Frames of one flow stay in order; between flows a switch may
# change it, so of the last WINDOW numbers it is known which were there.
cdef struct arrivals:
    uint64_t due                # one more than the highest number that came
    uint64_t seen[WINDOW_WORDS]

# One end of the wire: a virtio-user device.
cdef struct endpoint:
    uint16_t port_id
    uint16_t n_back             # frames to be sent back that the ring did not take yet
    rte_mbuf *back[BURST]

cdef struct stream:
    uint16_t source             # endpoint
    uint16_t length             # bytes, without FCS
    uint32_t macs               # addresses at each end
    uint32_t flows
    bint returns                # the other end sends every frame back
    bint everywhere             # to all endpoints but the source
    uint16_t destination
    double per_cycle            # frames; 0: as many as the ring takes
    uint32_t next_mac
    uint32_t next_flow
    uint16_t first              # of 'built', frames from here on wait for the ring
    uint16_t n_built
    rte_mbuf *built[BURST]
    uint8_t template[TEMPLATE_BYTES]
    arrivals *at                # each endpoint, and last back at the source
    uint64_t sent
    uint64_t received
    uint64_t bytes
    uint64_t late               # came after one with a higher number
    uint64_t repeated           # numbers that were there before, or are too old to know
    uint64_t stray              # at an endpoint where they do not belong

cdef struct work:
    rte_mempool *pool
    uint32_t n_spare            # buffers of frames that came, to be used for the next ones
    rte_mbuf *spare[SPARE]
    uint32_t n_ends
    endpoint ends[MAX_ENDS]
    uint32_t n_streams
    stream *streams
    bint stamped
    uint8_t run
    bint alone                  # no other process drives endpoints on this core
    uint64_t tries              # to send,
    uint64_t full               # and those in which a ring did not take all that there was
    uint64_t idle_cycles        # of rounds in which nothing moved
    uint64_t foreign            # frames that are not ours
    uint64_t *delays            # histogram of cycles

# Books the number of a frame that came; what it tells is counted with the stream.
cdef void check_number(stream *s, arrivals *a, uint64_t number) noexcept nogil
# Runs for so many cycles, or with 'quiet' until none came for so long; returns how many it took.
# 'since': TSC when the streams began.
cdef uint64_t drive(work *w, uint64_t since, uint64_t cycles, bint sending, uint64_t quiet
                    ) noexcept nogil
# What no ring took was never sent, and what should go back neither.
cdef void forget_unsent(work *w) noexcept nogil
# The shortest time, in cycles, that is in this bucket of work.delays.
cdef uint64_t shortest_in(uint32_t i) noexcept nogil
