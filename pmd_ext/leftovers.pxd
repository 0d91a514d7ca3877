# What the library leaves when it fails half way to replace a guest's memory.
from libc.stdint cimport int16_t

from pmd_ext.message cimport shim_message


# Main, once, before the first socket is registered.
cdef void leftovers_start() noexcept nogil
# The event thread: the library is about to handle SET_MEM_TABLE as it is, or does so no more.
cdef void leftovers_expect(int vid, const shim_message *m) noexcept nogil
cdef void leftovers_none() noexcept nogil
# When no PMD touches the slot's rings any more.
cdef void leftovers_close(int16_t slot) noexcept nogil
