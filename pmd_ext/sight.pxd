# What the agent sees of a guest's memory.
from pmd_ext.state cimport slot

cdef enum:
    SIGHT_NONE                  # no guest, or nothing that can be looked at
    SIGHT_USED                  # the driver has used a ring
    SIGHT_UNUSED                # none of its rings; the guest's memory is there
    SIGHT_BLANK                 # nor is there anything but zeros wherever it was looked


# Main. Reads up to MOST_BYTES of each piece of the guest's memory; never blocks.
cdef int sight(slot *s) noexcept nogil
