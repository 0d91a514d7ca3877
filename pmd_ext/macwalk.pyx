"""Main's passes over a MAC table: a bucket is read first, and locked only where something goes."""
from libc.stdint cimport uint16_t, uint32_t, uint64_t

from pmd_ext.atomics cimport add_release_u32, add_release_u64, load_relaxed_u32
from pmd_ext.dpdk.eal cimport rte_pause
from pmd_ext.maclearn cimport mac_drop, mac_put
from pmd_ext.mactable cimport (
    BUCKET_ENTRIES, MAC_SLOTS, MAC_STATIC, expired, find, first_bucket, mac_bucket, mac_hash,
    mac_owner, mac_table, second_bucket, slot_of, try_lock, unlock,
)
from pmd_ext.slotsets cimport slot_in, slot_set


cdef inline void lock(mac_bucket *b) noexcept nogil:
    while not try_lock(b):
        rte_pause()


cdef bint any_expired(const mac_table *t, const mac_bucket *b, uint16_t now_s) noexcept nogil:
    cdef int i
    for i in range(BUCKET_ENTRIES):
        if b.keys[i] != 0 and expired(t, b.values[i], now_s):
            return True
    return False


cdef uint32_t mac_expire(mac_table *t, uint16_t now_s, uint32_t most) noexcept nogil:
    cdef uint32_t n
    cdef int i
    cdef mac_bucket *b
    if load_relaxed_u32(&t.entries) == t.statics:
        return 1
    most = min(most, t.n_buckets)
    for n in range(most):
        b = &t.buckets[(t.expire_at + n) % t.n_buckets]
        if not any_expired(t, b, now_s):
            continue
        lock(b)
        for i in range(BUCKET_ENTRIES):
            if b.keys[i] != 0 and expired(t, b.values[i], now_s):
                add_release_u64(&t.owners[slot_of(b.values[i])].expired, 1)
                mac_drop(t, b, i)
        unlock(b)
    t.expire_at = (t.expire_at + most) % t.n_buckets
    return most


cdef bint mac_has(const mac_table *t, const slot_set *slots) noexcept nogil:
    cdef uint32_t i
    if t.statics:
        return True
    for i in range(MAC_SLOTS):
        if slot_in(slots, i) and load_relaxed_u32(&t.owned[i]):
            return True
    return False


cdef void forget_lessons(mac_table *t) noexcept nogil:
    """An entry that was set by hand is gone: any port may learn its address now."""
    cdef int i
    for i in range(MAC_SLOTS):
        add_release_u32(&t.owners[i].changes, 1)


cdef inline bint goes(const mac_bucket *b, int i, const slot_set *slots, bint statics
                      ) noexcept nogil:
    cdef uint32_t value = load_relaxed_u32(&b.values[i])
    return (b.keys[i] != 0 and slot_in(slots, slot_of(value))
            and (statics or not value & MAC_STATIC))


cdef bint any_goes(const mac_bucket *b, const slot_set *slots, bint statics) noexcept nogil:
    cdef int i
    for i in range(BUCKET_ENTRIES):
        if goes(b, i, slots, statics):
            return True
    return False


cdef uint32_t mac_flush(mac_table *t, const slot_set *slots, bint statics, uint64_t *keys,
                        uint32_t most) noexcept nogil:
    cdef uint32_t n, found = 0, before = t.statics
    cdef int i
    cdef mac_bucket *b
    for n in range(t.n_buckets):
        b = &t.buckets[n]
        if not any_goes(b, slots, statics):
            continue
        lock(b)
        for i in range(BUCKET_ENTRIES):
            if not goes(b, i, slots, statics):
                continue
            if b.values[i] & MAC_STATIC:
                t.statics -= 1
            elif found < most:
                keys[found] = b.keys[i]
                found += 1
            mac_drop(t, b, i)
        unlock(b)
    if t.statics != before:
        forget_lessons(t)
    return found


cdef bint remove_from(mac_table *t, mac_bucket *b, uint64_t key, bint static) noexcept nogil:
    cdef bint found = False
    cdef int i = find(b, key)
    if i < 0:
        return False
    lock(b)
    i = find(b, key)
    if i >= 0 and (b.values[i] & MAC_STATIC != 0) == static:
        t.statics -= static
        mac_drop(t, b, i)
        if static:
            forget_lessons(t)
        found = True
    unlock(b)
    return found


cdef bint mac_remove(mac_table *t, uint64_t key, bint static) noexcept nogil:
    cdef uint32_t hash = mac_hash(t, key)
    return (remove_from(t, first_bucket(t, hash), key, static)
            or remove_from(t, second_bucket(t, hash), key, static))


cdef uint32_t mac_list(mac_table *t, mac_entry *out, uint32_t most, uint16_t now_s) noexcept nogil:
    cdef uint32_t n, found = 0
    cdef int i
    cdef mac_bucket *b
    cdef mac_bucket copy
    for n in range(t.n_buckets):
        b = &t.buckets[n]
        # PMDs that write at this moment are few: it is not worth a lock where nothing is.
        for i in range(BUCKET_ENTRIES):
            if b.keys[i] != 0:
                break
        else:
            continue
        lock(b)
        copy = b[0]
        unlock(b)
        for i in range(BUCKET_ENTRIES):
            if copy.keys[i] != 0 and not expired(t, copy.values[i], now_s) and found < most:
                out[found].key, out[found].value = copy.keys[i], copy.values[i]
                found += 1
    return found


cdef void mac_copy(mac_table *old, mac_table *new, bint evict, uint16_t now_s) noexcept nogil:
    cdef uint32_t n
    cdef int i
    cdef mac_bucket *b
    cdef mac_bucket copy
    for n in range(old.n_buckets):
        b = &old.buckets[n]
        lock(b)
        copy = b[0]
        unlock(b)
        for i in range(BUCKET_ENTRIES):
            if copy.keys[i] == 0 or expired(old, copy.values[i], now_s):
                continue
            if copy.values[i] & MAC_STATIC:
                if evict:
                    new.statics += mac_put(new, copy.keys[i], copy.values[i], now_s)
            elif evict or load_relaxed_u32(&new.entries) < new.max_entries:
                mac_put(new, copy.keys[i], copy.values[i], now_s)
    if evict:
        for i in range(MAC_SLOTS):      # what PMDs remember of the old table must not hold
            new.owners[i].changes = load_relaxed_u32(&old.owners[i].changes) ^ <uint32_t>1 << 31


cdef void mac_add_counters(const mac_table *old, mac_table *new) noexcept nogil:
    cdef const mac_owner *o
    cdef mac_owner *sum
    cdef int i
    for i in range(MAC_SLOTS):
        o, sum = &old.owners[i], &new.owners[i]
        add_release_u64(&sum.learned, o.learned)
        add_release_u64(&sum.expired, o.expired)
        add_release_u64(&sum.evicted, o.evicted)
        add_release_u64(&sum.moved, o.moved)
        add_release_u64(&sum.kept, o.kept)
        add_release_u64(&sum.refused, o.refused)
        add_release_u64(&sum.held, o.held)


cdef void mac_sum(const mac_table *t, mac_totals *sums) noexcept nogil:
    cdef const mac_owner *o
    cdef int i
    for i in range(MAC_SLOTS):
        o = &t.owners[i]
        sums.learned += o.learned
        sums.expired += o.expired
        sums.evicted += o.evicted
        sums.moved += o.moved
        sums.kept += o.kept
        sums.refused += o.refused
        sums.held += o.held


cdef bint mac_find(mac_table *t, uint64_t key, uint32_t *value, uint16_t now_s) noexcept nogil:
    cdef uint32_t hash = mac_hash(t, key)
    cdef mac_bucket *b = first_bucket(t, hash)
    cdef int i = find(b, key)
    if i < 0:
        b = second_bucket(t, hash)
        i = find(b, key)
    if i >= 0:
        value[0] = load_relaxed_u32(&b.values[i])
    return i >= 0 and not expired(t, value[0], now_s)


cdef bint mac_set_static(mac_table *t, uint64_t key, uint16_t slot, uint16_t now_s) noexcept nogil:
    mac_remove(t, key, True)
    if not mac_put(t, key, MAC_STATIC | <uint32_t>slot << 16 | now_s, now_s):
        return False
    t.statics += 1
    return True
