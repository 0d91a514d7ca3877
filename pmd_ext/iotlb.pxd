# Frames that wait until a guest's IOMMU has said where their buffers are.
from libc.stdint cimport uint16_t, uint32_t, uint64_t

from pmd_ext.dpdk.mbuf cimport rte_mbuf
from pmd_ext.state cimport pmd
from pmd_ext.waits cimport iotlb_wait


# PMDs. What waits for one ring of a guest; NULL: nothing does.
cdef iotlb_wait *iotlb_waiting(pmd *me, uint16_t slot, uint16_t vring) noexcept nogil
# PMDs. Copies frames to wait for this guest of the slot; how many there was room for. Those
# that there was no buffer for are counted.
cdef uint16_t iotlb_keep(pmd *me, uint16_t slot, uint32_t guest, uint16_t vring, rte_mbuf **pkts,
                         uint16_t n) noexcept nogil
# PMDs. Frees the first 'n' frames that wait.
cdef void iotlb_release(iotlb_wait *w, uint16_t n) noexcept nogil
# PMDs. Takes the places free that wait for nothing any more.
cdef void iotlb_tidy(pmd *me) noexcept nogil
# PMD. Frees and counts all: the thread ends.
cdef void iotlb_forget(pmd *me) noexcept nogil
