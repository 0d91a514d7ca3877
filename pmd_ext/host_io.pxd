# One frame from or to a device of the host's kernel.
from pmd_ext.dpdk.mbuf cimport rte_mbuf
from pmd_ext.state cimport host_port


# What came of an attempt to receive.
cdef enum:
    IO_NOTHING                  # there is none, or the device is down
    IO_FRAME
    IO_OVERSIZE                 # one that the buffer cannot hold was taken and dropped
    IO_SEGMENTABLE              # one that somebody has to cut, and not TCP, likewise
    IO_BROKEN                   # one whose header says what cannot be, likewise
    IO_GONE                     # the device was deleted: host_port.error says how it was noticed


# Host thread. Receives one frame into 'm', an empty buffer, or into memory that 'm' is given, for it
# is in one piece. Does not wait.
cdef int host_receive(host_port *port, rte_mbuf *m) noexcept nogil
# Host thread. Sends one frame and leaves the buffer to the caller; False when the kernel does not
# take it. Does not wait.
cdef bint host_send(host_port *port, rte_mbuf *m) noexcept nogil
