"""The load generator's loop: frames of any number of addresses and flows, numbered and stamped.

One thread drives both ends of every stream over DPDK's virtio-user devices. Of each frame that comes
in it knows which stream it is of, where it may come out and which numbers were there, so that no
lost, repeated or misdirected frame goes unnoticed.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from pmd_ext.dpdk.eal cimport rte_rdtsc
from pmd_ext.dpdk.ethdev cimport rte_eth_rx_burst, rte_eth_tx_burst
from pmd_ext.dpdk.mbuf cimport rte_mbuf, rte_pktmbuf_alloc_bulk, rte_pktmbuf_free_bulk

cdef extern from "rte_mbuf.h" nogil:
    void rte_pktmbuf_reset(rte_mbuf *m)

cdef extern from "sched.h" nogil:
    int sched_yield()

cdef extern from "shim.h" nogil:
    uint8_t *shim_mbuf_data(rte_mbuf *m)
    int shim_bit_width(uint32_t v)
    void rte_prefetch0(const void *p)

cdef enum:
    FLOWS_A_PORT = 256          # source ports of UDP that are used


cdef inline uint16_t be16(uint16_t v) noexcept nogil:
    return <uint16_t>(v << 8 | v >> 8)


cdef inline void number_address(uint8_t *address, uint32_t index) noexcept nogil:
    address[3] = <uint8_t>(index >> 16)
    address[4] = <uint8_t>(index >> 8)
    address[5] = <uint8_t>index


cdef inline int bucket(uint64_t cycles) noexcept nogil:
    cdef uint32_t value = <uint32_t>min(cycles, <uint64_t>0xffffffff)
    cdef int shift = shim_bit_width(value) - 6
    if shift <= 0:
        return value
    return shift * FINE + (value >> shift)


cdef void build(work *w, stream *s, uint16_t n, uint64_t now) noexcept nogil:
    """Makes the next 'n' frames of a stream, if there is memory for them."""
    cdef headers *h
    cdef uint16_t i
    s.first = s.n_built = 0
    if w.n_spare >= n:
        w.n_spare -= n
        memcpy(s.built, w.spare + w.n_spare, n * sizeof(rte_mbuf *))
        for i in range(n):
            rte_pktmbuf_reset(s.built[i])
    elif rte_pktmbuf_alloc_bulk(w.pool, s.built, n) != 0:
        return
    for i in range(n):
        s.built[i].pkt_len = s.built[i].data_len = s.length
        h = <headers *>shim_mbuf_data(s.built[i])
        memcpy(h, s.template, TEMPLATE_BYTES)
        h.about.number = s.sent + i
        h.about.stamp = now
        if s.macs > 1:
            number_address(h.source, s.next_mac)
            if not s.everywhere:
                number_address(h.destination, s.next_mac)
            s.next_mac = 0 if s.next_mac + 1 == s.macs else s.next_mac + 1
        if s.flows > 1:
            h.from_port = be16(1024 + s.next_flow % FLOWS_A_PORT)
            h.to_port = be16(1024 + s.next_flow // FLOWS_A_PORT)
            s.next_flow = 0 if s.next_flow + 1 == s.flows else s.next_flow + 1
    s.n_built = n
    s.sent += n


cdef inline uint16_t send(work *w, stream *s, uint64_t since, uint64_t now) noexcept nogil:
    cdef uint16_t taken, n = BURST
    cdef double due
    if s.first == s.n_built:
        if s.per_cycle > 0:
            due = <double>(now - since) * s.per_cycle - <double>s.sent
            if due < 1:
                return 0
            n = <uint16_t>min(due, <double>BURST)
        build(w, s, n, now)
        if s.n_built == 0:
            return 0
    taken = rte_eth_tx_burst(w.ends[s.source].port_id, 0, s.built + s.first,
                             s.n_built - s.first)
    s.first += taken
    w.tries += 1
    w.full += s.first != s.n_built
    return taken


cdef inline void recycle(work *w, rte_mbuf **pkts, uint16_t n) noexcept nogil:
    """What drivers ask of the pool comes out even with what they give back: the buffers of frames
    that came in need not pass through it."""
    if w.n_spare + n > SPARE or pkts[0].nb_segs > 1:
        rte_pktmbuf_free_bulk(pkts, n)
        return
    memcpy(w.spare + w.n_spare, pkts, n * sizeof(rte_mbuf *))
    w.n_spare += n


cdef inline void send_back(headers *h) noexcept nogil:
    cdef uint8_t address[6]
    memcpy(address, h.destination, 6)
    memcpy(h.destination, h.source, 6)
    memcpy(h.source, address, 6)
    h.about.home = True


cdef void check_late(stream *s, arrivals *a, uint64_t number) noexcept nogil:
    cdef uint64_t *word = &a.seen[number // 64 % WINDOW_WORDS]
    cdef uint64_t bit = <uint64_t>1 << number % 64
    if a.due - number > WINDOW or word[0] & bit:
        s.repeated += 1
    else:
        word[0] |= bit
        s.late += 1


cdef void check_number(stream *s, arrivals *a, uint64_t number) noexcept nogil:
    cdef uint64_t n
    if number < a.due:
        check_late(s, a, number)
        return
    for n in range(a.due // 64 + (a.due % 64 != 0), number // 64 + 1):
        a.seen[n % WINDOW_WORDS] = 0
    a.seen[number // 64 % WINDOW_WORDS] |= <uint64_t>1 << number % 64
    a.due = number + 1


cdef inline bint arrived(work *w, uint32_t end, rte_mbuf *m, uint64_t now) noexcept nogil:
    """Books a frame; True when it is to be sent back."""
    cdef headers *h = <headers *>shim_mbuf_data(m)
    cdef stream *s
    if m.data_len < TEMPLATE_BYTES or h.about.mark != MARK:
        w.foreign += 1
        return False
    if h.about.run != w.run:
        return False
    s = &w.streams[h.about.stream]
    if h.about.stream >= w.n_streams or m.pkt_len != s.length:
        w.foreign += 1
        return False
    if h.about.home:
        if end != s.source:
            s.stray += 1
            return False
        check_number(s, &s.at[MAX_ENDS], h.about.number)
    else:
        if end != s.destination and not s.everywhere:
            s.stray += 1
            return False
        check_number(s, &s.at[end], h.about.number)
        if s.returns:
            send_back(h)
            return True
    s.received += 1
    s.bytes += m.pkt_len
    if w.stamped:
        w.delays[bucket(now - h.about.stamp)] += 1
    return False


cdef inline uint16_t receive(work *w, uint32_t end, uint64_t now) noexcept nogil:
    cdef endpoint *e = &w.ends[end]
    cdef rte_mbuf *pkts[BURST]
    cdef rte_mbuf *done[BURST]
    cdef uint16_t i, n, n_done = 0
    if e.n_back:
        n = rte_eth_tx_burst(e.port_id, 0, e.back, e.n_back)
        e.n_back -= n
        for i in range(e.n_back):
            e.back[i] = e.back[n + i]
        if e.n_back:
            return n
    n = rte_eth_rx_burst(e.port_id, 0, pkts, BURST)
    for i in range(n):
        rte_prefetch0(shim_mbuf_data(pkts[i]))
    for i in range(n):
        if arrived(w, end, pkts[i], now):
            e.back[e.n_back] = pkts[i]
            e.n_back += 1
        else:
            done[n_done] = pkts[i]
            n_done += 1
    if n_done:
        recycle(w, done, n_done)
    return n


cdef uint64_t drive(work *w, uint64_t since, uint64_t cycles, bint sending, uint64_t quiet
                    ) noexcept nogil:
    cdef uint64_t start = rte_rdtsc(), now = start, next_now, moved_at = start
    cdef uint32_t i, moved
    while now - start < cycles and not (quiet and now - moved_at > quiet):
        moved = 0
        if sending:
            for i in range(w.n_streams):
                moved += send(w, &w.streams[i], since, now)
        for i in range(w.n_ends):
            moved += receive(w, i, now)
        next_now = rte_rdtsc()
        if moved:
            moved_at = next_now
        else:
            w.idle_cycles += next_now - now
        if not w.alone:
            sched_yield()
            next_now = rte_rdtsc()
        now = next_now
    return now - start


cdef void forget_unsent(work *w) noexcept nogil:
    cdef stream *s
    cdef endpoint *e
    cdef uint32_t i
    for i in range(w.n_streams):
        s = &w.streams[i]
        if s.first != s.n_built:
            rte_pktmbuf_free_bulk(s.built + s.first, s.n_built - s.first)
            s.sent -= s.n_built - s.first
            s.first = s.n_built = 0
    for i in range(w.n_ends):
        e = &w.ends[i]
        if e.n_back:
            rte_pktmbuf_free_bulk(e.back, e.n_back)
            e.n_back = 0


cdef uint64_t shortest_in(uint32_t i) noexcept nogil:
    cdef uint32_t shift
    if i < 2 * FINE:
        return i
    shift = i // FINE - 1
    return <uint64_t>(FINE + i % FINE) << shift
