# Which ports the host thread serves. Main.
from libc.stdint cimport uint16_t

from pmd_ext.state cimport dataplane


cdef class Hosts:
    cdef dataplane *dp
    cdef list slots             # that the thread serves
    cdef int made               # queues so far; names them
    # Starts the thread with the first port. The descriptor stays the caller's. DatapathError.
    cdef int add(self, uint16_t index, int fd, bint packet, bint offloads, str name) except -1
    # The thread uses the descriptor no more, and nothing of the port is queued, when this returns.
    cdef int remove(self, uint16_t index) except -1
    # What was queued before is sent or dropped when this returns.
    cdef void flush(self, uint16_t index)
    cdef int publish(self, list slots) except -1
    cdef void stop(self)
