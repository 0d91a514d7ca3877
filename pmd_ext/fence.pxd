# Keeps librte_vhost's event thread away while a client socket is unregistered.


# Main, once, before the first socket. Makes the connection that calls the thread, over the socket
# file 'path' that 'listener' listens on; neither is needed afterwards. 0 or -errno.
cdef int fence_start(const char *path, int listener) noexcept nogil
# Main. True: the event thread waits, without a lock of the library, until fence_open(). False, after
# a second at most: it is blocked elsewhere.
cdef bint fence_close() noexcept nogil
# Main, after a fence_close() that was true.
cdef void fence_open() noexcept nogil
