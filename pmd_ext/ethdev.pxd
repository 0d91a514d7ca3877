# Ethernet devices: receiving and sending.
from libc.stdint cimport uint16_t, uint64_t

from pmd_ext.dpdk.mbuf cimport rte_mbuf
from pmd_ext.state cimport slot


# The PMD of the rxq. Up to BURST frames, which are the caller's.
cdef uint16_t eth_receive(slot *s, uint16_t queue, rte_mbuf **pkts) noexcept nogil
# PMDs, with the lock of the txq. Sends copies of frames, which stay the caller's; returns how many
# the device (or the thread that sends for it) took, and adds those that there was no buffer for.
cdef uint16_t eth_send(slot *s, uint16_t queue, rte_mbuf **pkts, uint16_t n, uint64_t *no_buffers
                       ) noexcept nogil
# The thread that sends for a port whose device may block, given its eth_port.
cdef void *eth_sender(void *arg) noexcept nogil
