# Declarations only: librte_vhost and the virtio-net feature bits.
from libc.stdint cimport uint16_t, uint32_t, uint64_t

from pmd_ext.dpdk.mbuf cimport rte_mbuf, rte_mempool


cdef extern from "rte_vhost.h" nogil:
    enum:
        RTE_VHOST_USER_CLIENT
        RTE_VHOST_USER_NO_RECONNECT
        RTE_VHOST_USER_IOMMU_SUPPORT
        RTE_VHOST_USER_POSTCOPY_SUPPORT
        RTE_VHOST_USER_EXTBUF_SUPPORT
        RTE_VHOST_USER_LINEARBUF_SUPPORT
        RTE_VHOST_USER_NET_COMPLIANT_OL_FLAGS
        RTE_VHOST_USER_NET_STATS_ENABLE

    struct rte_vhost_device_ops:
        int (*new_device)(int vid) noexcept nogil
        void (*destroy_device)(int vid) noexcept nogil
        int (*vring_state_changed)(int vid, uint16_t queue_id, int enable) noexcept nogil
        int (*new_connection)(int vid) noexcept nogil
        void (*destroy_connection)(int vid) noexcept nogil
        void (*guest_notified)(int vid) noexcept nogil
        # ...

    enum rte_vhost_msg_result:
        RTE_VHOST_MSG_RESULT_ERR
        RTE_VHOST_MSG_RESULT_OK
        RTE_VHOST_MSG_RESULT_NOT_HANDLED
        # ...

    struct rte_vhost_user_extern_ops:
        rte_vhost_msg_result (*pre_msg_handle)(int vid, void *msg) noexcept nogil
        rte_vhost_msg_result (*post_msg_handle)(int vid, void *msg) noexcept nogil

    struct rte_vhost_mem_region:
        uint64_t guest_user_addr
        uint64_t host_user_addr
        uint64_t size
        void *mmap_addr
        uint64_t mmap_size
        int fd
        # ...

    struct rte_vhost_memory:
        uint32_t nregions
        rte_vhost_mem_region *regions

    struct rte_vhost_vring:
        # of a packed one desc_packed, driver_event and device_event, at the same places
        void *desc
        void *avail
        void *used
        int kickfd
        uint16_t size
        # ...

    struct rte_vhost_stat:
        uint64_t id
        uint64_t value

    int rte_vhost_driver_register(const char *path, uint64_t flags)
    int rte_vhost_driver_unregister(const char *path)
    int rte_vhost_driver_get_features(const char *path, uint64_t *features)
    int rte_vhost_driver_get_protocol_features(const char *path, uint64_t *features)
    int rte_vhost_driver_set_protocol_features(const char *path, uint64_t features)
    int rte_vhost_driver_disable_features(const char *path, uint64_t features)
    int rte_vhost_driver_callback_register(const char *path, const rte_vhost_device_ops *ops)
    int rte_vhost_driver_start(const char *path)
    int rte_vhost_extern_callback_register(int vid, const rte_vhost_user_extern_ops *ops,
                                           void *ctx)

    int rte_vhost_get_ifname(int vid, char *buf, size_t len)
    int rte_vhost_get_mem_table(int vid, rte_vhost_memory **mem)
    int rte_vhost_get_numa_node(int vid)
    int rte_vhost_get_mtu(int vid, uint16_t *mtu)
    int rte_vhost_get_negotiated_features(int vid, uint64_t *features)
    uint16_t rte_vhost_get_vring_num(int vid)
    int rte_vhost_get_vhost_vring(int vid, uint16_t vring_idx, rte_vhost_vring *vring)
    int rte_vhost_get_vring_base(int vid, uint16_t queue_id, uint16_t *last_avail_idx,
                                 uint16_t *last_used_idx)
    int rte_vhost_vring_stats_get(int vid, uint16_t queue_id, rte_vhost_stat *stats, unsigned n)
    int rte_vhost_enable_guest_notification(int vid, uint16_t queue_id, int enable)
    uint16_t rte_vhost_enqueue_burst(int vid, uint16_t queue_id, rte_mbuf **pkts,
                                     uint16_t count)
    uint16_t rte_vhost_dequeue_burst(int vid, uint16_t queue_id, rte_mempool *mbuf_pool,
                                     rte_mbuf **pkts, uint16_t count)

cdef extern from "linux/virtio_config.h" nogil:
    enum:
        VIRTIO_F_ACCESS_PLATFORM    # addresses are an IOMMU's

cdef extern from "linux/virtio_net.h" nogil:
    enum:
        VIRTIO_NET_F_GUEST_CSUM
        VIRTIO_NET_F_GUEST_TSO4
        VIRTIO_NET_F_GUEST_TSO6
        VIRTIO_NET_F_HOST_TSO4
        VIRTIO_NET_F_HOST_TSO6
        VIRTIO_NET_F_HOST_ECN
        VIRTIO_NET_F_HOST_UFO

cdef extern from "linux/virtio_config.h" nogil:
    enum:
        VIRTIO_F_RING_PACKED
