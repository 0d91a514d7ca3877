"""The load generator: endpoints over virtio-user, and runs of streams. For tools/load.py alone."""
import os

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from pmd_ext.dpdk.eal cimport rte_get_tsc_hz, rte_rdtsc
from pmd_ext.dpdk.ethdev cimport (
    rte_eth_conf, rte_eth_dev_configure, rte_eth_dev_start, rte_eth_promiscuous_enable,
    rte_eth_rx_queue_setup, rte_eth_tx_queue_setup,
)
from pmd_ext.dpdk.mbuf cimport rte_mempool
from pmd_ext.eal cimport eal_start
from tools.loadloop cimport (
    BUCKETS, MARK, MAX_ENDS, TEMPLATE_BYTES, arrivals, check_number, drive, endpoint, forget_unsent, headers,
    shortest_in, stream, work,
)

cdef extern from "rte_mbuf.h" nogil:
    rte_mempool *rte_pktmbuf_pool_create(const char *name, unsigned n, unsigned cache_size,
                                         uint16_t priv_size, uint16_t data_room_size, int socket)

cdef extern from "rte_ethdev.h" nogil:
    int rte_eth_dev_get_port_by_name(const char *name, uint16_t *port_id)

cdef extern from "rte_dev.h" nogil:
    int rte_eal_hotplug_add(const char *bus, const char *name, const char *args)

cdef enum:
    CACHE = 512                 # packet buffers
    QUIET_PER_S = 50            # draining ends after 1 s over this without a frame
    PATIENCE = 25               # so many times that at most

COUNTERS = ("sent", "received", "bytes", "late", "repeated", "stray")


cdef tuple counts(const stream *s):
    return s.sent, s.received, s.bytes, s.late, s.repeated, s.stray


cdef int checked(int rc, str what) except -1:
    if rc < 0:
        raise OSError(-rc, f"{what}: {os.strerror(-rc)}")
    return rc


def review(numbers: list[int]) -> tuple[int, int]:
    """How many of the frames of one stream that come with these numbers are late, and repeated."""
    cdef stream s
    cdef arrivals at
    memset(&s, 0, sizeof(s))
    memset(&at, 0, sizeof(at))
    for number in numbers:
        check_number(&s, &at, number)
    return s.late, s.repeated


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
        cdef uint16_t port = 0
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
            if max(wanted["source"], wanted["destination"] or 0) >= self.w.n_ends:
                raise ValueError(f"load: there are {self.w.n_ends} endpoints, from 0")
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

    cdef list counts(self):
        """Of each stream so far."""
        return [dict(zip(COUNTERS, counts(&self.w.streams[i]))) for i in range(self.w.n_streams)]

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
        try:
            self.begin(streams)
            memset(w.delays, 0, BUCKETS * sizeof(uint64_t))
            w.stamped, w.foreign = False, 0
            with nogil:
                drive(w, 0, PATIENCE * quiet, False, quiet // 10)       # what a run before left
                since = rte_rdtsc()
                drive(w, since, warm, True, 0)
            before = self.counts()
            w.stamped, w.idle_cycles, w.tries, w.full = stamped, 0, 0, 0
            with nogil:
                took = drive(w, since, cycles, True, 0)
            after = self.counts()
            idle, tries, full = w.idle_cycles, w.tries, w.full
            with nogil:
                forget_unsent(w)
                drive(w, since, PATIENCE * quiet, False, quiet)
            return {
                "streams": [dict(zip(("before", "after", "end"), counts))
                            for counts in zip(before, after, self.counts())],
                "seconds": took / <double>hz, "idle": idle / <double>took, "tries": tries, "full": full,
                "foreign": w.foreign, "hz": hz,
                "delays": [(shortest_in(i), w.delays[i]) for i in range(BUCKETS) if w.delays[i]]}
        finally:
            self.end()
