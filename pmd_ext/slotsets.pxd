# Sets of slots.
from libc.stdint cimport uint16_t, uint64_t


cdef enum:
    SLOT_WORDS = 16             # of 64 slots each: MAX_SLOTS of them fit

cdef struct slot_set:
    uint64_t bits[SLOT_WORDS]

cdef inline void slot_add(slot_set *s, uint16_t slot) noexcept nogil:
    s.bits[slot >> 6] |= <uint64_t>1 << (slot & 63)

cdef inline bint slot_in(const slot_set *s, uint16_t slot) noexcept nogil:
    return s.bits[slot >> 6] >> (slot & 63) & 1
