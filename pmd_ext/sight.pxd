# What the agent sees of a guest's memory.
from pmd_ext.state cimport slot

cdef enum:
    SIGHT_NONE                  # no guest, or nothing that can be looked at
    SIGHT_USED                  # the driver has used a ring
    SIGHT_UNUSED                # none of its rings; the guest's memory is there
    SIGHT_BLANK                 # there is nothing but zeros wherever it was looked


# Main. Reads 2 MiB of each piece of the guest's memory at most, until it uses a ring; never blocks.
cdef int sight(slot *s) noexcept nogil
