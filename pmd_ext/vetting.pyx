"""Messages that the library would handle to the harm of others.

It trusts that a ring is stopped before its size or layout changes, and that what it is to map can be
mapped (DPDK 22.11 to 26.07). Rings would reach behind what it looked at; and a memory table that
fails half way leaves PMDs with rings that are no more mapped. A front end that says such a thing is
not asked again: its connection ends. Every front end known to us stops a ring (GET_VRING_BASE) before
it sets it up anew.
"""
from libc.errno cimport EAGAIN, EMFILE, ENFILE, ENOMEM
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.string cimport memset

from pmd_ext.atomics cimport store_relaxed_u8
from pmd_ext.dpdk.vhost cimport VIRTIO_F_ACCESS_PLATFORM, VIRTIO_F_RING_PACKED
from pmd_ext.eventfds cimport shim_is_eventfd
from pmd_ext.front_end cimport (
    MAX_PIECES, OFFENCE_DESCRIPTOR, OFFENCE_LAYOUT, OFFENCE_MEMORY, OFFENCE_NO_FILES,
    OFFENCE_NO_MEMORY, OFFENCE_NONE, OFFENCE_REQUEST, OFFENCE_RING, SAID_RINGS, front_end,
    ring_said,
)
from pmd_ext.message cimport (
    GET_INFLIGHT_FD, GET_VRING_BASE, NEED_REPLY, POSTCOPY_ADVISE, POSTCOPY_END, RESET_OWNER,
    SET_FEATURES, SET_INFLIGHT_FD, SET_LOG_BASE, SET_MEM_TABLE, SET_VRING_ADDR, SET_VRING_BASE,
    SET_VRING_CALL, SET_VRING_KICK, SET_VRING_NUM, shim_message, shim_region,
)
from pmd_ext.state cimport slot


cdef extern from * nogil:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <errno.h>
    #include <linux/magic.h>
    #include <stdint.h>
    #include <sys/mman.h>
    #include <sys/stat.h>
    #include <sys/sysinfo.h>
    #include <sys/vfs.h>
    #include <unistd.h>

    #ifndef XFS_SUPER_MAGIC
    #define XFS_SUPER_MAGIC 0x58465342
    #endif

    /* Whether there are so many bytes in a file that is the kernel's own: where a program serves it
     * (FUSE), or another host, a page of it takes as long as they like. */
    static int
    shim_file_holds(int fd, uint64_t end)
    {
        struct stat about;
        struct statfs fs;

        if (fd < 0 || fstat(fd, &about) != 0 || !S_ISREG(about.st_mode) ||
            (uint64_t)about.st_size < end || fstatfs(fd, &fs) != 0)
            return 0;
        switch (fs.f_type) {
        case TMPFS_MAGIC: case HUGETLBFS_MAGIC: case EXT4_SUPER_MAGIC: case XFS_SUPER_MAGIC:
        case BTRFS_SUPER_MAGIC:
            return 1;
        }
        return 0;
    }

    /* More than a guest of this host can have: twice its memory and swap, at least 64 GiB. */
    static uint64_t
    shim_most_memory(void)
    {
        const uint64_t least = (uint64_t)64 << 30;
        struct sysinfo host;
        uint64_t most;

        if (sysinfo(&host) != 0)
            return least;
        most = 2 * ((uint64_t)host.totalram + host.totalswap) * host.mem_unit;
        return most > least ? most : least;
    }

    /* Maps as the library is about to; 0, or why that cannot be. */
    static int
    shim_try_to_map(int fd, uint64_t bytes)
    {
        struct stat about;
        uint64_t page;
        void *map;

        if (fstat(fd, &about) != 0)
            return errno;
        page = about.st_blksize;
        bytes = (bytes + page - 1) / page * page;
        map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (map == MAP_FAILED)
            return errno;
        munmap(map, bytes);
        return 0;
    }
    """
    bint shim_file_holds(int fd, uint64_t end)
    uint64_t shim_most_memory()
    int shim_try_to_map(int fd, uint64_t bytes)
    int close(int fd)

cdef enum:
    # The specification allows 32768; no front end known to us has more than 1024. The time that a
    # guest can have wasted on a frame that is sent to it grows with the square.
    MAX_RING_SIZE = 4096
    MAX_ENTRIES = 1 << 18           # of all rings: 128 pairs of 1024, for which the library takes 8 MB
    PACKED_INDEX = 0x7fff           # of SET_VRING_BASE: the rest is wrap counters and the used index
    RING_INDEX = 0xff               # of SET_VRING_KICK
    NO_DESCRIPTOR = 0x100           # of SET_VRING_CALL
    VIRTIO_RING_F_EVENT_IDX = 29    # puts two bytes behind a ring

cdef uint64_t LAYOUT = (<uint64_t>1 << VIRTIO_F_RING_PACKED | <uint64_t>1 << VIRTIO_F_ACCESS_PLATFORM
                        | <uint64_t>1 << VIRTIO_RING_F_EVENT_IDX)
cdef uint64_t MAX_BYTES = <uint64_t>1 << 47     # of memory: more than there is


cdef bint is_packed(const front_end *f) noexcept nogil:
    return f.layout >> VIRTIO_F_RING_PACKED & 1


cdef bint fits(const front_end *f, const ring_said *ring) noexcept nogil:
    """Whether the switch begins within the ring; the library does not look."""
    return (not is_packed(f) or ring.size == 0
            or ring.base & PACKED_INDEX < ring.size)


cdef uint32_t entries(const front_end *f) noexcept nogil:
    cdef uint32_t total = 0
    cdef int i
    for i in range(SAID_RINGS):
        total += f.rings[i].size
    return total


cdef uint32_t of_size(front_end *f, const shim_message *m) noexcept nogil:
    cdef ring_said *ring
    cdef uint32_t size = m.u.state.number
    if m.u.state.index >= SAID_RINGS:
        return OFFENCE_NONE         # the library refuses it, and others with such an index
    ring = &f.rings[m.u.state.index]
    if (size == 0 or size > MAX_RING_SIZE or not is_packed(f) and size & (size - 1)
            or ring.placed and size != ring.size):
        return OFFENCE_RING
    ring.size = size
    return OFFENCE_NONE if fits(f, ring) and entries(f) <= MAX_ENTRIES else OFFENCE_RING


cdef uint32_t of_base(front_end *f, const shim_message *m) noexcept nogil:
    cdef ring_said *ring
    if m.u.state.index >= SAID_RINGS:
        return OFFENCE_NONE
    ring = &f.rings[m.u.state.index]
    ring.base = <uint16_t>m.u.state.number
    return OFFENCE_NONE if fits(f, ring) else OFFENCE_RING


cdef uint32_t of_features(front_end *f, uint64_t features) noexcept nogil:
    cdef uint64_t changed = (features ^ f.layout) & LAYOUT
    cdef int i
    if changed:
        for i in range(SAID_RINGS):
            if f.rings[i].placed or f.rings[i].size or f.rings[i].base:
                return OFFENCE_LAYOUT
    f.layout = features
    return OFFENCE_NONE


cdef uint32_t of_mapping(int error) noexcept nogil:
    if error == 0:
        return OFFENCE_NONE
    # EAGAIN: more may not be locked, of a process that locks all its memory
    if error == ENOMEM or error == EAGAIN:
        return OFFENCE_NO_MEMORY
    return OFFENCE_NO_FILES if error == EMFILE or error == ENFILE else OFFENCE_MEMORY


cdef uint32_t of_memory(const slot *s, const shim_message *m) noexcept nogil:
    cdef const shim_region *region
    cdef uint32_t i, wrong, n = m.u.memory.n
    cdef uint64_t total = 0
    # Of post-copy the library wants to hear what its host said to it, and fails when that says
    # nothing. Where rings run nobody should wait for that.
    if n > MAX_PIECES or m.n_fds != <int>n or s.said.moving and s.vid >= 0:
        return OFFENCE_MEMORY
    for i in range(n):
        region = &m.u.memory.regions[i]
        if (region.bytes == 0 or region.bytes > MAX_BYTES or region.offset > MAX_BYTES
                or region.guest > -region.bytes or region.user > -region.bytes
                or not shim_file_holds(m.fds[i], region.offset + region.bytes)):
            return OFFENCE_MEMORY
        # empty files cost nobody anything, but addresses of this process, which others need
        total += region.offset + region.bytes
    if total > shim_most_memory():
        return OFFENCE_MEMORY
    for i in range(n):
        region = &m.u.memory.regions[i]
        wrong = of_mapping(shim_try_to_map(m.fds[i], region.offset + region.bytes))
        if wrong != OFFENCE_NONE:
            return wrong
    return OFFENCE_NONE


cdef uint32_t of_log(const shim_message *m) noexcept nogil:
    """The library maps from the offset, and then counts it once more."""
    if (m.n_fds != 1 or m.u.log.offset or m.u.log.bytes > MAX_BYTES
            or not shim_file_holds(m.fds[0], m.u.log.bytes)):
        return OFFENCE_MEMORY
    return OFFENCE_NONE


cdef uint32_t of_descriptor(const shim_message *m) noexcept nogil:
    """An eventfd, or none. PMDs write to it where it calls the guest: to all else that could take any
    time. And with the front end's own end of the connection nobody would see it hang up."""
    if m.u.number & NO_DESCRIPTOR or m.n_fds == 1 and shim_is_eventfd(m.fds[0]):
        return OFFENCE_NONE
    return OFFENCE_DESCRIPTOR


cdef uint32_t objection(slot *s, shim_message *m) noexcept nogil:
    cdef front_end *f = &s.said
    if m.request == SET_VRING_NUM:
        return of_size(f, m)
    if m.request == SET_VRING_BASE:
        return of_base(f, m)
    if m.request == SET_VRING_ADDR and m.u.addr.index < SAID_RINGS:
        f.rings[m.u.addr.index].placed = True
        if f.rings[m.u.addr.index].size == 0:
            return OFFENCE_RING
    elif m.request == SET_VRING_KICK:
        # The ring starts. What it needs was made with its size, and freed when it was stopped.
        if f.rings[m.u.number & RING_INDEX].size == 0:
            return OFFENCE_RING
        # Its place is looked up anew: without a translation, the library goes on with none.
        if s.iotlb and f.rings[m.u.number & RING_INDEX].started:
            return OFFENCE_RING
        f.rings[m.u.number & RING_INDEX].started = True
        return of_descriptor(m)
    elif m.request == GET_VRING_BASE and m.u.state.index < SAID_RINGS:
        memset(&f.rings[m.u.state.index], 0, sizeof(ring_said))
    elif m.request == RESET_OWNER:
        # the library forgets that the port has an IOMMU, and divides by its 0 translations later
        if s.iotlb:
            return OFFENCE_REQUEST
        memset(f.rings, 0, sizeof(f.rings))
    elif m.request == SET_FEATURES:
        return of_features(f, m.u.number)
    elif m.request == SET_MEM_TABLE:
        return of_memory(s, m)
    elif m.request == SET_LOG_BASE:
        return of_log(m)
    elif m.request == SET_VRING_CALL:
        return of_descriptor(m)
    elif POSTCOPY_ADVISE <= m.request <= POSTCOPY_END:
        # where it was not offered, pages would be waited for that never come
        if not f.patient:
            return OFFENCE_REQUEST
        store_relaxed_u8(&f.moving, m.request != POSTCOPY_END)
    elif m.request == GET_INFLIGHT_FD or m.request == SET_INFLIGHT_FD:
        return OFFENCE_REQUEST      # up to 68 GB at a word; block devices alone use it
    return OFFENCE_NONE


cdef void refuse(shim_message *m) noexcept nogil:
    cdef int i
    for i in range(min(m.n_fds, <int>MAX_PIECES)):
        if m.fds[i] >= 0:
            close(m.fds[i])
            m.fds[i] = -1
    m.n_fds = 0
    # answered with an error, the connection would stay
    m.flags &= ~<uint32_t>NEED_REPLY
