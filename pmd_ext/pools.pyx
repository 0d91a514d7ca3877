"""Packet pools: made for the first slot that needs one, freed when the last has let go.

Packets are held for one burst at most (sending copies them), so a small pool serves any number of
ports and stays in the caches: 40 MiB for the usual MTU.
"""
import os
from errno import ENOMEM

from libc.stdint cimport uint16_t
from libc.string cimport memset

from pmd_ext.dpdk.eal cimport rte_socket_id
from pmd_ext.dpdk.mbuf cimport (
    RTE_PKTMBUF_HEADROOM, rte_mbuf, rte_mbuf_best_mempool_ops, rte_mempool,
    rte_mempool_create_empty, rte_mempool_free, rte_mempool_in_use_count, rte_mempool_obj_iter,
    rte_mempool_populate_default, rte_mempool_set_ops_byname, rte_pktmbuf_init,
    rte_pktmbuf_pool_init, rte_pktmbuf_pool_private,
)
from pmd_ext.state cimport MAX_POOLS, dataplane_get
from pmd_ext.errors import DatapathError

cdef enum:
    USUAL_BUFFERS = 16384
    JUMBO_BUFFERS = 4096
    BUFFERS_PER_CORE = 512      # what a core's cache and its burst can hold, and some more
    CACHE_BUFFERS = 256         # per PMD thread
    # Behind each buffer, for what is written beyond its end: librte_vhost completes a checksum that
    # a guest says is in the last byte of a frame with two bytes (22.11 and 24.11), and what comes
    # next is the pool's list of buffers.
    SPARE_BYTES = 64


cdef class Pool:
    pass


cdef class Pools:
    def __cinit__(self) -> None:
        self.pools = {}

    cdef Pool take(self, int room_bytes, int node, int owner, str port, unsigned buffers=0):
        cdef Pool pool
        if node < 0:
            node = <int>rte_socket_id()
        key = (room_bytes, node, owner, buffers)
        pool = self.pools.get(key)
        if pool is None:
            pool = Pool()
            pool.key = key
            pool.packets = self.create(room_bytes, node, owner == HOST_PORTS, buffers)
            if pool.packets == NULL:
                # for a node that it has no memory on DPDK says other things, too
                raise DatapathError(ENOMEM, "rte_mempool_populate_default", port)
            pool.place = free_place()
            dataplane_get().pools[pool.place] = pool.packets
            self.pools[key] = pool
        pool.users += 1
        return pool

    cdef rte_mempool *create(self, int room_bytes, int node, bint host, unsigned held):
        cdef unsigned per_core = BUFFERS_PER_CORE * (os.cpu_count() or 1)
        cdef unsigned usual = (USUAL_BUFFERS if room_bytes <= USUAL_ROOM_BYTES and not host
                               else JUMBO_BUFFERS)
        cdef unsigned buffers = held + per_core if held else max(usual, per_core)
        cdef rte_mempool *packets
        self.made += 1
        text = b"packets-%d" % self.made    # names are unique in a process
        cdef const char *name = text
        # The host thread and those that send for devices may lose their core at any moment: nobody
        # shall wait for them then.
        cdef const char *ops = rte_mbuf_best_mempool_ops()
        if host or held:
            ops = b"ring_mt_rts"
        with nogil:
            packets = packet_pool(name, buffers, room_bytes + RTE_PKTMBUF_HEADROOM, node, ops)
        return packets

    cdef give_back(self, Pool pool):
        pool.users -= 1
        if pool.users == 0:
            del self.pools[pool.key]
            dataplane_get().pools[pool.place] = NULL
            rte_mempool_free(pool.packets)

    cdef size_t memory_bytes(self):
        cdef Pool pool
        cdef size_t total = 0
        for pool in self.pools.values():
            total += pool.packets.size * <size_t>(
                pool.packets.elt_size + pool.packets.header_size + pool.packets.trailer_size)
        return total

    cdef unsigned in_use(self):
        cdef Pool pool
        cdef unsigned total = 0
        for pool in self.pools.values():
            total += rte_mempool_in_use_count(pool.packets)
        return total


cdef rte_mempool *packet_pool(const char *name, unsigned buffers, uint16_t room_bytes, int node,
                              const char *ops) noexcept nogil:
    """As rte_pktmbuf_pool_create_by_ops, with SPARE_BYTES; NULL without memory."""
    cdef rte_pktmbuf_pool_private about
    cdef rte_mempool *packets = rte_mempool_create_empty(
        name, buffers, sizeof(rte_mbuf) + room_bytes + SPARE_BYTES, CACHE_BUFFERS, sizeof(about),
        node, 0)
    if packets == NULL:
        return NULL
    memset(&about, 0, sizeof(about))
    about.mbuf_data_room_size = room_bytes
    rte_pktmbuf_pool_init(packets, &about)
    if (rte_mempool_set_ops_byname(packets, ops, NULL) != 0
            or rte_mempool_populate_default(packets) < 0):
        rte_mempool_free(packets)
        return NULL
    rte_mempool_obj_iter(packets, rte_pktmbuf_init, NULL)
    return packets


cdef int free_place():
    """There is one for each slot, and for the one pool that a slot is changing to."""
    cdef int place = 0
    for place in range(MAX_POOLS):
        if dataplane_get().pools[place] == NULL:
            break
    return place
