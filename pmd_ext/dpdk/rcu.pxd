# Declarations only: quiescent-state based reclamation. Thread ids are ours, 0..max-1.
from libc.stdint cimport uint32_t


cdef extern from "rte_rcu_qsbr.h" nogil:
    enum:
        RTE_QSBR_THRID_INVALID
    struct rte_rcu_qsbr:
        pass
    size_t rte_rcu_qsbr_get_memsize(uint32_t max_threads)
    int rte_rcu_qsbr_init(rte_rcu_qsbr *v, uint32_t max_threads)
    int rte_rcu_qsbr_thread_register(rte_rcu_qsbr *v, unsigned thread_id)
    int rte_rcu_qsbr_thread_unregister(rte_rcu_qsbr *v, unsigned thread_id)
    void rte_rcu_qsbr_thread_online(rte_rcu_qsbr *v, unsigned thread_id)
    void rte_rcu_qsbr_thread_offline(rte_rcu_qsbr *v, unsigned thread_id)
    void rte_rcu_qsbr_quiescent(rte_rcu_qsbr *v, unsigned thread_id)
    void rte_rcu_qsbr_synchronize(rte_rcu_qsbr *v, unsigned thread_id)
