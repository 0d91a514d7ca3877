# The descriptor of a front end's connection. Any thread, most of all the one that runs new_connection.
from pmd_ext.state cimport slot


cdef enum:
    RECEIVE_MS = 50             # for the rest of a message

# Of one on that path that has no time-outs yet, as a client's or as one that was accepted; -1: there is
# none, or it cannot be told from others. All of these have time-outs then, and are in the way once.
cdef int descriptor_of(const char *path, bint client) noexcept nogil
# How long the library may wait on it.
cdef void descriptor_time_out(int fd, unsigned receive_ms) noexcept nogil
# Whether who listens at its other end does so for another port than 's'.
cdef bint descriptor_is_of_another(const slot *s, int fd) noexcept nogil
