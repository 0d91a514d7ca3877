# Guests that would take a thread of the switch with them.
from libc.stdint cimport uint32_t

from pmd_ext.state cimport dataplane, pmd, slot

# pmd_work.serving: the slot that the library is called for, and how often that was said before.
cdef enum:
    SERVING_SLOT = 0xffff       # 1 + slot; 0: none
    SERVING_ONE = 0x10000


# Main, once, before the first socket is registered. 0, or -errno.
cdef int shield_start(dataplane *dp) noexcept nogil
# A PMD or the host thread, before its first call of the library.
cdef void shield_begin_thread(pmd *me) noexcept nogil
# The event thread: from now on it works on the slot's front end.
cdef void shield_begin_message(slot *s) noexcept nogil

# Around each call of the library that touches what a guest shares. The thread itself.
cdef inline void serve_begin(pmd *me, uint32_t index) noexcept nogil:
    me.work.serving = (me.work.serving & ~<uint32_t>SERVING_SLOT) + SERVING_ONE + index + 1

cdef inline void serve_end(pmd *me) noexcept nogil:
    me.work.serving &= ~<uint32_t>SERVING_SLOT
