"""The one Python-visible module of the data plane: the class Runtime.

All methods are for the agent's main thread. What crosses is ints, strings, tuples and
DatapathError. Nothing happens at import; DPDK starts in Runtime().
"""
import errno
import heapq
import os

from libc.stdint cimport int16_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset, strncpy

from pmd_ext.atomics cimport store_relaxed_u32, store_release_ptr
from pmd_ext.dpdk.eal cimport (
    rte_malloc_get_socket_stats, rte_malloc_socket_stats, rte_rdtsc, rte_socket_count,
    rte_socket_id_by_idx, rte_version,
)
from pmd_ext.eal cimport eal_start, log_pipe
from pmd_ext.errors cimport check
from pmd_ext.errors import DatapathError
from pmd_ext.mactable cimport BUCKET_ENTRIES, mac_bucket, mac_expire, mac_flush, mac_table
from pmd_ext.pmd cimport (
    pmd_publish, pmd_start, pmd_stop, poll_list_free, poll_list_new,
)
from pmd_ext.pools cimport USUAL_ROOM_BYTES, Pool, Pools
from pmd_ext.readings cimport changed_ports, port_readings
from pmd_ext.readings import PORT_COUNTER_NAMES, QUEUE_COUNTER_NAMES
from pmd_ext.state cimport (
    MAX_PMDS, MAX_SLOTS, PATH_BYTES, dataplane, dataplane_get, dataplane_init, forwarding, pmd,
    poll_list, port_counters, slot, slot_disconnected, synchronize,
)
from pmd_ext.tables cimport Table, forwarding_free, forwarding_new, forwarding_set
from pmd_ext.vhost cimport vhost_register, vhost_unregister


cdef extern from "shim.h" nogil:
    enum:
        RTE_ETHER_HDR_LEN
        RTE_ETHER_CRC_LEN

__all__ = ["PORT_COUNTER_NAMES", "QUEUE_COUNTER_NAMES", "DatapathError", "Runtime", "dpdk_version",
           "open_log"]


def dpdk_version() -> str:
    """DPDK's name for the library in use, such as 'DPDK 22.11.11'. Needs no Runtime."""
    return rte_version().decode()


def open_log() -> int:
    """Descriptor of DPDK's log from now on, non-blocking: lines led by their level digit
    (RTE_LOG_*). Call it once, before Runtime(), so that what refuses to start can say why."""
    return log_pipe()


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
    cdef dict tables            # bridge name -> Table
    cdef dict bridges           # bridge name -> tuple of slots, as published
    cdef dict polls             # core -> tuple of (slot, queue), as published

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
        self.names, self.tables, self.bridges, self.polls = {}, {}, {}, {}
        self.paths, self.pool_of, self.pools = {}, {}, Pools()
        # Kept for good: without it nothing works, which is better known now, and it takes 5 ms
        # to make.
        self.usual_pool = self.pools.take(USUAL_ROOM_BYTES, -1, -1, None)
        self.free_slots = list(range(MAX_SLOTS))

    def add_port(self, name, path, *, client, iommu, postcopy, max_queue_pairs, mtu, room_bytes,
                 node, own_pool, tx_retries_max):
        """Registers a vhost-user socket and returns the slot (0..1023) of the new port.

        It receives frames up to 'room_bytes' into a packet pool on 'node' (-1: the main lcore's)
        that it shares with its like, or has for itself with 'own_pool'. 'max_queue_pairs' is for
        VDUSE devices alone. Raises DatapathError: ENFILE (1024 ports), ENAMETOOLONG (path over
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
        for table in self.tables.values():
            mac_flush((<Table>table).macs, index)

    def set_bridges(self, bridges):
        """Publishes who is on which bridge: a sequence of (name, slots), the whole of it.

        A bridge that stays keeps its MAC table; one that is gone loses it. Waits until no PMD
        uses the old one.
        """
        cdef forwarding *old = self.dp.fwd
        cdef forwarding *fwd
        tables = {name: self.tables.get(name) or Table() for name, _ in bridges}
        fwd = forwarding_new(len(bridges))
        try:
            for i, (name, members) in enumerate(bridges):
                forwarding_set(fwd, i, tables[name], list(members))
        except MemoryError:
            forwarding_free(fwd)
            raise
        for _, members in bridges:
            for index in members:
                self.dp.slots[<int>index].detached = False
        with nogil:
            store_release_ptr(<void **>&self.dp.fwd, fwd)
            synchronize()
            forwarding_free(old)
        self.tables = tables
        self.bridges = {name: tuple(members) for name, members in bridges}
        self.find_detached()

    def set_cores(self, cores):
        """Starts and stops PMD threads so that there is one on each of 'cores'.

        Raises DatapathError EBUSY for a core to stop that still polls, EINVAL and EAGAIN as
        pthread_create does.
        """
        cdef pmd *me
        cdef int i, rc, core
        for i in range(MAX_PMDS):
            me = &self.dp.pmds[i]
            if me.running and me.core not in cores:
                with nogil:
                    rc = pmd_stop(me)
                check(rc, f"stop of the PMD on core {me.core}")
                self.polls.pop(me.core, None)
        for core in cores:
            if core in self.polls:
                continue
            me = self.unused_pmd()
            with nogil:
                rc = pmd_start(me, core)
            check(rc, f"start of a PMD on core {core}")
            self.polls[core] = ()

    def set_poll_lists(self, polls):
        """Publishes which PMD polls what: {core: sequence of (slot, queue)}; cores left out keep
        their list.

        A queue that moves is taken from its old PMD first: none ever has two pollers. Lists
        that do not change are not touched.
        """
        wanted = {core: tuple(rxqs) for core, rxqs in polls.items()
                  if tuple(rxqs) != self.polls[core]}
        leaving = {core: tuple(rxq for rxq in self.polls[core] if rxq in rxqs)
                   for core, rxqs in wanted.items()}
        self.publish({core: rxqs for core, rxqs in leaving.items() if rxqs != self.polls[core]})
        self.publish({core: rxqs for core, rxqs in wanted.items() if rxqs != self.polls[core]})
        self.find_detached()

    cdef publish(self, dict lists):
        cdef poll_list *made
        cdef poll_list *old[MAX_PMDS]
        cdef int i, k, n = 0
        if not lists:
            return
        for i in range(MAX_PMDS):
            if not self.dp.pmds[i].running or self.dp.pmds[i].core not in lists:
                continue
            rxqs = lists[self.dp.pmds[i].core]
            made = poll_list_new(len(rxqs))
            if made == NULL:
                raise MemoryError
            for k, (index, queue) in enumerate(rxqs):
                made.rxqs[k].slot = index
                made.rxqs[k].queue = queue
                self.dp.slots[<int>index].detached = False
            old[n] = pmd_publish(&self.dp.pmds[i], made)
            n += 1
            self.polls[self.dp.pmds[i].core] = tuple(rxqs)
        with nogil:
            synchronize()
            for i in range(n):
                poll_list_free(old[i])

    cdef pmd *unused_pmd(self) except NULL:
        cdef int i
        for i in range(MAX_PMDS):
            if not self.dp.pmds[i].running:
                return &self.dp.pmds[i]
        raise DatapathError(errno.ENFILE, "start of a PMD")

    cdef find_detached(self):
        """After a publication and its quiescence: slots that no table names any more."""
        named = {i for members in self.bridges.values() for i in members}
        named.update(i for polls in self.polls.values() for i, _ in polls)
        for index in self.names:
            self.dp.slots[<int>index].detached = index not in named

    cdef clear_counters(self, int index):
        cdef int i
        for i in range(MAX_PMDS):
            if self.dp.pmds[i].counters != NULL:
                memset(&self.dp.pmds[i].counters[index], 0, sizeof(port_counters))

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
        cdef mac_table *t = (<Table>self.tables[bridge]).macs
        cdef mac_bucket *b
        cdef uint16_t now_s = self.now_s()
        cdef uint64_t key
        cdef uint32_t n, value
        cdef int i
        entries = []
        for n in range(t.mask + 1):
            b = &t.buckets[n]
            for i in range(BUCKET_ENTRIES):
                key, value = b.keys[i], b.values[i]
                if key == 0:
                    continue
                address = int.from_bytes((key & <uint64_t>0xffffffffffff).to_bytes(6, "little"),
                                         "big")
                entries.append((value >> 16, key >> 48 & 0xfff, address,
                                max(0, <int>(<int16_t>(now_s - <uint16_t>value)))))
        return entries

    def flush_fdb(self, bridge):
        """Forgets every learned address of the bridge."""
        mac_flush((<Table>self.tables[bridge]).macs, -1)

    def expire_fdb(self):
        """Removes aged entries of all tables; call about once a second."""
        for table in self.tables.values():
            mac_expire((<Table>table).macs, self.now_s())

    cdef uint16_t now_s(self):
        return <uint16_t>((rte_rdtsc() - self.dp.tsc_start) / self.dp.tsc_hz)

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
        return tuple([(self.dp.pmds[i].core, self.dp.pmds[i].tid)
                      for i in range(MAX_PMDS) if self.dp.pmds[i].running])

    def close(self):
        """Stops the PMDs and removes every port; sockets are unlinked. DPDK itself stays up until
        the process ends (its clean-up is not safe while its threads run)."""
        self.set_poll_lists(dict.fromkeys(self.polls, ()))
        self.set_bridges(())
        for index in list(self.names):
            self.remove_port(index)
        self.set_cores(())
