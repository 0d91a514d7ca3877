"""The one Python-visible module of the data plane: the class Runtime.

All methods are for the agent's main thread. What crosses is ints, strings, tuples and
DatapathError. Nothing happens at import; DPDK starts in Runtime().
"""
import errno
import heapq
import os
import socket
import tempfile

from libc.stdint cimport uint32_t
from libc.string cimport memset, strncpy

from pmd_ext.atomics cimport store_relaxed_u32, store_release_ptr
from pmd_ext.dpdk.eal cimport (
    rte_malloc_get_socket_stats, rte_malloc_socket_stats, rte_socket_count, rte_socket_id_by_idx,
    rte_version,
)
from pmd_ext.bridges cimport Bridges
from pmd_ext.eal cimport eal_start, log_pipe
from pmd_ext.errors cimport check
from pmd_ext.errors import DatapathError
from pmd_ext.fence cimport fence_start
from pmd_ext.pmds cimport Pmds
from pmd_ext.pools cimport USUAL_ROOM_BYTES, Pool, Pools
from pmd_ext.readings cimport changed_ports, pmd_readings, port_readings, rxq_cycles
from pmd_ext.readings import PMD_COUNTER_NAMES, PORT_COUNTER_NAMES, QUEUE_COUNTER_NAMES
from pmd_ext.state cimport (
    MAX_PMDS, MAX_QUEUE_PAIRS, MAX_SLOTS, PATH_BYTES, dataplane, dataplane_get, dataplane_init,
    port_counters, ring_of, rxq_vring, slot, slot_changed, slot_disconnected,
    synchronize,
)
from pmd_ext.texts cimport lcores_text, log_levels_text, mempool_text, set_log_level
from pmd_ext.vhost cimport vhost_register, vhost_unregister


cdef extern from "shim.h" nogil:
    enum:
        RTE_ETHER_HDR_LEN
        RTE_ETHER_CRC_LEN

__all__ = ["PMD_COUNTER_NAMES", "PORT_COUNTER_NAMES", "QUEUE_COUNTER_NAMES", "DatapathError",
           "Runtime", "dpdk_version", "open_log"]


def dpdk_version() -> str:
    """DPDK's name for the library in use, such as 'DPDK 22.11.11'. Needs no Runtime."""
    return rte_version().decode()


def open_log() -> int:
    """Descriptor of DPDK's log from now on, non-blocking: lines led by their level digit
    (RTE_LOG_*). Call it once, before Runtime(), so that what refuses to start can say why."""
    return log_pipe()


def start_fence():
    """Starts the library's event thread and the connection that it is called with; the file that
    connecting takes is gone when this returns."""
    try:
        with tempfile.TemporaryDirectory(prefix="vhost-fence.") as directory, \
                socket.socket(socket.AF_UNIX) as listener:
            path = os.path.join(directory, "socket")
            listener.bind(path)
            listener.listen(1)
            check(fence_start(os.fsencode(path), listener.fileno()), "rte_vhost_driver_start")
    except DatapathError:
        raise
    except OSError as e:
        raise DatapathError(e.errno or 0, "start_fence") from e


cdef class Runtime:
    """The running data plane. One per process, for its whole life: DPDK cannot start twice."""
    cdef dataplane *dp
    cdef readonly int wake_fd
    cdef dict names             # slot -> port name, for errors
    cdef dict paths             # path of a socket, as bytes -> slot
    cdef list free_slots        # a heap
    cdef Pools pools
    cdef dict pool_of           # slot -> Pool
    cdef Pool usual_pool
    cdef Bridges bridges
    cdef Pmds pmds

    def __init__(self, argv):
        """Starts DPDK with argv (words, program name first) and reserves packet memory.

        Raises DatapathError (EAL refused to start, no memory for packets).
        """
        if dataplane_get() != NULL:
            raise DatapathError(errno.EALREADY, "rte_eal_init")
        eal_start(list(argv))
        self.wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        check(dataplane_init(self.wake_fd), "dataplane_init")
        self.dp = dataplane_get()
        self.names, self.bridges, self.pmds = {}, Bridges(), Pmds()
        self.paths, self.pool_of, self.pools = {}, {}, Pools()
        # Kept for good: without it nothing works, which is better known now, and it takes 5 ms
        # to make.
        self.usual_pool = self.pools.take(USUAL_ROOM_BYTES, -1, -1, None)
        self.free_slots = list(range(MAX_SLOTS))
        start_fence()

    def add_port(self, name, path, *, client, iommu, postcopy, max_queue_pairs, mtu, room_bytes,
                 node, own_pool, tx_retries_max, tx_hash):
        """Registers a vhost-user socket and returns the slot (0..1022) of the new port.

        It receives frames up to 'room_bytes' into a packet pool on 'node' (-1: the main lcore's)
        that it shares with its like, or has for itself with 'own_pool'. 'max_queue_pairs' is for
        VDUSE devices alone. Raises DatapathError: ENFILE (1023 ports), ENAMETOOLONG (path over
        107 bytes), EEXIST (path in use by another port), ENOMEM (no memory for packets),
        EOPNOTSUPP (a VDUSE device, and this DPDK knows none), or what the vhost library said.
        """
        cdef slot *s
        cdef const char *call = NULL
        cdef bint is_client = client, has_iommu = iommu, has_postcopy = postcopy
        cdef uint32_t pairs = max_queue_pairs
        cdef Pool pool
        cdef int rc, index
        raw = os.fsencode(path)
        if len(raw) >= PATH_BYTES:
            raise DatapathError(errno.ENAMETOOLONG, "rte_vhost_driver_register", name)
        if raw in self.paths:
            raise DatapathError(errno.EEXIST, "rte_vhost_driver_register", name)
        if not self.free_slots:
            raise DatapathError(errno.ENFILE, "rte_vhost_driver_register", name)
        index = self.free_slots[0]
        pool = self.pools.take(room_bytes, node, index if own_pool else -1, name)
        s = &self.dp.slots[index]
        strncpy(s.path, raw, PATH_BYTES)
        slot_disconnected(s)
        s.connects = s.connections = 0
        s.detached = True
        s.max_frame_bytes = mtu + RTE_ETHER_HDR_LEN + RTE_ETHER_CRC_LEN
        s.tx_retries_max = tx_retries_max
        s.tx_hash = tx_hash
        s.down = False
        s.tx_oversize_bytes = 0
        s.pool = pool.packets
        self.clear_counters(index)
        # A port that was added is reported, whatever its slot was before.
        self.dp.reported[index] = self.dp.generations[index] - 1
        s.used = True
        with nogil:
            rc = vhost_register(s, is_client, has_iommu, has_postcopy, pairs, &call)
        if rc != 0:
            s.used = False
            self.pools.give_back(pool)
            check(rc, call.decode(), name)
        heapq.heappop(self.free_slots)
        self.names[index] = name
        self.paths[raw] = index
        self.pool_of[index] = pool
        return index

    def set_mtu(self, int index, int mtu, int room_bytes, int node, bint own_pool):
        """Changes what the port receives into and the longest frame that is sent to it, while it
        works on; waits until no PMD uses the old pool. Raises DatapathError (no memory for
        packets); all is as it was then.
        """
        cdef slot *s = &self.dp.slots[index]
        cdef Pool old = self.pool_of[index]
        cdef Pool pool = self.pools.take(room_bytes, node, index if own_pool else -1,
                                         self.names[index])
        store_relaxed_u32(&s.max_frame_bytes, mtu + RTE_ETHER_HDR_LEN + RTE_ETHER_CRC_LEN)
        if pool is not old:
            with nogil:
                store_release_ptr(<void **>&s.pool, pool.packets)
                synchronize()
            self.pool_of[index] = pool
        self.pools.give_back(old)

    def set_tx_retries_max(self, int index, uint32_t retries):
        """Takes effect with the next transmit burst that meets a full ring."""
        store_relaxed_u32(&self.dp.slots[index].tx_retries_max, retries)

    def set_tx_hash(self, int index, bint by_flow):
        """Whether a frame's flow or its PMD decides which txq it takes; from the next burst on."""
        store_relaxed_u32(&self.dp.slots[index].tx_hash, by_flow)

    def set_admin_state(self, int index, bint up):
        """A port that is down receives nothing and drops what is sent to it."""
        store_relaxed_u32(&self.dp.slots[index].down, not up)
        slot_changed(&self.dp.slots[index])

    def remove_port(self, int index):
        """Unregisters the port's socket; its guest is disconnected.

        Raises DatapathError EBUSY while a bridge or a PMD still has it.
        """
        cdef slot *s = &self.dp.slots[index]
        cdef int rc
        name = self.names[index]
        if not s.detached:
            raise DatapathError(errno.EBUSY, "remove_port", name)
        with nogil:
            rc = vhost_unregister(s)
        check(rc, "rte_vhost_driver_unregister", name)
        s.used = False
        del self.names[index], self.paths[<bytes>s.path]
        heapq.heappush(self.free_slots, index)
        self.pools.give_back(self.pool_of.pop(index))

    def set_bridges(self, bridges):
        """Publishes the bridges, all of them, each a dict: 'name'; 'members', a sequence of (slot,
        VLAN mode, VLAN, trunks, cvlans, TPID of a tunnel's tag, priority tags, protected); and
        'flood_vlans', 'forward_bpdu', 'vlan_limit' (1 or 2). Words are those of the database.

        A bridge that stays keeps its MAC table, but for what was learned behind ports that left or
        whose VLANs changed; one that is gone loses it. Waits until no PMD uses the old one.
        """
        self.bridges.set(list(bridges))
        self.find_detached()

    def start_pmd(self, int core, uint32_t sleep_max_us, bint block):
        """Starts a PMD thread on a core without one; returns DPDK's number for it, -1 without.

        Raises DatapathError: EINVAL (no such core, or not one for this process), EAGAIN (no
        more threads), ENFILE (128 PMDs), ENOMEM.
        """
        return self.pmds.start(core, sleep_max_us, block)

    def stop_pmd(self, int core):
        """Ends and joins the PMD thread of the core. Raises DatapathError EBUSY while it polls."""
        self.pmds.stop(core)

    def rest_pmd(self, int core, uint32_t sleep_max_us, bint block):
        """How the PMD of the core rests: the longest sleep between rounds with little to do, and
        whether it waits in the kernel for a guest's kick after half a millisecond without a packet.
        """
        self.pmds.rest(core, sleep_max_us, block)

    def set_poll_lists(self, polls):
        """Publishes which PMD has what to poll: {core: sequence of (slot, queue)}; cores left out
        keep their list. Queues that a guest has not, or has not enabled, are polled once it does.

        A queue that moves is taken from its old PMD first: none ever has two pollers. Lists
        that do not change are not touched.
        """
        self.pmds.set_lists({core: tuple(rxqs) for core, rxqs in polls.items()})
        self.find_detached()

    cdef find_detached(self):
        """After a publication and its quiescence: slots that no table names any more."""
        named = {i for members in self.bridges.ports.values() for i in members}
        named.update(i for polls in self.pmds.lists.values() for i, _ in polls)
        for index in self.names:
            self.dp.slots[<int>index].detached = index not in named

    cdef clear_counters(self, int index):
        cdef int i
        for i in range(MAX_PMDS):
            if self.dp.pmds[i].counters != NULL:
                memset(&self.dp.pmds[i].counters[index], 0, sizeof(port_counters))
        for i in range(MAX_QUEUE_PAIRS):
            # most never were used, and their pages do not exist
            if ring_of(self.dp, index, rxq_vring(i)).cycles:
                ring_of(self.dp, index, rxq_vring(i)).cycles = 0

    def drain_wake(self):
        """Empties the wake descriptor and says whether it was signalled; call before changes(),
        or a change may go unseen."""
        try:
            return os.eventfd_read(self.wake_fd) > 0
        except BlockingIOError:
            return False

    def changes(self):
        """What guests did: a tuple of one entry for each port that was added or changed since the
        last call. An entry: (slot, connections, attached, connects, connected, features, NUMA
        node, guest's MTU, vring sizes, enabled rxqs, enabled txqs).

        'connections' counts the front ends that were accepted since the port was added, 'attached'
        says that one is; 'connects' and 'connected' are the same of guests that were ready. The
        guest's MTU is 0 unless VIRTIO_NET_F_MTU was negotiated.
        """
        return changed_ports(self.dp)

    def counters(self, int index):
        """Values of one port: (in the order of PORT_COUNTER_NAMES since it was added, those of
        each rxq, those of each txq). A queue's are in the order of QUEUE_COUNTER_NAMES, since its
        front end connected; there are none of either without a guest.
        """
        return port_readings(self.dp, index)

    def fdb(self, bridge):
        """MAC table of one bridge: a list of (slot, VLAN id, address as int, age in s)."""
        return self.bridges.fdb(bridge)

    def flush_fdb(self, bridge):
        """Forgets every learned address of the bridge."""
        self.bridges.flush(bridge)

    def expire_fdb(self):
        """Removes aged entries of all tables; call about once a second."""
        self.bridges.expire()

    def memory(self):
        """Bytes: (reserved by DPDK so far, in use of these, in packet pools)."""
        cdef rte_malloc_socket_stats stats
        cdef unsigned i
        cdef size_t reserved = 0, used = 0
        for i in range(rte_socket_count()):
            memset(&stats, 0, sizeof(stats))
            rte_malloc_get_socket_stats(rte_socket_id_by_idx(i), &stats)
            reserved += stats.heap_totalsz_bytes
            used += stats.heap_allocsz_bytes
        return (reserved, used, self.pools.memory_bytes())

    def packets_in_use(self):
        """Packet buffers that are neither in a pool nor in a thread's cache; 0 when idle."""
        return self.pools.in_use()

    def threads(self):
        """Running PMDs: a tuple of (core, thread id)."""
        return tuple([(self.dp.pmds[i].core, self.dp.pmds[i].work.tid)
                      for i in range(MAX_PMDS) if self.dp.pmds[i].running])

    def readings(self):
        """What PMDs and rxqs did: (TSC cycles a second, (one of each PMD: (core, *values in the
        order of PMD_COUNTER_NAMES), ...), ((slot, queue, cycles since the port was added), ...)).
        """
        return (self.dp.tsc_hz, pmd_readings(self.dp),
                tuple([(index, queue, rxq_cycles(self.dp, index, queue))
                       for rxqs in self.pmds.lists.values() for index, queue in rxqs]))

    def mempool_text(self, int index):
        """DPDK's description of the pool that a port receives into; of -1, of all pools."""
        return mempool_text(NULL if index < 0 else self.dp.slots[index].pool)

    def lcores_text(self):
        """DPDK's description of its threads."""
        return lcores_text()

    def log_levels_text(self):
        """DPDK's description of its log levels."""
        return log_levels_text()

    def set_log_level(self, pattern, int level):
        """Sets the level (RTE_LOG_*) of what DPDK's modules log whose names match the pattern.
        False: it is no pattern."""
        return set_log_level(pattern, level)

    def close(self):
        """Stops the PMDs and removes every port; sockets are unlinked. DPDK itself stays up until
        the process ends (its clean-up is not safe while its threads run)."""
        self.set_poll_lists(dict.fromkeys(self.pmds.lists, ()))
        self.set_bridges(())
        for index in list(self.names):
            self.remove_port(index)
        for core in list(self.pmds.lists):
            self.stop_pmd(core)
