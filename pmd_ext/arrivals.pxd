# Keeps librte_vhost's event thread from ending a connection that is still being added.


# Main, around rte_vhost_driver_start().
cdef void arrivals_begin() noexcept nogil
cdef void arrivals_end() noexcept nogil
# The thread that adds a connection, before the event thread may know it.
cdef void arrival_begin(int vid) noexcept nogil
# The event thread, which ends a connection: returns when whoever added it is done with it.
cdef void arrival_wait(int vid) noexcept nogil
