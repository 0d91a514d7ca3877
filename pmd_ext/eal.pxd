# DPDK's start and its log.


# Main, once per process. Starts the EAL with argv; raises DatapathError. Keeps the caller's affinity.
cdef int eal_start(list argv) except -1
# Main. Sends DPDK's log to a non-blocking pipe and returns the end to read: lines of a level digit
# (RTE_LOG_*) and text. Lines are lost rather than waited for. OSError.
cdef int log_pipe() except -1
# Whether what DPDK logs on the calling thread is left out.
cdef void log_mute(bint muted) noexcept nogil
