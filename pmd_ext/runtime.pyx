"""The one Python-visible module of the data plane: the class Runtime, its ports and its bridges.

All methods are for the agent's main thread. What crosses is ints, strings, tuples and
DatapathError. Nothing happens at import; DPDK starts in Runtime().
"""
import errno
import os
import socket

from libc.stdint cimport uint32_t
from libc.string cimport memset

from pmd_ext.atomics cimport store_release_i32
from pmd_ext.dpdk.eal cimport (
    rte_malloc_get_socket_stats, rte_malloc_socket_stats, rte_socket_count, rte_socket_id_by_idx,
    rte_version,
)
from pmd_ext.bridges cimport Bridges
from pmd_ext.bridges import FDB_COUNTER_NAMES
from pmd_ext.eal cimport eal_start, log_pipe
from pmd_ext.errors cimport check
from pmd_ext.errors import DatapathError
from pmd_ext.fence cimport fence_start
from pmd_ext.leftovers cimport leftovers_start
from pmd_ext.pmds cimport Pmds
from pmd_ext.pools cimport USUAL_ROOM_BYTES, Pool, Pools
from pmd_ext.ports cimport Ports
from pmd_ext.readings cimport changed_ports, pmd_readings, rxq_cycles
from pmd_ext.readings import (
    OFFENCE_NAMES, PMD_COUNTER_NAMES, PORT_COUNTER_NAMES, QUEUE_COUNTER_NAMES, SIGHT_NAMES,
)
from pmd_ext.shield cimport shield_start
from pmd_ext.state cimport MAX_PMDS, dataplane, dataplane_get, dataplane_init
from pmd_ext.texts cimport lcores_text, log_levels_text, mempool_text, set_log_level


__all__ = ["FDB_COUNTER_NAMES", "OFFENCE_NAMES", "PMD_COUNTER_NAMES", "PORT_COUNTER_NAMES",
           "QUEUE_COUNTER_NAMES", "SIGHT_NAMES", "DatapathError", "Runtime", "dpdk_version",
           "open_log"]


def dpdk_version() -> str:
    """DPDK's name for the library in use, such as 'DPDK 22.11.11'. Needs no Runtime."""
    return rte_version().decode()


def open_log() -> int:
    """Descriptor of DPDK's log from now on, non-blocking: lines led by their level digit
    (RTE_LOG_*). Call it once, before Runtime(), so that what refuses to start can say why; without
    it, memory that a guest fails to replace can end the process (leftovers.pyx)."""
    return log_pipe()


def start_fence():
    """Starts the library's event thread and the connection that it is called with; the file that
    connecting takes is gone when this returns."""
    import tempfile     # not at the top: guests wait until DPDK has started, which does not need it

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
    cdef readonly Ports ports
    cdef readonly Bridges bridges
    cdef Pools pools
    cdef Pool usual_pool
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
        check(shield_start(self.dp), "shield_start")
        leftovers_start()
        self.pools = Pools()
        self.ports, self.bridges, self.pmds = Ports(self.pools), Bridges(), Pmds()
        # Kept for good: without it nothing works, which is better known now, and it takes 5 ms
        # to make.
        self.usual_pool = self.pools.take(USUAL_ROOM_BYTES, -1, -1, None)
        start_fence()

    def set_bridges(self, bridges):
        """Publishes the bridges, all of them, each a dict: 'name'; 'members', a sequence of (slot,
        VLAN mode, VLAN, trunks, cvlans, TPID of a tunnel's tag, priority tags, protected);
        'patches', a sequence of (slot of a patch port, its peer's or None); and 'flood_vlans',
        'forward_bpdu', 'vlan_limit' (1 or 2). Words are those of the database.
        'mirrors' are up to 32, each (name, slots where it selects what comes in, slots where it
        selects what goes out, VLANs that it selects, all without; slot that it outputs to, or
        None; else the VLAN; bytes of a frame that are copied, 0: all). Slots are members.
        'snooping' is None, or of multicast a dict: 'aging_s' and 'router_aging_s' (up to 32767),
        'table_size' (groups), 'flood_unregistered', and the slots in 'flood' and in 'reports', which
        get all multicast and all reports.

        A bridge that stays keeps its MAC table, but for what was learned behind ports that left or
        whose VLANs changed; one that is gone loses it. So a mirror keeps its counters by its name.
        Waits until no PMD uses the old ones.
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
        named = {i for members in self.bridges.members.values() for i in members}
        named.update(i for polls in self.pmds.lists.values() for i, _ in polls)
        for index in self.ports.names:
            store_release_i32(&self.dp.slots[<int>index].detached, index not in named)

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
        node, guest's MTU, vring sizes, enabled rxqs, enabled txqs, offences, offence).

        'connections' counts the front ends that were accepted since the port was added, 'attached'
        says that one is; 'connects' and 'connected' are the same of guests that were ready. The
        guest's MTU is 0 unless VIRTIO_NET_F_MTU was negotiated. 'offences' counts the connections
        that the switch had to end since the port was added, 'offence' says why it ended the last:
        the number of one of OFFENCE_NAMES.
        """
        return changed_ports(self.dp)

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
        for index in list(self.ports.names):
            self.ports.remove(index)
        self.ports.hosts.stop()
        for core in list(self.pmds.lists):
            self.stop_pmd(core)
