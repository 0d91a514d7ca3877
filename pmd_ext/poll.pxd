# One round over the rxqs of a PMD.
from libc.stdint cimport uint16_t, uint32_t, uint64_t

from pmd_ext.state cimport forwarding, pmd, poll_list


cdef enum:
    CHECK_ROUNDS = 0x3f         # in one of so many rounds, plus one, 'check' is true

# What came of one round over the active rxqs.
cdef struct found:
    uint32_t packets
    uint32_t most                   # from one rxq
    uint64_t end                    # TSC after the last rxq; 0: not known, it had nothing


# PMD. One burst from every active rxq. 'check' looks for frames that the library dropped, 'now_s' is
# the MAC tables' coarse time.
cdef found poll_once(pmd *me, poll_list *polls, const forwarding *fwd, bint check,
                     uint16_t now_s) noexcept nogil
# PMD. Which rxqs of the list can be polled. Callbacks change that; the list stays as it is.
cdef void find_active(pmd *me, poll_list *polls) noexcept nogil
