"""Keeps librte_vhost's event thread away while a client socket is unregistered.

rte_vhost_driver_unregister() takes the socket from the list of those to connect again, and then
looks at its connections (DPDK 22.11 and 24.11). If the event thread puts it on that list and drops
the connection in between, because the guest went at that moment, the list is left with a socket
that is freed.

So main calls the event thread first, with a message on a connection that the process has with
itself. The library gives it to on_message() as it would one of a guest that it does not know, with
no lock held that unregistering takes; there the thread waits.
"""
from libc cimport errno
from libc.stdint cimport uint32_t

from pmd_ext.atomics cimport cas_u32, load_acquire_u32, store_release_u32
from pmd_ext.connection cimport connection_time_out
from pmd_ext.dpdk.eal cimport RTE_LOG_WARNING, rte_log_get_global_level, rte_log_set_global_level
from pmd_ext.dpdk.vhost cimport (
    RTE_VHOST_MSG_RESULT_OK, RTE_VHOST_USER_CLIENT, RTE_VHOST_USER_NO_RECONNECT,
    rte_vhost_device_ops, rte_vhost_driver_callback_register, rte_vhost_driver_register,
    rte_vhost_driver_start, rte_vhost_driver_unregister, rte_vhost_extern_callback_register,
    rte_vhost_msg_result, rte_vhost_user_extern_ops,
)


cdef extern from * nogil:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <errno.h>
    #include <semaphore.h>
    #include <sys/socket.h>
    #include <time.h>

    /* A vhost-user message that no version of DPDK knows: request, flags (version 1), no payload. */
    static ssize_t
    shim_send_call(int fd)
    {
        static const uint32_t call[3] = { 1u << 24, 1, 0 };

        return send(fd, call, sizeof call, MSG_NOSIGNAL);
    }

    static int
    shim_wait_s(sem_t *sem, const struct timespec *begun, int seconds)
    {
        struct timespec end = { begun->tv_sec + seconds, begun->tv_nsec };

        return sem_clockwait(sem, CLOCK_MONOTONIC, &end);
    }
    """
    ctypedef struct sem_t:
        pass
    struct timespec:
        pass
    enum:
        CLOCK_MONOTONIC
        SOCK_CLOEXEC
        ETIMEDOUT
    int clock_gettime(int clock, timespec *now)
    int sem_init(sem_t *sem, int shared, unsigned value)
    int sem_post(sem_t *sem)
    int sem_wait(sem_t *sem)
    int accept4(int fd, void *address, void *bytes, int flags)
    ssize_t shim_send_call(int fd)
    int shim_wait_s(sem_t *sem, const timespec *begun, int seconds)

cdef enum:
    PATIENCE_S = 1

# What main and the event thread are at. Main moves it on from OPEN and to OPEN from HELD, the thread
# from CALLED to HELD and to OPEN from LATE; whoever is first moves it on from CALLED.
cdef enum:
    OPEN
    CALLED          # the thread was sent a message
    HELD            # it waits
    LATE            # main waits no more for it, and the message is still to be read

cdef uint32_t _state = OPEN
cdef int _fd = -1                   # main's end of the connection
cdef sem_t _held, _opened
cdef rte_vhost_device_ops _ops      # the library keeps the pointer
cdef rte_vhost_user_extern_ops _extern_ops


cdef rte_vhost_msg_result on_message(int vid, void *message) noexcept nogil:
    """Runs on the event thread."""
    if cas_u32(&_state, CALLED, HELD):
        sem_post(&_held)
        while sem_wait(&_opened) != 0:
            pass
    else:
        store_release_u32(&_state, OPEN)
    return RTE_VHOST_MSG_RESULT_OK


cdef int on_new_connection(int vid) noexcept nogil:
    return rte_vhost_extern_callback_register(vid, &_extern_ops, NULL)


_ops.new_connection = on_new_connection
_extern_ops.pre_msg_handle = on_message


cdef int start(const char *path) noexcept nogil:
    """Registers the socket, which connects at once; nobody can come on it a second time."""
    cdef int rc = rte_vhost_driver_register(path,
                                            RTE_VHOST_USER_CLIENT | RTE_VHOST_USER_NO_RECONNECT)
    if rc != 0:
        return rc
    rc = rte_vhost_driver_callback_register(path, &_ops)
    if rc == 0:
        rc = rte_vhost_driver_start(path)
    if rc != 0:
        rte_vhost_driver_unregister(path)
    return rc


cdef int fence_start(const char *path, int listener) noexcept nogil:
    global _fd
    cdef uint32_t level = rte_log_get_global_level()
    cdef int rc
    sem_init(&_held, 0, 0)
    sem_init(&_opened, 0, 0)
    errno.errno = 0
    # It is no port: what the library says about one is kept out of the log.
    rte_log_set_global_level(min(level, <uint32_t>RTE_LOG_WARNING))
    rc = start(path)
    rte_log_set_global_level(level)
    if rc == 0:
        _fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)
    if _fd < 0:
        return -errno.errno if errno.errno else -1
    # so that it is never taken for a port's
    connection_time_out(path, True)
    return 0


cdef bint fence_close() noexcept nogil:
    cdef timespec begun
    if load_acquire_u32(&_state) != OPEN:
        return False
    clock_gettime(CLOCK_MONOTONIC, &begun)
    store_release_u32(&_state, CALLED)
    if shim_send_call(_fd) < 0:
        store_release_u32(&_state, OPEN)
        return False
    while shim_wait_s(&_held, &begun, PATIENCE_S) != 0:
        if errno.errno == ETIMEDOUT and cas_u32(&_state, CALLED, LATE):
            return False
    return True


cdef void fence_open() noexcept nogil:
    store_release_u32(&_state, OPEN)
    sem_post(&_opened)
