# A front end's connection: its time-outs, and its end where the switch ends it.
from libc.stdint cimport uint32_t

from pmd_ext.state cimport slot


# new_connection: has the library wait for this front end no longer than a moment, but for one whose
# memory may arrive by post-copy. False: a connection that cannot be found, which is to be refused; it
# is an offence. One with another port's front end ends.
cdef bint connection_begin(slot *s, bint patient) noexcept nogil
# new_connection, when another gives way; main, after it unregistered: no more is to be seen of it.
cdef void connection_close(slot *s) noexcept nogil
# destroy_connection: notes an offence if the library ended it, not the front end.
cdef void connection_end(slot *s) noexcept nogil
# Whether it was ended here, by connection_drop. Any thread.
cdef bint connection_is_dropped(slot *s) noexcept nogil
# Whether the front end does not read what it is answered: each answer more would be waited with. The
# event thread.
cdef bint connection_is_deaf(slot *s) noexcept nogil
# Whether this process has too few descriptors left for those of a message: the kernel hands it over
# without them. The event thread.
cdef bint connection_lacks_files(slot *s) noexcept nogil
# Has the event thread end the connection, for that reason (OFFENCE_BROKEN ...). Any thread; also in a
# signal handler of one that does not work on the slot's front end.
cdef void connection_drop(slot *s, uint32_t offence) noexcept nogil
# SET_BACKEND_REQ_FD: the channel that the library asks for translations on.
cdef void connection_backend(slot *s, int fd) noexcept nogil
# Any thread. Gives time-outs to a connection that is no port's.
cdef void connection_time_out(const char *path, bint client) noexcept nogil
