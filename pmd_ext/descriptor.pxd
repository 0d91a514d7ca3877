# The descriptor of a front end's connection. The thread that runs new_connection for it.
from pmd_ext.state cimport slot


# Of one on that path that has no time-outs yet; -1: there is none, or it cannot be told from others.
# As a client's, or as one that was accepted.
cdef int descriptor_of(const char *path, bint client) noexcept nogil
# Whether who listens at its other end does so for another port than 's'.
cdef bint descriptor_is_of_another(const slot *s, int fd) noexcept nogil
