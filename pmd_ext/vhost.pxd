# vhost-user sockets: registration and librte_vhost's callbacks.
from libc.stdint cimport uint64_t

from pmd_ext.state cimport slot


# Main. Registers slot.path and starts its driver. 0, or -errno (-1: no reason given) and *call
# names the function that failed. May run new_connection in the calling thread (guest already listening).
cdef int vhost_register(slot *s, bint client, const char **call) noexcept nogil
# Main. Unregisters; the slot must be detached. Returns when no callback of the path runs any more.
cdef int vhost_unregister(slot *s) noexcept nogil
