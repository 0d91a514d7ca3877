"""Which ports the host thread serves: published to it like poll lists to PMDs."""
from libc.stdint cimport uint16_t, uint32_t
from libc.string cimport memset

from pmd_ext.atomics cimport load_acquire_u32, store_release_i32
from pmd_ext.dpdk.eal cimport rte_errno, rte_socket_id
from pmd_ext.dpdk.mbuf cimport rte_mbuf, rte_pktmbuf_free_bulk
from pmd_ext.dpdk.ring cimport (
    RING_F_MP_RTS_ENQ, RING_F_SC_DEQ, rte_ring_count, rte_ring_create, rte_ring_dequeue_burst,
    rte_ring_free, rte_ring_get_capacity, rte_ring_set_prod_htd_max,
)
from pmd_ext.errors cimport check
from pmd_ext.errors import DatapathError
from pmd_ext.host cimport host_start, host_stop, host_unwatch, host_watch
from pmd_ext.pmd cimport pmd_publish, poll_list_free, poll_list_new
from pmd_ext.state cimport (
    BURST, dataplane_get, host_port, lesson, poll_list, ring_counters, ring_of, rxq_vring,
    synchronize, txq_vring,
)


cdef extern from "unistd.h" nogil:
    int usleep(unsigned microseconds)

cdef enum:
    QUEUE_FRAMES = 512          # of a port, that wait for the host thread
    FLUSH_POLL_US = 50


cdef void discard(host_port *port) noexcept nogil:
    cdef rte_mbuf *pkts[BURST]
    cdef unsigned n = BURST
    while n:
        n = rte_ring_dequeue_burst(port.queue, <void **>pkts, BURST, NULL)
        rte_pktmbuf_free_bulk(pkts, n)


cdef class Hosts:
    def __cinit__(self) -> None:
        self.dp = dataplane_get()
        self.slots = []

    cdef int add(self, uint16_t index, int fd, bint packet, bint offloads, str name) except -1:
        cdef host_port *port = &self.dp.host_ports[index]
        cdef int rc
        self.made += 1
        text = b"host-%d" % self.made
        # The host thread, which may lose its core at any moment, is a producer like the PMDs: with
        # a relaxed tail none of them waits for it.
        port.queue = rte_ring_create(text, QUEUE_FRAMES, <int>rte_socket_id(),
                                     RING_F_MP_RTS_ENQ | RING_F_SC_DEQ)
        if port.queue == NULL:
            check(-rte_errno, "rte_ring_create", name)
        rte_ring_set_prod_htd_max(port.queue, rte_ring_get_capacity(port.queue))
        port.packet, port.fd, port.offloads = packet, fd, offloads
        port.error = port.segmentable = port.taken = 0
        memset(&port.learned, 0, sizeof(lesson))
        memset(&ring_of(self.dp, index, rxq_vring(0)).counts, 0, sizeof(ring_counters))
        memset(&ring_of(self.dp, index, txq_vring(0)).counts, 0, sizeof(ring_counters))
        try:
            if not self.dp.host.running:
                check(host_start(&self.dp.host), "start of the host thread", name)
            self.publish([*self.slots, index])
            rc = host_watch(&self.dp.host, index, port)
            if rc != 0:         # check() has another use for -1, which is -EPERM
                raise DatapathError(-rc, "epoll_ctl", name)
        except BaseException:
            self.remove(index)
            raise
        return 0

    cdef int remove(self, uint16_t index) except -1:
        cdef host_port *port = &self.dp.host_ports[index]
        host_unwatch(&self.dp.host, port)
        store_release_i32(&port.fd, -1)
        if index in self.slots:
            self.publish([slot for slot in self.slots if slot != index])
        with nogil:
            discard(port)
        rte_ring_free(port.queue)
        port.queue = NULL
        return 0

    cdef void flush(self, uint16_t index):
        cdef host_port *port = &self.dp.host_ports[index]
        cdef uint32_t queued, taken
        with nogil:
            queued = rte_ring_count(port.queue)
            taken = load_acquire_u32(&port.taken)
            while rte_ring_count(port.queue) and load_acquire_u32(&port.taken) - taken < queued:
                usleep(FLUSH_POLL_US)
            synchronize()       # the last of them is in the thread's hands no more

    cdef int publish(self, list slots) except -1:
        cdef poll_list *old
        cdef poll_list *made = poll_list_new(self.dp, len(slots))
        cdef int i
        if made == NULL:
            raise MemoryError
        for i, index in enumerate(slots):
            made.rxqs[i].slot = index
        with nogil:
            old = pmd_publish(&self.dp.host, made)
            synchronize()
            poll_list_free(old)
        self.slots = slots
        return 0

    cdef void stop(self):
        if self.dp.host.running:
            with nogil:
                host_stop(&self.dp.host)
