"""What the agent sees of a guest's memory.

A guest whose memory is a private mapping (QEMU: share=off) runs as ever: its driver starts, and
hands over rings that nobody else ever sees anything in. So where the rings of a driver that has
started stay as they were, main looks whether there is anything in the memory at all. A guest has
used the bottom of each piece of its memory, or some of the rest, long before it has a driver.

It is read as the file that it is: touching the mapping could wait for a page that is still on
another host (post-copy), or end the process where a guest made the file shorter.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free

from pmd_ext.atomics cimport load_acquire_i32
from pmd_ext.dpdk.rcu cimport rte_rcu_qsbr_thread_offline, rte_rcu_qsbr_thread_online
from pmd_ext.dpdk.vhost cimport (
    VIRTIO_F_RING_PACKED, rte_vhost_get_mem_table, rte_vhost_get_vhost_vring,
    rte_vhost_mem_region, rte_vhost_memory, rte_vhost_vring,
)
from pmd_ext.state cimport MAIN_READER, dataplane_get, slot


cdef extern from * nogil:
    """
    #include <linux/magic.h>
    #include <linux/virtio_ring.h>
    #include <sys/vfs.h>
    #include <unistd.h>
    #include <rte_vhost.h>

    /* What the driver writes first: of a split ring the number of its buffers, of a packed one
     * the flags of its first descriptor. */
    static uint64_t
    shim_first_written(const struct rte_vhost_vring *v, int packed)
    {
        const volatile void *at;

        if (packed)
            at = v->desc_packed == NULL ? NULL : &v->desc_packed->flags;
        else
            at = v->avail == NULL ? NULL : &v->avail->idx;
        return (uint64_t)(uintptr_t)at;
    }

    /* Where the library itself writes. */
    static uint64_t
    shim_ours(const struct rte_vhost_vring *v)
    {
        return (uint64_t)(uintptr_t)v->used;
    }

    /* Of others reading could block. */
    static int
    shim_is_memory(int fd)
    {
        struct statfs about;

        return fd >= 0 && fstatfs(fd, &about) == 0 &&
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
    uint64_t shim_first_written(const rte_vhost_vring *v, bint packed)
    uint64_t shim_ours(const rte_vhost_vring *v)
    bint shim_is_memory(int fd)
    bint shim_all_zero(const uint8_t *bytes, ssize_t n)

cdef extern from "unistd.h" nogil:
    ssize_t pread(int fd, void *buffer, size_t bytes, long offset)

cdef enum:
    PAGE = 4096
    BOTTOM_BYTES = 2 << 20      # of each piece are read whole,
    SAMPLES = 64                # and so many pages of the rest
    MAX_OURS = 16


cdef rte_vhost_mem_region *holds(rte_vhost_memory *memory, uint64_t host) noexcept nogil:
    cdef rte_vhost_mem_region *region
    cdef uint32_t i
    for i in range(memory.nregions):
        region = &memory.regions[i]
        if region.host_user_addr <= host < region.host_user_addr + region.size:
            return region
    return NULL


cdef int ring_used(rte_vhost_memory *memory, uint64_t host) noexcept nogil:
    """Whether there is anything but zero at an address of ours; -1: it cannot be read."""
    cdef rte_vhost_mem_region *region = holds(memory, host)
    cdef uint16_t value = 0
    if (region == NULL or not shim_is_memory(region.fd)
            or pread(region.fd, &value, sizeof(value), host - <uint64_t>region.mmap_addr)
            != sizeof(value)):
        return -1
    return value != 0


cdef bint page_is_blank(const rte_vhost_mem_region *region, uint64_t at, const uint64_t *ours,
                        int n_ours) noexcept nogil:
    cdef uint8_t bytes[PAGE]
    cdef uint64_t host = region.host_user_addr + at
    cdef int i
    cdef ssize_t n
    for i in range(n_ours):
        if host <= ours[i] < host + PAGE:
            return True
    n = pread(region.fd, bytes, PAGE, host - <uint64_t>region.mmap_addr)
    return n <= 0 or shim_all_zero(bytes, n)


cdef bint is_blank(rte_vhost_memory *memory, const uint64_t *ours, int n_ours
                   ) noexcept nogil:
    cdef rte_vhost_mem_region *region
    cdef uint64_t at, step
    cdef uint32_t i
    for i in range(memory.nregions):
        region = &memory.regions[i]
        step = max(<uint64_t>PAGE, region.size // SAMPLES // PAGE * PAGE)
        at = 0
        while at + PAGE <= region.size:
            if not page_is_blank(region, at, ours, n_ours):
                return False
            at += PAGE if at < BOTTOM_BYTES else step
    return True


cdef int look(const slot *s, int vid, rte_vhost_memory *memory) noexcept nogil:
    cdef bint packed = s.features >> VIRTIO_F_RING_PACKED & 1
    cdef uint64_t ours[MAX_OURS]
    cdef rte_vhost_vring vring
    cdef int n_ours = 0, used
    cdef uint16_t i
    for i in range(s.n_vrings):
        if rte_vhost_get_vhost_vring(vid, i, &vring) != 0 or shim_first_written(&vring, packed) == 0:
            continue
        used = ring_used(memory, shim_first_written(&vring, packed))
        if used < 0:
            return SIGHT_NONE
        if used:
            return SIGHT_USED
        if n_ours < MAX_OURS:
            ours[n_ours] = shim_ours(&vring)
            n_ours += 1
    if n_ours == 0:
        return SIGHT_NONE
    return SIGHT_BLANK if is_blank(memory, ours, n_ours) else SIGHT_UNUSED


cdef int sight(slot *s) noexcept nogil:
    cdef rte_vhost_memory *memory = NULL
    cdef int found = SIGHT_NONE, vid
    # destroy_device does not wait for anybody who reads a detached slot
    if s.detached:
        return SIGHT_NONE
    rte_rcu_qsbr_thread_online(dataplane_get().qsbr, MAIN_READER)
    vid = load_acquire_i32(&s.vid)
    if vid >= 0 and rte_vhost_get_mem_table(vid, &memory) == 0:
        found = look(s, vid, memory)
    rte_rcu_qsbr_thread_offline(dataplane_get().qsbr, MAIN_READER)
    free(memory)
    return found
