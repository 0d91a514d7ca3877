"""librte_vhost's callbacks and the registration of sockets.

Rules (DPDK lib/vhost, 22.11 and 24.11):
 * callbacks run on the library's event thread, its reconnect thread, or the thread that
   registers or unregisters; they never take the GIL;
 * vring_state_changed runs with all of the device's ring locks held: copy and return;
 * destroy_device is the last moment a vid may be used: it alone waits for the PMDs;
 * no rte_vhost_driver_* call from a callback.
"""
from libc cimport errno
from libc.stdint cimport int16_t, int32_t, uint16_t, uint64_t
from libc.string cimport strcmp

from pmd_ext.atomics cimport store_relaxed_i16, store_release_i32
from pmd_ext.dpdk.vhost cimport (
    RTE_VHOST_USER_CLIENT, RTE_VHOST_USER_LINEARBUF_SUPPORT, VIRTIO_NET_F_CSUM,
    VIRTIO_NET_F_HOST_ECN, VIRTIO_NET_F_HOST_TSO4, VIRTIO_NET_F_HOST_TSO6, VIRTIO_NET_F_HOST_UFO,
    rte_vhost_device_ops, rte_vhost_driver_callback_register, rte_vhost_driver_disable_features,
    rte_vhost_driver_register, rte_vhost_driver_start, rte_vhost_driver_unregister,
    rte_vhost_enable_guest_notification, rte_vhost_get_ifname, rte_vhost_get_negotiated_features,
    rte_vhost_get_numa_node, rte_vhost_get_vhost_vring, rte_vhost_get_vring_num, rte_vhost_vring,
)
from pmd_ext.state cimport (
    MAX_QUEUE_PAIRS, MAX_SLOTS, PATH_BYTES, TXQ_NONE, dataplane, dataplane_get, slot,
    slot_changed, slot_disconnected, synchronize,
)

cdef enum:
    REFUSED = -1        # a callback's "no" to the library

cdef rte_vhost_device_ops _ops      # the library keeps the pointer: lives as long as the process


cdef slot *slot_of_path(dataplane *dp, const char *path, int16_t *index) noexcept nogil:
    cdef int16_t i
    for i in range(MAX_SLOTS):
        if dp.slots[i].used and strcmp(dp.slots[i].path, path) == 0:
            index[0] = i
            return &dp.slots[i]
    return NULL


cdef slot *slot_of_vid(int vid) noexcept nogil:
    """The slot that 'vid' is the connection of; NULL for one that a newer has replaced."""
    cdef dataplane *dp = dataplane_get()
    cdef int16_t index = dp.vid_slot[vid]
    if index < 0 or dp.slots[index].connection != vid:
        return NULL
    return &dp.slots[index]


cdef void map_txqs(slot *s) noexcept nogil:
    """Every txq that is not enabled borrows an enabled one, round robin (OVS: netdev_dpdk_remap_txqs)."""
    cdef uint16_t enabled[MAX_QUEUE_PAIRS]
    cdef uint16_t q, n = 0, borrowed = 0
    for q in range(s.n_pairs):
        if s.tx_enabled[q]:
            enabled[n] = q
            n += 1
    for q in range(s.n_pairs):
        if s.tx_enabled[q]:
            store_relaxed_i16(&s.tx_map[q], q)
        elif n:
            store_relaxed_i16(&s.tx_map[q], enabled[borrowed % n])
            borrowed += 1
        else:
            store_relaxed_i16(&s.tx_map[q], TXQ_NONE)


cdef int on_new_connection(int vid) noexcept nogil:
    cdef dataplane *dp = dataplane_get()
    cdef char path[PATH_BYTES]
    cdef int16_t index = -1
    cdef slot *s
    dp.vid_slot[vid] = -1
    if rte_vhost_get_ifname(vid, path, sizeof(path)) != 0:
        return REFUSED
    s = slot_of_path(dp, path, &index)
    # A socket serves one front end at a time. One that is not running gives way: its end may
    # just not have been seen yet.
    if s == NULL or s.vid >= 0:
        return REFUSED
    slot_disconnected(s)
    s.connection = vid
    dp.vid_slot[vid] = index
    return 0


cdef int on_vring_state_changed(int vid, uint16_t vring, int enable) noexcept nogil:
    cdef slot *s = slot_of_vid(vid)
    if s == NULL or vring >= 2 * MAX_QUEUE_PAIRS:
        return 0
    if vring & 1:
        s.rx_enabled[vring >> 1] = enable != 0
    else:
        s.tx_enabled[vring >> 1] = enable != 0
        map_txqs(s)
    slot_changed(s)
    return 0


cdef int on_new_device(int vid) noexcept nogil:
    cdef slot *s = slot_of_vid(vid)
    cdef rte_vhost_vring ring
    cdef uint16_t i
    if s == NULL:
        return REFUSED
    s.n_vrings = min(rte_vhost_get_vring_num(vid), 2 * MAX_QUEUE_PAIRS)
    s.n_pairs = s.n_vrings >> 1
    if s.n_pairs == 0:
        return REFUSED
    s.numa = rte_vhost_get_numa_node(vid)
    rte_vhost_get_negotiated_features(vid, &s.features)
    for i in range(s.n_vrings):
        s.vring_sizes[i] = ring.size if rte_vhost_get_vhost_vring(vid, i, &ring) == 0 else 0
        # PMDs poll: guests need not kick
        rte_vhost_enable_guest_notification(vid, i, 0)
    map_txqs(s)
    s.connects += 1
    store_release_i32(&s.vid, vid)
    slot_changed(s)
    return 0


cdef void on_destroy_device(int vid) noexcept nogil:
    cdef slot *s = slot_of_vid(vid)
    if s == NULL:
        return
    store_release_i32(&s.vid, -1)
    # Of a detached slot no PMD knows. Waiting then could deadlock: the caller holds the library's
    # mutex, which the event thread may want while it holds a ring lock that a PMD spins on.
    if not s.detached:
        synchronize()
    slot_changed(s)


cdef void on_destroy_connection(int vid) noexcept nogil:
    cdef slot *s = slot_of_vid(vid)
    dataplane_get().vid_slot[vid] = -1
    if s == NULL:
        return
    slot_disconnected(s)
    slot_changed(s)


cdef int vhost_register(slot *s, bint client, const char **call) noexcept nogil:
    cdef uint64_t flags = RTE_VHOST_USER_LINEARBUF_SUPPORT
    # Frames travel as the guest made them: no checksum or segmentation is left to the switch.
    cdef uint64_t refused = (<uint64_t>1 << VIRTIO_NET_F_CSUM | <uint64_t>1 << VIRTIO_NET_F_HOST_TSO4
                             | <uint64_t>1 << VIRTIO_NET_F_HOST_TSO6
                             | <uint64_t>1 << VIRTIO_NET_F_HOST_ECN
                             | <uint64_t>1 << VIRTIO_NET_F_HOST_UFO)
    cdef int rc
    if client:
        flags |= RTE_VHOST_USER_CLIENT
    _ops.new_connection = on_new_connection
    _ops.vring_state_changed = on_vring_state_changed
    _ops.new_device = on_new_device
    _ops.destroy_device = on_destroy_device
    _ops.destroy_connection = on_destroy_connection
    errno.errno = 0
    call[0] = b"rte_vhost_driver_register"
    rc = rte_vhost_driver_register(s.path, flags)
    if rc != 0:
        return -errno.errno if errno.errno else rc
    call[0] = b"rte_vhost_driver_disable_features"
    rc = rte_vhost_driver_disable_features(s.path, refused)
    if rc == 0:
        call[0] = b"rte_vhost_driver_callback_register"
        rc = rte_vhost_driver_callback_register(s.path, &_ops)
    if rc == 0:
        call[0] = b"rte_vhost_driver_start"
        rc = rte_vhost_driver_start(s.path)
    if rc != 0:
        # the library says -1; what the system call said is the better word
        rc = -errno.errno if errno.errno else rc
        rte_vhost_driver_unregister(s.path)
    return rc


cdef int vhost_unregister(slot *s) noexcept nogil:
    cdef int rc = rte_vhost_driver_unregister(s.path)
    # This way out of a connection calls destroy_device, but never destroy_connection.
    if s.connection >= 0:
        dataplane_get().vid_slot[s.connection] = -1
    slot_disconnected(s)
    return rc
