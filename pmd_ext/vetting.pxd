# What no front end may say.
from libc.stdint cimport uint32_t

from pmd_ext.message cimport shim_message
from pmd_ext.state cimport slot


# Before the library handles a message: OFFENCE_NONE, or what is wrong with it. Of one that may pass
# it is noted what it says of rings.
cdef uint32_t objection(slot *s, shim_message *m) noexcept nogil
# Has the library end the connection when the message is not let pass: closes what came with it.
cdef void refuse(shim_message *m) noexcept nogil
