# All PMD threads and what each has to poll. Main.
from libc.stdint cimport uint32_t

from pmd_ext.state cimport pmd


cdef class Pmds:
    cdef readonly dict lists        # core of each PMD -> tuple of (slot, queue), as published

    # See Runtime's methods. DatapathError.
    cdef int start(self, int core, uint32_t sleep_max_us, bint block) except -2
    cdef int stop(self, int core) except -1
    cdef int rest(self, int core, uint32_t sleep_max_us, bint block) except -1
    cdef int set_lists(self, dict lists) except -1
    cdef int publish(self, dict lists) except -1
    cdef pmd *on(self, int core) noexcept
