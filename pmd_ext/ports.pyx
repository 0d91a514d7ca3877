"""Ports: from a slot that is free to a port and back. Methods are for main."""
import errno
import heapq
import os

from libc.stdint cimport uint32_t
from libc.string cimport memset, strncpy

from pmd_ext.atomics cimport (
    load_acquire_u32, load_relaxed_u32, store_relaxed_u32, store_release_i32, store_release_ptr,
)
from pmd_ext.capture cimport (
    CAPTURE_INBOUND, CAPTURE_OUTBOUND, capture, capture_free, capture_new,
)
from pmd_ext.dpdk.mbuf cimport rte_mempool, rte_mempool_in_use_count
from pmd_ext.errors cimport check
from pmd_ext.errors import DatapathError
from pmd_ext.ethconfig cimport (
    eth_buffers, eth_close, eth_look_at_link, eth_node, eth_open, eth_set_link,
    eth_start,
)
from pmd_ext.ethinfo cimport eth_info, eth_statistics
from pmd_ext.handshake cimport handshake_forget
from pmd_ext.hosts cimport Hosts
from pmd_ext.limits cimport Limits
from pmd_ext.pools cimport HOST_PORTS, USUAL_ROOM_BYTES, Pool, Pools
from pmd_ext.readings cimport port_handshake, port_readings
from pmd_ext.sight cimport sight
from pmd_ext.state cimport (
    MAX_PMDS, MAX_QUEUE_PAIRS, MAX_SLOTS, PATH_BYTES, SLOT_ETH, SLOT_HOST, SLOT_PATCH, SLOT_VHOST,
    dataplane_get, eth_port, host_port, port_counters, ring_counters, ring_of, rxq_vring, slot,
    slot_changed,
    slot_disconnected, synchronize, txq_vring,
)
from pmd_ext.vhost cimport vhost_register, vhost_unregister


cdef extern from "unistd.h" nogil:
    int usleep(unsigned microseconds)

cdef enum:
    WAITING_BUFFERS = 1024      # for frames that wait for an IOMMU
    WAITING_POLL_US = 20

cdef extern from "shim.h" nogil:
    enum:
        RTE_ETHER_HDR_LEN
        RTE_ETHER_CRC_LEN


cdef class Ports:
    def __cinit__(self, Pools pools) -> None:
        self.dp = dataplane_get()
        self.pools = pools
        self.limits = Limits()
        self.names, self.paths, self.pool_of = {}, {}, {}
        self.hosts = Hosts()
        self.free_slots = list(range(MAX_SLOTS))
        self.captured = set()
        self.waiting = None

    def add_vhost(self, name, path, *, client, iommu, postcopy, tso, max_queue_pairs, mtu,
                 room_bytes, node, own_pool, tx_retries_max, tx_hash):
        """Registers a vhost-user socket and returns the slot (0..1021) of the new port.

        It receives frames up to 'room_bytes' into a packet pool on 'node' (-1: the main lcore's)
        that it shares with its like, or has for itself with 'own_pool'. With 'tso' guests may leave
        segmentation to the switch, in frames up to 64 KiB. 'max_queue_pairs' is for VDUSE devices alone. Raises DatapathError: ENFILE (1022 ports), ENAMETOOLONG (path over
        107 bytes), EEXIST (path in use by another port), ENOMEM (no memory for packets),
        EOPNOTSUPP (a VDUSE device, and this DPDK knows none), or what the vhost library said.
        """
        cdef slot *s
        cdef const char *call = NULL
        cdef bint is_client = client, has_iommu = iommu, has_postcopy = postcopy, has_tso = tso
        cdef uint32_t pairs = max_queue_pairs
        cdef Pool pool
        cdef int rc, index
        raw = os.fsencode(path)
        if len(raw) >= PATH_BYTES:
            raise DatapathError(errno.ENAMETOOLONG, "rte_vhost_driver_register", name)
        if raw in self.paths:
            raise DatapathError(errno.EEXIST, "rte_vhost_driver_register", name)
        index = self.free_slot(name)
        pool = self.pools.take(room_bytes, node, index if own_pool else -1, name)
        if has_iommu:
            try:
                self.take_waiting(name)
            except BaseException:
                self.pools.give_back(pool)
                raise
        s = self.begin(index, SLOT_VHOST, pool, mtu)
        strncpy(s.path, raw, PATH_BYTES)
        s.tx_retries_max = tx_retries_max
        s.tx_hash = tx_hash
        store_release_i32(&s.used, True)
        with nogil:
            rc = vhost_register(s, is_client, has_iommu, has_postcopy, has_tso, pairs, &call)
        if rc != 0:
            store_release_i32(&s.used, False)
            if has_iommu:
                self.give_back_waiting()
            self.pools.give_back(pool)
            check(rc, call.decode(), name)
        self.paths[raw] = index
        self.take(index, name, pool)
        return index

    cdef int take_waiting(self, str name) except -1:
        """Has the pool of frames that wait for an IOMMU; it is there for the first such port."""
        self.waiting = self.pools.take(USUAL_ROOM_BYTES, -1, HOST_PORTS, name, WAITING_BUFFERS)
        store_release_ptr(<void **>&self.dp.waiting_pool, self.waiting.packets)
        return 0

    cdef give_back_waiting(self):
        """After its guest has gone. What waited for it every thread drops in its next round."""
        cdef rte_mempool *packets = self.waiting.packets
        if self.waiting.users == 1:
            with nogil:
                while rte_mempool_in_use_count(packets):
                    usleep(WAITING_POLL_US)
        self.pools.give_back(self.waiting)

    def handshake(self, int index):
        """What the front end of a port has said: (messages of the connection that is, number of
        the last request, features that it wanted or 0, features that it may have, pieces of memory
        that it shared, connections in a row that ended before a guest was ready, whether one was
        ready on the last, whether a part of a ring cannot be used). But for the first and the
        fourth these are of the last connection that said anything."""
        return port_handshake(self.dp, index)

    def sight(self, int index):
        """What is seen of the guest's memory, a number of SIGHT_NAMES."""
        return sight(&self.dp.slots[index])

    def add_patch(self, name):
        """A patch port; returns its slot. set_bridges() tells its peer. DatapathError: ENFILE."""
        cdef int index = self.free_slot(name)
        cdef Pool pool = self.pools.take(USUAL_ROOM_BYTES, -1, -1, name)
        cdef slot *s = self.begin(index, SLOT_PATCH, pool, 0)
        # of one rxq and one txq, which are counted
        memset(&ring_of(self.dp, index, rxq_vring(0)).counts, 0, sizeof(ring_counters))
        memset(&ring_of(self.dp, index, txq_vring(0)).counts, 0, sizeof(ring_counters))
        store_release_i32(&s.used, True)
        self.take(index, name, pool)
        return index

    def add_host(self, name, int fd, *, bint packet, bint offloads, int mtu, int room_bytes,
                 int node):
        """Serves a device of the host's kernel by its descriptor, non-blocking, with a virtio-net
        header of 10 bytes in front of each frame: a tap's, or with 'packet' an AF_PACKET socket's
        with PACKET_AUXDATA. 'offloads' are as for set_host_offloads(). Returns the slot of the
        new port.

        No PMD has to poll it. The descriptor stays the caller's, to be closed after remove().
        Raises DatapathError: ENFILE (1022 ports), ENOMEM, EPERM (a descriptor that cannot be
        waited for), EAGAIN (no more threads).
        """
        cdef int index = self.free_slot(name)
        cdef Pool pool = self.pools.take(room_bytes, node, HOST_PORTS, name)
        cdef slot *s = self.begin(index, SLOT_HOST, pool, mtu)
        store_release_i32(&s.used, True)
        try:
            self.hosts.add(index, fd, packet, offloads, name)
        except BaseException:
            store_release_i32(&s.used, False)
            self.pools.give_back(pool)
            raise
        self.take(index, name, pool)
        return index

    def set_host_offloads(self, int index, bint offloads):
        """Whether checksums and segmentation of TCP are left to the kernel in frames to a device.
        What it leaves to us is taken in any case."""
        store_relaxed_u32(&self.dp.host_ports[index].offloads, offloads)

    def host_state(self, int index):
        """What the host thread noticed of a device: (errno with which it can be read no more or 0,
        whether it gave frames of another protocol than TCP that somebody has to cut). See
        Runtime.changes()."""
        cdef host_port *port = &self.dp.host_ports[index]
        return (load_relaxed_u32(&port.error), bool(port.segmentable))

    def add_eth(self, name, devargs, *, n_rxq, n_txq, n_rxq_desc, n_txq_desc, lsc, mtu, room_bytes,
                tx_hash):
        """Starts the Ethernet device that DPDK's words name, such as '0000:06:00.0' or
        'net_af_packet0,iface=eth0', and returns the slot of the new port.

        Queues, descriptors and the MTU are the nearest to the wanted ones that the device can
        have. With 'lsc' it interrupts when its link changes, if it can. Raises DatapathError:
        EADDRINUSE (its 'port' is the one that has the device already), ENFILE (1022 ports), ENOMEM,
        or what DPDK and the driver said.
        """
        cdef Pool pool
        cdef slot *s
        cdef int i, index = self.free_slot(name)
        cdef eth_port *eth = eth_open(self.dp, self.names, name, devargs, n_rxq, n_txq, n_rxq_desc,
                                      n_txq_desc)
        s = &self.dp.slots[index]
        s.eth = eth
        try:
            pool = self.pools.take(room_bytes, eth_node(eth), index, name, eth_buffers(eth))
        except DatapathError:
            eth_close(self.dp, s)
            raise
        self.begin(index, SLOT_ETH, pool, mtu)
        s.tx_retries_max = 0
        s.tx_hash = tx_hash
        try:
            eth_start(s, name, mtu, lsc)
        except DatapathError:
            eth_close(self.dp, s)
            self.pools.give_back(pool)
            raise
        for i in range(MAX_QUEUE_PAIRS):
            memset(&ring_of(self.dp, index, rxq_vring(i)).counts, 0, sizeof(ring_counters))
            memset(&ring_of(self.dp, index, txq_vring(i)).counts, 0, sizeof(ring_counters))
        store_release_i32(&s.used, True)
        self.take(index, name, pool)
        slot_changed(s)
        return index

    def eth_info(self, int index):
        """What is known of the device of a port: (name, value) pairs."""
        return eth_info(&self.dp.slots[index])

    def eth_statistics(self, int index):
        """What the device of a port counted, by DPDK's names: (name, value) pairs. Looks at its
        link, too: a change is reported as others are."""
        eth_look_at_link(&self.dp.slots[index])
        return eth_statistics(&self.dp.slots[index])

    cdef int free_slot(self, str name) except -1:
        """The lowest; DatapathError ENFILE without one."""
        if not self.free_slots:
            raise DatapathError(errno.ENFILE, "free_slot", name)
        return self.free_slots[0]

    cdef slot *begin(self, int index, uint32_t kind, Pool pool, int mtu):
        """Makes the free slot one of a port that nobody knows yet and nothing is connected to."""
        cdef slot *s = &self.dp.slots[index]
        s.kind = kind
        s.path[0] = 0           # callbacks look ports up by it
        slot_disconnected(s)
        handshake_forget(s)
        s.connects = s.connections = 0
        s.detached = True
        s.max_frame_bytes = mtu + RTE_ETHER_HDR_LEN + RTE_ETHER_CRC_LEN
        s.down = False
        s.tx_oversize_bytes = 0
        s.pool = pool.packets
        self.clear_counters(index)
        # A port that was added is reported, whatever its slot was before.
        self.dp.reported[index] = self.dp.generations[index] - 1
        return s

    cdef take(self, int index, str name, Pool pool):
        """The slot is that port's from now on."""
        heapq.heappop(self.free_slots)
        self.names[index] = name
        self.pool_of[index] = pool

    def set_mtu(self, int index, int mtu, int room_bytes, int node, bint own_pool):
        """Changes what the port receives into and the longest frame that is sent to it, while it
        works on; waits until no PMD uses the old pool. Raises DatapathError (no memory for
        packets); all is as it was then.
        """
        cdef slot *s = &self.dp.slots[index]
        cdef Pool old = self.pool_of[index]
        cdef int owner = HOST_PORTS if s.kind == SLOT_HOST else index if own_pool else -1
        cdef Pool pool = self.pools.take(room_bytes, node, owner, self.names[index])
        store_relaxed_u32(&s.max_frame_bytes, mtu + RTE_ETHER_HDR_LEN + RTE_ETHER_CRC_LEN)
        if pool is not old:
            with nogil:
                store_release_ptr(<void **>&s.pool, pool.packets)
                synchronize()
            if s.kind == SLOT_HOST:
                self.hosts.flush(index)
            self.pool_of[index] = pool
        self.pools.give_back(old)

    def set_tx_retries_max(self, int index, uint32_t retries):
        """Takes effect with the next transmit burst that meets a full ring."""
        store_relaxed_u32(&self.dp.slots[index].tx_retries_max, retries)

    def set_tx_hash(self, int index, bint by_flow):
        """Whether a frame's flow or its PMD decides which txq it takes; from the next burst on."""
        store_relaxed_u32(&self.dp.slots[index].tx_hash, by_flow)

    def set_limits(self, int index, wanted):
        """Limits the port by 'wanted', all there is of {name: numbers}; a meter whose numbers are
        those it had keeps its tokens, and the others begin with full buckets. Waits until no PMD
        uses what is gone.

        (rate a second, burst) of 'rx_bytes', 'rx_packets' (received), of 'broadcast', 'multicast',
        'unknown_unicast' (packets received and flooded) and of 'tx_bytes' (sent); (CIR, CBS, EIR,
        EBS), in bytes, of 'tx_port' and 'tx_queue', both or none. Bytes are those after the
        Ethernet header's 14. Raises DatapathError, and all is as it was: EINVAL (a rate without
        its burst; no rate, of one), ENOMEM.
        """
        self.limits.set(&self.dp.slots[index], index, dict(wanted), self.names[index])

    def queue_counters(self, int index):
        """(packets, bytes, packets that were too many) of 'tx_queue' since its numbers were set."""
        return self.limits.queue(index)

    def set_admin_state(self, int index, bint up):
        """A port that is down receives nothing and drops what is sent to it."""
        store_relaxed_u32(&self.dp.slots[index].down, not up)
        if self.dp.slots[index].kind == SLOT_ETH:
            with nogil:
                eth_set_link(&self.dp.slots[index], up)
        slot_changed(&self.dp.slots[index])

    def remove(self, int index):
        """Ends the port: unregisters its socket, and its guest is disconnected; or lets go of its
        descriptor.

        Raises DatapathError EBUSY while a bridge or a PMD still has it.
        """
        cdef slot *s = &self.dp.slots[index]
        cdef int rc = 0
        name = self.names[index]
        if not s.detached:
            raise DatapathError(errno.EBUSY, "remove", name)
        self.end_capture(index)
        if s.kind == SLOT_HOST:
            self.hosts.remove(index)
        elif s.kind == SLOT_ETH:
            with nogil:
                eth_close(self.dp, s)
        elif s.kind == SLOT_VHOST:
            with nogil:
                rc = vhost_unregister(s)
            check(rc, "rte_vhost_driver_unregister", name)
            if s.iotlb:
                self.give_back_waiting()
            del self.paths[<bytes>s.path]
        store_release_i32(&s.used, False)
        self.limits.drop(s, index)
        del self.names[index]
        heapq.heappush(self.free_slots, index)
        self.pools.give_back(self.pool_of.pop(index))

    def counters(self, int index):
        """Values of one port: (in the order of PORT_COUNTER_NAMES since it was added, those of
        each rxq, those of each txq). A queue's are in the order of QUEUE_COUNTER_NAMES, since its
        front end connected; there are none of either without a guest.
        """
        return port_readings(self.dp, index)

    def start_capture(self, int index, int fd, uint32_t snaplen, bint rx, bint tx):
        """Writes a copy of each frame that the port receives or sends to the socket 'fd', as
        capture_record has it, its first 'snaplen' bytes (1..262144; more is taken as that).

        The capture owns the socket from now on. It ends when the other side does (end_captures())
        and with the port. Raises DatapathError: EBUSY (the port has a capture), ENOMEM, EAGAIN (no
        thread); the socket is the caller's then.
        """
        cdef capture *c = NULL
        cdef uint32_t directions = (CAPTURE_INBOUND if rx else 0) | (CAPTURE_OUTBOUND if tx else 0)
        name = self.names[index]
        self.end_captures()
        if index in self.captured:
            raise DatapathError(errno.EBUSY, "start_capture", name)
        check(capture_new(&c, fd, self.dp.wake_fd, snaplen, directions), "start_capture", name)
        store_release_ptr(<void **>&self.dp.slots[index].capture, c)
        self.captured.add(index)

    def end_captures(self):
        """Takes down the captures whose readers have ended; after each drain_wake()."""
        for index in list(self.captured):
            if load_acquire_u32(&self.dp.slots[<int>index].capture.ended):
                self.end_capture(index)

    cdef end_capture(self, int index):
        """The port has no capture any more."""
        cdef slot *s = &self.dp.slots[index]
        cdef capture *c = s.capture
        if c == NULL:
            return
        self.captured.discard(index)
        with nogil:
            store_release_ptr(<void **>&s.capture, NULL)
            synchronize()
            capture_free(c)

    cdef clear_counters(self, int index):
        cdef int i
        for i in range(MAX_PMDS):
            if self.dp.pmds[i].counters != NULL:
                memset(&self.dp.pmds[i].counters[index], 0, sizeof(port_counters))
        if self.dp.host.counters != NULL:
            memset(&self.dp.host.counters[index], 0, sizeof(port_counters))
        for i in range(MAX_QUEUE_PAIRS):
            # most never were used, and their pages do not exist
            if ring_of(self.dp, index, rxq_vring(i)).cycles:
                ring_of(self.dp, index, rxq_vring(i)).cycles = 0
