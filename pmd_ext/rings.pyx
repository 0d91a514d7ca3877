"""Rings of guests behind an IOMMU whose pages lie anywhere in the guest's memory.

The driver has each ring in one piece of I/O addresses, but the library (22.11 to 26.07) keeps the
place of its first page alone: it merges translations that follow each other, wherever they point.
Of Linux's rings with more than 256 entries, translated page by page, it would write what belongs
on the second page to whatever lies behind the first: into the guest's page tables, as was seen.

So the library's messages are looked at before it does. To the guest's pieces of memory one of
ROOM_BYTES is added. A translation of a page of a ring has that page mapped there once more, in the
ring's order, and then points there. Where that cannot be (on hugepages, which are not mapped in
smaller pieces), a translation that does not follow on the ring's others is kept from the library:
it then never touches that ring.
"""
from libc.errno cimport ENOMEM
from libc.stdint cimport int16_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from pmd_ext.dpdk.vhost cimport (
    RTE_VHOST_MSG_RESULT_NOT_HANDLED, RTE_VHOST_MSG_RESULT_OK, VIRTIO_F_ACCESS_PLATFORM,
    VIRTIO_F_RING_PACKED, rte_vhost_get_mem_table, rte_vhost_get_negotiated_features,
    rte_vhost_mem_region, rte_vhost_memory, rte_vhost_msg_result,
)
from pmd_ext.message cimport (
    IOTLB_MSG, SET_MEM_TABLE, SET_VRING_ADDR, SET_VRING_NUM, shim_addr, shim_iotlb, shim_message,
    shim_region,
)
from pmd_ext.state cimport MAX_SLOTS, MAX_VRINGS, dataplane_get, queues_changed


cdef extern from * nogil:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <sys/mman.h>
    #include <sys/stat.h>
    #include <unistd.h>

    static int
    shim_of_small_pages(int fd)
    {
        struct stat about;

        return fstat(fd, &about) == 0 && about.st_blksize == 4096;
    }

    /* A file of zeros, which takes no memory before it is written; -1: there is none. */
    static int
    shim_memory_file(uint64_t bytes)
    {
        int fd = memfd_create("rings", MFD_CLOEXEC);

        if (fd >= 0 && ftruncate(fd, bytes) != 0) {
            close(fd);
            fd = -1;
        }
        return fd;
    }

    static int
    shim_map_at(uint64_t place, uint64_t bytes, int fd, uint64_t offset)
    {
        return mmap((void *)(uintptr_t)place, bytes, PROT_READ | PROT_WRITE,
                    MAP_SHARED | MAP_FIXED, fd, offset) != MAP_FAILED;
    }
    """
    bint shim_of_small_pages(int fd)
    int shim_memory_file(uint64_t bytes)
    bint shim_map_at(uint64_t place, uint64_t bytes, int fd, uint64_t offset)

cdef enum:
    UPDATE = 2                      # an IOTLB message's kind
    INVALIDATE = 3
    MAX_REGIONS = 8
    MAX_RING_SIZE = 32768
    PAGE = 4096
    PARTS = 3                       # of a ring: descriptors, available, used
    RING_BYTES = 1 << 16            # room for a ring: enough for 2048 entries
    ROOM_BYTES = MAX_VRINGS * RING_BYTES

cdef struct place:
    uint64_t start, end             # I/O addresses
    uint64_t shift                  # from them to the front end's, of what the library was told
    bint told

cdef struct rings:
    bint may_add
    int vid                         # of the connection that all this is of
    uint64_t room                   # the front end's address of the room; 0: there is none
    rte_vhost_memory *memory        # as the library has it
    uint32_t sizes[MAX_VRINGS]
    place places[MAX_VRINGS][PARTS] # those that share a page are one; empty ones are no more there

cdef rings *_rings[MAX_SLOTS]


cdef int rings_open(int16_t slot, bint room) noexcept nogil:
    _rings[slot] = <rings *>calloc(1, sizeof(rings))
    if _rings[slot] == NULL:
        return -ENOMEM
    _rings[slot].may_add = room
    return 0


cdef void rings_begin(int16_t slot, int vid) noexcept nogil:
    cdef rings *r = _rings[slot]
    r.vid = vid
    free(r.memory)
    r.memory, r.room = NULL, 0
    memset(r.sizes, 0, sizeof(r.sizes))
    memset(r.places, 0, sizeof(r.places))


cdef void rings_close(int16_t slot) noexcept nogil:
    if _rings[slot] != NULL:
        free(_rings[slot].memory)
        free(_rings[slot])
        _rings[slot] = NULL


cdef inline uint64_t page_of(uint64_t address) noexcept nogil:
    return address & ~<uint64_t>(PAGE - 1)


cdef void join(place *a, place *b) noexcept nogil:
    """Makes one of two that share a page."""
    if (a.end > a.start and b.end > b.start and page_of(a.start) <= page_of(b.end - 1)
            and page_of(b.start) <= page_of(a.end - 1)):
        a.start, a.end = min(a.start, b.start), max(a.end, b.end)
        b.start = b.end = 0


cdef void set_places(rings *r, const shim_addr *addr, bint packed) noexcept nogil:
    cdef uint64_t size = r.sizes[addr.index]
    cdef place *p = r.places[addr.index]
    memset(p, 0, PARTS * sizeof(place))
    p[0].start, p[0].end = addr.desc, addr.desc + 16 * size
    p[1].start, p[1].end = addr.avail, addr.avail + (4 if packed else 6 + 2 * size)
    p[2].start, p[2].end = addr.used, addr.used + (4 if packed else 6 + 8 * size)
    join(&p[0], &p[1])
    join(&p[0], &p[2])
    join(&p[1], &p[2])
    join(&p[0], &p[1])              # what the last of them has become


cdef void make_room(rings *r, int vid, shim_message *m) noexcept nogil:
    """Adds a region behind all others."""
    cdef uint64_t features = 0, guest = 0, user = 0
    cdef shim_region *region
    cdef uint32_t i, n = m.u.memory.n
    cdef int fd
    r.room = 0
    rte_vhost_get_negotiated_features(vid, &features)
    if (not r.may_add or not features >> VIRTIO_F_ACCESS_PLATFORM & 1 or n >= MAX_REGIONS
            or m.n_fds != <int>n):
        return
    for i in range(n):
        region = &m.u.memory.regions[i]
        guest = max(guest, region.guest + region.bytes)
        user = max(user, region.user + region.bytes)
    guest, user = page_of(guest + PAGE - 1), page_of(user + PAGE - 1)
    fd = shim_memory_file(ROOM_BYTES)
    if fd < 0:
        return
    region = &m.u.memory.regions[n]
    region.guest, region.bytes, region.user, region.offset = guest, ROOM_BYTES, user, 0
    m.fds[n] = fd                   # the library's from now on
    m.n_fds += 1
    m.u.memory.n += 1
    m.bytes += sizeof(shim_region)
    r.room = user


cdef rte_vhost_mem_region *region_of(rings *r, uint64_t user, uint64_t bytes) noexcept nogil:
    cdef rte_vhost_mem_region *region
    cdef uint32_t i
    for i in range(r.memory.nregions if r.memory != NULL else 0):
        region = &r.memory.regions[i]
        if (region.guest_user_addr <= user and bytes <= region.size
                and user - region.guest_user_addr <= region.size - bytes):
            return region
    return NULL


cdef bint map_again(rings *r, uint64_t at, shim_iotlb *t) noexcept nogil:
    """Maps what is translated 'at' bytes behind the start of the room."""
    cdef rte_vhost_mem_region *region = region_of(r, t.user, t.bytes)
    cdef rte_vhost_mem_region *room = region_of(r, r.room, ROOM_BYTES)
    cdef uint64_t host
    if region == NULL or room == NULL or t.bytes % PAGE or t.iova % PAGE:
        return False
    host = region.host_user_addr + (t.user - region.guest_user_addr)
    return (host % PAGE == 0 and shim_of_small_pages(region.fd)
            and shim_map_at(room.host_user_addr + at, t.bytes, region.fd,
                            host - <uint64_t>region.mmap_addr))


cdef bint translate(rings *r, int vring, place *p, uint64_t before, shim_iotlb *t
                    ) noexcept nogil:
    """Has a translation of a part of a ring's place follow on the others. 'before' bytes of the
    ring's room are taken."""
    cdef uint64_t begin = page_of(p.start), end = page_of(p.end - 1) + PAGE
    cdef uint64_t at = vring * <uint64_t>RING_BYTES + before + (t.iova - begin)
    if t.iova <= p.start and t.iova + t.bytes >= p.end:
        return True
    if (r.room and t.iova >= begin and t.iova + t.bytes <= end
            and before + (end - begin) <= RING_BYTES and map_again(r, at, t)):
        t.user = r.room + at
    if not p.told:
        p.told, p.shift = True, t.user - t.iova
    return t.user - t.iova == p.shift


cdef bint look_at_translation(rings *r, shim_iotlb *t) noexcept nogil:
    cdef uint64_t before, user = t.user
    cdef int vring, i
    cdef place *p
    # nobody but who stands here points there
    if r.room and t.kind == UPDATE and t.user < r.room + ROOM_BYTES and t.user + t.bytes > r.room:
        return False
    for vring in range(MAX_VRINGS):
        before = 0
        for i in range(PARTS):
            p = &r.places[vring][i]
            if p.end <= p.start:
                continue
            if t.iova < p.end and t.iova + t.bytes > p.start:
                # what is mapped anew for one ring cannot be in the order of another
                if t.kind == UPDATE and (t.user != user or not translate(r, vring, p, before, t)):
                    return False
                if t.kind == INVALIDATE:
                    p.told = False
            before += page_of(p.end - 1) + PAGE - page_of(p.start)
    return True


cdef rings *rings_of(int vid) noexcept nogil:
    """NULL for a connection that a newer has replaced."""
    cdef int16_t slot = dataplane_get().vid_slot[vid]
    return _rings[slot] if slot >= 0 and _rings[slot].vid == vid else NULL


cdef rte_vhost_msg_result rings_before(int vid, shim_message *m) noexcept nogil:
    cdef rings *r = rings_of(vid)
    cdef uint64_t features = 0
    if r == NULL:
        pass
    elif m.request == SET_MEM_TABLE:
        make_room(r, vid, m)
    elif m.request == SET_VRING_NUM and m.u.state.index < MAX_VRINGS:
        r.sizes[m.u.state.index] = min(m.u.state.number, <uint32_t>MAX_RING_SIZE)
    elif m.request == SET_VRING_ADDR and m.u.addr.index < MAX_VRINGS:
        rte_vhost_get_negotiated_features(vid, &features)
        set_places(r, &m.u.addr, features >> VIRTIO_F_RING_PACKED & 1)
    elif m.request == IOTLB_MSG and not look_at_translation(r, &m.u.iotlb):
        dataplane_get().slots[dataplane_get().vid_slot[vid]].said.withheld = True
        return RTE_VHOST_MSG_RESULT_OK      # the library takes it for handled
    return RTE_VHOST_MSG_RESULT_NOT_HANDLED


cdef void remember_memory(rings *r, int vid) noexcept nogil:
    cdef int vring, i
    free(r.memory)
    r.memory = NULL
    rte_vhost_get_mem_table(vid, &r.memory)
    for vring in range(MAX_VRINGS):
        for i in range(PARTS):
            r.places[vring][i].told = False


cdef void rings_after(int vid, const shim_message *m) noexcept nogil:
    cdef rings *r = rings_of(vid)
    if m.request == IOTLB_MSG:
        # a PMD that waits for kicks gets none for frames that were there before they could be read
        queues_changed()
    elif m.request == SET_MEM_TABLE and r != NULL:
        remember_memory(r, vid)
