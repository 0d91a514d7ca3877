# Declarations only: packet buffers and their pools.
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.stdio cimport FILE


cdef extern from "rte_mempool.h" nogil:
    struct rte_mempool_cache:
        pass
    struct rte_mempool:
        uint32_t size
        uint32_t elt_size
        uint32_t header_size
        uint32_t trailer_size
        # ...
    rte_mempool *rte_mempool_create_empty(const char *name, unsigned n, unsigned elt_size,
                                          unsigned cache_size, unsigned private_data_size,
                                          int socket_id, unsigned flags)
    int rte_mempool_set_ops_byname(rte_mempool *mp, const char *name, void *pool_config)
    int rte_mempool_populate_default(rte_mempool *mp)
    uint32_t rte_mempool_obj_iter(rte_mempool *mp,
                                  void (*cb)(rte_mempool *, void *, void *, unsigned) noexcept nogil,
                                  void *arg)
    unsigned rte_mempool_avail_count(const rte_mempool *mp)
    unsigned rte_mempool_in_use_count(const rte_mempool *mp)
    rte_mempool_cache *rte_mempool_default_cache(rte_mempool *mp, unsigned lcore_id)
    void rte_mempool_cache_flush(rte_mempool_cache *cache, rte_mempool *mp)
    void rte_mempool_free(rte_mempool *mp)
    void rte_mempool_dump(FILE *f, rte_mempool *mp)
    void rte_mempool_list_dump(FILE *f)

cdef extern from "rte_mbuf.h" nogil:
    enum:
        RTE_PKTMBUF_HEADROOM
    # macros: as variables they keep their 64 bits
    uint64_t RTE_BAD_IOVA
    uint64_t RTE_MBUF_F_RX_L4_CKSUM_MASK
    uint64_t RTE_MBUF_F_RX_L4_CKSUM_NONE
    uint64_t RTE_MBUF_F_RX_LRO
    uint64_t RTE_MBUF_F_TX_TCP_SEG
    uint64_t RTE_MBUF_F_TX_TCP_CKSUM
    uint64_t RTE_MBUF_F_TX_UDP_CKSUM
    uint64_t RTE_MBUF_F_TX_L4_MASK
    uint64_t RTE_MBUF_F_TX_IPV4
    uint64_t RTE_MBUF_F_TX_IPV6
    struct rte_mbuf:
        uint64_t ol_flags
        uint16_t l2_len         # these three are bit fields
        uint16_t l3_len
        uint16_t l4_len
        uint16_t tso_segsz
        rte_mempool *pool
        uint32_t pkt_len
        uint16_t data_len
        uint16_t data_off
        rte_mempool *pool
        rte_mbuf *next
        uint16_t buf_len
        uint16_t nb_segs
        # ...
    struct rte_mbuf_ext_shared_info:
        pass
    rte_mbuf_ext_shared_info *rte_pktmbuf_ext_shinfo_init_helper(
        void *buf_addr, uint16_t *buf_len, void (*free_cb)(void *, void *) noexcept nogil,
        void *fcb_opaque)
    void rte_pktmbuf_attach_extbuf(rte_mbuf *m, void *buf_addr, uint64_t buf_iova,
                                   uint16_t buf_len, rte_mbuf_ext_shared_info *shinfo)
    rte_mbuf *rte_pktmbuf_alloc(rte_mempool *mp)
    rte_mbuf *rte_pktmbuf_copy(const rte_mbuf *m, rte_mempool *mp, uint32_t offset,
                               uint32_t length)
    void rte_pktmbuf_free(rte_mbuf *m)
    struct rte_pktmbuf_pool_private:
        uint16_t mbuf_data_room_size
        # ...
    void rte_pktmbuf_pool_init(rte_mempool *mp, void *opaque_arg)
    void rte_pktmbuf_init(rte_mempool *mp, void *opaque_arg, void *m, unsigned i) noexcept nogil
    int rte_pktmbuf_alloc_bulk(rte_mempool *pool, rte_mbuf **mbufs, unsigned count)
    uint16_t rte_pktmbuf_data_room_size(rte_mempool *mp)
    void rte_pktmbuf_free_bulk(rte_mbuf **mbufs, unsigned count)

cdef extern from "rte_mbuf_pool_ops.h" nogil:
    const char *rte_mbuf_best_mempool_ops()
