"""The MAC table: one cache line for nearly every lookup, nothing written for a known source.

A key lives in one of two buckets; the first is preferred, the second takes the overflow.
"""
from libc.stdint cimport int16_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memset
from posix.stdlib cimport posix_memalign

from pmd_ext.atomics cimport (
    add_release_u32, cas_u32, fence_acquire, fence_release, load_acquire_u32, load_relaxed_u32,
    store_release_u32,
)
from pmd_ext.dpdk.eal cimport rte_pause


cdef extern from "shim.h" nogil:
    uint32_t shim_hash_u64(uint64_t key)
    void rte_prefetch0(const void *p)

cdef enum:
    READ_TRIES = 16     # a writer is a few stores long; a preempted one must not stop readers


cdef mac_table *mac_table_new(uint32_t max_entries, uint32_t aging_s) noexcept nogil:
    """A table for up to 'max_entries'; NULL without memory. At most 40 % full, so overflow is rare."""
    cdef mac_table *t = NULL
    cdef uint32_t n = 2
    while n * 2 < max_entries:
        n *= 2
    if posix_memalign(<void **>&t, 64, sizeof(mac_table)) != 0:
        return NULL
    memset(t, 0, sizeof(mac_table))
    if posix_memalign(<void **>&t.buckets, 64, n * sizeof(mac_bucket)) != 0:
        free(t)
        return NULL
    memset(t.buckets, 0, n * sizeof(mac_bucket))
    t.mask = n - 1
    t.max_entries = max_entries
    t.aging_s = aging_s
    return t


cdef void mac_table_free(mac_table *t) noexcept nogil:
    free(t.buckets)
    free(t)


cdef inline mac_bucket *first_bucket(mac_table *t, uint32_t hash) noexcept nogil:
    return &t.buckets[hash & t.mask]


cdef inline mac_bucket *second_bucket(mac_table *t, uint32_t hash) noexcept nogil:
    # never the first one: two writers' locks are taken in this order
    return &t.buckets[(hash & t.mask) ^ ((hash >> 16 & t.mask) | 1)]


cdef inline int16_t age(uint32_t value, uint16_t now_s) noexcept nogil:
    """Seconds since the time stamp; below 0 when another PMD's clock is ahead of 'now_s'."""
    return <int16_t>(now_s - <uint16_t>value)


cdef inline bint expired(mac_table *t, uint32_t value, uint16_t now_s) noexcept nogil:
    return <int>age(value, now_s) > <int>t.aging_s


cdef inline int find(mac_bucket *b, uint64_t key) noexcept nogil:
    cdef int i
    for i in range(BUCKET_ENTRIES):
        if b.keys[i] == key:
            return i
    return -1


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


cdef void mac_prefetch(mac_table *t, uint64_t key) noexcept nogil:
    rte_prefetch0(first_bucket(t, shim_hash_u64(key)))


cdef int mac_lookup(mac_table *t, uint64_t key, uint16_t now_s) noexcept nogil:
    cdef uint32_t hash = shim_hash_u64(key)
    cdef uint32_t value = 0
    if not read_bucket(first_bucket(t, hash), key, &value):
        if not read_bucket(second_bucket(t, hash), key, &value):
            return -1
    if expired(t, value, now_s):
        return -1
    return value >> 16


cdef inline bint try_lock(mac_bucket *b) noexcept nogil:
    cdef uint32_t version = load_relaxed_u32(&b.version)
    if version & 1 or not cas_u32(&b.version, version, version + 1):
        return False
    fence_release()             # the odd version is seen before any store that follows
    return True


cdef inline void unlock(mac_bucket *b) noexcept nogil:
    store_release_u32(&b.version, b.version + 1)


cdef inline int free_entry(mac_table *t, mac_bucket *b, uint16_t now_s) noexcept nogil:
    cdef int i
    for i in range(BUCKET_ENTRIES):
        if b.keys[i] == 0 or expired(t, b.values[i], now_s):
            return i
    return -1


cdef inline int oldest_entry(mac_bucket *b, uint16_t now_s) noexcept nogil:
    cdef int i, oldest = -1
    for i in range(BUCKET_ENTRIES):
        if b.keys[i] != 0 and (
                oldest < 0 or age(b.values[i], now_s) > age(b.values[oldest], now_s)):
            oldest = i
    return oldest


cdef inline void set_entry(mac_table *t, mac_bucket *b, int i, uint64_t key,
                           uint32_t value) noexcept nogil:
    if b.keys[i] == 0:
        add_release_u32(&t.entries, 1)
    elif b.keys[i] != key or b.values[i] >> 16 != value >> 16:
        add_release_u32(&t.changes, 1)
    b.keys[i] = key
    b.values[i] = value


cdef void learn_locked(mac_table *t, mac_bucket *b, mac_bucket *b2, uint64_t key,
                       uint32_t value, uint16_t now_s) noexcept nogil:
    """Puts the entry where it is, else where there is room, else in place of the oldest."""
    cdef bint full = load_relaxed_u32(&t.entries) >= t.max_entries
    cdef int i = find(b, key)
    if i >= 0:
        set_entry(t, b, i, key, value)
        return
    if not try_lock(b2):
        return
    i = find(b2, key)
    if i >= 0:
        set_entry(t, b2, i, key, value)
    else:
        i = -1 if full else free_entry(t, b, now_s)
        if i >= 0:
            set_entry(t, b, i, key, value)
        else:
            i = -1 if full else free_entry(t, b2, now_s)
            if i >= 0:
                set_entry(t, b2, i, key, value)
            else:
                i = oldest_entry(b, now_s)
                if i >= 0:
                    set_entry(t, b, i, key, value)
    unlock(b2)


cdef inline bint refresh(mac_bucket *b, uint64_t key, uint32_t new_value) noexcept nogil:
    """True when 'key' is there, at the same port, and its time stamp is now the new one."""
    cdef uint32_t value
    cdef int i = find(b, key)
    if i < 0:
        return False
    value = load_relaxed_u32(&b.values[i])
    if value >> 16 != new_value >> 16:
        return False
    # No lock: if the entry changes hands meanwhile the swap fails, or it meets another key
    # of the same port and only makes that one look younger.
    return value == new_value or cas_u32(&b.values[i], value, new_value)


cdef void mac_learn(mac_table *t, uint64_t key, uint16_t slot, uint16_t now_s) noexcept nogil:
    cdef uint32_t hash = shim_hash_u64(key)
    cdef uint32_t value = <uint32_t>slot << 16 | now_s
    cdef mac_bucket *b = first_bucket(t, hash)
    cdef mac_bucket *b2 = second_bucket(t, hash)
    if refresh(b, key, value) or refresh(b2, key, value) or not try_lock(b):
        return
    learn_locked(t, b, b2, key, value, now_s)
    unlock(b)


cdef void remove_if(mac_table *t, bint by_age, int slot, uint16_t now_s) noexcept nogil:
    cdef uint32_t n
    cdef int i
    cdef mac_bucket *b
    for n in range(t.mask + 1):
        b = &t.buckets[n]
        while not try_lock(b):
            rte_pause()
        for i in range(BUCKET_ENTRIES):
            if b.keys[i] == 0:
                continue
            if (expired(t, b.values[i], now_s) if by_age
                    else slot < 0 or <int>(b.values[i] >> 16) == slot):
                b.keys[i] = 0
                add_release_u32(&t.entries, <uint32_t>-1)
                add_release_u32(&t.changes, 1)
        unlock(b)


cdef void mac_expire(mac_table *t, uint16_t now_s) noexcept nogil:
    remove_if(t, True, 0, now_s)


cdef void mac_flush(mac_table *t, int slot) noexcept nogil:
    remove_if(t, False, slot, 0)
