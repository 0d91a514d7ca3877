"""Keeps librte_vhost's event thread from ending a connection that is still being added.

The library has a new connection watched, and only then puts it on its socket's list. When the guest
goes in between, the event thread takes it off a list that it is not on, and writes through whatever
its memory held before (DPDK 22.11, and 24.11, whose thread looks at once). Such a guest only has to
close what it accepted.

Three threads add connections. The event thread is not in its own way. Main holds a lock of ours
meanwhile. The library's thread that connects again holds one of the library's, which starting and
unregistering a client socket take as well: so one is registered for that, which never connects.
"""
from pmd_ext.dpdk.vhost cimport (
    RTE_VHOST_USER_CLIENT, rte_vhost_driver_register, rte_vhost_driver_start,
    rte_vhost_driver_unregister,
)
from pmd_ext.eal cimport log_mute
from pmd_ext.state cimport MAX_VIDS


cdef extern from "pthread.h" nogil:
    ctypedef unsigned long pthread_t
    ctypedef struct pthread_mutex_t:
        pass
    pthread_t pthread_self()
    int pthread_mutex_lock(pthread_mutex_t *m)
    int pthread_mutex_unlock(pthread_mutex_t *m)

cdef extern from * nogil:
    """
    #include <pthread.h>

    static pthread_mutex_t shim_adding = PTHREAD_MUTEX_INITIALIZER;
    """
    pthread_mutex_t shim_adding                 # held by main while it adds

cdef pthread_t _main = 0
cdef pthread_t _added_by[MAX_VIDS]              # written before, read after the library's own lock


cdef void arrivals_begin() noexcept nogil:
    global _main
    pthread_mutex_lock(&shim_adding)
    _main = pthread_self()


cdef void arrivals_end() noexcept nogil:
    pthread_mutex_unlock(&shim_adding)


cdef void arrival_begin(int vid) noexcept nogil:
    _added_by[vid] = pthread_self()


cdef void wait_for_reconnecting() noexcept nogil:
    """Not started, the socket would keep its descriptor when it is unregistered."""
    cdef const char *nowhere = b"/dev/null/(no port)"
    log_mute(True)
    if rte_vhost_driver_register(nowhere, RTE_VHOST_USER_CLIENT) == 0:
        rte_vhost_driver_start(nowhere)
        rte_vhost_driver_unregister(nowhere)
    log_mute(False)


cdef void arrival_wait(int vid) noexcept nogil:
    cdef pthread_t adder = _added_by[vid]
    if adder == pthread_self():                 # the event thread; or adding failed
        return
    if adder == _main:
        pthread_mutex_lock(&shim_adding)
        pthread_mutex_unlock(&shim_adding)
    else:
        wait_for_reconnecting()
