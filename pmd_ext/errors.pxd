# The one converter from DPDK's return values to Python exceptions.


# Main, with the GIL. Raises DatapathError unless rc is 0. 'port' may be None.
cdef int check(int rc, str call, object port=*) except -1
