# Sending one burst to one port.
from libc.stdint cimport uint16_t, uint64_t

from pmd_ext.dpdk.mbuf cimport rte_mbuf
from pmd_ext.state cimport pmd, ring_counters
from pmd_ext.tally cimport tally


# PMDs. Sends up to BURST frames to the guest of 'slot' and counts what became of each; the
# mbufs stay the caller's (the library copies). 'sum' is theirs; NULL: not known.
cdef void transmit(pmd *me, uint16_t slot, rte_mbuf **pkts, uint16_t n, const tally *sum
                   ) noexcept nogil
# Host thread. Sends to a device of the kernel at once and counts; the mbufs stay the caller's, but
# their headers and headroom may have changed.
cdef void send_to_device(pmd *me, uint16_t slot, rte_mbuf **pkts, uint16_t n) noexcept nogil
# PMDs, once a round where work.n_waits is not 0. Sends what waits for a guest's IOMMU as far as the
# guest takes it; drops, and counts, what waited for too long, whose guest has gone, or whose port is
# on no bridge.
cdef void send_waiting(pmd *me) noexcept nogil
# PMDs. Adds frames and their sum to the counters of the ring they were taken from or put on.
cdef void count(ring_counters *c, rte_mbuf **pkts, uint16_t n, const tally *sum) noexcept nogil
# The same where the sum is not known.
cdef void count_frames(ring_counters *c, rte_mbuf **pkts, uint16_t n) noexcept nogil
# PMDs. Lets go of the txqs of ports with too few of them that 'me' sent nothing to since then (TSC).
cdef void release_txqs(pmd *me, uint64_t used_before) noexcept nogil
