# A PMD's time in the kernel: sleeping between rounds, and waiting for a guest's kick.
from libc.stdint cimport uint32_t

from pmd_ext.state cimport pmd, poll_list


# PMD. Sleeps; who changes a table does not wait for it meanwhile.
cdef void idle_sleep(pmd *me, uint32_t us) noexcept nogil
# PMD. Asks the guests of all active rxqs to kick. False when one of them cannot.
cdef bint idle_arm(pmd *me, poll_list *polls) noexcept nogil
# PMD. Tells them that kicks are not needed.
cdef void idle_disarm(pmd *me, poll_list *polls) noexcept nogil
# PMD. Waits for a kick of an active rxq or a change; at once back when there was one since the list
# was looked through. Afterwards nothing that was loaded before may be used.
cdef void idle_wait(pmd *me, poll_list *polls) noexcept nogil
