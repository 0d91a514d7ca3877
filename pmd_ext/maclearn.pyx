"""Learning: nothing is written for a known source.

Room is anybody's. Where there is none, an entry of the port that owns most makes way, and what one
port may take in a second like that is limited: addresses without end cost their own port alone.
"""
from libc.stdint cimport uint16_t, uint32_t, uint64_t

from pmd_ext.atomics cimport (
    add_release_u32, add_release_u64, cas_u32, load_relaxed_u32, store_relaxed_u32,
)
from pmd_ext.dpdk.eal cimport rte_pause
from pmd_ext.macflaps cimport MOVE_ALLOWED, MOVE_HELD, flap_check
from pmd_ext.mactable cimport (
    BUCKET_ENTRIES, MAC_SLOTS, MAC_STATIC, age, expired, find, first_bucket, mac_bucket, mac_hash,
    mac_owner, mac_table, other_bucket, second_bucket, slot_of, try_lock, unlock,
)

cdef enum:
    TAKEN_MOST = 1000   # entries that one port may take from others, or move, in a second
    NEAR = 16           # buckets that a search for an entry to evict looks at ...
    FAR = 64            # ... and while it found none of the port that owns most


cdef inline bint may_take(mac_owner *o, uint16_t now_s) noexcept nogil:
    cdef uint32_t taken = load_relaxed_u32(&o.taken)
    if taken >> 16 != now_s or taken & 0xffff < TAKEN_MOST:
        return True
    add_release_u64(&o.refused, 1)
    return False


cdef inline void take(mac_owner *o, uint16_t now_s) noexcept nogil:
    # PMDs that poll queues of one port may lose each other's count: it is a limit, not a bill.
    cdef uint32_t taken = load_relaxed_u32(&o.taken)
    store_relaxed_u32(&o.taken, taken + 1 if taken >> 16 == now_s else <uint32_t>now_s << 16 | 1)


cdef bint reserve(mac_table *t) noexcept nogil:
    """Takes one of the places that the table may have in use, if there is one."""
    cdef uint32_t entries
    while True:
        entries = load_relaxed_u32(&t.entries)
        if entries >= t.max_entries:
            return False
        if cas_u32(&t.entries, entries, entries + 1):
            return True


cdef inline void give_back(mac_table *t) noexcept nogil:
    add_release_u32(&t.entries, <uint32_t>-1)


cdef void mac_drop(mac_table *t, mac_bucket *b, int i) noexcept nogil:
    cdef uint32_t value = b.values[i]
    b.keys[i] = 0
    if not value & MAC_STATIC:
        add_release_u32(&t.owned[slot_of(value)], <uint32_t>-1)
        add_release_u32(&t.owners[slot_of(value)].changes, 1)
    give_back(t)


cdef void drop_for_another(mac_table *t, mac_bucket *b, int i, uint16_t now_s) noexcept nogil:
    cdef mac_owner *o = &t.owners[slot_of(b.values[i])]
    add_release_u64(&o.expired if expired(t, b.values[i], now_s) else &o.evicted, 1)
    mac_drop(t, b, i)


cdef uint16_t largest(mac_table *t, uint16_t slot) noexcept nogil:
    """The slot that owns most; 'slot' itself where none owns more."""
    cdef uint32_t i, most = load_relaxed_u32(&t.owned[slot])
    for i in range(load_relaxed_u32(&t.slots_end)):
        if t.owned[i] > most:
            most = t.owned[i]
            slot = i
    return slot


# A place in the table as it looked without its lock, and how good it is to give it up.
cdef struct candidate:
    mac_bucket *bucket
    int i
    uint64_t key
    uint64_t rank


cdef void consider(mac_table *t, candidate *best, mac_bucket *b, uint16_t most, uint16_t now_s
                   ) noexcept nogil:
    cdef uint32_t value
    cdef uint64_t rank
    cdef int i
    for i in range(BUCKET_ENTRIES):
        value = load_relaxed_u32(&b.values[i])
        if b.keys[i] == 0 or value & MAC_STATIC:
            continue
        if expired(t, value, now_s):
            rank = <uint64_t>1 << 63
        else:
            rank = <uint64_t>(slot_of(value) == most) << 62 | <uint64_t>t.owned[slot_of(value)] << 16
            rank |= <uint16_t>(age(value, now_s) + 0x8000)
        if best.bucket == NULL or rank > best.rank:
            best.bucket, best.i, best.key, best.rank = b, i, b.keys[i], rank


cdef bint evict(mac_table *t, uint16_t slot, uint16_t now_s) noexcept nogil:
    """Makes room for an entry of 'slot': drops an aged entry that is at hand, else the oldest one
    at hand of the port that owns most, but none of a port that owns less than 'slot'."""
    cdef uint16_t most = largest(t, slot), victim
    cdef uint32_t n, start = load_relaxed_u32(&t.cursor)
    cdef candidate best
    cdef bint found = False
    best.bucket, best.rank = NULL, 0
    store_relaxed_u32(&t.cursor, start + NEAR)
    for n in range(min(<uint32_t>FAR, t.n_buckets)):
        consider(t, &best, &t.buckets[(start + n) % t.n_buckets], most, now_s)
        if n + 1 >= NEAR and best.rank >= <uint64_t>1 << 62:
            break
    if best.bucket == NULL or not try_lock(best.bucket):
        return False
    if best.bucket.keys[best.i] == best.key and not best.bucket.values[best.i] & MAC_STATIC:
        victim = slot_of(best.bucket.values[best.i])
        if (victim == slot or t.owned[victim] > t.owned[slot]
                or expired(t, best.bucket.values[best.i], now_s)):
            drop_for_another(t, best.bucket, best.i, now_s)
            found = True
    unlock(best.bucket)
    return found


# --- writing --------------------------------------------------------------------------------------

cdef inline int free_entry(mac_table *t, mac_bucket *b, uint16_t now_s) noexcept nogil:
    cdef int i
    for i in range(BUCKET_ENTRIES):
        if b.keys[i] == 0 or expired(t, b.values[i], now_s):
            return i
    return -1


cdef int moved_away(mac_table *t, mac_bucket *b, mac_bucket *b2) noexcept nogil:
    """Of two full buckets, both locked, a place that is free now because its entry went to the other
    bucket that it may be in: 0..9, or -1. A reader may miss an entry on its way, and floods then."""
    cdef mac_bucket *at
    cdef mac_bucket *there
    cdef int i, free
    for i in range(2 * BUCKET_ENTRIES):
        at = b if i < BUCKET_ENTRIES else b2
        there = other_bucket(t, at, at.keys[i % BUCKET_ENTRIES])
        if there == b or there == b2 or not try_lock(there):
            continue
        free = find(there, 0)
        if free >= 0:
            there.keys[free] = at.keys[i % BUCKET_ENTRIES]
            there.values[free] = at.values[i % BUCKET_ENTRIES]
            at.keys[i % BUCKET_ENTRIES] = 0
        unlock(there)
        if free >= 0:
            return i
    return -1


cdef inline int owned_in(const mac_bucket *b, uint16_t slot) noexcept nogil:
    cdef int i, n = 0
    for i in range(BUCKET_ENTRIES):
        n += slot_of(b.values[i]) == slot and not b.values[i] & MAC_STATIC
    return n


cdef int crowded_out(mac_table *t, mac_bucket *b, mac_bucket *b2, uint16_t slot, uint16_t now_s
                     ) noexcept nogil:
    """Of two full buckets the entry that makes way for one of 'slot': 0..9, or -1. It is of the
    port that owns most of the two, if that owns more than 'slot' there and in the whole table; else
    of 'slot' itself."""
    cdef mac_bucket *at
    cdef uint64_t rank, most = 0
    cdef uint16_t owner
    cdef int i, own = owned_in(b, slot) + owned_in(b2, slot), n, found = -1
    for i in range(2 * BUCKET_ENTRIES):
        at = b if i < BUCKET_ENTRIES else b2
        if at.values[i % BUCKET_ENTRIES] & MAC_STATIC:
            continue
        owner = slot_of(at.values[i % BUCKET_ENTRIES])
        n = owned_in(b, owner) + owned_in(b2, owner)
        if owner != slot and (n <= own or t.owned[owner] <= t.owned[slot]):
            continue
        rank = (<uint64_t>n << 56 | <uint64_t>t.owned[owner] << 16
                | <uint16_t>(age(at.values[i % BUCKET_ENTRIES], now_s) + 0x8000))
        if found < 0 or rank > most:
            found, most = i, rank
    return found


cdef int make_place(mac_table *t, mac_bucket *b, mac_bucket *b2, uint16_t slot, uint16_t now_s
                    ) noexcept nogil:
    """With both locked: a free place of the two, 0..9; -1: the port may not take one."""
    cdef int i = free_entry(t, b, now_s)
    if i < 0:
        i = free_entry(t, b2, now_s)
        if i >= 0:
            i += BUCKET_ENTRIES
    if i < 0:
        i = moved_away(t, b, b2)
    if i < 0:
        if slot != MAC_SLOTS - 1 and not may_take(&t.owners[slot], now_s):
            return -1
        take(&t.owners[slot], now_s)
        i = crowded_out(t, b, b2, slot, now_s)
    if i >= 0:
        if i >= BUCKET_ENTRIES:
            b = b2
        if b.keys[i % BUCKET_ENTRIES] != 0:
            drop_for_another(t, b, i % BUCKET_ENTRIES, now_s)
    return i


cdef bint insert(mac_table *t, uint64_t key, uint32_t value, uint16_t as_slot, uint16_t now_s
                 ) noexcept nogil:
    """With both buckets locked and a place reserved, which is given back when it is not used."""
    cdef uint32_t hash = mac_hash(t, key)
    cdef mac_bucket *b = first_bucket(t, hash)
    cdef mac_bucket *b2 = second_bucket(t, hash)
    cdef int i = make_place(t, b, b2, as_slot, now_s)
    if i < 0:
        give_back(t)
        return False
    if i >= BUCKET_ENTRIES:
        b, i = b2, i - BUCKET_ENTRIES
    b.keys[i] = key
    b.values[i] = value
    if not value & MAC_STATIC:
        add_release_u32(&t.owned[slot_of(value)], 1)
    return True


cdef bint learn_new(mac_table *t, uint64_t key, uint16_t slot, uint16_t now_s) noexcept nogil:
    cdef uint32_t hash = mac_hash(t, key)
    cdef mac_bucket *b = first_bucket(t, hash)
    cdef mac_bucket *b2 = second_bucket(t, hash)
    cdef mac_owner *o = &t.owners[slot]
    cdef bint settled = False
    if not reserve(t):
        if not may_take(o, now_s):
            return True
        take(o, now_s)
        if not evict(t, slot, now_s) or not reserve(t):
            return False
    if not try_lock(b):
        give_back(t)
        return False
    if not try_lock(b2):
        give_back(t)
    else:
        if find(b, key) >= 0 or find(b2, key) >= 0:
            give_back(t)            # another PMD was faster
        else:
            settled = True
            if insert(t, key, <uint32_t>slot << 16 | now_s, slot, now_s):
                add_release_u64(&o.learned, 1)
        unlock(b2)
    unlock(b)
    return settled


cdef bint move(mac_table *t, mac_bucket *b, uint64_t key, uint16_t slot, uint16_t now_s
               ) noexcept nogil:
    """The address was learned at another port and is seen at this one."""
    cdef mac_owner *o = &t.owners[slot]
    cdef uint16_t before
    cdef int i, verdict
    if not may_take(o, now_s):
        return True
    if not try_lock(b):
        return False
    i = find(b, key)
    before = slot if i < 0 else slot_of(b.values[i])
    if before == slot or b.values[i] & MAC_STATIC:
        unlock(b)
        return False
    verdict = flap_check(t.flaps, mac_hash(t, key), key, before, slot, now_s)
    if verdict == MOVE_ALLOWED:
        b.values[i] = <uint32_t>slot << 16 | now_s
    unlock(b)
    if verdict == MOVE_HELD:
        add_release_u64(&o.held, 1)
    if verdict != MOVE_ALLOWED:
        return verdict == MOVE_HELD
    take(o, now_s)
    add_release_u32(&t.owned[before], <uint32_t>-1)
    add_release_u32(&t.owned[slot], 1)
    add_release_u32(&t.owners[before].changes, 1)
    add_release_u64(&o.moved, 1)
    return True


cdef bint mac_learn(mac_table *t, uint64_t key, uint16_t slot, uint16_t now_s) noexcept nogil:
    cdef uint32_t hash = mac_hash(t, key)
    cdef uint32_t value, wanted = <uint32_t>slot << 16 | now_s
    cdef mac_bucket *b = first_bucket(t, hash)
    cdef int i = find(b, key)
    if i < 0:
        b = second_bucket(t, hash)
        i = find(b, key)
        if i < 0:
            return learn_new(t, key, slot, now_s)
    value = load_relaxed_u32(&b.values[i])
    if slot_of(value) == slot:
        # No lock: if the entry changes hands meanwhile the swap fails, or it meets another key
        # of the same port and only makes that one look younger.
        return value == wanted or value & MAC_STATIC or cas_u32(&b.values[i], value, wanted)
    if value & MAC_STATIC:
        add_release_u64(&t.owners[slot].kept, 1)
        return True
    return move(t, b, key, slot, now_s)


cdef void drop_key(mac_table *t, mac_bucket *b, uint64_t key) noexcept nogil:
    cdef int i = find(b, key)
    if i >= 0 and not b.values[i] & MAC_STATIC:
        mac_drop(t, b, i)


cdef bint mac_put(mac_table *t, uint64_t key, uint32_t value, uint16_t now_s) noexcept nogil:
    cdef uint32_t hash = mac_hash(t, key)
    cdef mac_bucket *b = first_bucket(t, hash)
    cdef mac_bucket *b2 = second_bucket(t, hash)
    cdef uint32_t tries = 0
    cdef bint done = True
    while not reserve(t):
        if tries == t.n_buckets:  # the cursor was everywhere
            return False
        tries += 1
        evict(t, MAC_SLOTS - 1, now_s)
    while not try_lock(b):
        rte_pause()
    while not try_lock(b2):
        rte_pause()
    if value & MAC_STATIC:
        drop_key(t, b, key)
        drop_key(t, b2, key)
    if find(b, key) >= 0 or find(b2, key) >= 0:
        give_back(t)
    else:
        done = insert(t, key, value, MAC_SLOTS - 1, now_s)
    unlock(b2)
    unlock(b)
    return done
