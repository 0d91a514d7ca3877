# The MAC table of one bridge: 64-byte buckets, lock-free readers, writers that never wait.
from libc.stdint cimport uint16_t, uint32_t, uint64_t


cdef enum:
    BUCKET_ENTRIES = 5

# One cache line. Readers: PMDs, lock-free: an odd or changed version means "look again or miss".
# Writers hold the odd version: PMDs only try for it, main waits for it.
cdef struct mac_bucket:
    uint64_t keys[BUCKET_ENTRIES]       # mac_key(); 0: free
    uint32_t values[BUCKET_ENTRIES]     # slot << 16 | time stamp (s, wraps)
    uint32_t version

cdef struct mac_table:
    mac_bucket *buckets
    uint32_t mask                       # buckets - 1; a power of two less one
    uint32_t max_entries
    uint32_t aging_s
    # writers add, anybody reads
    uint32_t entries
    uint32_t changes                    # an entry moved or went away: forget what you learned

# Ethernet address as the low 48 bits of a little-endian load, VLAN id 0..4095. Never 0.
cdef inline uint64_t mac_key(uint64_t address, uint64_t vlan) noexcept nogil:
    return address | vlan << 48 | <uint64_t>1 << 63

# The key of the same address in another VLAN.
cdef inline uint64_t mac_key_in(uint64_t key, uint64_t vlan) noexcept nogil:
    return mac_key(key & <uint64_t>0xffffffffffff, vlan)

cdef mac_table *mac_table_new(uint32_t max_entries, uint32_t aging_s) noexcept nogil
cdef void mac_table_free(mac_table *t) noexcept nogil
# PMDs. Warms the cache line that mac_lookup() will read first.
cdef void mac_prefetch(mac_table *t, uint64_t key) noexcept nogil
# PMDs. Slot of 'key', or -1 when it is not known (or was being written just now).
cdef int mac_lookup(mac_table *t, uint64_t key, uint16_t now_s) noexcept nogil
# PMDs. Remembers or refreshes; loses the race silently when another writer is at the bucket.
cdef void mac_learn(mac_table *t, uint64_t key, uint16_t slot, uint16_t now_s) noexcept nogil
# Main. Removes entries older than the ageing time.
cdef void mac_expire(mac_table *t, uint16_t now_s) noexcept nogil
# Main. Removes the entries of one slot, or of all with slot -1.
cdef void mac_flush(mac_table *t, int slot) noexcept nogil
