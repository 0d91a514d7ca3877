# Declarations only: rings of pointers between threads.


cdef extern from "rte_ring.h" nogil:
    enum:
        RING_F_MP_RTS_ENQ
        RING_F_SC_DEQ
    struct rte_ring:
        pass
    rte_ring *rte_ring_create(const char *name, unsigned count, int socket_id, unsigned flags)
    void rte_ring_free(rte_ring *r)
    unsigned rte_ring_enqueue_burst(rte_ring *r, void **objects, unsigned n, unsigned *room)
    unsigned rte_ring_dequeue_burst(rte_ring *r, void **objects, unsigned n, unsigned *left)
    unsigned rte_ring_free_count(const rte_ring *r)
    unsigned rte_ring_count(const rte_ring *r)
    unsigned rte_ring_get_capacity(const rte_ring *r)
    int rte_ring_set_prod_htd_max(rte_ring *r, unsigned most)
