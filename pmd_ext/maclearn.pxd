# Writing into a MAC table that PMDs work on.
from libc.stdint cimport uint16_t, uint32_t, uint64_t

from pmd_ext.mactable cimport mac_bucket, mac_table

# PMDs. Remembers or refreshes. False: another writer was there, the next frame should try.
cdef bint mac_learn(mac_table *t, uint64_t key, uint16_t slot, uint16_t now_s) noexcept nogil
# Main. Puts an entry in, if need be in place of others that were learned; a learned one only where
# its address is not known. False: there is no room.
cdef bint mac_put(mac_table *t, uint64_t key, uint32_t value, uint16_t now_s) noexcept nogil
# Main or PMDs, with the bucket locked: frees the place and takes it off its owner.
cdef void mac_drop(mac_table *t, mac_bucket *b, int i) noexcept nogil
