"""The load generator's loop: frames of any number of addresses and flows, numbered and stamped.

One thread drives both ends of every stream over DPDK's virtio-user devices. Of each frame that comes
in it knows which stream it is of, where it may come out and what number is due, so that no lost,
repeated or misdirected frame goes unnoticed. For tools/load.py alone.
"""
import os

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from pmd_ext.dpdk.eal cimport rte_get_tsc_hz, rte_rdtsc
from pmd_ext.dpdk.ethdev cimport (
    rte_eth_conf, rte_eth_dev_configure, rte_eth_dev_start, rte_eth_promiscuous_enable,
    rte_eth_rx_burst, rte_eth_rx_queue_setup, rte_eth_tx_burst, rte_eth_tx_queue_setup,
)
from pmd_ext.dpdk.mbuf cimport (
    rte_mbuf, rte_mempool, rte_pktmbuf_alloc_bulk, rte_pktmbuf_free_bulk,
)
from pmd_ext.eal cimport eal_start

cdef extern from "rte_mbuf.h" nogil:
    void rte_pktmbuf_reset(rte_mbuf *m)
    rte_mempool *rte_pktmbuf_pool_create(const char *name, unsigned n, unsigned cache_size,
                                         uint16_t priv_size, uint16_t data_room_size, int socket)

cdef extern from "rte_ethdev.h" nogil:
    int rte_eth_dev_get_port_by_name(const char *name, uint16_t *port_id)

cdef extern from "sched.h" nogil:
    int sched_yield()

cdef extern from "rte_dev.h" nogil:
    int rte_eal_hotplug_add(const char *bus, const char *name, const char *args)

cdef extern from "shim.h" nogil:
    uint8_t *shim_mbuf_data(rte_mbuf *m)
    int shim_bit_width(uint32_t v)
    void rte_prefetch0(const void *p)

cdef enum:
    BURST = 32
    CACHE = 512
    SPARE = 8 * BURST
    MAX_ENDS = 32               # DPDK's RTE_MAX_ETHPORTS, as Debian builds it
    TEMPLATE_BYTES = 64
    FINE = 32                   # buckets of the histogram for each doubling
    BUCKETS = 32 * FINE
    MARK = 0x4c47               # of our frames
    WINDOW_WORDS = 64
    WINDOW = 64 * WINDOW_WORDS
    FLOWS_A_PORT = 256          # source ports of UDP that are used
    QUIET_PER_S = 50            # draining ends after 1 s over this without a frame
    PATIENCE = 25               # so many times that at most

# What a frame has behind its Ethernet, IPv4 and UDP headers.
cdef packed struct label:
    uint16_t mark
    uint8_t run                 # frames of an earlier one may still come
    uint8_t home                # on the way back
    uint16_t stream
    uint64_t number
    uint64_t stamp              # TSC

cdef packed struct headers:
    uint8_t destination[6]
    uint8_t source[6]
    uint16_t type
    uint8_t ip[20]
    uint16_t from_port
    uint16_t to_port
    uint32_t rest_of_udp
    label about

# What came of a stream at one place. Frames of one flow stay in order; between flows a switch may
# change it, so of the last WINDOW numbers it is known which were there.
cdef struct arrivals:
    uint64_t due                # one more than the highest number that came
    uint64_t seen[WINDOW_WORDS]

# One end of the wire: a virtio-user device.
cdef struct endpoint:
    uint16_t port_id
    uint16_t n_back             # frames to be sent back that the ring did not take yet
    rte_mbuf *back[BURST]

cdef struct stream:
    uint16_t source             # endpoint
    uint16_t length             # bytes, without FCS
    uint32_t macs               # addresses at each end
    uint32_t flows
    bint returns                # the other end sends every frame back
    bint everywhere             # to all endpoints but the source
    uint16_t destination
    double per_cycle            # frames; 0: as many as the ring takes
    uint32_t next_mac
    uint32_t next_flow
    uint16_t first              # of 'built', frames from here on wait for the ring
    uint16_t n_built
    rte_mbuf *built[BURST]
    uint8_t template[TEMPLATE_BYTES]
    arrivals *at                # each endpoint, and last back at the source
    uint64_t sent
    uint64_t received
    uint64_t bytes
    uint64_t late               # came after one with a higher number
    uint64_t repeated           # numbers that were there before, or are too old to know
    uint64_t stray              # at an endpoint where they do not belong

cdef struct work:
    rte_mempool *pool
    uint32_t n_spare            # buffers of frames that came, to be used for the next ones
    rte_mbuf *spare[SPARE]
    uint32_t n_ends
    endpoint ends[MAX_ENDS]
    uint32_t n_streams
    stream *streams
    bint stamped
    uint8_t run
    bint alone                  # no other process drives endpoints on this core
    uint64_t tries              # to send,
    uint64_t full               # and those in which a ring did not take all that there was
    uint64_t idle_cycles        # of rounds in which nothing moved
    uint64_t foreign            # frames that are not ours
    uint64_t *delays            # histogram of cycles


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


cdef inline void check_number(stream *s, arrivals *a, uint64_t number) noexcept nogil:
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
    """Runs for so many cycles, or with 'quiet' until none came for so long; returns how many."""
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
    """What no ring took was never sent; and what should go back neither."""
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


COUNTERS = ("sent", "received", "bytes", "late", "repeated", "stray")


cdef tuple counts(const stream *s):
    return s.sent, s.received, s.bytes, s.late, s.repeated, s.stray


cdef int checked(int rc, str what) except -1:
    if rc < 0:
        raise OSError(-rc, f"{what}: {os.strerror(-rc)}")
    return rc


cdef class Load:
    """Endpoints in one process, driven by the thread that made this. One a process."""
    cdef work w
    cdef uint16_t ring

    def __init__(self, eal: list[str], buffers: int, room: int, ring: int, alone: bool) -> None:
        """'buffers' for frames of 'room' bytes and a headroom, rings of 'ring' descriptors; 'alone'
        on the core."""
        eal_start(eal)
        self.ring = ring
        self.w.alone = alone
        self.w.pool = rte_pktmbuf_pool_create(b"load", buffers, CACHE, 0, room + 128, 0)
        self.w.delays = <uint64_t *>calloc(BUCKETS, sizeof(uint64_t))
        if self.w.pool == NULL or self.w.delays == NULL:
            raise MemoryError("load: no memory for packet buffers")

    def attach(self, arguments: str) -> None:
        """One more endpoint, by the arguments of net_virtio_user. OSError."""
        cdef rte_eth_conf conf
        cdef uint16_t port
        cdef endpoint *e = &self.w.ends[self.w.n_ends]
        if self.w.n_ends == MAX_ENDS:
            raise ValueError(f"load: one process has {MAX_ENDS} endpoints at most")
        name = f"net_virtio_user{self.w.n_ends}".encode()
        raw = arguments.encode()
        cdef const char *text = raw
        cdef const char *device = name
        cdef int rc
        with nogil:
            rc = rte_eal_hotplug_add(b"vdev", device, text)
        checked(rc, arguments)
        checked(rte_eth_dev_get_port_by_name(name, &port), arguments)
        memset(&conf, 0, sizeof(conf))
        checked(rte_eth_dev_configure(port, 1, 1, &conf), arguments)
        checked(rte_eth_rx_queue_setup(port, 0, self.ring, 0, NULL, self.w.pool), arguments)
        checked(rte_eth_tx_queue_setup(port, 0, self.ring, 0, NULL), arguments)
        checked(rte_eth_dev_start(port), arguments)
        rte_eth_promiscuous_enable(port)
        e.port_id, e.n_back = port, 0
        self.w.n_ends += 1

    cdef int begin(self, list streams) except -1:
        cdef stream *s
        cdef uint32_t i
        self.w.run += 1
        self.w.streams = <stream *>calloc(len(streams), sizeof(stream))
        if self.w.streams == NULL:
            raise MemoryError
        for i, wanted in enumerate(streams):
            s = &self.w.streams[i]
            s.at = <arrivals *>calloc(MAX_ENDS + 1, sizeof(arrivals))
            if s.at == NULL:
                raise MemoryError
            s.source, s.length = wanted["source"], wanted["bytes"]
            s.macs, s.flows = wanted["macs"], wanted["flows"]
            s.returns = wanted["returns"]
            s.everywhere = wanted["destination"] is None
            s.destination = 0 if s.everywhere else wanted["destination"]
            s.per_cycle = wanted["rate"] / <double>rte_get_tsc_hz()
            memcpy(s.template, <const uint8_t *><bytes>wanted["template"], TEMPLATE_BYTES)
            (<headers *>s.template).about.stream = i
            (<headers *>s.template).about.mark = MARK
            (<headers *>s.template).about.run = self.w.run
            self.w.n_streams = i + 1
        return 0

    cdef void end(self) noexcept:
        cdef uint32_t i
        if self.w.streams != NULL:
            for i in range(self.w.n_streams):
                free(self.w.streams[i].at)
            free(self.w.streams)
        self.w.streams = NULL
        self.w.n_streams = 0

    def run(self, streams: list[dict], warm_s: float, seconds: float, stamped: bool) -> dict:
        """Sends all streams for 'warm_s', then for 'seconds' which count, then receives what is left.

        A stream: source and destination (endpoints; None: all others), bytes, macs, flows, returns,
        rate (frames a second; 0: what the ring takes), template (the first 64 bytes).
        Returns for each stream what was counted, "before", "after" and at the "end"; the time that
        counted, and which part of it nothing moved; how often it tried to send, and a ring was full;
        {cycles: frames} of their delays.
        """
        cdef work *w = &self.w
        cdef uint64_t hz = rte_get_tsc_hz(), warm = <uint64_t>(warm_s * hz), took, since
        cdef uint64_t cycles = <uint64_t>(seconds * hz), quiet = hz // QUIET_PER_S
        cdef uint32_t i
        try:
            self.begin(streams)
            memset(w.delays, 0, BUCKETS * sizeof(uint64_t))
            w.stamped, w.foreign = False, 0
            with nogil:
                drive(w, 0, PATIENCE * quiet, False, quiet // 10)       # what a run before left
                since = rte_rdtsc()
                drive(w, since, warm, True, 0)
            before = [counts(&w.streams[i]) for i in range(w.n_streams)]
            w.stamped, w.idle_cycles, w.tries, w.full = stamped, 0, 0, 0
            with nogil:
                took = drive(w, since, cycles, True, 0)
            after = [counts(&w.streams[i]) for i in range(w.n_streams)]
            idle, tries, full = w.idle_cycles, w.tries, w.full
            with nogil:
                forget_unsent(w)
                drive(w, since, PATIENCE * quiet, False, quiet)
            return {
                "streams": [
                    {"before": dict(zip(COUNTERS, before[i])), "after": dict(zip(COUNTERS, after[i])),
                     "end": dict(zip(COUNTERS, counts(&w.streams[i])))}
                    for i in range(w.n_streams)],
                "seconds": took / <double>hz, "idle": idle / <double>took, "tries": tries, "full": full,
                "foreign": w.foreign, "hz": hz,
                "delays": [(least(i), w.delays[i]) for i in range(BUCKETS) if w.delays[i]]}
        finally:
            self.end()


cdef uint64_t least(uint32_t i) noexcept:
    """The shortest time, in cycles, that is in this bucket of the histogram."""
    cdef uint32_t shift
    if i < 2 * FINE:
        return i
    shift = i // FINE - 1
    return <uint64_t>(FINE + i % FINE) << shift
