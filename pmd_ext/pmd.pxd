# PMD threads: start, stop, poll lists, the polling loop.
from libc.stdint cimport uint32_t

from pmd_ext.state cimport dataplane, pmd, poll_list


# Main. Starts the thread of 'me' on 'core' and waits until it runs; 0 or -errno (EINVAL: no such
# core, or not one that this process may use).
cdef int pmd_start(pmd *me, int core) noexcept nogil
# Main. Ends and joins the thread, which must poll nothing (-EBUSY otherwise).
cdef int pmd_stop(pmd *me) noexcept nogil
# Main. How the thread rests: longest sleep between rounds, waiting for kicks; heeded at once.
cdef void pmd_rest(pmd *me, uint32_t sleep_max_us, bint block) noexcept nogil
# Main. Publishes 'polls' to the thread; the caller waits for quiescence, then frees what was returned.
cdef poll_list *pmd_publish(pmd *me, poll_list *polls) noexcept nogil
# Main. A list of 'n' rxqs to be filled in; NULL without memory.
cdef poll_list *poll_list_new(dataplane *dp, unsigned n) noexcept nogil
cdef void poll_list_free(poll_list *polls) noexcept nogil

# What the host thread does like a PMD.
# Main. What a thread needs and keeps when it ends; 0 or -errno.
cdef int pmd_allocate(pmd *me) noexcept nogil
# The thread itself, first and last.
cdef void pmd_come_up(pmd *me, const char *name) noexcept nogil
cdef void pmd_go_down(pmd *me) noexcept nogil
