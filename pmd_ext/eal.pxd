# DPDK's start and its log.


# Main, once per process. Starts the EAL with argv; raises DatapathError. Keeps the caller's affinity.
cdef int eal_start(list argv) except -1
# Main. Sends DPDK's log to a non-blocking pipe and returns the end to read: lines of a level digit
# (RTE_LOG_*) and text. Lines are lost rather than waited for. OSError.
cdef int log_pipe() except -1
# Whether what DPDK logs on the calling thread is left out.
cdef void log_mute(bint muted) noexcept nogil
# Main, after eal_start(). Has the function called whenever an error is logged to the pipe, on the thread
# that logs it. Errors of librte_vhost's connections are logged from now on, whatever the levels; for that
# the global level is RTE_LOG_ERR at least.
cdef void log_listen(void (*on_error)(const char *text, size_t bytes) noexcept nogil
                     ) noexcept nogil
# Main, after it set levels: that they still are.
cdef void log_errors() noexcept nogil
