# vhost-user sockets: registration and librte_vhost's callbacks.
from libc.stdint cimport uint16_t, uint32_t, uint64_t

from pmd_ext.state cimport pmd, slot


# Main. Registers slot.path and starts its driver. 0, or -errno (-1: no reason given) and *call
# names the function that failed. May run new_connection in the calling thread (guest already listening).
cdef int vhost_register(slot *s, bint client, bint iommu, bint postcopy, bint tso,
                        uint32_t max_queue_pairs, const char **call) noexcept nogil
# Main. Unregisters; the slot must be detached. Returns when no callback of the path runs any more;
# waits a second at most for an event thread that another port's front end blocks.
cdef int vhost_unregister(slot *s) noexcept nogil
# A PMD, before its first call of the library: callbacks that it makes know it from now on.
cdef void vhost_thread_of(pmd *me) noexcept nogil
# Main. The library's count of address translations of one vring; 'first' is where hits stand among
# its statistics, misses are next. Zeros without a guest, or of a port that no table names.
cdef void vhost_iotlb(slot *s, uint16_t vring, unsigned first, uint64_t *hits,
                      uint64_t *misses) noexcept nogil
