"""librte_vhost's callbacks and the registration of sockets.

Rules (DPDK lib/vhost, 22.11 and 24.11):
 * callbacks run on the library's event thread, its reconnect thread, or the thread that
   registers or unregisters; they never take the GIL;
 * vring_state_changed runs with all of the device's ring locks held: copy and return;
 * destroy_device is the last moment a vid may be used: it alone waits for the PMDs;
 * no rte_vhost_driver_* call from a callback, but for the one that arrivals.pyx gives reasons for.
"""
from libc cimport errno
from libc.errno cimport ENOMEM, EOPNOTSUPP
from libc.stdint cimport int16_t, int32_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport abs
from libc.string cimport memset, strcmp, strncmp

from pmd_ext.arrivals cimport arrival_begin, arrival_wait, arrivals_begin, arrivals_end
from pmd_ext.atomics cimport (
    fence_full, load_acquire_i32, store_relaxed_i16, store_relaxed_u8, store_release_i32,
    store_release_u16,
)
from pmd_ext.connection cimport connection_begin, connection_close, connection_end
from pmd_ext.dpdk.eal cimport rte_spinlock_lock, rte_spinlock_unlock
from pmd_ext.dpdk.rcu cimport rte_rcu_qsbr_thread_offline, rte_rcu_qsbr_thread_online
from pmd_ext.dpdk.vhost cimport (
    RTE_VHOST_USER_CLIENT, RTE_VHOST_USER_EXTBUF_SUPPORT, RTE_VHOST_USER_IOMMU_SUPPORT,
    RTE_VHOST_USER_LINEARBUF_SUPPORT, RTE_VHOST_USER_NET_COMPLIANT_OL_FLAGS,
    RTE_VHOST_USER_NET_STATS_ENABLE, RTE_VHOST_USER_POSTCOPY_SUPPORT,
    VIRTIO_NET_F_HOST_ECN, VIRTIO_NET_F_HOST_TSO4, VIRTIO_NET_F_HOST_TSO6, VIRTIO_NET_F_HOST_UFO,
    rte_vhost_device_ops, rte_vhost_driver_callback_register, rte_vhost_driver_disable_features,
    rte_vhost_driver_get_features, rte_vhost_driver_get_protocol_features,
    rte_vhost_driver_register, rte_vhost_driver_set_protocol_features, rte_vhost_driver_start,
    rte_vhost_driver_unregister, rte_vhost_get_ifname, rte_vhost_get_mtu,
    rte_vhost_get_negotiated_features, rte_vhost_get_numa_node, rte_vhost_get_vhost_vring,
    rte_vhost_get_vring_num, rte_vhost_stat, rte_vhost_vring, rte_vhost_vring_stats_get,
)
from pmd_ext.eventfds cimport shim_is_eventfd
from pmd_ext.fence cimport fence_close, fence_open
from pmd_ext.handshake cimport handshake_begin, handshake_done, handshake_end
from pmd_ext.rings cimport rings_begin, rings_close, rings_open
from pmd_ext.shield cimport shield_begin_thread
from pmd_ext.state cimport (
    MAIN_READER, MAX_QUEUE_PAIRS, MAX_SLOTS, MAX_VRINGS, PATH_BYTES, TXQ_NONE, dataplane,
    dataplane_get, pmd, ring, ring_counters, ring_of, rxq_vring, slot, slot_changed,
    slot_disconnected, synchronize,
)


cdef extern from * nogil:
    """
    /* The PMD that this thread is; NULL in all others. */
    static __thread void *shim_pmd;
    #define shim_set_pmd(pmd) ((void)(shim_pmd = (pmd)))
    #define shim_get_pmd() shim_pmd

    #include <fcntl.h>
    #include <unistd.h>
    """
    void shim_set_pmd(void *me)
    void *shim_get_pmd()
    enum:
        F_DUPFD_CLOEXEC
        O_CLOEXEC
    int fcntl(int fd, int command, int argument)
    int dup3(int old, int new, int flags)

cdef extern from "shim.h" nogil:
    enum:
        SHIM_VDUSE
    int shim_set_max_queue_num(const char *path, uint32_t pairs)

cdef enum:
    REFUSED = -1        # a callback's "no" to the library
    INFLIGHT_SHMFD = 12     # a protocol feature, which block devices have a use for (vetting.pyx)
    MAX_STATS = 64      # of one vring, in any DPDK

cdef rte_vhost_device_ops _ops      # the library keeps the pointer: lives as long as the process


cdef slot *slot_of_path(dataplane *dp, const char *path, int16_t *index) noexcept nogil:
    cdef int16_t i
    for i in range(MAX_SLOTS):
        if load_acquire_i32(&dp.slots[i].used) and strcmp(dp.slots[i].path, path) == 0:
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


cdef bint is_vduse(const char *path) noexcept nogil:
    return strncmp(path, b"/dev/vduse/", 11) == 0


cdef void map_txqs(slot *s, uint16_t pairs) noexcept nogil:
    """Every txq that is not enabled borrows an enabled one, round robin (OVS: netdev_dpdk_remap_txqs)."""
    cdef uint16_t enabled[MAX_QUEUE_PAIRS]
    cdef uint16_t q, n = 0, borrowed = 0
    for q in range(pairs):
        if s.tx_enabled[q]:
            enabled[n] = q
            n += 1
    for q in range(pairs):
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
    arrival_begin(vid)
    if not is_vduse(path) and not connection_begin(s, s.said.patient):
        slot_changed(s)
        return REFUSED
    slot_disconnected(s)
    s.connection = vid
    s.connections += 1
    dp.vid_slot[vid] = index
    slot_changed(s)
    if s.iotlb:
        rings_begin(index, vid)
    return handshake_begin(s, vid)


cdef slot *slot_of_ready(int vid) noexcept nogil:
    """slot_of_vid, of a device that is ready. VDUSE devices never were a connection before."""
    cdef char path[PATH_BYTES]
    if (slot_of_vid(vid) == NULL and rte_vhost_get_ifname(vid, path, sizeof(path)) == 0
            and is_vduse(path)):
        on_new_connection(vid)
    return slot_of_vid(vid)


cdef void take_kick(slot *s, int vid, uint16_t queue) noexcept nogil:
    """Keeps a copy of the eventfd that the guest kicks an rxq with, if there is one."""
    cdef ring *r = ring_of(dataplane_get(), s - dataplane_get().slots, rxq_vring(queue))
    cdef rte_vhost_vring vring
    cdef int fd
    if (rte_vhost_get_vhost_vring(vid, rxq_vring(queue), &vring) != 0
            or not shim_is_eventfd(vring.kickfd)):
        r.kick = -abs(r.kick)
    elif r.kick:
        # the same number, so that it never means anything but this queue's kicks
        dup3(vring.kickfd, abs(r.kick) - 1, O_CLOEXEC)
        r.kick = abs(r.kick)
    else:
        fd = fcntl(vring.kickfd, F_DUPFD_CLOEXEC, 0)
        if fd >= 0:
            s.n_kicks = max(s.n_kicks, <uint16_t>(queue + 1))
            r.kick = fd + 1


cdef void reset_counters(slot *s) noexcept nogil:
    """Sets those of the connection's vrings to 0 that were not yet; no PMD may be counting."""
    cdef dataplane *dp = dataplane_get()
    cdef uint16_t i
    for i in range(s.n_counted, s.n_vrings):
        memset(&ring_of(dp, s - dp.slots, i).counts, 0, sizeof(ring_counters))
    s.n_counted = max(s.n_counted, s.n_vrings)


cdef void look_at_vrings(slot *s, int vid) noexcept nogil:
    """The vrings that the guest has by now. New ones come with new_device, or while it runs; other
    sizes with a driver that starts anew on the same connection."""
    cdef rte_vhost_vring vring
    cdef uint16_t i, n = min(rte_vhost_get_vring_num(vid), <uint16_t>MAX_VRINGS)
    for i in range(n):
        s.vring_sizes[i] = vring.size if rte_vhost_get_vhost_vring(vid, i, &vring) == 0 else 0
    s.n_vrings = n
    reset_counters(s)
    map_txqs(s, n >> 1)
    # last: PMDs look at queues below it
    store_release_u16(&s.n_pairs, n >> 1)


cdef int on_vring_state_changed(int vid, uint16_t vring, int enable) noexcept nogil:
    cdef slot *s = slot_of_vid(vid)
    if s == NULL or vring >= MAX_VRINGS:
        return 0
    if vring & 1:
        if enable:
            take_kick(s, vid, vring >> 1)
        store_relaxed_u8(&s.rx_enabled[vring >> 1], enable != 0)
    else:
        s.tx_enabled[vring >> 1] = enable != 0
    if s.vid >= 0:
        look_at_vrings(s, vid)
    slot_changed(s)
    return 0


cdef int on_new_device(int vid) noexcept nogil:
    cdef slot *s = slot_of_ready(vid)
    cdef uint16_t q
    if s == NULL or rte_vhost_get_vring_num(vid) < 2:
        return REFUSED
    look_at_vrings(s, vid)
    for q in range(s.n_pairs):
        if s.rx_enabled[q]:
            take_kick(s, vid, q)
    s.numa = rte_vhost_get_numa_node(vid)
    rte_vhost_get_negotiated_features(vid, &s.features)
    if rte_vhost_get_mtu(vid, &s.guest_mtu) != 0:
        s.guest_mtu = 0
    # What PMDs hold of an earlier connection counts no more.
    rte_spinlock_lock(&s.txq_lock)
    memset(s.txq_users, 0, sizeof(s.txq_users))
    s.txq_guest += 1
    rte_spinlock_unlock(&s.txq_lock)
    s.connects += 1
    handshake_done(s)
    store_release_i32(&s.vid, vid)
    slot_changed(s)
    return 0


cdef void on_destroy_device(int vid) noexcept nogil:
    cdef slot *s = slot_of_vid(vid)
    if s == NULL:
        return
    store_release_i32(&s.vid, -1)
    # A table that is published from now on shows the slot without a guest.
    fence_full()
    # Of a detached slot no PMD knows. Waiting then could deadlock: the caller holds the library's
    # mutex, which the event thread may want while it holds a ring lock that a PMD spins on.
    if not load_acquire_i32(&s.detached):
        synchronize()
    slot_changed(s)


cdef void on_destroy_connection(int vid) noexcept nogil:
    cdef slot *s
    arrival_wait(vid)
    s = slot_of_vid(vid)
    dataplane_get().vid_slot[vid] = -1
    if s == NULL:
        return
    connection_end(s)
    handshake_end(s)
    slot_disconnected(s)
    slot_changed(s)


cdef void on_guest_notified(int vid) noexcept nogil:
    """Runs in the PMD whose enqueue or dequeue raised the interrupt, the ring's lock held."""
    cdef pmd *me = <pmd *>shim_get_pmd()
    if me != NULL:
        me.work.calling.notifications += 1


cdef void vhost_thread_of(pmd *me) noexcept nogil:
    shim_set_pmd(me)
    shield_begin_thread(me)


cdef void vhost_iotlb(slot *s, uint16_t vring, unsigned first, uint64_t *hits,
                      uint64_t *misses) noexcept nogil:
    cdef rte_vhost_stat stats[MAX_STATS]
    cdef int32_t vid
    hits[0] = misses[0] = 0
    # destroy_device does not wait for anybody who reads a detached slot
    if s.detached:
        return
    rte_rcu_qsbr_thread_online(dataplane_get().qsbr, MAIN_READER)
    vid = load_acquire_i32(&s.vid)
    if vid >= 0 and rte_vhost_vring_stats_get(vid, vring, stats, MAX_STATS) > <int>first + 1:
        hits[0] = stats[first].value
        misses[0] = stats[first + 1].value
    rte_rcu_qsbr_thread_offline(dataplane_get().qsbr, MAIN_READER)


cdef inline uint64_t refused_features(bint tso) noexcept nogil:
    """What no guest may leave to the switch (OVS: netdev_dpdk_vhost_client_reconfigure). Checksums
    any may. Without TSO, ECN means nothing, but guests that come from ovs-vswitchd may have it."""
    if tso:
        return <uint64_t>1 << VIRTIO_NET_F_HOST_ECN | <uint64_t>1 << VIRTIO_NET_F_HOST_UFO
    return (<uint64_t>1 << VIRTIO_NET_F_HOST_TSO4 | <uint64_t>1 << VIRTIO_NET_F_HOST_TSO6
            | <uint64_t>1 << VIRTIO_NET_F_HOST_UFO)

_ops.new_connection = on_new_connection
_ops.vring_state_changed = on_vring_state_changed
_ops.new_device = on_new_device
_ops.destroy_device = on_destroy_device
_ops.destroy_connection = on_destroy_connection
_ops.guest_notified = on_guest_notified


cdef int start(slot *s, bint tso, uint32_t max_queue_pairs, const char **call) noexcept nogil:
    """What follows the registration; 0, or a negative value and *call."""
    cdef int rc = 0
    cdef uint64_t protocol = 0
    if is_vduse(s.path):
        call[0] = b"rte_vhost_driver_set_max_queue_num"
        rc = shim_set_max_queue_num(s.path, max_queue_pairs)
    if rc == 0:
        call[0] = b"rte_vhost_driver_disable_features"
        rc = rte_vhost_driver_disable_features(s.path, refused_features(tso))
    if rc == 0:
        call[0] = b"rte_vhost_driver_set_protocol_features"
        rte_vhost_driver_get_protocol_features(s.path, &protocol)
        rc = rte_vhost_driver_set_protocol_features(
            s.path, protocol & ~(<uint64_t>1 << INFLIGHT_SHMFD))
    if rc == 0:
        rte_vhost_driver_get_features(s.path, &s.said.offered)
        call[0] = b"rte_vhost_driver_callback_register"
        rc = rte_vhost_driver_callback_register(s.path, &_ops)
    if rc == 0:
        call[0] = b"rte_vhost_driver_start"
        arrivals_begin()
        rc = rte_vhost_driver_start(s.path)
        arrivals_end()
    return rc


cdef int vhost_register(slot *s, bint client, bint iommu, bint postcopy, bint tso,
                        uint32_t max_queue_pairs, const char **call) noexcept nogil:
    # With 'compliant' flags the library says what the guest left to us, and completes itself what
    # it cannot say; otherwise it would pass over checksums of protocols that it does not know.
    cdef uint64_t flags = (RTE_VHOST_USER_LINEARBUF_SUPPORT
                           | RTE_VHOST_USER_NET_COMPLIANT_OL_FLAGS)
    cdef int16_t index = <int16_t>(s - dataplane_get().slots)
    cdef int rc
    if client:
        flags |= RTE_VHOST_USER_CLIENT
    if iommu:
        # address translations are counted by the library alone
        flags |= RTE_VHOST_USER_IOMMU_SUPPORT | RTE_VHOST_USER_NET_STATS_ENABLE
    if postcopy:
        flags |= RTE_VHOST_USER_POSTCOPY_SUPPORT
    if tso:
        # Frames longer than a buffer get one of DPDK's memory each, up to 64 KiB, until the end of
        # the burst. So the most that guests can take is BURST of them (2 MiB) for each PMD.
        flags |= RTE_VHOST_USER_EXTBUF_SUPPORT
    s.client = client
    s.iotlb = iommu
    s.said.patient = postcopy
    if is_vduse(s.path) and not SHIM_VDUSE:
        # not left to start(): what is registered and not started keeps a descriptor
        call[0] = b"rte_vhost_driver_set_max_queue_num"
        return -EOPNOTSUPP
    call[0] = b"calloc"
    # post-copy wants the guest's memory as it is
    if iommu and rings_open(index, not postcopy) != 0:
        return -ENOMEM
    errno.errno = 0
    call[0] = b"rte_vhost_driver_register"
    rc = rte_vhost_driver_register(s.path, flags)
    if rc != 0:
        rings_close(index)
        return -errno.errno if errno.errno else rc
    rc = start(s, tso, max_queue_pairs, call)
    if rc != 0:
        # the library says -1; what the system call said is the better word
        rc = -errno.errno if rc == -1 and errno.errno else rc
        rte_vhost_driver_unregister(s.path)
        rings_close(index)
    # 22.11's event thread looks for new sockets to listen on once a second, and after each message.
    if rc == 0 and not client and fence_close():
        fence_open()
    return rc


cdef int vhost_unregister(slot *s) noexcept nogil:
    cdef bint fenced = s.client and fence_close()
    cdef int rc = rte_vhost_driver_unregister(s.path)
    if fenced:
        fence_open()
    # 24.11's event thread may still hold an event of the connection, by the number of its
    # descriptor: that is not used anew before the thread has asked for events anew.
    if s.connection >= 0 and fenced and fence_close():
        fence_open()
    # This way out of a connection calls destroy_device, but never destroy_connection. What vid_slot
    # has of its vid is left alone: that may be another port's connection by now.
    connection_close(s)
    handshake_end(s)
    slot_disconnected(s)
    rings_close(<int16_t>(s - dataplane_get().slots))
    return rc
