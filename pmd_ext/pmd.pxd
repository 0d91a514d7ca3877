# PMD threads: start, stop, poll lists, the polling loop.
from pmd_ext.state cimport pmd, poll_list


# Main. Starts the thread of 'me' on 'core'; 0 or -errno.
cdef int pmd_start(pmd *me, int core) noexcept nogil
# Main. Ends and joins the thread, which must poll nothing (-EBUSY otherwise).
cdef int pmd_stop(pmd *me) noexcept nogil
# Main. Publishes 'polls' to the thread; the caller waits for quiescence, then frees what was returned.
cdef poll_list *pmd_publish(pmd *me, poll_list *polls) noexcept nogil
cdef poll_list *poll_list_new(unsigned n) noexcept nogil
cdef void poll_list_free(poll_list *polls) noexcept nogil
