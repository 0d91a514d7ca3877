"""What a port's front end has said so far, for who asks why it has no guest.

The library shows each message before it handles it. What is noted of them wakes nobody: main reads
it when it looks. It stays after the connection, until the next one says something: a QEMU that
gives up is connected to once more before it is gone, and says nothing then.
"""
from libc.stdint cimport int16_t, uint32_t, uint64_t
from libc.string cimport memset

from pmd_ext.atomics cimport store_relaxed_u8
from pmd_ext.connection cimport (
    connection_backend, connection_drop, connection_is_deaf, connection_is_dropped,
    connection_lacks_files,
)
from pmd_ext.dpdk.eal cimport rte_spinlock_lock, rte_spinlock_unlock
from pmd_ext.dpdk.vhost cimport (
    RTE_VHOST_MSG_RESULT_ERR, RTE_VHOST_MSG_RESULT_NOT_HANDLED, VIRTIO_F_RING_PACKED,
    rte_vhost_extern_callback_register, rte_vhost_msg_result,
    rte_vhost_user_extern_ops,
)
from pmd_ext.front_end cimport (
    MAX_PIECES, OFFENCE_DEAF, OFFENCE_DESCRIPTOR, OFFENCE_MEMORY, OFFENCE_NO_FILES, OFFENCE_NONE,
    SEEN_RINGS, front_end, piece, ring_places, seen_memory,
)
from pmd_ext.guards cimport guards_after, guards_before, guards_close
from pmd_ext.leftovers cimport leftovers_close, leftovers_expect, leftovers_none
from pmd_ext.message cimport (
    SET_BACKEND_REQ_FD, SET_FEATURES, SET_MEM_TABLE, SET_VRING_ADDR, shim_addr, shim_message,
    shim_region,
)
from pmd_ext.rings cimport rings_after, rings_before
from pmd_ext.shield cimport shield_begin_message
from pmd_ext.state cimport dataplane, dataplane_get, slot
from pmd_ext.vetting cimport objection, refuse


cdef extern from * nogil:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <fcntl.h>
    #include <unistd.h>
    """
    enum:
        F_DUPFD_CLOEXEC
    int fcntl(int fd, int command, int argument)
    int close(int fd)

cdef rte_vhost_user_extern_ops _ops     # the library keeps the pointer


cdef slot *slot_of_connection(int vid) noexcept nogil:
    """NULL for one that a newer has replaced."""
    cdef dataplane *dp = dataplane_get()
    if dp.vid_slot[vid] < 0 or dp.slots[dp.vid_slot[vid]].connection != vid:
        return NULL
    return &dp.slots[dp.vid_slot[vid]]


cdef void forget_memory(front_end *f, bint used) noexcept nogil:
    cdef uint32_t i
    rte_spinlock_lock(&f.lock)
    for i in range(f.memory.n):
        close(f.memory.pieces[i].fd)
    memset(&f.memory, 0, sizeof(f.memory))
    store_relaxed_u8(&f.used, used)
    rte_spinlock_unlock(&f.lock)


cdef void note_memory(front_end *f, shim_message *m) noexcept nogil:
    """Keeps descriptors of our own: the library's may be closed while main reads."""
    cdef uint32_t i
    cdef shim_region *region
    cdef piece *p
    rte_spinlock_lock(&f.lock)
    for i in range(f.memory.n):
        close(f.memory.pieces[i].fd)
    f.memory.n = 0
    for i in range(m.u.memory.n if not f.used else 0):
        region, p = &m.u.memory.regions[i], &f.memory.pieces[f.memory.n]
        p.user, p.bytes, p.offset = region.user, region.bytes, region.offset
        p.fd = fcntl(m.fds[i], F_DUPFD_CLOEXEC, 0)
        if p.fd >= 0:
            f.memory.n += 1
    rte_spinlock_unlock(&f.lock)


cdef void note_ring(front_end *f, const shim_addr *addr) noexcept nogil:
    cdef ring_places *places = &f.memory.rings[addr.index]
    rte_spinlock_lock(&f.lock)
    places.desc, places.avail, places.used = addr.desc, addr.avail, addr.used
    rte_spinlock_unlock(&f.lock)


cdef inline int16_t number_of(const slot *s) noexcept nogil:
    return <int16_t>(s - dataplane_get().slots)


cdef int handshake_begin(slot *s, int vid) noexcept nogil:
    forget_memory(&s.said, False)
    leftovers_close(number_of(s))
    s.said.heard = 0
    s.said.was_ready = False
    store_relaxed_u8(&s.said.moving, False)
    s.said.layout = 0
    memset(s.said.rings, 0, sizeof(s.said.rings))
    return rte_vhost_extern_callback_register(vid, &_ops, NULL)


cdef void handshake_done(slot *s) noexcept nogil:
    s.said.was_ready = True
    s.said.given_up = 0


cdef void handshake_end(slot *s) noexcept nogil:
    forget_memory(&s.said, False)
    guards_close(number_of(s))
    leftovers_close(number_of(s))
    if s.said.heard and not s.said.was_ready:
        s.said.given_up += 1
    s.said.heard = 0


cdef void handshake_forget(slot *s) noexcept nogil:
    memset(&s.said, 0, sizeof(s.said))


cdef void handshake_lend(slot *s, seen_memory *memory) noexcept nogil:
    cdef front_end *f = &s.said
    cdef uint32_t i, n = 0
    rte_spinlock_lock(&f.lock)
    memory[0] = f.memory
    for i in range(f.memory.n):
        memory.pieces[n] = f.memory.pieces[i]
        memory.pieces[n].fd = fcntl(f.memory.pieces[i].fd, F_DUPFD_CLOEXEC, 0)
        if memory.pieces[n].fd >= 0:
            n += 1
    memory.n = n
    rte_spinlock_unlock(&f.lock)


cdef void handshake_used(slot *s) noexcept nogil:
    forget_memory(&s.said, True)


cdef rte_vhost_msg_result on_message(int vid, void *message) noexcept nogil:
    cdef shim_message *m = <shim_message *>message
    cdef slot *s = slot_of_connection(vid)
    cdef rte_vhost_msg_result result = RTE_VHOST_MSG_RESULT_NOT_HANDLED
    cdef uint32_t wrong
    leftovers_none()
    if s == NULL or connection_is_dropped(s):
        # Of one that gave way to another nothing is of interest any more. And of one that was cut off
        # what it had said before may still be read.
        refuse(m)
        return RTE_VHOST_MSG_RESULT_ERR
    if s.said.heard == 0:
        s.said.asked = 0
        s.said.regions = 0
        s.said.withheld = s.said.unguarded = False
    s.said.heard += 1
    s.said.last_request = m.request
    shield_begin_message(s)
    wrong = OFFENCE_DEAF if connection_is_deaf(s) else objection(s, m)
    if ((wrong == OFFENCE_MEMORY or wrong == OFFENCE_DESCRIPTOR)
            and connection_lacks_files(s)):
        wrong = OFFENCE_NO_FILES
    if wrong != OFFENCE_NONE:
        refuse(m)
        connection_drop(s, wrong)
        return RTE_VHOST_MSG_RESULT_ERR
    if m.request == SET_FEATURES:
        s.said.asked = m.u.number
    elif m.request == SET_MEM_TABLE:
        s.said.regions = m.u.memory.n
        s.said.withheld = False
        note_memory(&s.said, m)
    elif m.request == SET_VRING_ADDR and m.u.addr.index < SEEN_RINGS:
        note_ring(&s.said, &m.u.addr)
    elif m.request == SET_BACKEND_REQ_FD and m.n_fds == 1:
        connection_backend(s, m.fds[0])
    if s.iotlb:
        result = rings_before(vid, m)
    if m.request == SET_MEM_TABLE:
        leftovers_expect(vid, m)
        guards_before(number_of(s), m)      # the last, for it finds where the library will map
    return result


cdef rte_vhost_msg_result on_message_handled(int vid, void *message) noexcept nogil:
    cdef slot *s = slot_of_connection(vid)
    cdef shim_message *m = <shim_message *>message
    leftovers_none()
    if s != NULL and s.iotlb:
        rings_after(vid, m)
    if s != NULL and m.request == SET_MEM_TABLE:
        s.said.unguarded = not guards_after(number_of(s), vid)
    # Another thread mapped something in between: better a guest that could reach it comes again.
    if (s != NULL and s.said.unguarded and (m.request == SET_MEM_TABLE or m.request == SET_FEATURES)
            and (s.iotlb or s.said.asked >> VIRTIO_F_RING_PACKED & 1)):
        connection_drop(s, OFFENCE_MEMORY)
    return RTE_VHOST_MSG_RESULT_NOT_HANDLED


_ops.pre_msg_handle = on_message
_ops.post_msg_handle = on_message_handled
