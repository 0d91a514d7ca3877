# Rings of guests behind an IOMMU whose pages lie anywhere in the guest's memory.
from libc.stdint cimport int16_t

from pmd_ext.dpdk.vhost cimport rte_vhost_msg_result
from pmd_ext.message cimport shim_message


# Main, before the socket of a port that offers an IOMMU is registered; rings_close() after it is
# unregistered. 0, or -ENOMEM. 'room': memory may be added to the guest's.
cdef int rings_open(int16_t slot, bint room) noexcept nogil
cdef void rings_close(int16_t slot) noexcept nogil
# new_connection, for each of such a port.
cdef void rings_begin(int16_t slot, int vid) noexcept nogil
# Before and after the library handles a message of a connection of such a port.
cdef rte_vhost_msg_result rings_before(int vid, shim_message *m) noexcept nogil
cdef void rings_after(int vid, const shim_message *m) noexcept nogil
