# What is known of Ethernet devices, and what they counted: (name, value) pairs. Main.
from pmd_ext.state cimport slot


cdef tuple eth_info(slot *s)
cdef tuple eth_statistics(slot *s)
