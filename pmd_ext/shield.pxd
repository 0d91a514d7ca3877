# Guests that would take a thread of the switch with them.
from libc.stdint cimport uint32_t, uint64_t

from pmd_ext.atomics cimport store_relaxed_u32
from pmd_ext.dpdk.eal cimport rte_rdtsc
from pmd_ext.duty cimport DOUBT, SERVING_ONE, SERVING_SLOT
from pmd_ext.state cimport dataplane, pmd, slot


# Main, once, before the first socket is registered. 0, or -errno.
cdef int shield_start(dataplane *dp) noexcept nogil
# A PMD or the host thread, before its first call of the library.
cdef void shield_begin_thread(pmd *me) noexcept nogil
# The event thread: from now on it works on the slot's front end.
cdef void shield_begin_message(slot *s) noexcept nogil

# Around each call of the library that touches what a guest shares. The thread itself.
cdef inline void serve_begin(pmd *me, uint32_t index) noexcept nogil:
    store_relaxed_u32(&me.work.duty.serving, (me.work.duty.serving & ~<uint32_t>SERVING_SLOT)
                      + SERVING_ONE + index + 1)

cdef inline void serve_end(pmd *me) noexcept nogil:
    store_relaxed_u32(&me.work.duty.serving, me.work.duty.serving & ~<uint32_t>SERVING_SLOT)

# Around a call that sends to a guest, its ring's lock held: a ring that takes nothing is full, and
# that is soon seen. One that takes nothing and much time is an endless walk.
cdef inline uint64_t doubt_begin(const pmd *me, size_t index) noexcept nogil:
    return rte_rdtsc() if me.work.duty.doubts[index] else 0

cdef inline void doubt_end(pmd *me, slot *s, size_t index, uint64_t begun, bint moved) noexcept nogil:
    if not moved:
        in_vain(me, s, index, begun)
    elif me.work.duty.doubts[index] == DOUBT:
        me.work.duty.doubts[index] = 0

cdef void in_vain(pmd *me, slot *s, size_t index, uint64_t begun) noexcept nogil
