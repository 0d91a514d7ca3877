"""What main reads while callbacks and PMDs write: states of ports, counters.

A reading that a callback got between is repeated: the slot's generation says so.
"""
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.string cimport memset

from pmd_ext.atomics cimport fence_acquire, load_acquire_u32, load_relaxed_u32
from pmd_ext.dpdk.eal cimport rte_rdtsc
from pmd_ext.state cimport (
    MAX_PMDS, MAX_SLOTS, PMD_COUNTERS, PORT_COUNTERS, SLOT_ETH, SLOT_VHOST, dataplane, pmd,
    pmd_counters,
    ring_counters, ring_of, rxq_vring, slot, txq_vring,
)
from pmd_ext.vhost cimport vhost_iotlb


cdef extern from "shim.h" nogil:
    enum:
        SHIM_STATS_23_07
        SHIM_STATS_23_11
        SHIM_STATS_24_03

# As the fields of port_counters, and of the slot the last.
PORT_COUNTER_NAMES = (
    "rx_malformed_drops", "rx_oversize_drops", "rx_reserved_drops", "rx_no_bridge_drops",
    "rx_vlan_drops", "rx_same_port_drops", "rx_protected_drops", "rx_no_output_drops",
    "rx_mirror_drops", "tx_retries", "tx_failure_drops", "tx_mtu_drops", "tx_disconnected_drops",
    "tx_disabled_drops", "tx_loop_drops", "rx_qos_drops", "tx_qos_drops", "rx_storm_drops",
    "tx_offload_drops", "tx_no_buffer_drops", "tx_busy_drops", "tx_oversize_bytes",
)
# As the library's statistics of a vring (vhost_vq_stat_strings), in its order.
QUEUE_COUNTER_NAMES = (
    "good_packets", "good_bytes", "multicast_packets", "broadcast_packets", "undersize_packets",
    "size_64_packets", "size_65_127_packets", "size_128_255_packets", "size_256_511_packets",
    "size_512_1023_packets", "size_1024_1518_packets", "size_1519_max_packets",
    "guest_notifications",
    *(("guest_notifications_offloaded", "guest_notifications_error") if SHIM_STATS_23_07 else ()),
    *(("guest_notifications_suppressed",) if SHIM_STATS_23_11 else ()),
    "iotlb_hits", "iotlb_misses", "inflight_submitted", "inflight_completed",
    *(("mbuf_alloc_failed",) if SHIM_STATS_24_03 else ()),
)
# As the fields of pmd_counters, but for the first, which is the TSC's cycles since the start, and the
# last, the thread's id.
PMD_COUNTER_NAMES = (
    "cycles", "busy_cycles", "sleep_cycles", "iterations", "busy_iterations", "sleep_iterations",
    "rx_packets", "tx_packets", "tx_batches", "tx_contentions", "thread",
)
# What is seen of a guest's memory, as SIGHT_NONE ... in sight.pxd.
SIGHT_NAMES = ("none", "used", "unused", "blank")
# Why the switch ended a connection, as OFFENCE_NONE ... in front_end.pxd.
OFFENCE_NAMES = ("none", "broken", "ring", "layout", "memory", "descriptor", "request", "shrunk",
                 "beyond", "endless", "stuck", "deaf", "elsewhere", "nameless",
                 "no-memory", "no-files")

cdef enum:
    READ_TRIES = 16     # a guest that changes all the time must not keep main

cdef unsigned IOTLB_HITS = QUEUE_COUNTER_NAMES.index("iotlb_hits")
# Between notifications and hits, and after misses: what does not happen here stays 0.
cdef tuple NO_KINDS_OF_NOTIFICATION = (0,) * (
    IOTLB_HITS - QUEUE_COUNTER_NAMES.index("guest_notifications") - 1)
cdef tuple NO_INFLIGHT = (0, 0)


cdef int next_changed(dataplane *dp, int index) noexcept nogil:
    """The first slot from 'index' on that is used and was not reported as it is; -1: none."""
    while index < MAX_SLOTS:
        if (load_acquire_u32(&dp.generations[index]) != dp.reported[index]
                and dp.slots[index].used):
            return index
        index += 1
    return -1


cdef tuple port_state(int index, slot *s):
    cdef bint connected = s.vid >= 0
    cdef int pairs = s.n_pairs if connected else 0
    if s.kind == SLOT_ETH:
        return (index, 0, False, 0, bool(s.link_up), 0, s.numa, 0, (),
                tuple(range(s.eth.n_rxq)), tuple(range(s.eth.n_txq)), 0, 0)
    return (index, s.connections, s.connection >= 0, s.connects, connected, s.features, s.numa,
            s.guest_mtu,
            tuple([s.vring_sizes[i] for i in range(s.n_vrings if connected else 0)]),
            tuple([i for i in range(pairs) if s.rx_enabled[i]]),
            tuple([i for i in range(pairs) if s.tx_enabled[i]]),
            s.said.offences, s.said.offence)


cdef tuple changed_ports(dataplane *dp):
    cdef uint32_t generation
    cdef int tries = 0, index = next_changed(dp, 0)
    if index < 0:
        return ()
    ports = []
    while index >= 0:
        generation = load_acquire_u32(&dp.generations[index])
        state = port_state(index, &dp.slots[index])
        fence_acquire()
        tries += 1
        if load_acquire_u32(&dp.generations[index]) == generation:
            dp.reported[index] = generation
            ports.append(state)
        elif tries < READ_TRIES:
            continue
        # else it is reported by a later call: it has rung the eventfd meanwhile
        tries, index = 0, next_changed(dp, index + 1)
    return tuple(ports)


cdef tuple port_values(dataplane *dp, int index):
    """Sums over the PMDs and the host thread."""
    cdef uint64_t sums[PORT_COUNTERS]
    cdef list values
    cdef int p, k
    memset(sums, 0, sizeof(sums))
    for p in range(MAX_PMDS):
        if dp.pmds[p].counters != NULL:
            for k in range(PORT_COUNTERS):
                sums[k] += (<uint64_t *>&dp.pmds[p].counters[index])[k]
    if dp.host.counters != NULL:
        for k in range(PORT_COUNTERS):
            sums[k] += (<uint64_t *>&dp.host.counters[index])[k]
    values = sums
    return (*values, load_relaxed_u32(&dp.slots[index].tx_oversize_bytes))


cdef tuple port_handshake(dataplane *dp, int index):
    cdef slot *s = &dp.slots[index]
    return (s.said.heard, s.said.last_request, s.said.asked, s.said.offered, s.said.regions, s.said.given_up,
            bool(s.said.was_ready), bool(s.said.withheld))


cdef tuple queue_values(dataplane *dp, int index, uint16_t vring):
    cdef ring_counters *c = &ring_of(dp, index, vring).counts
    cdef slot *s = &dp.slots[index]
    cdef list sizes
    cdef uint64_t hits = 0, misses = 0
    if s.iotlb:
        with nogil:
            vhost_iotlb(s, vring, IOTLB_HITS, &hits, &misses)
    sizes = c.sizes
    values = (c.packets, c.bytes, c.multicast, c.broadcast, *sizes, c.notifications,
              *NO_KINDS_OF_NOTIFICATION, hits, misses, *NO_INFLIGHT)
    return (*values, c.oversize_drops) if SHIM_STATS_24_03 else values


cdef tuple port_readings(dataplane *dp, int index):
    cdef slot *s = &dp.slots[index]
    cdef uint32_t generation
    cdef int rxqs, txqs, tries = 0
    while True:
        tries += 1
        generation = load_acquire_u32(&dp.generations[index])
        if s.kind == SLOT_ETH:
            rxqs, txqs = s.eth.n_rxq, s.n_pairs
        elif s.kind == SLOT_VHOST:
            rxqs = txqs = s.n_pairs if s.vid >= 0 else 0
        else:
            rxqs = txqs = 1
        readings = (port_values(dp, index),
                    tuple([queue_values(dp, index, rxq_vring(q)) for q in range(rxqs)]),
                    tuple([queue_values(dp, index, txq_vring(q)) for q in range(txqs)]))
        fence_acquire()
        if tries == READ_TRIES or load_acquire_u32(&dp.generations[index]) == generation:
            return readings


cdef tuple pmd_readings(dataplane *dp):
    cdef pmd_counters c
    cdef uint64_t values[PMD_COUNTERS]
    cdef list numbers
    cdef uint64_t now, since
    cdef pmd *p
    cdef int i, k
    pmds = []
    for i in range(MAX_PMDS):
        p = &dp.pmds[i]
        if not p.running:
            continue
        since = p.work.sleeps_since
        c = p.work.counts
        now = rte_rdtsc()
        if 0 < since < now:
            c.sleep_cycles += now - since
        c.started = now - c.started
        for k in range(PMD_COUNTERS):
            values[k] = (<uint64_t *>&c)[k]
        numbers = values
        pmds.append((p.core, *numbers, p.work.tid))
    return tuple(pmds)


cdef uint64_t rxq_cycles(dataplane *dp, int index, uint16_t queue):
    return ring_of(dp, index, rxq_vring(queue)).cycles
