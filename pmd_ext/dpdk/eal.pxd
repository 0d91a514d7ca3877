# Declarations only: EAL, logging, threads, malloc heaps.
from libc.stdint cimport uint32_t, uint64_t
from libc.stdio cimport FILE


cdef extern from "rte_eal.h" nogil:
    int rte_eal_init(int argc, char **argv)
    int rte_mp_disable()

cdef extern from "rte_errno.h" nogil:
    int rte_errno                   # a macro over thread-local storage
    const char *rte_strerror(int errnum)

cdef extern from "rte_version.h" nogil:
    const char *rte_version()

cdef extern from "rte_log.h" nogil:
    enum:
        RTE_LOG_ERR
        RTE_LOG_WARNING
    uint32_t rte_log_get_global_level()
    void rte_log_set_global_level(uint32_t level)
    int rte_openlog_stream(FILE *f)
    int rte_log_cur_msg_loglevel()
    void rte_log_dump(FILE *f)
    int rte_log_register(const char *name)
    int rte_log_get_level(uint32_t type)
    int rte_log_set_level(uint32_t type, uint32_t level)
    int rte_log_set_level_pattern(const char *pattern, uint32_t level)

cdef extern from "rte_lcore.h" nogil:
    enum:
        LCORE_ID_ANY
    unsigned rte_lcore_id()
    void rte_lcore_dump(FILE *f)
    unsigned rte_socket_id()
    unsigned rte_socket_count()
    int rte_socket_id_by_idx(unsigned index)
    int rte_thread_register()
    void rte_thread_unregister()

cdef extern from "rte_cycles.h" nogil:
    uint64_t rte_rdtsc()
    uint64_t rte_get_tsc_hz()

cdef extern from "rte_pause.h" nogil:
    void rte_pause()

cdef extern from "rte_malloc.h" nogil:
    struct rte_malloc_socket_stats:
        size_t heap_totalsz_bytes
        size_t heap_allocsz_bytes
        # ...
    int rte_malloc_get_socket_stats(int socket, rte_malloc_socket_stats *stats)

cdef extern from "rte_spinlock.h" nogil:
    ctypedef struct rte_spinlock_t:
        pass
    void rte_spinlock_init(rte_spinlock_t *sl)
    void rte_spinlock_lock(rte_spinlock_t *sl)
    int rte_spinlock_trylock(rte_spinlock_t *sl)
    void rte_spinlock_unlock(rte_spinlock_t *sl)
