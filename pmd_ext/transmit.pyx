"""Sending to a guest: choice of the txq, MTU check, retries as ovs-vswitchd does them, counters."""
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

from pmd_ext.atomics cimport (
    load_acquire_i32, load_acquire_ptr, load_acquire_u16, load_acquire_u32, load_relaxed_i16,
    load_relaxed_u32, store_relaxed_u32,
)
from pmd_ext.capture cimport CAPTURE_OUTBOUND, capture, capture_frames
from pmd_ext.dpdk.eal cimport rte_spinlock_lock, rte_spinlock_trylock, rte_spinlock_unlock
from pmd_ext.dpdk.mbuf cimport RTE_MBUF_F_RX_LRO, rte_mbuf
from pmd_ext.dpdk.vhost cimport (
    VIRTIO_F_ACCESS_PLATFORM, VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_GUEST_TSO4,
    VIRTIO_NET_F_GUEST_TSO6,
    rte_vhost_enqueue_burst,
)
from pmd_ext.ethdev cimport eth_send
from pmd_ext.flow cimport flow_hash
from pmd_ext.host_io cimport host_send
from pmd_ext.host_queue cimport host_enqueue
from pmd_ext.iotlb cimport iotlb_keep, iotlb_release, iotlb_tidy, iotlb_waiting
from pmd_ext.meters cimport limits, police_tx
from pmd_ext.offload cimport (
    TAKES_CHECKSUMS, TAKES_TSO4, TAKES_TSO6, offload_asked, offload_begin, offload_next, outgoing,
)
from pmd_ext.shield cimport doubt_begin, doubt_end, serve_begin, serve_end
from pmd_ext.state cimport (
    BURST, MAX_SLOTS, SLOT_HOST, SLOT_PATCH, SLOT_VHOST, TXQ_NONE, forwarding, pmd, port_counters,
    ring, ring_counters, ring_of, slot, txq_hold, txq_vring,
)
from pmd_ext.tally cimport tally, tally_up
from pmd_ext.waits cimport iotlb_wait


cdef extern from "shim.h" nogil:
    uint8_t *shim_mbuf_data(rte_mbuf *m)
    uint64_t shim_load_u64(const uint8_t *p)
    int shim_bit_width(uint32_t v)

cdef enum:
    ETHER_BYTES = 14
    BROADCAST = 0xffffffffffff
    WAIT_MAX_S = 1              # that a frame waits for a guest that takes none


cdef inline int size_bin(uint32_t bytes) noexcept nogil:
    """Index into the sizes of a ring."""
    if bytes <= 64:
        return bytes == 64
    if bytes < 1024:
        return shim_bit_width(bytes) - 5
    return 6 if bytes <= 1518 else 7


cdef void count_cast(ring_counters *c, rte_mbuf **pkts, uint16_t n) noexcept nogil:
    cdef uint64_t address
    cdef uint16_t i
    for i in range(n):
        if pkts[i].data_len < ETHER_BYTES:
            continue                # what stands there is of an older frame
        address = shim_load_u64(shim_mbuf_data(pkts[i])) & <uint64_t>BROADCAST
        if address & 1:
            if address == <uint64_t>BROADCAST:
                c.broadcast += 1
            else:
                c.multicast += 1


cdef void count(ring_counters *c, rte_mbuf **pkts, uint16_t n, const tally *sum) noexcept nogil:
    cdef int bin = size_bin(sum.longest)
    cdef uint16_t i
    c.packets += n
    c.bytes += sum.bytes
    if bin == size_bin(sum.shortest):
        c.sizes[bin] += n
    else:
        for i in range(n):
            c.sizes[size_bin(pkts[i].pkt_len)] += 1
    if sum.first_bytes & 1:
        count_cast(c, pkts, n)


cdef void count_frames(ring_counters *c, rte_mbuf **pkts, uint16_t n) noexcept nogil:
    cdef tally sum
    if n:
        tally_up(&sum, pkts, n)
        count(c, pkts, n, &sum)


cdef uint16_t keep_fitting(slot *s, uint32_t most, rte_mbuf **pkts, uint16_t n,
                           rte_mbuf **fitting) noexcept nogil:
    """Frames that are not too long, as far as is known: those to be cut are looked at then."""
    cdef uint16_t i, kept = 0
    for i in range(n):
        if pkts[i].pkt_len <= most or pkts[i].ol_flags & RTE_MBUF_F_RX_LRO:
            fitting[kept] = pkts[i]
            kept += 1
        else:
            store_relaxed_u32(&s.tx_oversize_bytes, pkts[i].pkt_len)
    return kept


cdef inline void lock_ring(pmd *me, ring *r) noexcept nogil:
    if not rte_spinlock_trylock(&r.lock):
        me.work.counts.tx_contentions += 1
        rte_spinlock_lock(&r.lock)


cdef inline uint16_t enqueue(pmd *me, slot *s, ring *r, int32_t vid, uint16_t vring,
                             rte_mbuf **pkts, uint16_t n, const tally *sum, port_counters *c
                             ) noexcept nogil:
    """Sends what the ring takes; retries only while each try moves something."""
    cdef uint16_t sent = 0, moved
    cdef uint32_t tries = 0, limit = 0
    cdef uint64_t begun
    cdef capture *copies
    lock_ring(me, r)
    me.work.calling = &r.counts
    while True:
        if vid >= 0:
            begun = doubt_begin(me, s - me.dp.slots)
            serve_begin(me, s - me.dp.slots)
            moved = rte_vhost_enqueue_burst(vid, vring, pkts + sent, n - sent)
            serve_end(me)
            doubt_end(me, s, s - me.dp.slots, begun, moved)
        else:
            moved = eth_send(s, vring // 2, pkts + sent, n - sent, &c.tx_no_buffer_drops)
        sent += moved
        if moved == 0 or sent == n:
            break
        if tries == 0:
            limit = load_relaxed_u32(&s.tx_retries_max)
        if tries == limit:
            break
        tries += 1
    if sent == n and sum != NULL:
        count(&r.counts, pkts, n, sum)
    else:
        count_frames(&r.counts, pkts, sent)
    rte_spinlock_unlock(&r.lock)
    copies = <capture *>load_acquire_ptr(<void **>&s.capture)
    if copies != NULL:
        capture_frames(copies, pkts, sent, vring // 2, CAPTURE_OUTBOUND)
    c.tx_retries += tries
    me.work.counts.tx_packets += sent
    me.work.counts.tx_batches += 1
    return sent


cdef uint16_t hold_txq(slot *s, txq_hold *hold, uint16_t n) noexcept nogil:
    """Takes the txq of the first 'n' that the fewest PMDs hold, the lowest of these."""
    cdef uint16_t q, least = 0
    rte_spinlock_lock(&s.txq_lock)
    for q in range(1, n):
        if s.txq_users[q] < s.txq_users[least]:
            least = q
    s.txq_users[least] += 1
    hold.guest = s.txq_guest
    hold.txq = least + 1
    rte_spinlock_unlock(&s.txq_lock)
    return least


cdef void release_txqs(pmd *me, uint64_t used_before) noexcept nogil:
    cdef txq_hold *hold
    cdef slot *s
    cdef int i
    if me.work.n_held == 0:
        return
    for i in range(MAX_SLOTS):
        hold = &me.work.held[i]
        if hold.txq == 0 or hold.used >= used_before:
            continue
        s = &me.dp.slots[i]
        rte_spinlock_lock(&s.txq_lock)
        if hold.guest == s.txq_guest:
            s.txq_users[hold.txq - 1] -= 1
        rte_spinlock_unlock(&s.txq_lock)
        hold.txq = 0
        me.work.n_held -= 1


cdef inline uint16_t own_txq(pmd *me, slot *s, uint16_t slot_id, uint16_t n) noexcept nogil:
    """The txq of this thread (OVS: dpif-netdev's static and XPS modes): one that no other sends
    to, or when there are too few for all threads, the host's among them, the least used."""
    cdef txq_hold *hold
    cdef uint32_t n_pmds = load_acquire_u32(&me.dp.n_pmds)
    if n > n_pmds:
        return min(load_relaxed_u32(&me.tx_id), n_pmds)     # the host thread has the last
    if n == 1:
        return 0
    hold = &me.work.held[slot_id]
    hold.used = me.work.now
    if hold.txq != 0 and hold.guest == s.txq_guest:
        return hold.txq - 1
    if hold.txq == 0:
        me.work.n_held += 1
    return hold_txq(s, hold, n)


cdef void send(pmd *me, slot *s, uint16_t slot_id, int32_t vid, int txq, rte_mbuf **pkts,
               uint16_t n, const tally *sum) noexcept nogil:
    """Sends on one txq, or on what stands in for it."""
    cdef port_counters *c = &me.counters[slot_id]
    cdef uint64_t lost = c.tx_no_buffer_drops
    cdef uint16_t vring, sent = 0
    if txq == TXQ_NONE:
        c.tx_disabled_drops += n
        return
    vring = txq_vring(txq)
    # behind frames that wait nothing overtakes
    if me.work.n_waits == 0 or iotlb_waiting(me, slot_id, vring) == NULL:
        sent = enqueue(me, s, ring_of(me.dp, slot_id, vring), vid, vring, pkts, n, sum, c)
    if sent < n and vid >= 0 and s.features >> VIRTIO_F_ACCESS_PLATFORM & 1:
        sent += iotlb_keep(me, slot_id, s.txq_guest, vring, pkts + sent, n - sent)
    # those that there was no buffer for are counted already
    c.tx_failure_drops += n - sent - (c.tx_no_buffer_drops - lost)


cdef void send_waiting(pmd *me) noexcept nogil:
    cdef forwarding *fwd = <forwarding *>load_acquire_ptr(<void **>&me.dp.fwd)
    cdef uint64_t most = me.dp.tsc_hz * WAIT_MAX_S
    cdef iotlb_wait *w
    cdef port_counters *c
    cdef slot *s
    cdef int32_t vid
    cdef uint32_t i
    cdef uint16_t sent
    for i in range(me.work.n_waits):
        w = &me.work.waits[i]
        s, c = &me.dp.slots[w.slot], &me.counters[w.slot]
        # nobody waits for us who takes a device away that no table names
        if fwd.member_of[w.slot] == NULL:
            c.tx_failure_drops += w.n
            iotlb_release(w, w.n)
            continue
        vid = load_acquire_i32(&s.vid)
        if vid < 0 or s.txq_guest != w.guest:
            c.tx_disconnected_drops += w.n
            iotlb_release(w, w.n)
            continue
        sent = enqueue(me, s, ring_of(me.dp, w.slot, w.vring), vid, w.vring, w.pkts, w.n, NULL, c)
        iotlb_release(w, sent)
        if sent:
            w.since = me.work.now
        elif me.work.now - w.since > most:
            c.tx_failure_drops += w.n
            iotlb_release(w, w.n)
    iotlb_tidy(me)


cdef void send_by_flow(pmd *me, slot *s, uint16_t slot_id, int32_t vid, rte_mbuf **pkts,
                       uint16_t n, uint16_t n_txqs) noexcept nogil:
    """One burst for each txq, the frames of a flow in the order they came."""
    cdef rte_mbuf *group[BURST]
    cdef int txqs[BURST]
    cdef uint32_t waiting = <uint32_t>((<uint64_t>1 << n) - 1)
    cdef uint16_t i, first = 0, size
    for i in range(n):
        txqs[i] = load_relaxed_i16(&s.tx_map[flow_hash(pkts[i]) % n_txqs])
    while waiting:
        while not waiting >> first & 1:
            first += 1
        size = 0
        for i in range(first, n):
            if waiting >> i & 1 and txqs[i] == txqs[first]:
                group[size] = pkts[i]
                size += 1
                waiting &= ~(<uint32_t>1 << i)
        send(me, s, slot_id, vid, txqs[first], group, size, NULL)


cdef uint16_t admit(slot *s, port_counters *c, const limits *limited, uint32_t most,
                    rte_mbuf **pkts, uint16_t n, rte_mbuf **admitted) noexcept nogil:
    """Takes those that the port may be sent: not too long for it, and within its QoS."""
    cdef uint16_t kept = keep_fitting(s, most, pkts, n, admitted)
    c.tx_mtu_drops += n - kept
    if limited != NULL and kept:
        n = police_tx(limited, admitted, kept)
        c.tx_qos_drops += kept - n
        kept = n
    return kept


cdef void send_to_device(pmd *me, uint16_t slot_id, rte_mbuf **pkts, uint16_t n) noexcept nogil:
    cdef capture *copies = <capture *>load_acquire_ptr(<void **>&me.dp.slots[slot_id].capture)
    cdef uint16_t i
    for i in range(n):
        if not host_send(&me.dp.host_ports[slot_id], pkts[i]):
            me.counters[slot_id].tx_failure_drops += 1
            continue
        count_frames(&ring_of(me.dp, slot_id, txq_vring(0)).counts, &pkts[i], 1)
        if copies != NULL:
            capture_frames(copies, &pkts[i], 1, 0, CAPTURE_OUTBOUND)


cdef inline void give(pmd *me, slot *s, uint16_t slot_id, int32_t vid, rte_mbuf **pkts,
                      uint16_t n, const tally *sum) noexcept nogil:
    """Sends as they are, by the txq that is to take them."""
    cdef uint16_t n_txqs = load_acquire_u16(&s.n_pairs)
    if s.kind == SLOT_HOST and me == &me.dp.host:
        send_to_device(me, slot_id, pkts, n)
    elif s.kind == SLOT_HOST:
        host_enqueue(me, slot_id, pkts, n)
    elif n_txqs > 1 and load_relaxed_u32(&s.tx_hash):
        send_by_flow(me, s, slot_id, vid, pkts, n, n_txqs)
    else:
        send(me, s, slot_id, vid, load_relaxed_i16(&s.tx_map[own_txq(me, s, slot_id, n_txqs)]),
             pkts, n, sum)


cdef unsigned takes(const pmd *me, const slot *s, uint16_t slot_id) noexcept nogil:
    """What a guest or the kernel completes itself; a device of any other kind nothing."""
    cdef unsigned taken = 0
    if s.kind == SLOT_HOST:
        return (TAKES_CHECKSUMS | TAKES_TSO4 | TAKES_TSO6
                if load_relaxed_u32(&me.dp.host_ports[slot_id].offloads) else 0)
    if s.features >> VIRTIO_NET_F_GUEST_CSUM & 1:
        taken |= TAKES_CHECKSUMS
    if s.features >> VIRTIO_NET_F_GUEST_TSO4 & 1:
        taken |= TAKES_TSO4
    if s.features >> VIRTIO_NET_F_GUEST_TSO6 & 1:
        taken |= TAKES_TSO6
    return taken


cdef void give_asked(pmd *me, slot *s, uint16_t slot_id, int32_t vid, rte_mbuf **pkts,
                     uint16_t n) noexcept nogil:
    """Frames that leave something to the switch are among them."""
    cdef outgoing o
    offload_begin(&o, pkts, n, takes(me, s, slot_id),
                  load_relaxed_u32(&s.max_frame_bytes))
    while offload_next(&o):
        give(me, s, slot_id, vid, o.frames, o.n, NULL)
    me.counters[slot_id].tx_offload_drops += o.invalid
    me.counters[slot_id].tx_no_buffer_drops += o.failed


cdef void transmit(pmd *me, uint16_t slot_id, rte_mbuf **pkts, uint16_t n, const tally *sum
                   ) noexcept nogil:
    cdef slot *s = &me.dp.slots[slot_id]
    cdef port_counters *c = &me.counters[slot_id]
    cdef const limits *limited = <const limits *>load_acquire_ptr(<void **>&s.limits)
    cdef uint32_t most = load_relaxed_u32(&s.max_frame_bytes)
    cdef rte_mbuf *admitted[BURST]
    cdef tally own
    cdef int32_t vid = load_acquire_i32(&s.vid)
    # frames for patch ports cross before they come here, but for copies of mirrors
    if vid < 0 and (s.kind == SLOT_VHOST or s.kind == SLOT_PATCH):
        c.tx_disconnected_drops += n
        return
    if load_relaxed_u32(&s.down):
        c.tx_disabled_drops += n
        return
    if sum == NULL:
        tally_up(&own, pkts, n)
        sum = &own
    if limited != NULL or sum.longest > most:
        n = admit(s, c, limited, most, pkts, n, admitted)
        if n == 0:
            return
        pkts = admitted
        tally_up(&own, pkts, n)
        sum = &own
    if offload_asked(sum.ol_flags):
        give_asked(me, s, slot_id, vid, pkts, n)
    else:
        give(me, s, slot_id, vid, pkts, n, sum)
