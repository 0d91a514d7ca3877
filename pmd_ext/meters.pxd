# Meters of a port: what it may receive, send and flood. Made by main (limits.pyx), run by PMDs.
from libc.stdint cimport uint16_t, uint32_t, uint64_t

from pmd_ext.dpdk.eal cimport rte_spinlock_t
from pmd_ext.dpdk.mbuf cimport rte_mbuf
from pmd_ext.dpdk.meter cimport (
    rte_meter_srtcm, rte_meter_srtcm_profile, rte_meter_trtcm_rfc4115,
    rte_meter_trtcm_rfc4115_profile,
)


cdef enum:
    STORM_CLASSES = 3

# Frames that go to every port; indices of limits.storm.
cdef enum:
    STORM_BROADCAST
    STORM_MULTICAST
    STORM_UNKNOWN

# One token bucket: a single-rate meter without an excess bucket. Of bytes, or of packets that
# count as one byte each.
cdef struct meter:
    # main writes before any table names it, PMDs read
    rte_meter_srtcm_profile profile
    # PMDs under the lock: several may police one port
    rte_spinlock_t lock
    uint64_t last               # TSC of the last burst
    rte_meter_srtcm bucket

# Two token buckets (RFC 4115), of bytes.
cdef struct two_rate_meter:
    # main writes before any table names it, PMDs read
    rte_meter_trtcm_rfc4115_profile profile
    # PMDs under the lock
    rte_spinlock_t lock
    uint64_t last               # TSC of the last burst
    rte_meter_trtcm_rfc4115 buckets
    # PMDs under the lock, main reads relaxed: what was green or yellow, what was red
    uint64_t packets
    uint64_t bytes
    uint64_t red

# What limits one port; immutable once published, but for what the meters hold. NULL: no such limit.
# A meter that stays as it was is in the next table too, so it locks itself.
cdef struct limits:
    meter *rx_bytes             # ingress_policing_rate
    meter *rx_packets           # ingress_policing_kpkts_rate
    meter *storm[STORM_CLASSES]
    meter *tx_bytes             # egress-policer
    two_rate_meter *tx_port     # trtcm-policer
    two_rate_meter *tx_queue    # its queue 0; there as long as tx_port is

# Main. A full bucket; 0 or -errno (EINVAL: rate or burst is 0).
cdef int meter_init(meter *m, uint64_t rate, uint64_t burst) noexcept nogil
# Main. Two full buckets; 0 or -errno (EINVAL: a rate without its burst).
cdef int two_rate_meter_init(two_rate_meter *m, uint64_t cir, uint64_t cbs, uint64_t eir,
                             uint64_t ebs) noexcept nogil
# PMDs. How many of up to BURST frames pass what the port may receive, or send. These come first
# in 'pkts' then, in the order they had, and the others behind them.
cdef uint16_t police_rx(const limits *l, rte_mbuf **pkts, uint16_t n) noexcept nogil
cdef uint16_t police_tx(const limits *l, rte_mbuf **pkts, uint16_t n) noexcept nogil
# PMDs. Which of up to BURST frames that go to every port may: a bit for each.
cdef uint32_t police_flood(const limits *l, rte_mbuf **pkts, uint16_t n) noexcept nogil
