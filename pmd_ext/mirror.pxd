# Mirrors: copies of what a bridge receives and sends, to a port or into a VLAN.
from libc.stdint cimport uint16_t, uint32_t

from pmd_ext.dpdk.mbuf cimport rte_mbuf
from pmd_ext.state cimport member, pmd
from pmd_ext.vlan cimport frame


# PMDs. Of a burst that came in by 'source', a port of a bridge with mirrors, and was put into its
# VLANs: begins the frames' memory of mirrors, and copies those that the port's mirrors select.
cdef void mirror_received(pmd *me, const member *source, frame *frames, rte_mbuf **pkts,
                          uint16_t n) noexcept nogil
# PMDs. Copies frames to those of the mirrors (bits: bridge_view.mirrors) that select their VLANs
# and have not had them. Up to BURST frames, which 'source' received; they stay the caller's, as for
# transmit(), but have another tag afterwards.
cdef void mirror_copy(pmd *me, const member *source, uint32_t mirrors, frame **frames,
                      rte_mbuf **pkts, uint16_t n) noexcept nogil
