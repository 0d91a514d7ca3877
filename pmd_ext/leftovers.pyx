"""What the library leaves when it fails half way to replace a guest's memory.

A front end may share other memory while its rings run. The library (22.11 to 26.07) unmaps what there
was, then maps what there is to be. When that fails, PMDs have the old places of the rings until the
connection has ended: nothing is there any more, or what somebody else mapped since. And a front end
that asked for a reply would keep its connection. vetting.pyx tries each piece beforehand. But in
between its file can become shorter (24.11.8 looks at that) or be sealed, or there is no room for all.

That it failed the library says nowhere but in its log, while it still holds the locks of the rings. So
there and then pages of zeros are put where rings were: such a ring offers nothing. The descriptor
that failed, which the library has lost by then (22.11 to 26.07), is closed.
"""
from libc.stdint cimport int16_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport strlen

from pmd_ext.connection cimport connection_drop
from pmd_ext.dpdk.vhost cimport (
    VIRTIO_F_RING_PACKED, rte_vhost_get_negotiated_features, rte_vhost_get_vhost_vring,
    rte_vhost_get_vring_num, rte_vhost_vring,
)
from pmd_ext.eal cimport log_listen
from pmd_ext.front_end cimport MAX_PIECES, OFFENCE_MEMORY
from pmd_ext.message cimport shim_message
from pmd_ext.state cimport MAX_SLOTS, MAX_VRINGS, dataplane_get


cdef extern from * nogil:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <fcntl.h>
    #include <stdint.h>
    #include <stdlib.h>
    #include <string.h>
    #include <sys/mman.h>
    #include <sys/stat.h>
    #include <unistd.h>

    #ifndef MAP_FIXED_NOREPLACE
    #define MAP_FIXED_NOREPLACE 0x100000
    #endif

    static __thread int shim_vid = -1;      /* whose memory this thread, the event thread, replaces */
    #define shim_set_vid(vid) ((void)(shim_vid = (vid)))
    #define shim_get_vid() shim_vid

    struct shim_file { int fd; dev_t device; ino_t inode; };

    /* Takes the flag away that all descriptors of ours have: so it can be told from them. */
    static struct shim_file
    shim_note_file(int fd)
    {
        struct stat about;

        if (fstat(fd, &about) != 0 || fcntl(fd, F_SETFD, 0) != 0)
            return (struct shim_file){ .fd = -1 };
        return (struct shim_file){ fd, about.st_dev, about.st_ino };
    }

    /* Unless somebody did, and its number may be another's. */
    static void
    shim_close_file(struct shim_file file)
    {
        struct stat about;

        if (fcntl(file.fd, F_GETFD) == 0 && fstat(file.fd, &about) == 0 &&
            about.st_dev == file.device && about.st_ino == file.inode)
            close(file.fd);
    }

    static int
    shim_put_blank(uint64_t page)
    {
        void *got = mmap((void *)(uintptr_t)page, 4096, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

        if (got == MAP_FAILED)
            return 0;
        if ((uintptr_t)got == page)
            return 1;
        munmap(got, 4096);       /* a kernel that does not know the flag */
        return 0;
    }

    static void
    shim_give_up(void)
    {
        static const char why[] = "vhost-agent: memory of a guest was unmapped under its rings, and "
            "what is there now is not the guest's: ending before it is written to\\n";

        (void)!write(STDERR_FILENO, why, sizeof why - 1);
        abort();
    }

    #define shim_take_blank(page) ((void)munmap((void *)(uintptr_t)(page), 4096))
    """
    struct shim_file:
        pass
    void *memmem(const void *text, size_t bytes, const void *wanted, size_t wanted_bytes)
    void shim_set_vid(int vid)
    int shim_get_vid()
    shim_file shim_note_file(int fd)
    void shim_close_file(shim_file file)
    bint shim_put_blank(uint64_t page)
    void shim_take_blank(uint64_t page)
    void shim_give_up()

cdef enum:
    PAGE = 4096
    EVENT_BYTES = 4                 # what a packed ring has in place of what is available, and used
    # vetting.pyx lets all rings have 2^18 entries of 26 bytes: 1664 pages, and two for each part
    MAX_PAGES = 1664 + 2 * 3 * MAX_VRINGS

# All is unmapped again by then.
cdef const char *LAST_WORDS = b"SET_MEM_TABLE failed"

# Pages of zeros where one guest's rings were.
cdef struct blanks:
    uint32_t n
    uint64_t pages[MAX_PAGES]

cdef blanks *_blanks[MAX_SLOTS]     # callbacks, and main after it unregistered
cdef shim_file _files[MAX_PIECES]   # the event thread's
cdef int _n_files


cdef bint is_blank(const blanks *b, uint64_t page) noexcept nogil:
    cdef uint32_t i
    for i in range(b.n):
        if b.pages[i] == page:
            return True
    return False


cdef void cover(blanks *b, const void *part, uint64_t bytes) noexcept nogil:
    """Where a part of a ring was; rings may share pages."""
    cdef uint64_t page = <uint64_t>part & ~<uint64_t>(PAGE - 1)
    cdef uint64_t end = <uint64_t>part + bytes if part != NULL else 0
    while page < end:
        if not is_blank(b, page):
            # Where a thread of ours mapped something in between, better no guest is served than one
            # that reads and writes it. The rings themselves are there no more: what the library
            # refuses before it unmaps, vetting.pyx has refused.
            if not shim_put_blank(page):
                shim_give_up()
            b.pages[b.n] = page
            b.n += 1
        page += PAGE


cdef void cover_rings(blanks *b, int vid) noexcept nogil:
    cdef rte_vhost_vring vring
    cdef uint64_t features = 0
    cdef bint packed
    cdef uint16_t i
    rte_vhost_get_negotiated_features(vid, &features)
    packed = features >> VIRTIO_F_RING_PACKED & 1
    for i in range(min(rte_vhost_get_vring_num(vid), <uint16_t>MAX_VRINGS)):
        if rte_vhost_get_vhost_vring(vid, i, &vring) == 0:
            cover(b, vring.desc, 16 * <uint64_t>vring.size)
            cover(b, vring.avail, EVENT_BYTES if packed else 6 + 2 * <uint64_t>vring.size)
            cover(b, vring.used, EVENT_BYTES if packed else 6 + 8 * <uint64_t>vring.size)


cdef void on_error(const char *text, size_t bytes) noexcept nogil:
    """Any thread on which an error is logged."""
    cdef int vid = shim_get_vid()
    cdef int16_t slot
    cdef int i
    if vid < 0 or memmem(text, bytes, LAST_WORDS, strlen(LAST_WORDS)) == NULL:
        return
    leftovers_none()
    slot = dataplane_get().vid_slot[vid]
    _blanks[slot] = <blanks *>calloc(1, sizeof(blanks))
    if _blanks[slot] == NULL:
        shim_give_up()
    cover_rings(_blanks[slot], vid)
    for i in range(_n_files):
        shim_close_file(_files[i])
    connection_drop(&dataplane_get().slots[slot], OFFENCE_MEMORY)


cdef void leftovers_start() noexcept nogil:
    log_listen(on_error)


cdef void leftovers_expect(int vid, const shim_message *m) noexcept nogil:
    global _n_files
    cdef int i
    _n_files = min(m.n_fds, <int>MAX_PIECES)
    for i in range(_n_files):
        _files[i] = shim_note_file(m.fds[i])
    shim_set_vid(vid)


cdef void leftovers_none() noexcept nogil:
    shim_set_vid(-1)


cdef void leftovers_close(int16_t slot) noexcept nogil:
    cdef blanks *b = _blanks[slot]
    cdef uint32_t i
    if b == NULL:
        return
    for i in range(b.n):
        shim_take_blank(b.pages[i])
    free(b)
    _blanks[slot] = NULL
