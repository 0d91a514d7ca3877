# Declarations only: Ethernet devices, devices and buses, rings between threads.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from pmd_ext.dpdk.mbuf cimport rte_mbuf, rte_mempool


cdef extern from "rte_dev.h" nogil:
    struct rte_bus:
        pass
    struct rte_device:
        pass
    struct rte_dev_iterator:
        pass
    int rte_dev_probe(const char *devargs)
    int rte_dev_remove(rte_device *device)
    const rte_bus *rte_dev_bus(const rte_device *device)
    const char *rte_dev_bus_info(const rte_device *device)

cdef extern from "rte_bus.h" nogil:
    const char *rte_bus_name(const rte_bus *bus)

cdef extern from "rte_ethdev.h" nogil:
    enum:
        RTE_MAX_ETHPORTS
        RTE_ETH_XSTATS_NAME_SIZE
        RTE_ETH_DEV_INTR_LSC
        RTE_ETH_MQ_RX_RSS
        RTE_ETHER_ADDR_LEN
    uint64_t RTE_ETH_RX_OFFLOAD_CHECKSUM
    uint64_t RTE_ETH_RSS_IP
    uint64_t RTE_ETH_RSS_UDP
    uint64_t RTE_ETH_RSS_TCP
    enum rte_eth_event_type:
        RTE_ETH_EVENT_INTR_LSC
    struct rte_ether_addr:
        uint8_t addr_bytes[6]
    struct rte_eth_dev_info:
        rte_device *device
        const char *driver_name
        uint16_t max_mtu
        const uint32_t *dev_flags
        uint32_t min_rx_bufsize
        uint16_t max_rx_queues
        uint16_t max_tx_queues
        uint32_t max_mac_addrs
        uint32_t max_hash_mac_addrs
        uint16_t max_vfs
        uint16_t max_vmdq_pools
        uint64_t rx_offload_capa
        uint64_t flow_type_rss_offloads
        # ...
    struct rte_eth_rxmode:
        uint32_t mq_mode
        uint32_t mtu
        # ...
    struct rte_eth_rss_conf:
        uint64_t rss_hf
        # ...
    struct rx_adv_conf:
        rte_eth_rss_conf rss_conf
        # ...
    struct rte_eth_intr_conf:
        uint32_t lsc
        # ...
    struct rte_eth_conf:
        rte_eth_rxmode rxmode
        rx_adv_conf rx_adv_conf
        rte_eth_intr_conf intr_conf
        # ...
    struct rte_eth_link:
        uint32_t link_speed
        uint16_t link_duplex
        uint16_t link_status
        # ...
    struct rte_eth_stats:
        uint64_t ipackets
        uint64_t opackets
        uint64_t ibytes
        uint64_t obytes
        uint64_t imissed
        uint64_t ierrors
        uint64_t oerrors
        uint64_t rx_nombuf
        # ...
    struct rte_eth_xstat:
        uint64_t id
        uint64_t value
    struct rte_eth_xstat_name:
        char name[64]
    ctypedef int (*rte_eth_dev_cb_fn)(uint16_t, rte_eth_event_type, void *, void *) noexcept nogil
    int rte_eth_iterator_init(rte_dev_iterator *iterator, const char *devargs)
    uint16_t rte_eth_iterator_next(rte_dev_iterator *iterator)
    void rte_eth_iterator_cleanup(rte_dev_iterator *iterator)
    int rte_eth_dev_is_valid_port(uint16_t port_id)
    int rte_eth_dev_info_get(uint16_t port_id, rte_eth_dev_info *info)
    int rte_eth_dev_socket_id(uint16_t port_id)
    int rte_eth_dev_configure(uint16_t port_id, uint16_t n_rxq, uint16_t n_txq,
                              const rte_eth_conf *conf)
    int rte_eth_dev_adjust_nb_rx_tx_desc(uint16_t port_id, uint16_t *n_rxd, uint16_t *n_txd)
    int rte_eth_rx_queue_setup(uint16_t port_id, uint16_t queue, uint16_t n_desc, unsigned socket,
                               const void *conf, rte_mempool *pool)
    int rte_eth_tx_queue_setup(uint16_t port_id, uint16_t queue, uint16_t n_desc, unsigned socket,
                               const void *conf)
    int rte_eth_dev_start(uint16_t port_id)
    int rte_eth_dev_stop(uint16_t port_id)
    int rte_eth_dev_close(uint16_t port_id)
    int rte_eth_dev_set_link_up(uint16_t port_id)
    int rte_eth_dev_set_link_down(uint16_t port_id)
    int rte_eth_promiscuous_enable(uint16_t port_id)
    int rte_eth_allmulticast_enable(uint16_t port_id)
    int rte_eth_dev_set_mtu(uint16_t port_id, uint16_t mtu)
    int rte_eth_dev_get_mtu(uint16_t port_id, uint16_t *mtu)
    int rte_eth_macaddr_get(uint16_t port_id, rte_ether_addr *address)
    int rte_eth_link_get_nowait(uint16_t port_id, rte_eth_link *link)
    int rte_eth_dev_callback_register(uint16_t port_id, rte_eth_event_type event,
                                      rte_eth_dev_cb_fn call, void *arg)
    int rte_eth_dev_callback_unregister(uint16_t port_id, rte_eth_event_type event,
                                        rte_eth_dev_cb_fn call, void *arg)
    int rte_eth_stats_get(uint16_t port_id, rte_eth_stats *stats)
    int rte_eth_xstats_get_names(uint16_t port_id, rte_eth_xstat_name *names, unsigned n)
    int rte_eth_xstats_get(uint16_t port_id, rte_eth_xstat *values, unsigned n)
    uint16_t rte_eth_rx_burst(uint16_t port_id, uint16_t queue, rte_mbuf **pkts, uint16_t n)
    uint16_t rte_eth_tx_burst(uint16_t port_id, uint16_t queue, rte_mbuf **pkts, uint16_t n)

cdef extern from "rte_ring.h" nogil:
    enum:
        RING_F_SC_DEQ
        RING_F_EXACT_SZ
    struct rte_ring:
        pass
    rte_ring *rte_ring_create(const char *name, unsigned n, int socket, unsigned flags)
    void rte_ring_free(rte_ring *ring)
    int rte_ring_empty(const rte_ring *ring)
    unsigned rte_ring_mp_enqueue_burst(rte_ring *ring, void **objects, unsigned n, unsigned *free)
    unsigned rte_ring_sc_dequeue_burst(rte_ring *ring, void **objects, unsigned n, unsigned *left)
