"""Policing by librte_meter. A red frame does not pass; nothing is queued or delayed.

Lengths are those of ovs-vswitchd: without the Ethernet header of 14 bytes. The library refills a
bucket in whole periods of at least 100 cycles and rounds the period down, so a rate may come out
up to 1 % higher than it was set, and never lower.
"""
from libc.errno cimport EINVAL
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from pmd_ext.dpdk.eal cimport rte_rdtsc, rte_spinlock_lock, rte_spinlock_unlock
from pmd_ext.dpdk.mbuf cimport rte_mbuf
from pmd_ext.dpdk.meter cimport (
    RTE_COLOR_GREEN, RTE_COLOR_RED, rte_color, rte_meter_srtcm_color_blind_check,
    rte_meter_srtcm_config, rte_meter_srtcm_params, rte_meter_srtcm_profile_config,
    rte_meter_trtcm_rfc4115_color_aware_check, rte_meter_trtcm_rfc4115_color_blind_check,
    rte_meter_trtcm_rfc4115_config, rte_meter_trtcm_rfc4115_params,
    rte_meter_trtcm_rfc4115_profile_config,
)
from pmd_ext.state cimport BURST


cdef extern from "shim.h" nogil:
    uint8_t *shim_mbuf_data(rte_mbuf *m)
    uint64_t shim_load_u64(const uint8_t *p)

cdef enum:
    ETHER_BYTES = 14
    MULTICAST = 1               # first bit on the wire; addresses are little-endian loads here
    BROADCAST = 0xffffffffffff


cdef int meter_init(meter *m, uint64_t rate, uint64_t burst) noexcept nogil:
    cdef rte_meter_srtcm_params params
    params.cir, params.cbs, params.ebs = rate, burst, 0
    memset(m, 0, sizeof(meter))
    if (rte_meter_srtcm_profile_config(&m.profile, &params) != 0
            or rte_meter_srtcm_config(&m.bucket, &m.profile) != 0):
        return -EINVAL
    m.last = m.bucket.time
    return 0


cdef int two_rate_meter_init(two_rate_meter *m, uint64_t cir, uint64_t cbs, uint64_t eir,
                             uint64_t ebs) noexcept nogil:
    cdef rte_meter_trtcm_rfc4115_params params
    params.cir, params.cbs, params.eir, params.ebs = cir, cbs, eir, ebs
    memset(m, 0, sizeof(two_rate_meter))
    if (rte_meter_trtcm_rfc4115_profile_config(&m.profile, &params) != 0
            or rte_meter_trtcm_rfc4115_config(&m.buckets, &m.profile) != 0):
        return -EINVAL
    m.last = m.buckets.time_tc
    return 0


cdef inline uint64_t clock(uint64_t *last) noexcept nogil:
    """The TSC, but never before the last time: another core's may be a little ahead, and the
    library would take what is negative for ages."""
    cdef uint64_t now = rte_rdtsc()
    if <int64_t>(now - last[0]) > 0:
        last[0] = now
    return last[0]


cdef inline uint32_t metered_bytes(const rte_mbuf *m) noexcept nogil:
    return m.pkt_len - ETHER_BYTES if m.pkt_len > ETHER_BYTES else 0


cdef uint16_t pass_meter(meter *m, bint by_packet, rte_mbuf **pkts, uint16_t n) noexcept nogil:
    cdef rte_mbuf *red[BURST]
    cdef uint16_t i, kept = 0
    cdef uint64_t now
    rte_spinlock_lock(&m.lock)
    now = clock(&m.last)
    for i in range(n):
        if rte_meter_srtcm_color_blind_check(
                &m.bucket, &m.profile, now,
                1 if by_packet else metered_bytes(pkts[i])) == RTE_COLOR_GREEN:
            pkts[kept] = pkts[i]
            kept += 1
        else:
            red[i - kept] = pkts[i]
    rte_spinlock_unlock(&m.lock)
    memcpy(pkts + kept, red, (n - kept) * sizeof(red[0]))
    return kept


cdef rte_color pass_queue(two_rate_meter *m, uint64_t now, uint32_t bytes) noexcept nogil:
    cdef rte_color color = rte_meter_trtcm_rfc4115_color_blind_check(&m.buckets, &m.profile, now,
                                                                     bytes)
    if color == RTE_COLOR_RED:
        m.red += 1
    else:
        m.packets += 1
        m.bytes += bytes
    return color


cdef uint16_t pass_two_rates(two_rate_meter *queue, two_rate_meter *port, rte_mbuf **pkts,
                             uint16_t n) noexcept nogil:
    """The queue's meter colours a frame, the port's has the last word."""
    cdef rte_mbuf *red[BURST]
    cdef uint64_t now, queue_now
    cdef uint32_t bytes
    cdef rte_color color
    cdef uint16_t i, kept = 0
    rte_spinlock_lock(&queue.lock)
    rte_spinlock_lock(&port.lock)
    queue_now, now = clock(&queue.last), clock(&port.last)
    for i in range(n):
        bytes = metered_bytes(pkts[i])
        color = pass_queue(queue, queue_now, bytes)
        if rte_meter_trtcm_rfc4115_color_aware_check(&port.buckets, &port.profile, now, bytes,
                                                     color) != RTE_COLOR_RED:
            pkts[kept] = pkts[i]
            kept += 1
        else:
            red[i - kept] = pkts[i]
    rte_spinlock_unlock(&port.lock)
    rte_spinlock_unlock(&queue.lock)
    memcpy(pkts + kept, red, (n - kept) * sizeof(red[0]))
    return kept


cdef uint16_t police_rx(const limits *l, rte_mbuf **pkts, uint16_t n) noexcept nogil:
    if l.rx_bytes != NULL:
        n = pass_meter(l.rx_bytes, False, pkts, n)
    if l.rx_packets != NULL and n:
        n = pass_meter(l.rx_packets, True, pkts, n)
    return n


cdef uint16_t police_tx(const limits *l, rte_mbuf **pkts, uint16_t n) noexcept nogil:
    if l.tx_bytes != NULL:
        return pass_meter(l.tx_bytes, False, pkts, n)
    if l.tx_port != NULL:
        return pass_two_rates(l.tx_queue, l.tx_port, pkts, n)
    return n


cdef inline int storm_class(rte_mbuf *m) noexcept nogil:
    cdef uint64_t address = shim_load_u64(shim_mbuf_data(m)) & <uint64_t>BROADCAST
    if address & MULTICAST == 0:
        return STORM_UNKNOWN
    return STORM_BROADCAST if address == <uint64_t>BROADCAST else STORM_MULTICAST


cdef uint32_t police_storm(meter *m, uint32_t frames) noexcept nogil:
    """Those of the frames, a bit for each, that pass."""
    cdef uint32_t waiting = frames
    cdef uint64_t now
    rte_spinlock_lock(&m.lock)
    now = clock(&m.last)
    while waiting:
        if rte_meter_srtcm_color_blind_check(&m.bucket, &m.profile, now, 1) != RTE_COLOR_GREEN:
            break               # nor do the others
        waiting &= waiting - 1
    rte_spinlock_unlock(&m.lock)
    return frames ^ waiting


cdef uint32_t police_flood(const limits *l, rte_mbuf **pkts, uint16_t n) noexcept nogil:
    cdef uint32_t of_class[STORM_CLASSES]
    cdef uint32_t passed = 0
    cdef uint16_t i
    memset(of_class, 0, sizeof(of_class))
    for i in range(n):
        of_class[storm_class(pkts[i])] |= <uint32_t>1 << i
    for i in range(STORM_CLASSES):
        passed |= (of_class[i] if l.storm[i] == NULL or of_class[i] == 0
                   else police_storm(l.storm[i], of_class[i]))
    return passed
