# Multicast snooping: who joined what is learned from IGMP and MLD, and decides who gets what.
from libc.stdint cimport uint16_t

from pmd_ext.dpdk.mbuf cimport rte_mbuf
from pmd_ext.slotsets cimport slot_set
from pmd_ext.state cimport member
from pmd_ext.vlan cimport frame


# PMDs. Learns from a burst from 'source' that is in its VLANs. Multicast that does not go to all
# ports gets OUT_SLOTS + i as output, and sets[i], one of as many as there are frames, says where to.
cdef void snoop(const member *source, frame *frames, rte_mbuf **pkts, uint16_t n, slot_set *sets,
                uint16_t now_s) noexcept nogil
