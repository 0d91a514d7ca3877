# Rings of guests behind an IOMMU whose pages lie anywhere in the guest's memory.
from libc.stdint cimport int16_t


# Main, before the socket of a port that offers an IOMMU is registered; rings_close() after it is
# unregistered. 0, or -ENOMEM. 'room': memory may be added to the guest's.
cdef int rings_open(int16_t slot, bint room) noexcept nogil
cdef void rings_close(int16_t slot) noexcept nogil
# new_connection, for each of such a port. 0, or what it is to return.
cdef int rings_begin(int16_t slot, int vid) noexcept nogil
