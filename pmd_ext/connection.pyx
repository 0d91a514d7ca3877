"""The sockets that front ends are connected to, which the library keeps to itself.

The library waits on them without an end: for the rest of a message, with all sockets of the process
waiting behind it; or until a reply is taken, with the locks of rings held that PMDs spin on. So each
is given time-outs. Reading begins when there is a message, which front ends write in one piece; and
a reply only waits behind hundreds that were never read.

A copy of the connection's descriptor is kept: its number means nothing else for as long.
"""
from libc.stdint cimport int32_t, uint32_t

from pmd_ext.descriptor cimport (
    RECEIVE_MS, descriptor_is_of_another, descriptor_of, descriptor_time_out,
)
from pmd_ext.dpdk.eal cimport rte_spinlock_lock, rte_spinlock_unlock
from pmd_ext.front_end cimport (
    MAX_PIECES, OFFENCE_BROKEN, OFFENCE_DEAF, OFFENCE_ELSEWHERE, OFFENCE_NAMELESS, OFFENCE_NO_FILES,
    front_end,
)
from pmd_ext.state cimport slot, slot_changed


cdef extern from * nogil:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <errno.h>
    #include <fcntl.h>
    #include <limits.h>
    #include <poll.h>
    #include <stdint.h>
    #include <linux/sockios.h>
    #include <sys/ioctl.h>
    #include <sys/socket.h>
    #include <unistd.h>

    static int
    shim_has_gone(int fd)
    {
        struct pollfd p = { .fd = fd, .events = POLLRDHUP };

        return poll(&p, 1, 0) > 0;
    }

    /* Bytes that were sent and not read, with what the kernel needs to keep them. */
    static int
    shim_unread(int fd)
    {
        int bytes = 0;

        return ioctl(fd, SIOCOUTQ, &bytes) == 0 ? bytes : 0;
    }

    /* Of these, as many as make who sends more wait. */
    static int
    shim_room(int fd)
    {
        int bytes = 0;
        socklen_t size = sizeof bytes;

        return getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, &size) == 0 ? bytes : INT_MAX;
    }

    /* Whether this process can have so many descriptors more. */
    static int
    shim_has_files(int fd, int n)
    {
        int more = fcntl(fd, F_DUPFD_CLOEXEC, 0), enough;

        if (more < 0)
            return errno != EMFILE && errno != ENFILE;
        enough = n == 1 || shim_has_files(fd, n - 1);
        close(more);
        return enough;
    }

    #define shim_shut(fd) ((void)shutdown((fd), SHUT_RDWR))
    #define shim_copy(fd) fcntl((fd), F_DUPFD_CLOEXEC, 0)
    """
    bint shim_has_gone(int fd)
    int shim_unread(int fd)
    int shim_room(int fd)
    bint shim_has_files(int fd, int n)
    void shim_shut(int fd)
    int shim_copy(int fd)
    int close(int fd)

cdef enum:
    PATIENT_RECEIVE_MS = 1000   # QEMU has to answer what it was told of its memory
    MOST_UNREAD = 64 << 10      # of these, some fifty: front ends wait for each
    # As many as a message can bring, and the connection's own: of one that ended the library may have
    # closed them all by the time that it is looked whether there are enough.
    FILES = MAX_PIECES + 1


cdef void connection_time_out(const char *path, bint client) noexcept nogil:
    cdef int fd = descriptor_of(path, client)
    if fd >= 0:
        descriptor_time_out(fd, RECEIVE_MS)


cdef bint connection_begin(slot *s, bint patient) noexcept nogil:
    cdef front_end *f = &s.said
    cdef int fd = descriptor_of(s.path, s.client)
    cdef int copy = shim_copy(fd)
    connection_close(s)
    rte_spinlock_lock(&f.lock)
    f.socket = copy + 1
    if copy < 0:
        note(f, OFFENCE_NAMELESS if shim_has_files(0, 1) else OFFENCE_NO_FILES)
    rte_spinlock_unlock(&f.lock)
    if copy < 0:
        return False
    descriptor_time_out(fd, PATIENT_RECEIVE_MS if patient else RECEIVE_MS)
    if s.client and descriptor_is_of_another(s, fd):
        connection_drop(s, OFFENCE_ELSEWHERE)
    return True


cdef void forget(front_end *f) noexcept nogil:
    """The lock is held."""
    if f.socket:
        close(f.socket - 1)
    if f.backend:
        close(f.backend - 1)
    f.socket = f.backend = 0
    f.dropped = False


cdef void connection_close(slot *s) noexcept nogil:
    rte_spinlock_lock(&s.said.lock)
    if s.said.socket:
        # that of an older connection than the one that is: the library has it yet
        shim_shut(s.said.socket - 1)
    forget(&s.said)
    rte_spinlock_unlock(&s.said.lock)


cdef void note(front_end *f, uint32_t offence) noexcept nogil:
    """The lock is held."""
    f.offences += 1
    f.offence = offence


cdef bint is_deaf(int fd) noexcept nogil:
    cdef int unread = shim_unread(fd)
    # little room, where an administrator has set that, ends a connection by time-out
    return unread > 0 and (unread > MOST_UNREAD or unread >= shim_room(fd))


cdef uint32_t why_ended(int fd) noexcept nogil:
    """Why the library ended a connection, as far as that can be told."""
    if is_deaf(fd):
        return OFFENCE_DEAF
    # as when a message came without its descriptors
    return OFFENCE_BROKEN if shim_has_files(fd, FILES) else OFFENCE_NO_FILES


cdef void connection_end(slot *s) noexcept nogil:
    cdef front_end *f = &s.said
    rte_spinlock_lock(&f.lock)
    # a front end that asks for what it cannot have is told so elsewhere, and is no offender
    if f.socket and not f.dropped and not shim_has_gone(f.socket - 1) and not f.asked & ~f.offered:
        note(f, why_ended(f.socket - 1))
    forget(f)
    rte_spinlock_unlock(&f.lock)


cdef bint connection_is_dropped(slot *s) noexcept nogil:
    cdef bint dropped
    rte_spinlock_lock(&s.said.lock)
    dropped = s.said.dropped
    rte_spinlock_unlock(&s.said.lock)
    return dropped


cdef bint connection_is_deaf(slot *s) noexcept nogil:
    cdef int32_t fd = s.said.socket - 1
    return fd >= 0 and is_deaf(fd)


cdef bint connection_lacks_files(slot *s) noexcept nogil:
    cdef int32_t fd = s.said.socket - 1
    return fd >= 0 and not shim_has_files(fd, FILES)


cdef void connection_drop(slot *s, uint32_t offence) noexcept nogil:
    cdef front_end *f = &s.said
    cdef bint first
    rte_spinlock_lock(&f.lock)
    first = not f.dropped
    if first:
        f.dropped = True
        note(f, offence)
    if f.backend:
        shim_shut(f.backend - 1)
    if f.socket:
        shim_shut(f.socket - 1)
    rte_spinlock_unlock(&f.lock)
    if first:
        slot_changed(s)


cdef void connection_backend(slot *s, int fd) noexcept nogil:
    cdef front_end *f = &s.said
    descriptor_time_out(fd, RECEIVE_MS)
    rte_spinlock_lock(&f.lock)
    if f.backend:
        close(f.backend - 1)
    f.backend = shim_copy(fd) + 1
    rte_spinlock_unlock(&f.lock)
