# The MAC table of one bridge: 64-byte buckets, lock-free readers, writers that never wait.
from libc.stdint cimport int16_t, uint16_t, uint32_t, uint64_t

from pmd_ext.atomics cimport (
    cas_u32, fence_acquire, fence_release, load_acquire_u32, load_relaxed_u32, store_release_u32,
)
from pmd_ext.dpdk.eal cimport rte_pause
from pmd_ext.macflaps cimport mac_flaps


cdef extern from "shim.h" nogil:
    uint32_t shim_hash_u64(uint64_t key)
    int shim_lowest_bit(unsigned v)
    void rte_prefetch0(const void *p)

cdef enum:
    BUCKET_ENTRIES = 5
    MAC_SLOTS = 1024            # of ports, and the last of nobody: main's own
    MAC_STATIC = 0x40000000     # in a value: the entry was set by hand
    READ_TRIES = 16     # a writer is a few stores long; a preempted one must not stop readers

# One cache line. Readers: PMDs, lock-free: an odd or changed version means "look again or miss".
# Writers hold the odd version: PMDs only try for it, main waits for it.
cdef struct mac_bucket:
    uint64_t keys[BUCKET_ENTRIES]       # mac_key(); 0: free
    uint32_t values[BUCKET_ENTRIES]     # MAC_STATIC | slot << 16 | time stamp (s, wraps)
    uint32_t version

# What the table knows of one port; one cache line, so that no port's learning is felt by others.
# PMDs and main add, PMDs (changes, taken) and main read.
cdef struct mac_owner:
    uint32_t changes            # entries that moved away or went: forget what you learned
    uint32_t taken              # coarse time << 16 | entries taken from others in that second
    uint64_t learned
    uint64_t expired
    uint64_t evicted
    uint64_t moved              # to this port
    uint64_t kept               # frames from an address that is static at another port
    uint64_t refused            # not learned: as many as a port may take were taken this second
    uint64_t held               # moves to this port that were damped

cdef struct mac_table:
    # main writes before the table is published, everybody reads
    mac_bucket *buckets
    mac_owner *owners           # MAC_SLOTS of them
    uint32_t *owned             # learned entries of each slot: PMDs and main add
    mac_flaps *flaps
    uint64_t secret             # odd; guests that do not know it cannot choose their bucket
    uint32_t n_buckets          # at least 2
    uint32_t max_entries
    # main writes at any time, PMDs read
    uint32_t aging_s
    uint32_t slots_end          # above the slots of all members
    # What follows is written all the time, and is in the next cache line.
    uint64_t unused
    # PMDs and main add, everybody reads
    uint32_t entries            # with static ones
    # PMDs write: where the next search for an entry to evict begins
    uint32_t cursor
    # main alone
    uint32_t statics
    uint32_t expire_at          # the bucket where mac_expire() goes on

# Ethernet address as the low 48 bits of a little-endian load, VLAN id 0..4095. Never 0.
cdef inline uint64_t mac_key(uint64_t address, uint64_t vlan) noexcept nogil:
    return address | vlan << 48 | <uint64_t>1 << 63

# The key of the same address in another VLAN.
cdef inline uint64_t mac_key_in(uint64_t key, uint64_t vlan) noexcept nogil:
    return mac_key(key & <uint64_t>0xffffffffffff, vlan)

# A source of frames that was learned need not be looked at again while this stays the same.
cdef inline uint32_t mac_changes(const mac_table *t, uint16_t slot) noexcept nogil:
    return load_relaxed_u32(&t.owners[slot].changes)

cdef mac_table *mac_table_new(uint32_t max_entries, uint32_t aging_s, uint64_t secret) noexcept nogil
cdef void mac_table_free(mac_table *t) noexcept nogil


cdef inline uint16_t slot_of(uint32_t value) noexcept nogil:
    return value >> 16 & (MAC_SLOTS - 1)


cdef inline mac_bucket *first_bucket(mac_table *t, uint32_t hash) noexcept nogil:
    return &t.buckets[<uint64_t>hash * t.n_buckets >> 32]


cdef inline mac_bucket *second_bucket(mac_table *t, uint32_t hash) noexcept nogil:
    # never the first one: two writers' locks are taken in this order
    cdef uint32_t other = hash * <uint32_t>0x9e3779b1
    cdef uint64_t i = ((<uint64_t>hash * t.n_buckets >> 32) + 1
                       + (<uint64_t>other * (t.n_buckets - 1) >> 32))
    return &t.buckets[i if i < t.n_buckets else i - t.n_buckets]


cdef inline uint32_t mac_hash(const mac_table *t, uint64_t key) noexcept nogil:
    return shim_hash_u64(key * t.secret)


# Of the two that the key may be in, the one that 'b' is not.
cdef inline mac_bucket *other_bucket(mac_table *t, const mac_bucket *b, uint64_t key) noexcept nogil:
    cdef uint32_t hash = mac_hash(t, key)
    return second_bucket(t, hash) if first_bucket(t, hash) == b else first_bucket(t, hash)


# PMDs. Warms the cache line that will be read first for the key; its hash.
cdef inline uint32_t mac_prefetch(mac_table *t, uint64_t key) noexcept nogil:
    cdef uint32_t hash = mac_hash(t, key)
    rte_prefetch0(first_bucket(t, hash))
    return hash


# Seconds since the time stamp; below 0 when another PMD's clock is ahead of 'now_s'.
cdef inline int16_t age(uint32_t value, uint16_t now_s) noexcept nogil:
    return <int16_t>(now_s - <uint16_t>value)


cdef inline bint expired(const mac_table *t, uint32_t value, uint16_t now_s) noexcept nogil:
    return (<int>age(value, now_s) > <int>load_relaxed_u32(&t.aging_s)
            and not value & MAC_STATIC)


cdef inline int find(const mac_bucket *b, uint64_t key) noexcept nogil:
    # without a branch for each entry: which of them it is nobody can foretell
    cdef unsigned at = ((b.keys[0] == key) | (b.keys[1] == key) << 1 | (b.keys[2] == key) << 2
                        | (b.keys[3] == key) << 3 | (b.keys[4] == key) << 4)
    return shim_lowest_bit(at) if at else -1


cdef inline bint try_lock(mac_bucket *b) noexcept nogil:
    cdef uint32_t version = load_relaxed_u32(&b.version)
    if version & 1 or not cas_u32(&b.version, version, version + 1):
        return False
    fence_release()             # the odd version is seen before any store that follows
    return True


cdef inline void unlock(mac_bucket *b) noexcept nogil:
    store_release_u32(&b.version, b.version + 1)


# Whether 'key' is there, and a value that belonged to it; "no" while a writer stays.
cdef inline bint read_bucket(mac_bucket *b, uint64_t key, uint32_t *value) noexcept nogil:
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


# PMDs. Slot of 'key', or -1 when it is not known (or was being written just now).
cdef inline int mac_lookup(mac_table *t, uint64_t key, uint32_t hash, uint16_t now_s
                           ) noexcept nogil:
    cdef uint32_t value = 0
    if not read_bucket(first_bucket(t, hash), key, &value):
        if not read_bucket(second_bucket(t, hash), key, &value):
            return -1
    return -1 if expired(t, value, now_s) else slot_of(value)


# PMDs. Whether mac_learn() would find the address as it is to be; "no" also where only that knows.
cdef inline bint mac_is_fresh(mac_table *t, uint64_t key, uint32_t hash, uint16_t slot,
                              uint16_t now_s) noexcept nogil:
    cdef mac_bucket *b = first_bucket(t, hash)
    cdef int i = find(b, key)
    return i >= 0 and load_relaxed_u32(&b.values[i]) == (<uint32_t>slot << 16 | now_s)
