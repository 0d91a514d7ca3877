# What a port's front end has said so far, for who asks why it has no guest.
from pmd_ext.state cimport slot


# new_connection: has its messages looked at. 0, or what new_connection is to return.
cdef int handshake_begin(slot *s, int vid) noexcept nogil
# new_device: the guest is ready.
cdef void handshake_done(slot *s) noexcept nogil
# destroy_connection, before slot_disconnected().
cdef void handshake_end(slot *s) noexcept nogil
# Main, of a port that is new: nobody has said anything.
cdef void handshake_forget(slot *s) noexcept nogil
