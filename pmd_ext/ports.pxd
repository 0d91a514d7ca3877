# All ports of the data plane. Main.
from libc.stdint cimport uint32_t

from pmd_ext.hosts cimport Hosts
from pmd_ext.limits cimport Limits
from pmd_ext.pools cimport Pool, Pools
from pmd_ext.state cimport dataplane, slot


cdef class Ports:
    cdef dataplane *dp
    cdef Pools pools
    cdef Limits limits
    cdef Hosts hosts
    cdef dict names    # slot -> port name
    cdef dict paths             # path of a socket, as bytes -> slot
    cdef dict pool_of           # slot -> Pool
    cdef list free_slots        # a heap
    cdef set captured           # slots with a capture
    cdef Pool waiting           # of frames that wait for an IOMMU; it has as many users as ports have one
    cdef int take_waiting(self, str name) except -1
    cdef give_back_waiting(self)
    cdef int free_slot(self, str name) except -1
    cdef slot *begin(self, int index, uint32_t kind, Pool pool, int mtu)
    cdef take(self, int index, str name, Pool pool)
    cdef end_capture(self, int index)
    cdef clear_counters(self, int index)
