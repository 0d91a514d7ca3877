"""The MAC table: one cache line for nearly every lookup.

A key lives in one of two buckets; the first is preferred, the second takes the overflow.
"""
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memset
from posix.stdlib cimport posix_memalign


cdef extern from "sys/mman.h" nogil:
    enum:
        MADV_HUGEPAGE
    int madvise(void *memory, size_t bytes, int advice)

cdef enum:
    LARGE_PAGE = 2 << 20


cdef void *zeroed_lines(size_t bytes) noexcept nogil:
    """Whole cache lines; where that is much, on large pages, for it is read all over."""
    cdef void *memory = NULL
    if posix_memalign(&memory, LARGE_PAGE if bytes >= LARGE_PAGE else 64, bytes) != 0:
        return NULL
    if bytes >= LARGE_PAGE:
        madvise(memory, bytes, MADV_HUGEPAGE)       # else it is slower, and no more
    memset(memory, 0, bytes)
    return memory


cdef mac_table *mac_table_new(uint32_t max_entries, uint32_t aging_s, uint64_t secret
                              ) noexcept nogil:
    """A table for up to 'max_entries'; NULL without memory. At most 60 % full: fewer than that are
    more cache lines than need be, more seldom find the first of their buckets free."""
    cdef mac_table *t = <mac_table *>zeroed_lines(sizeof(mac_table))
    cdef uint32_t n = max(<uint32_t>2, (max_entries + 2) // 3)
    if t == NULL:
        return NULL
    t.buckets = <mac_bucket *>zeroed_lines(n * sizeof(mac_bucket))
    t.owners = <mac_owner *>zeroed_lines(MAC_SLOTS * sizeof(mac_owner))
    t.owned = <uint32_t *>zeroed_lines(MAC_SLOTS * sizeof(uint32_t))
    t.flaps = <mac_flaps *>zeroed_lines(sizeof(mac_flaps))
    if t.buckets == NULL or t.owners == NULL or t.owned == NULL or t.flaps == NULL:
        mac_table_free(t)
        return NULL
    t.secret = secret | 1
    t.n_buckets = n
    t.max_entries = max_entries
    t.aging_s = aging_s
    return t


cdef void mac_table_free(mac_table *t) noexcept nogil:
    free(t.buckets)
    free(t.owners)
    free(t.owned)
    free(t.flaps)
    free(t)
