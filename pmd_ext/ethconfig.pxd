# Ethernet devices: from the words that name one to a device that runs, and what is known of it. Main.
from libc.stdint cimport uint16_t

from pmd_ext.state cimport dataplane, eth_port, slot


# Finds the device, or makes DPDK take it, and notes how many queues and descriptors it can have of
# those wanted. Raises DatapathError: EADDRINUSE (its 'port' is the one that has the device), or why
# there is none.
cdef eth_port *eth_open(dataplane *dp, dict names, str name, devargs, int n_rxq, int n_txq,
                        int n_rxq_desc, int n_txq_desc) except NULL
# Packet buffers that the device and the threads that use it may hold at once.
cdef unsigned eth_buffers(const eth_port *eth) noexcept nogil
# NUMA node of the device; -1: not known.
cdef int eth_node(const eth_port *eth) noexcept nogil
# Configures and starts the device of slot.eth, with its pool; its MTU becomes the nearest to the
# wanted one that it can have. Raises DatapathError; the device is opened, as before, then.
cdef eth_start(slot *s, str name, uint16_t mtu, bint lsc)
# Stops and lets go of the device; one that the agent probed is removed from DPDK when no other slot
# has a port of it. The slot must be detached, or never have been known.
cdef void eth_close(dataplane *dp, slot *s) noexcept nogil
# Takes the link up or down, of a device that can.
cdef void eth_set_link(slot *s, bint up) noexcept nogil
# The link as it is now; rings when it changed.
cdef void eth_look_at_link(slot *s) noexcept nogil
