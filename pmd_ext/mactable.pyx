"""The MAC table: one cache line for nearly every lookup.

A key lives in one of two buckets; the first is preferred, the second takes the overflow.
"""
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memset
from posix.stdlib cimport posix_memalign

from pmd_ext.atomics cimport fence_acquire, load_acquire_u32, load_relaxed_u32
from pmd_ext.dpdk.eal cimport rte_pause


cdef extern from "sys/mman.h" nogil:
    enum:
        MADV_HUGEPAGE
    int madvise(void *memory, size_t bytes, int advice)

cdef enum:
    LARGE_PAGE = 2 << 20
    READ_TRIES = 16     # a writer is a few stores long; a preempted one must not stop readers


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
    """A table for up to 'max_entries'; NULL without memory. At most 40 % full, so overflow is rare."""
    cdef mac_table *t = <mac_table *>zeroed_lines(sizeof(mac_table))
    cdef uint32_t n = 2
    if t == NULL:
        return NULL
    while n * 2 < max_entries:
        n *= 2
    t.buckets = <mac_bucket *>zeroed_lines(n * sizeof(mac_bucket))
    t.owners = <mac_owner *>zeroed_lines(MAC_SLOTS * sizeof(mac_owner))
    t.owned = <uint32_t *>zeroed_lines(MAC_SLOTS * sizeof(uint32_t))
    t.flaps = <mac_flaps *>zeroed_lines(sizeof(mac_flaps))
    if t.buckets == NULL or t.owners == NULL or t.owned == NULL or t.flaps == NULL:
        mac_table_free(t)
        return NULL
    t.secret = secret | 1
    t.mask = n - 1
    t.max_entries = max_entries
    t.aging_s = aging_s
    return t


cdef void mac_table_free(mac_table *t) noexcept nogil:
    free(t.buckets)
    free(t.owners)
    free(t.owned)
    free(t.flaps)
    free(t)


cdef inline bint read_bucket(mac_bucket *b, uint64_t key, uint32_t *value) noexcept nogil:
    """Whether 'key' is there, and a value that belonged to it; "no" while a writer stays."""
    cdef uint32_t version
    cdef int i, tries = 0
    while tries < READ_TRIES:
        tries += 1
        version = load_acquire_u32(&b.version)
        if version & 1:
            rte_pause()
            continue
        i = find(b, key)
        if i >= 0:
            value[0] = load_relaxed_u32(&b.values[i])
        fence_acquire()
        if load_relaxed_u32(&b.version) == version:
            return i >= 0
    return False


cdef int mac_lookup(mac_table *t, uint64_t key, uint16_t now_s) noexcept nogil:
    cdef uint32_t hash = mac_hash(t, key)
    cdef uint32_t value = 0
    if not read_bucket(first_bucket(t, hash), key, &value):
        if not read_bucket(second_bucket(t, hash), key, &value):
            return -1
    if expired(t, value, now_s):
        return -1
    return slot_of(value)
