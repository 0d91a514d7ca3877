"""What DPDK says about itself, as text, and how much it logs."""
from libc.stdio cimport FILE, fclose, fprintf
from libc.stdlib cimport free

from pmd_ext.dpdk.eal cimport rte_lcore_dump, rte_log_dump, rte_log_set_level_pattern
from pmd_ext.dpdk.mbuf cimport (
    rte_mempool, rte_mempool_avail_count, rte_mempool_dump, rte_mempool_in_use_count,
    rte_mempool_list_dump,
)
from pmd_ext.eal cimport log_errors


cdef extern from "stdio.h" nogil:
    FILE *open_memstream(char **text, size_t *bytes)


cdef class Stream:
    """A file in memory: DPDK prints into nothing else."""
    cdef FILE *file
    cdef char *text
    cdef size_t bytes

    def __cinit__(self) -> None:
        self.file = open_memstream(&self.text, &self.bytes)
        if self.file == NULL:
            raise MemoryError

    def __dealloc__(self) -> None:
        if self.file != NULL:
            fclose(self.file)
        free(self.text)

    cdef str written(self):
        fclose(self.file)
        self.file = NULL
        return self.text[:self.bytes].decode(errors="replace")


cdef str mempool_text(rte_mempool *pool):
    cdef Stream stream = Stream()
    if pool == NULL:
        rte_mempool_list_dump(stream.file)
    else:
        rte_mempool_dump(stream.file, pool)
        fprintf(stream.file, b"    count: avail (%u), in use (%u)\n",
                rte_mempool_avail_count(pool), rte_mempool_in_use_count(pool))
    return stream.written()


cdef str lcores_text():
    cdef Stream stream = Stream()
    rte_lcore_dump(stream.file)
    return stream.written()


cdef str log_levels_text():
    cdef Stream stream = Stream()
    rte_log_dump(stream.file)
    return stream.written()


cdef bint set_log_level(str pattern, int level) except -1:
    cdef int rc = rte_log_set_level_pattern(pattern.encode(), level)
    log_errors()
    return rc >= 0
