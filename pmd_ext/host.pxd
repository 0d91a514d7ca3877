# The host thread: serves the descriptors of all ports of the host's kernel.
from libc.stdint cimport uint16_t, uint32_t

from pmd_ext.state cimport host_port, pmd


# Main. Starts the thread and waits until it runs; 0 or -errno.
cdef int host_start(pmd *me) noexcept nogil
# Main. Ends and joins the thread, which must serve nothing.
cdef void host_stop(pmd *me) noexcept nogil
# Main. Whether the thread looks for frames from the port's descriptor; 0 or -errno.
cdef int host_watch(pmd *me, uint16_t slot, const host_port *port) noexcept nogil
cdef void host_unwatch(pmd *me, const host_port *port) noexcept nogil
