"""Captures: PMDs copy frames into a ring, a thread of the capture's own writes them to a socket.

Only the thread ever waits. A reader that is too slow lets the ring run full, and what does not
fit is counted as lost: for the capture, never for the port. The ring holds records of any length,
one after the other. Room is taken by moving 'head'; a record is there once its length is not
0, so a PMD that is interrupted in between holds up the reader and no other PMD. The thread
leaves zeros behind.
"""
from libc.errno cimport EAGAIN, EINTR, ENOMEM, errno
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset
from posix.time cimport CLOCK_REALTIME, clock_gettime, timespec

from pmd_ext.atomics cimport (
    add_release_u64, cas_u64, load_acquire_u32, load_acquire_u64, load_relaxed_u64,
    store_release_u32, store_release_u64,
)
from pmd_ext.dpdk.eal cimport rte_rdtsc
from pmd_ext.dpdk.mbuf cimport rte_mbuf


cdef extern from "shim.h" nogil:
    uint8_t *shim_mbuf_data(rte_mbuf *m)

cdef extern from * nogil:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <poll.h>
    #include <pthread.h>
    #include <signal.h>
    #include <sys/eventfd.h>
    #include <sys/socket.h>
    #include <unistd.h>

    /* Signals are for the agent's main thread alone. */
    static int
    shim_capture_thread(pthread_t *thread, void *(*start)(void *), void *arg)
    {
        sigset_t all, before;
        int error;

        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        error = pthread_create(thread, NULL, start, arg);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        if (!error)
            pthread_setname_np(*thread, "capture");
        return error;
    }
    """
    enum:
        MSG_DONTWAIT
        MSG_NOSIGNAL
        POLLIN
        POLLOUT
        SHUT_RDWR
    struct pollfd:
        int fd
        short events
        short revents
    int shim_capture_thread(pthread_t *thread, void *(*start)(void *) noexcept nogil, void *arg)
    int pthread_join(pthread_t thread, void **result)
    int poll(pollfd *fds, unsigned long n, int timeout_ms)
    ssize_t send(int fd, const void *data, size_t bytes, int flags)
    int shutdown(int fd, int how)
    int eventfd_write(int fd, uint64_t value)
    int close(int fd)

cdef enum:
    RING_MASK = CAPTURE_BYTES - 1
    BATCH_BYTES = 2 * CAPTURE_SNAPLEN_MAX   # written at once, at most
    LOOK_MS = 1                 # how often the thread looks into an empty ring
    NS_PER_S = 1000000000

# Two readings of both clocks: between them TSC becomes time, whatever the TSC's rate is.
cdef struct clocks:
    uint64_t tsc
    uint64_t ns
    uint64_t previous_tsc
    uint64_t previous_ns


# --- PMDs -----------------------------------------------------------------------------------------

cdef inline void put(capture *c, uint64_t at, const void *data, uint32_t n) noexcept nogil:
    cdef uint32_t begin = at & RING_MASK
    cdef uint32_t first = min(n, <uint32_t>CAPTURE_BYTES - begin)
    memcpy(c.ring + begin, data, first)
    memcpy(c.ring, <const uint8_t *>data + first, n - first)


cdef inline bint take_room(capture *c, uint32_t n, uint64_t *at) noexcept nogil:
    """Room for a record of 'n' bytes that begins at 'at'; False: the ring is full."""
    while True:
        at[0] = load_relaxed_u64(&c.head)
        # negative where others have moved both meanwhile: the next try is from there
        if <int64_t>(at[0] + n - load_acquire_u64(&c.tail)) > CAPTURE_BYTES:
            return False
        if cas_u64(&c.head, at[0], at[0] + n):
            return True


cdef inline uint32_t record_bytes(uint32_t kept) noexcept nogil:
    return CAPTURE_RECORD_BYTES + (kept + CAPTURE_RECORD_BYTES - 1 & ~(CAPTURE_RECORD_BYTES - 1))


cdef void capture_frames(capture *c, rte_mbuf **pkts, uint16_t n, uint16_t queue,
                         uint16_t direction) noexcept nogil:
    cdef uint64_t now, at = 0
    cdef uint32_t left, part, bytes
    cdef capture_record *record
    cdef rte_mbuf *segment
    cdef uint16_t i
    if not c.directions & direction:
        return
    now = rte_rdtsc()
    for i in range(n):
        left = min(pkts[i].pkt_len, c.snaplen)
        bytes = record_bytes(left)
        if not take_room(c, bytes, &at):
            add_release_u64(&c.lost, 1)
            continue
        # it does not wrap: the ring is a multiple of its length
        record = <capture_record *>(c.ring + (at & RING_MASK))
        record.kept = left
        record.length = pkts[i].pkt_len
        record.queue = queue
        record.direction = direction
        record.time = now
        at += CAPTURE_RECORD_BYTES
        segment = pkts[i]
        while left and segment != NULL:
            part = min(left, <uint32_t>segment.data_len)
            put(c, at, shim_mbuf_data(segment), part)
            at += part
            left -= part
            segment = segment.next
        store_release_u32(&record.bytes, bytes)


# --- the capture's thread -------------------------------------------------------------------------

cdef inline void read_clocks(clocks *k) noexcept nogil:
    cdef timespec now
    k.previous_tsc, k.previous_ns = k.tsc, k.ns
    clock_gettime(CLOCK_REALTIME, &now)
    k.tsc = rte_rdtsc()
    k.ns = <uint64_t>now.tv_sec * NS_PER_S + now.tv_nsec


cdef inline uint64_t time_of(const clocks *k, uint64_t tsc) noexcept nogil:
    cdef double ns_per_cycle = (<double><int64_t>(k.ns - k.previous_ns)
                                / <double>(k.tsc - k.previous_tsc))
    return k.previous_ns + <int64_t>(<double><int64_t>(tsc - k.previous_tsc) * ns_per_cycle)


cdef uint32_t gather(capture *c, const clocks *k) noexcept nogil:
    """Moves what is whole from the ring to the batch; how many bytes."""
    cdef uint32_t begin, bytes, first, n = 0
    cdef capture_record *record
    while True:
        begin = c.tail & RING_MASK
        bytes = load_acquire_u32(&(<capture_record *>(c.ring + begin)).bytes)
        if bytes == 0 or n + bytes > BATCH_BYTES:
            return n
        first = min(bytes, <uint32_t>CAPTURE_BYTES - begin)
        memcpy(c.batch + n, c.ring + begin, first)
        memcpy(c.batch + n + first, c.ring, bytes - first)
        memset(c.ring + begin, 0, first)
        memset(c.ring, 0, bytes - first)
        record = <capture_record *>(c.batch + n)
        record.time = time_of(k, record.time)
        record.lost = load_relaxed_u64(&c.lost)
        store_release_u64(&c.tail, c.tail + bytes)
        n += bytes


cdef bint write_out(capture *c, uint32_t n) noexcept nogil:
    """Writes the batch; False: the reader is gone, or main wants no waiting for it any more."""
    cdef pollfd p
    cdef uint32_t at = 0
    cdef ssize_t moved
    while at < n:
        moved = send(c.fd, c.batch + at, n - at, MSG_DONTWAIT | MSG_NOSIGNAL)
        if moved >= 0:
            at += <uint32_t>moved
        elif errno == EAGAIN and not load_acquire_u32(&c.stop):
            p.fd, p.events = c.fd, POLLOUT
            poll(&p, 1, LOOK_MS)
        elif errno != EINTR:
            return False
    return True


cdef bint reader_ends(capture *c, int timeout_ms) noexcept nogil:
    """The reader sends nothing: there is something to read when it wants to end, or has ended."""
    cdef pollfd p
    p.fd, p.events = c.fd, POLLIN
    return poll(&p, 1, timeout_ms) > 0


cdef void *capture_main(void *arg) noexcept nogil:
    cdef capture *c = <capture *>arg
    cdef capture_record *last = <capture_record *>c.batch
    cdef uint64_t until = 0
    cdef uint32_t n = 0
    cdef bint ends = False, written = True
    cdef clocks k
    read_clocks(&k)
    while written and not ends:
        ends = reader_ends(c, 0 if n else LOOK_MS) or load_acquire_u32(&c.stop)
        until = load_acquire_u64(&c.head)
        read_clocks(&k)
        n = gather(c, &k)
        written = write_out(c, n)
    # what was captured up to now is still the reader's
    while written and n and <int64_t>(until - c.tail) > 0:
        n = gather(c, &k)
        written = write_out(c, n)
    if written:
        memset(last, 0, sizeof(capture_record))
        last.bytes = sizeof(capture_record)
        last.time = k.ns
        last.lost = load_relaxed_u64(&c.lost)
        write_out(c, sizeof(capture_record))
    # who sees the end of the connection can have the port captured anew
    store_release_u32(&c.ended, 1)
    shutdown(c.fd, SHUT_RDWR)
    eventfd_write(c.wake_fd, 1)
    return NULL


# --- main -----------------------------------------------------------------------------------------

cdef int capture_new(capture **made, int fd, int wake_fd, uint32_t snaplen,
                     uint32_t directions) noexcept nogil:
    cdef capture *c = <capture *>calloc(1, sizeof(capture))
    cdef int error = ENOMEM
    if c == NULL:
        return -ENOMEM
    c.ring = <uint8_t *>calloc(1, CAPTURE_BYTES)
    c.batch = <uint8_t *>malloc(BATCH_BYTES)
    c.snaplen, c.directions = min(snaplen, <uint32_t>CAPTURE_SNAPLEN_MAX), directions
    c.fd, c.wake_fd = fd, wake_fd
    if c.ring != NULL and c.batch != NULL:
        error = shim_capture_thread(&c.thread, capture_main, c)
    if error != 0:
        free_memory(c)
        return -error
    made[0] = c
    return 0


cdef void free_memory(capture *c) noexcept nogil:
    free(c.batch)
    free(c.ring)
    free(c)


cdef void capture_free(capture *c) noexcept nogil:
    store_release_u32(&c.stop, 1)
    pthread_join(c.thread, NULL)
    close(c.fd)
    free_memory(c)
