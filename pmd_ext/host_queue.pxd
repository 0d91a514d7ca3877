# From any thread that forwards to the host thread.
from libc.stdint cimport uint16_t

from pmd_ext.dpdk.mbuf cimport rte_mbuf
from pmd_ext.state cimport pmd


# PMDs and the host thread. Queues copies of up to BURST frames for the host thread to send by the
# port of 'slot', and counts what is dropped. Never waits, for nobody.
cdef void host_enqueue(pmd *me, uint16_t slot, rte_mbuf **pkts, uint16_t n) noexcept nogil
