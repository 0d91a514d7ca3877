"""DPDK's start and its log."""
import os

from libc cimport errno
from libc.stdint cimport uint32_t
from libc.stdio cimport FILE
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, strdup

from pmd_ext.dpdk.eal cimport (
    RTE_LOG_ERR, rte_eal_init, rte_errno, rte_log_cur_msg_loglevel, rte_log_get_global_level,
    rte_log_get_level, rte_log_register, rte_log_set_global_level, rte_log_set_level,
    rte_mp_disable, rte_openlog_stream,
)
from pmd_ext.errors cimport check


cdef extern from * nogil:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <pthread.h>
    #include <sched.h>
    #include <stdio.h>
    #include <unistd.h>

    /* The EAL pins the calling thread to its main lcore: give it its old affinity back. */
    static int
    shim_eal_init(int argc, char **argv, int (*init)(int, char **))
    {
        cpu_set_t cpus;
        int rc;

        pthread_getaffinity_np(pthread_self(), sizeof cpus, &cpus);
        rc = init(argc, argv);
        pthread_setaffinity_np(pthread_self(), sizeof cpus, &cpus);
        return rc;
    }

    static FILE *
    shim_log_stream(ssize_t (*sink)(void *, const char *, size_t))
    {
        cookie_io_functions_t io = { .write = sink };

        return fopencookie(NULL, "w", io);
    }

    static __thread int shim_muted;
    #define shim_mute(muted) ((void)(shim_muted = (muted)))
    #define shim_is_muted() shim_muted
    """
    int shim_eal_init(int argc, char **argv, int (*init)(int, char **) nogil)
    FILE *shim_log_stream(ssize_t (*sink)(void *, const char *, size_t) noexcept nogil)
    void shim_mute(bint muted)
    bint shim_is_muted()
    ssize_t write(int fd, const void *data, size_t bytes)

cdef enum:
    LINE_BYTES = 1024           # well under PIPE_BUF: a line is written whole or not at all

cdef int _log_fd = -1
cdef void (*_on_error)(const char *text, size_t bytes) noexcept nogil


cdef ssize_t on_log(void *cookie, const char *text, size_t bytes) noexcept nogil:
    cdef char line[LINE_BYTES]
    cdef size_t kept = min(bytes, <size_t>(LINE_BYTES - 1))
    cdef int before = errno.errno   # who logs an error may want to read it afterwards
    if _on_error != NULL and rte_log_cur_msg_loglevel() <= RTE_LOG_ERR:
        _on_error(text, bytes)
        errno.errno = before
    if shim_is_muted():
        return bytes
    line[0] = <char>(48 + rte_log_cur_msg_loglevel())
    memcpy(line + 1, text, kept)
    write(_log_fd, line, kept + 1)
    errno.errno = before
    return bytes


cdef void log_mute(bint muted) noexcept nogil:
    shim_mute(muted)


cdef void log_errors() noexcept nogil:
    cdef int vhost = rte_log_register(b"lib.vhost.config")
    rte_log_set_global_level(max(rte_log_get_global_level(), <uint32_t>RTE_LOG_ERR))
    if vhost >= 0 and rte_log_get_level(vhost) < RTE_LOG_ERR:
        rte_log_set_level(vhost, RTE_LOG_ERR)


cdef void log_listen(void (*on_error)(const char *text, size_t bytes) noexcept nogil
                     ) noexcept nogil:
    global _on_error
    _on_error = on_error
    log_errors()


cdef int log_pipe() except -1:
    global _log_fd
    reader, _log_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    rte_openlog_stream(shim_log_stream(on_log))
    return reader


cdef int eal_start(list argv) except -1:
    cdef int rc, argc = len(argv)
    cdef char **words = <char **>calloc(argc + 1, sizeof(char *))
    # The EAL keeps pointers into its arguments and permutes the array: both stay allocated.
    for i, word in enumerate(argv):
        words[i] = strdup(os.fsencode(word))
    with nogil:
        rc = shim_eal_init(argc, words, rte_eal_init)
    if rc < 0:
        check(-rte_errno if rte_errno else -1, "rte_eal_init")
    check(rte_mp_disable() - 1, "rte_mp_disable")
    return 0
