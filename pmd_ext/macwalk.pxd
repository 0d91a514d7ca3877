# What main does to a whole MAC table while PMDs work on it. All without the GIL.
from libc.stdint cimport uint16_t, uint32_t, uint64_t

from pmd_ext.mactable cimport mac_table
from pmd_ext.slotsets cimport slot_set


# One entry as it was.
cdef struct mac_entry:
    uint64_t key
    uint32_t value

# Sums over all slots.
cdef struct mac_totals:
    uint64_t learned
    uint64_t expired
    uint64_t evicted
    uint64_t moved
    uint64_t kept
    uint64_t refused
    uint64_t held

# Removes aged entries from where the last call ended, looking at no more than 'most' buckets;
# returns how many it looked at.
cdef uint32_t mac_expire(mac_table *t, uint16_t now_s, uint32_t most) noexcept nogil
# Whether anything was learned behind one of the slots, or set by hand.
cdef bint mac_has(const mac_table *t, const slot_set *slots) noexcept nogil
# Removes what was learned behind the slots, with 'statics' also what was set by hand there; copies
# up to 'most' of the keys that were learned; returns how many.
cdef uint32_t mac_flush(mac_table *t, const slot_set *slots, bint statics, uint64_t *keys,
                        uint32_t most) noexcept nogil
# Removes a key that was learned, or one that was set by hand; whether it was there.
cdef bint mac_remove(mac_table *t, uint64_t key, bint static) noexcept nogil
# Copies up to 'most' entries that did not age; returns how many.
cdef uint32_t mac_list(mac_table *t, mac_entry *out, uint32_t most, uint16_t now_s) noexcept nogil
# Copies what 'new' does not have. With 'evict', before it is published, all of it, if need be in
# place of what was copied before; else what is learned, while there is room.
cdef void mac_copy(mac_table *old, mac_table *new, bint evict, uint16_t now_s) noexcept nogil
# Adds the counters of 'old', which no PMD uses any more, to those of 'new'.
cdef void mac_add_counters(const mac_table *old, mac_table *new) noexcept nogil
cdef void mac_sum(const mac_table *t, mac_totals *sums) noexcept nogil
# The entry of a key, and whether there is one that did not age.
cdef bint mac_find(mac_table *t, uint64_t key, uint32_t *value, uint16_t now_s) noexcept nogil
# Sets an entry by hand; False: there is no room.
cdef bint mac_set_static(mac_table *t, uint64_t key, uint16_t slot, uint16_t now_s) noexcept nogil
