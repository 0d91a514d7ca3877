# Packet pools: who receives into which.
from pmd_ext.dpdk.mbuf cimport rte_mempool


cdef enum:
    USUAL_ROOM_BYTES = 2048     # what an MTU of 1500 takes
    HOST_PORTS = -2             # who the pools of ports of the host's kernel are for

# One pool and how many slots use it.
cdef class Pool:
    cdef rte_mempool *packets
    # data room in bytes, node, slot that has it for itself, HOST_PORTS or -1, buffers held
    cdef tuple key

    cdef int place              # in the data plane's list of pools
    cdef int users

# All pools of the process, by key. Main alone.
cdef class Pools:
    cdef dict pools
    cdef int made               # so far; names their pools
    # The pool for frames up to 'room_bytes', made when there is none yet; one more slot uses it.
    # 'node' -1: that of the main lcore. 'owner': the slot it is for alone, HOST_PORTS, or -1.
    # 'buffers': how many a device holds, beside those of bursts under way. Raises DatapathError in
    # the name of 'port'.
    cdef Pool take(self, int room_bytes, int node, int owner, str port, unsigned buffers=*)
    # One slot less uses it; after quiescence, for the last one frees it.
    cdef rte_mempool *create(self, int room_bytes, int node, bint host, unsigned held)
    cdef give_back(self, Pool pool)
    cdef size_t memory_bytes(self)
    # Buffers that are neither in a pool nor in a thread's cache.
    cdef unsigned in_use(self)
