"""Pages that nobody may touch, behind the memory of guests.

The library (22.11 to 26.07) takes translations of an IOMMU that follow each other in I/O addresses for
one piece of memory, wherever they point. And of a packed ring it fills four buffers at once without a
look at those that are shorter than a header (virtio_dev_rx_sync_batch_check() takes 12 from their
length, which then is enormous). So a buffer may begin on the last page of a guest's memory and go on,
for the length of a frame, in whatever the process has behind it: another guest's memory, for the
kernel puts mappings next to each other.

There a guard is put: pages of a file without any, which give SIGBUS (shield.pyx). The library maps
where the kernel likes. So what it is about to map is mapped for trial, where the kernel will map it
again; and where something else is behind, the end of that gap is filled, by a guard or, where it has
no room for one, by less.
"""
from libc.stdint cimport int16_t, uint32_t, uint64_t
from libc.stdlib cimport free

from pmd_ext.dpdk.vhost cimport rte_vhost_get_mem_table, rte_vhost_mem_region, rte_vhost_memory
from pmd_ext.message cimport shim_message
from pmd_ext.state cimport MAX_SLOTS


cdef extern from * nogil:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <stdint.h>
    #include <sys/mman.h>
    #include <sys/stat.h>
    #include <unistd.h>

    #ifndef MAP_FIXED_NOREPLACE
    #define MAP_FIXED_NOREPLACE 0x100000
    #endif
    #define SHIM_GUARD_BYTES (128 << 10)    /* more than a frame, TSO's as well */

    static int shim_nothing = -1;           /* a file without a page */

    static int
    shim_put_guard(uint64_t place, uint64_t bytes)
    {
        void *got;

        if (shim_nothing < 0)
            shim_nothing = memfd_create("guard", MFD_CLOEXEC);
        got = mmap((void *)(uintptr_t)place, bytes, PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_FIXED_NOREPLACE | MAP_NORESERVE, shim_nothing, 0);
        if (got == MAP_FAILED)
            return 0;
        if ((uintptr_t)got == place)
            return 1;
        munmap(got, bytes);      /* a kernel that does not know the flag */
        return 0;
    }

    /* As the library does: from the file's begin, in whole pages of it. 0: it cannot be. */
    static uint64_t
    shim_map_trial(int fd, uint64_t *bytes)
    {
        struct stat about;
        void *map;

        if (fstat(fd, &about) != 0)
            return 0;
        *bytes = (*bytes + about.st_blksize - 1) / about.st_blksize * about.st_blksize;
        map = mmap(NULL, *bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        return map == MAP_FAILED ? 0 : (uintptr_t)map;
    }

    #define shim_unmap(place, bytes) ((void)munmap((void *)(uintptr_t)(place), (bytes)))
    """
    enum:
        GUARD_BYTES "SHIM_GUARD_BYTES"
    bint shim_put_guard(uint64_t place, uint64_t bytes)
    uint64_t shim_map_trial(int fd, uint64_t *bytes)
    void shim_unmap(uint64_t place, uint64_t bytes)

cdef enum:
    MAX_REGIONS = 8
    MAX_GUARDS = 16 * MAX_REGIONS
    TRIES = 64                      # gaps that are too small for a piece and a guard are passed over

# Callbacks write and read; a thread that works for the slot's guest reads.
cdef struct guards:
    uint32_t n
    uint64_t places[MAX_GUARDS]
    uint64_t bytes[MAX_GUARDS]      # GUARD_BYTES; less: it only fills a gap

cdef guards _guards[MAX_SLOTS]


cdef bint is_guarded(const guards *g, uint64_t place) noexcept nogil:
    cdef uint32_t i
    for i in range(g.n):
        if g.places[i] == place and g.bytes[i] == GUARD_BYTES:
            return True
    return False


cdef bint put(guards *g, uint64_t place, uint64_t bytes) noexcept nogil:
    if g.n == MAX_GUARDS or not shim_put_guard(place, bytes):
        return False
    g.places[g.n], g.bytes[g.n] = place, bytes
    g.n += 1
    return True


cdef bint fill(guards *g, uint64_t place, uint64_t end) noexcept nogil:
    """The end of the gap that is free from 'place' to 'end' and may be larger."""
    cdef uint64_t bytes = GUARD_BYTES
    while bytes > end - place:
        if put(g, end - bytes, bytes):
            return True
        bytes //= 2
    return put(g, end - bytes, bytes) or put(g, place, end - place)


cdef uint64_t find_place(guards *g, int fd, uint64_t *bytes) noexcept nogil:
    """Where it was mapped for trial, a guard behind it wherever that can be."""
    cdef uint64_t place = 0
    cdef int tries = TRIES
    while tries:
        tries -= 1
        place = shim_map_trial(fd, bytes)
        if (place == 0 or is_guarded(g, place + bytes[0])
                or put(g, place + bytes[0], GUARD_BYTES)):
            break
        shim_unmap(place, bytes[0])
        # the next trial is mapped below it, or in another gap
        if not fill(g, place, place + bytes[0]):
            return 0
        place = 0
    return place


cdef void guards_before(int16_t slot, const shim_message *m) noexcept nogil:
    cdef uint64_t places[MAX_REGIONS]
    cdef uint64_t bytes[MAX_REGIONS]
    cdef uint32_t i, n = min(m.u.memory.n, <uint32_t>MAX_REGIONS)
    for i in range(n):
        bytes[i] = m.u.memory.regions[i].offset + m.u.memory.regions[i].bytes
        places[i] = find_place(&_guards[slot], m.fds[i], &bytes[i])
    for i in range(n):
        if places[i]:
            shim_unmap(places[i], bytes[i])


cdef bint is_behind(const rte_vhost_memory *memory, uint64_t place) noexcept nogil:
    """Whether it lies behind a piece of the memory."""
    cdef uint32_t i
    for i in range(memory.nregions):
        if <uint64_t>memory.regions[i].mmap_addr + memory.regions[i].mmap_size == place:
            return True
    return False


cdef bint guards_after(int16_t slot, int vid) noexcept nogil:
    cdef guards *g = &_guards[slot]
    cdef rte_vhost_memory *memory = NULL
    cdef rte_vhost_mem_region *region
    cdef bint all_guarded = True
    cdef uint64_t end
    cdef uint32_t i, kept = 0
    if rte_vhost_get_mem_table(vid, &memory) != 0:
        return True                 # nothing is mapped
    for i in range(memory.nregions):
        region = &memory.regions[i]
        end = <uint64_t>region.mmap_addr + region.mmap_size
        if not is_guarded(g, end) and not put(g, end, GUARD_BYTES):
            all_guarded = False
    for i in range(g.n):
        if is_behind(memory, g.places[i]):
            g.places[kept], g.bytes[kept] = g.places[i], g.bytes[i]
            kept += 1
        else:
            shim_unmap(g.places[i], g.bytes[i])
    g.n = kept
    free(memory)
    return all_guarded


cdef void guards_close(int16_t slot) noexcept nogil:
    cdef guards *g = &_guards[slot]
    cdef uint32_t i
    for i in range(g.n):
        shim_unmap(g.places[i], g.bytes[i])
    g.n = 0


cdef bint guards_have(int16_t slot, const void *address) noexcept nogil:
    cdef const guards *g = &_guards[slot]
    cdef uint32_t i
    for i in range(g.n):
        if g.places[i] <= <uint64_t>address < g.places[i] + g.bytes[i]:
            return True
    return False
