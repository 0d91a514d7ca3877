"""What the agent sees of a guest's memory.

A guest whose memory is a private mapping (QEMU: share=off) runs as ever: its driver starts, and
hands over rings that nobody else ever sees anything in. So until a driver uses a ring, main looks
whether there is anything in the memory at all. A guest has used the bottom of each piece of its
memory, or some of the rest, long before it has a driver.

It is read as the files that it is, by descriptors of our own: touching the library's mapping could
wait for a page that is still on another host (post-copy), end the process where a guest made the
file shorter, or find the mapping gone.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from pmd_ext.atomics cimport load_relaxed_u8
from pmd_ext.dpdk.vhost cimport VIRTIO_F_ACCESS_PLATFORM, VIRTIO_F_RING_PACKED
from pmd_ext.front_end cimport SEEN_RINGS, piece, seen_memory
from pmd_ext.handshake cimport handshake_lend, handshake_used
from pmd_ext.state cimport slot


cdef extern from * nogil:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <linux/magic.h>
    #include <sys/vfs.h>
    #include <unistd.h>

    /* Of others reading could block. */
    static int
    shim_is_memory(int fd)
    {
        struct statfs about;

        return fstatfs(fd, &about) == 0 &&
               (about.f_type == TMPFS_MAGIC || about.f_type == HUGETLBFS_MAGIC);
    }

    static int
    shim_all_zero(const uint8_t *bytes, ssize_t n)
    {
        ssize_t i;

        for (i = 0; i < n; i++)
            if (bytes[i] != 0)
                return 0;
        return 1;
    }
    """
    bint shim_is_memory(int fd)
    bint shim_all_zero(const uint8_t *bytes, ssize_t n)
    ssize_t pread(int fd, void *buffer, size_t bytes, long offset)
    int close(int fd)

cdef enum:
    PAGE = 4096
    BOTTOM_BYTES = 2 << 20      # of each piece are read whole,
    SAMPLES = 64                # and so many pages of the rest
    # What the driver writes first: of a split ring the number of its buffers, of a packed one the
    # flags of its first descriptor.
    AVAIL_INDEX = 2
    DESC_FLAGS = 14


cdef bint is_written(seen_memory *memory, uint64_t user) noexcept nogil:
    """Whether there is anything but zero in two bytes of the front end's."""
    cdef piece *p
    cdef uint16_t value = 0
    cdef uint32_t i
    for i in range(memory.n):
        p = &memory.pieces[i]
        if p.user <= user < p.user + p.bytes:
            return (pread(p.fd, &value, sizeof(value), p.offset + (user - p.user))
                    == sizeof(value) and value != 0)
    return False


cdef bint any_ring_used(seen_memory *memory, bint packed) noexcept nogil:
    cdef int i
    for i in range(SEEN_RINGS):
        if packed and memory.rings[i].desc:
            if is_written(memory, memory.rings[i].desc + DESC_FLAGS):
                return True
        elif memory.rings[i].avail and is_written(memory, memory.rings[i].avail + AVAIL_INDEX):
            return True
    return False


cdef bint page_is_blank(const seen_memory *memory, const piece *p, uint64_t at) noexcept nogil:
    cdef uint8_t bytes[PAGE]
    cdef uint64_t user = p.user + at
    cdef int i
    cdef ssize_t n
    for i in range(SEEN_RINGS):     # the library itself writes there
        if user <= memory.rings[i].used < user + PAGE:
            return True
    n = pread(p.fd, bytes, PAGE, p.offset + at)
    return n <= 0 or shim_all_zero(bytes, n)


cdef bint is_blank(const seen_memory *memory) noexcept nogil:
    cdef const piece *p
    cdef uint64_t at, step
    cdef uint32_t i
    for i in range(memory.n):
        p = &memory.pieces[i]
        step = max(<uint64_t>PAGE, p.bytes // SAMPLES // PAGE * PAGE)
        at = 0
        while at < p.bytes:
            if not page_is_blank(memory, p, at):
                return False
            at += PAGE if at < BOTTOM_BYTES else step
    return True


cdef int look(const slot *s, seen_memory *memory) noexcept nogil:
    cdef uint32_t i
    for i in range(memory.n):
        if not shim_is_memory(memory.pieces[i].fd):
            return SIGHT_NONE
    if memory.n == 0:
        return SIGHT_NONE
    if is_blank(memory):
        return SIGHT_BLANK
    # where its rings are a guest with an IOMMU says elsewhere
    if (s.features >> VIRTIO_F_ACCESS_PLATFORM & 1
            or any_ring_used(memory, s.features >> VIRTIO_F_RING_PACKED & 1)):
        return SIGHT_USED
    return SIGHT_UNUSED


cdef int sight(slot *s) noexcept nogil:
    cdef seen_memory memory
    cdef uint32_t i
    cdef int found
    if load_relaxed_u8(&s.said.used):
        return SIGHT_USED
    handshake_lend(s, &memory)
    found = look(s, &memory)
    for i in range(memory.n):
        close(memory.pieces[i].fd)
    if found == SIGHT_USED:
        handshake_used(s)
    return found
