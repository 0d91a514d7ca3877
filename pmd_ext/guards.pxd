# What lies behind the memory of guests.
from libc.stdint cimport int16_t

from pmd_ext.message cimport shim_message


# Before and after the library handles SET_MEM_TABLE, as it is to be handled. After: whether every
# piece of the guest's memory has a guard behind it.
cdef void guards_before(int16_t slot, const shim_message *m) noexcept nogil
cdef bint guards_after(int16_t slot, int vid) noexcept nogil
# When no PMD touches the memory any more.
cdef void guards_close(int16_t slot) noexcept nogil
# Whether the address is in one of them. Any thread.
cdef bint guards_have(int16_t slot, const void *address) noexcept nogil
