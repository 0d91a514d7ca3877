# Copies of the frames of one port, for one reader outside the process.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from pmd_ext.dpdk.mbuf cimport rte_mbuf


cdef extern from "pthread.h" nogil:
    ctypedef unsigned long pthread_t

cdef enum:
    CAPTURE_BYTES = 1 << 22     # of the ring of one capture; a power of two
    CAPTURE_RECORD_BYTES = 32   # of capture_record, and what records are padded to
    CAPTURE_SNAPLEN_MAX = 262144    # as tcpdump's
    # Directions, as a pcapng file counts them.
    CAPTURE_INBOUND = 1         # received from the guest
    CAPTURE_OUTBOUND = 2        # sent to the guest

# What stands before each frame, in the ring and on the socket (agent/capture.py reads it there).
cdef struct capture_record:
    uint32_t bytes              # of this and the frame, padded; 0 in the ring: not whole yet
    uint32_t kept               # bytes of the frame that follow
    uint32_t length             # bytes that the frame had
    uint16_t queue
    uint16_t direction          # 0 on the socket: no frame, the last record
    uint64_t time               # in the ring TSC; on the socket nanoseconds since 1970
    uint64_t lost               # on the socket: frames that found the ring full so far

cdef struct capture:
    # main writes before the thread starts; everybody reads
    uint8_t *ring               # zeros where no record is
    uint8_t *batch              # the thread alone: what is about to be written to the socket
    uint32_t snaplen            # bytes of a frame that are kept
    uint32_t directions
    int fd                      # the socket, non-blocking
    int wake_fd                 # eventfd of main
    # main alone
    pthread_t thread
    # main writes, the thread reads
    uint32_t stop
    # the thread writes, last and with release; main reads
    uint32_t ended
    uint8_t pad1[64]
    # PMDs move (compare-and-swap) when they take room for a record; the thread reads
    uint64_t head
    # PMDs add, the thread reads
    uint64_t lost
    uint8_t pad2[64]
    # the thread writes (release), PMDs read (acquire)
    uint64_t tail

# Main. Makes a capture and starts the thread that writes to the socket, which it owns from now on; 0.
# Or -errno: no memory, or no thread. The socket is the caller's then.
cdef int capture_new(capture **made, int fd, int wake_fd, uint32_t snaplen,
                     uint32_t directions) noexcept nogil
# Main. Ends the thread and closes the socket; no PMD may know the capture any more.
cdef void capture_free(capture *c) noexcept nogil
# PMDs. Copies frames that were received from or sent to a queue; never waits.
cdef void capture_frames(capture *c, rte_mbuf **pkts, uint16_t n, uint16_t queue,
                         uint16_t direction) noexcept nogil
