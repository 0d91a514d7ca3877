"""One round over the rxqs of a PMD."""
from libc.stdint cimport int32_t, uint16_t, uint32_t, uint64_t

from pmd_ext.atomics cimport (
    load_acquire_i32, load_acquire_ptr, load_acquire_u16, load_acquire_u32, load_relaxed_u8,
    load_relaxed_u32,
)
from pmd_ext.capture cimport CAPTURE_INBOUND, capture, capture_frames
from pmd_ext.dpdk.eal cimport rte_rdtsc
from pmd_ext.dpdk.mbuf cimport rte_mbuf, rte_mempool
from pmd_ext.dpdk.vhost cimport (
    VIRTIO_F_RING_PACKED, rte_vhost_dequeue_burst, rte_vhost_enable_guest_notification,
    rte_vhost_get_vring_base,
)
from pmd_ext.ethdev cimport eth_receive
from pmd_ext.idle cimport idle_disarm
from pmd_ext.pipeline cimport forward
from pmd_ext.shield cimport serve_begin, serve_end
from pmd_ext.state cimport (
    BURST, SLOT_ETH, forwarding, pmd, poll_list, ring, ring_of, rxq, rxq_vring, slot, txq_vring,
)
from pmd_ext.tally cimport tally, tally_up
from pmd_ext.transmit cimport count


cdef void begin(pmd *me, slot *s, rxq *q, int32_t vid) noexcept nogil:
    """What is remembered of the queue is of another connection, or nothing."""
    cdef uint16_t used = 0
    q.connects = s.connects
    q.packed = s.features >> VIRTIO_F_RING_PACKED & 1
    serve_begin(me, q.slot)
    # PMDs poll: guests need not kick
    rte_vhost_enable_guest_notification(vid, rxq_vring(q.queue), 0)
    rte_vhost_enable_guest_notification(vid, txq_vring(q.queue), 0)
    serve_end(me)
    rte_vhost_get_vring_base(vid, rxq_vring(q.queue), &q.available, &used)


cdef void find_oversize(pmd *me, rxq *q, ring *r, int32_t vid, uint16_t n) noexcept nogil:
    """Counts frames too long for a buffer (or without any content).

    The library takes such a frame from the ring, ends the burst and says nothing, but the ring
    moved further than by what it gave. A packed ring moves by descriptors: there a frame shows
    only when it came alone, in the one burst of which 'n' is.
    """
    cdef uint16_t expected = q.available, drops, used = 0
    rte_vhost_get_vring_base(vid, rxq_vring(q.queue), &q.available, &used)
    drops = q.available - expected
    if q.packed:
        drops = n == 0 and drops != 0
    elif drops > CHECK_ROUNDS + 1:  # a burst has one at most: something else moved the ring
        drops = 0
    if drops:
        r.counts.oversize_drops += drops
        me.counters[q.slot].rx_oversize_drops += drops


cdef inline void received(pmd *me, slot *s, rxq *q, ring *r, const forwarding *fwd,
                          rte_mbuf **pkts, uint16_t n, uint16_t now_s) noexcept nogil:
    cdef capture *copies = <capture *>load_acquire_ptr(<void **>&s.capture)
    cdef tally sum
    tally_up(&sum, pkts, n)
    count(&r.counts, pkts, n, &sum)
    if copies != NULL:
        capture_frames(copies, pkts, n, q.queue, CAPTURE_INBOUND)
    forward(me, fwd, q.slot, &q.learned, pkts, n, &sum, now_s)


cdef uint16_t poll_eth(pmd *me, slot *s, rxq *q, ring *r, const forwarding *fwd, uint16_t now_s
                       ) noexcept nogil:
    cdef rte_mbuf *pkts[BURST]
    cdef uint16_t n = eth_receive(s, q.queue, pkts)
    if n:
        received(me, s, q, r, fwd, pkts, n, now_s)
    return n


cdef inline uint16_t poll_rxq(pmd *me, rxq *q, const forwarding *fwd, bint check,
                              uint16_t now_s) noexcept nogil:
    """Takes one burst and forwards it; returns its size."""
    cdef slot *s = &me.dp.slots[q.slot]
    cdef ring *r = ring_of(me.dp, q.slot, rxq_vring(q.queue))
    cdef rte_mbuf *pkts[BURST]
    cdef uint16_t n
    cdef int32_t vid = load_acquire_i32(&s.vid)
    # a guest that left, or came back with fewer queues, since the active ones were looked for
    if vid < 0 or q.queue >= load_acquire_u16(&s.n_pairs):
        return poll_eth(me, s, q, r, fwd, now_s) if s.kind == SLOT_ETH else 0
    if q.connects != s.connects:
        begin(me, s, q, vid)
    me.work.calling = &r.counts
    serve_begin(me, q.slot)
    n = rte_vhost_dequeue_burst(vid, rxq_vring(q.queue),
                                <rte_mempool *>load_acquire_ptr(<void **>&s.pool), pkts, BURST)
    serve_end(me)
    q.available += n
    if check or q.packed:
        find_oversize(me, q, r, vid, n)
    if n:
        received(me, s, q, r, fwd, pkts, n, now_s)
    return n


cdef found poll_once(pmd *me, poll_list *polls, const forwarding *fwd, bint check,
                     uint16_t now_s) noexcept nogil:
    """One burst from every active rxq.

    The clock is read after rxqs that had something. What was polled in between in vain is taken
    off by what that usually takes: a reading of the clock takes as long as an idle poll.
    """
    cdef found f
    cdef uint64_t since = me.work.now, now, idle
    cdef uint32_t i, in_vain = 0
    cdef uint16_t n
    cdef rxq *q
    f.packets = f.most = 0
    f.end = 0
    for i in range(polls.n_active):
        q = polls.active[i]
        n = poll_rxq(me, q, fwd, check, now_s)
        if n == 0:
            in_vain += 1
            f.end = 0
            continue
        now = rte_rdtsc()
        idle = in_vain * me.work.idle_poll_cycles
        if now - since > idle:
            ring_of(me.dp, q.slot, rxq_vring(q.queue)).cycles += now - since - idle
        since = f.end = now
        in_vain = 0
        f.packets += n
        f.most = max(f.most, <uint32_t>n)
    return f


cdef void find_active(pmd *me, poll_list *polls) noexcept nogil:
    cdef slot *s
    cdef rxq *q
    cdef uint32_t i
    polls.seen = load_acquire_u32(&me.dp.queue_changes)
    polls.n_active = 0
    polls.watched = False
    for i in range(polls.n):
        q = &polls.rxqs[i]
        s = &me.dp.slots[q.slot]
        if ((s.kind == SLOT_ETH or load_acquire_i32(&s.vid) >= 0
                and q.queue < load_acquire_u16(&s.n_pairs))
                and load_relaxed_u8(&s.rx_enabled[q.queue]) and not load_relaxed_u32(&s.down)):
            polls.active[polls.n_active] = q
            polls.n_active += 1
        else:
            q.connects = 0      # it begins anew
    if polls.armed:
        idle_disarm(me, polls)
