# Patch ports: what is sent to one comes in at its peer, on another bridge.
from libc.stdint cimport uint16_t, uint32_t

from pmd_ext.dpdk.mbuf cimport RTE_PKTMBUF_HEADROOM, rte_mbuf, rte_pktmbuf_data_room_size
from pmd_ext.state cimport forwarding, pmd


cdef enum:
    # A loop of patch ports ends, and many loops side by side do not keep a PMD from its queues.
    PATCH_DEPTH = 8             # patch ports that a frame may come through
    PATCH_CROSSINGS = 128       # that one burst sent to a patch port may cause

# Bytes of the longest frame that a copy of this one can be made of in one piece.
cdef inline uint32_t frame_room(const rte_mbuf *m) noexcept nogil:
    return rte_pktmbuf_data_room_size(m.pool) - RTE_PKTMBUF_HEADROOM

# PMDs. Takes up to BURST frames that are sent to the patch port of 'slot_id' and copies them for its
# peer; returns how many copies there are, which are the caller's, and the peer's slot. Counts them,
# and what is dropped: a port without a peer, too many ports in a row, frames that are too long for a
# buffer or more than the port's QoS allows, no buffers.
cdef uint16_t patch_cross(pmd *me, const forwarding *fwd, uint16_t slot_id, rte_mbuf **pkts,
                          uint16_t n, rte_mbuf **copies, uint16_t *peer) noexcept nogil
