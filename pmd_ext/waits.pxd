# What waits for guests' IOMMUs, of one thread that sends.
from libc.stdint cimport uint16_t, uint32_t, uint64_t

from pmd_ext.dpdk.mbuf cimport rte_mbuf


cdef enum:
    IOTLB_FRAMES = 64               # that may wait for one ring
    IOTLB_WAITS = 16                # rings that they may wait for at a time, of one thread

# Frames that a guest could not take yet, in the order they came.
cdef struct iotlb_wait:
    uint64_t since                  # TSC when it last took one, or the first came
    uint32_t guest                  # slot.txq_guest then
    uint16_t slot
    uint16_t vring
    uint16_t n
    rte_mbuf *pkts[IOTLB_FRAMES]
