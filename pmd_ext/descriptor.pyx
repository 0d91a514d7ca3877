"""Which descriptor a front end is connected by, for the library tells none.

It is among those of this process: a UNIX socket that is connected, on the port's path, and has no
time-outs yet. It is looked for downwards from the lowest number that is free, for what was just made
is there, and else among all. Who listens may call the socket what it likes: then it is the only one
whose name is no port's path. What the kernel says of a socket is its name as it was bound, and is
the listener's word: it can hurt its own port with it.
"""
from libc.string cimport strcmp

from pmd_ext.atomics cimport load_acquire_i32
from pmd_ext.state cimport MAX_SLOTS, PATH_BYTES, dataplane, dataplane_get, slot


cdef extern from * nogil:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <dirent.h>
    #include <fcntl.h>
    #include <stdio.h>
    #include <stdlib.h>
    #include <string.h>
    #include <sys/socket.h>
    #include <sys/stat.h>
    #include <sys/time.h>
    #include <sys/un.h>
    #include <unistd.h>

    /* What a descriptor is to a path: not it; it, if no other is; by the last part of its name; it. */
    enum { OTHER, STRANGE, ALIKE, SAME };

    static void
    shim_set_timeouts(int fd, unsigned receive_ms, unsigned send_ms)
    {
        struct timeval r = { receive_ms / 1000, receive_ms % 1000 * 1000 };
        struct timeval s = { send_ms / 1000, send_ms % 1000 * 1000 };

        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &r, sizeof r);
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &s, sizeof s);
    }

    static int
    shim_has_timeout(int fd)
    {
        struct timeval t = { 0, 0 };
        socklen_t bytes = sizeof t;

        return getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, &bytes) != 0 || t.tv_sec || t.tv_usec;
    }

    /* Whether 'path' is itself a link, and leads to the very file that 'other' is. */
    static int
    shim_leads_to(const char *path, const char *other)
    {
        struct stat link, x, y;

        return lstat(path, &link) == 0 && S_ISLNK(link.st_mode) && stat(path, &x) == 0 &&
               lstat(other, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
    }

    /* Who listens may have bound another name of the file: through a link, in another mount,
     * relative to its directory, or one that the file no longer has. */
    static int
    shim_compare(const char *name, const char *path)
    {
        const char *last = strrchr(name, '/');
        struct stat x, y;

        if (strcmp(name, path) == 0 ||
            (name[0] == '/' && stat(name, &x) == 0 && stat(path, &y) == 0 &&
             x.st_dev == y.st_dev && x.st_ino == y.st_ino))
            return SAME;
        return strcmp(last ? last + 1 : name, strrchr(path, '/') + 1) == 0 ? ALIKE : STRANGE;
    }

    static int
    shim_is_connection(int fd, const char *path, int client)
    {
        union { struct sockaddr any; struct sockaddr_un un; char end[128]; } peer, own;
        socklen_t n = sizeof peer - 1, m = sizeof own - 1;

        memset(&peer, 0, sizeof peer);
        memset(&own, 0, sizeof own);
        if (getpeername(fd, &peer.any, &n) != 0 || peer.any.sa_family != AF_UNIX ||
            getsockname(fd, &own.any, &m) != 0 || shim_has_timeout(fd) ||
            fcntl(fd, F_GETFL) & O_NONBLOCK)
            return OTHER;
        if (!client)
            return strcmp(own.un.sun_path, path) == 0 ? SAME : OTHER;
        return own.un.sun_path[0] ? OTHER : shim_compare(peer.un.sun_path, path);
    }

    /* What a service manager gave to the process may be a connected socket, too: its log. */
    static int
    shim_is_standard(int fd)
    {
        struct stat x, y;
        int i;

        if (fstat(fd, &x) != 0)
            return 1;
        for (i = 0; i < 3; i++)
            if (fstat(i, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino)
                return 1;
        return 0;
    }

    /* Connections without time-outs that are most like one on that path: what they are, and *n of them,
     * up to 'most'. */
    static int
    shim_find_connections(const char *path, int client, int *fds, int most, int *n)
    {
        enum { NEAR = 64 };
        int best = OTHER, fd, kind, top = fcntl(0, F_DUPFD_CLOEXEC, 0);
        struct dirent *entry;
        DIR *all;

        if (top >= 0)
            close(top);
        *n = 0;
        for (fd = top - 1; fd >= 0 && fd > top - NEAR && *n < most; fd--)
            if (shim_is_connection(fd, path, client) == SAME)
                fds[(*n)++] = fd;
        if (*n > 0)
            return SAME;
        all = opendir("/proc/self/fd");
        if (all == NULL)
            return OTHER;
        while ((entry = readdir(all)) != NULL) {
            fd = atoi(entry->d_name);
            kind = entry->d_name[0] == '.' ? OTHER : shim_is_connection(fd, path, client);
            if (kind < best || kind == OTHER || (kind != SAME && shim_is_standard(fd)))
                continue;
            if (kind > best)
                *n = 0;
            best = kind;
            if (*n < most)
                fds[(*n)++] = fd;
        }
        closedir(all);
        return best;
    }

    /* The name that who listens there gave to the socket. */
    static void
    shim_listener(int fd, char *name, size_t bytes)
    {
        union { struct sockaddr any; struct sockaddr_un un; char end[128]; } peer;
        socklen_t n = sizeof peer - 1;

        memset(&peer, 0, sizeof peer);
        getpeername(fd, &peer.any, &n);
        snprintf(name, bytes, "%s", peer.un.sun_path);
    }
    """
    enum:
        STRANGE
    int shim_find_connections(const char *path, bint client, int *fds, int most, int *n)
    bint shim_leads_to(const char *path, const char *other)
    void shim_listener(int fd, char *name, size_t bytes)
    void shim_set_timeouts(int fd, unsigned receive_ms, unsigned send_ms)

cdef enum:
    SEND_MS = 1                 # for room in a socket that holds hundreds of replies
    MOST_ALIKE = 64             # three threads begin connections; the others are what front ends sent


cdef void descriptor_time_out(int fd, unsigned receive_ms) noexcept nogil:
    shim_set_timeouts(fd, receive_ms, SEND_MS)


cdef int descriptor_of(const char *path, bint client) noexcept nogil:
    cdef int[MOST_ALIKE] fds
    cdef int n = 0, i, left = 0
    cdef int kind = shim_find_connections(path, client, fds, MOST_ALIKE, &n)
    if kind == STRANGE:
        for i in range(n):
            if not is_of_port(fds[i]):
                fds[left] = fds[i]
                left += 1
        n = left
    if n == 1:
        return fds[0]
    # Sockets that a front end sent, and the library forgot to close, look like connections, too: once.
    for i in range(n):
        descriptor_time_out(fds[i], RECEIVE_MS)
    return -1


cdef bint is_of_port(int fd) noexcept nogil:
    """Whether who listens there gave the socket a port's path for a name."""
    cdef dataplane *dp = dataplane_get()
    cdef char[PATH_BYTES] name
    cdef int i
    shim_listener(fd, name, sizeof(name))
    for i in range(MAX_SLOTS):
        if load_acquire_i32(&dp.slots[i].used) and strcmp(dp.slots[i].path, name) == 0:
            return True
    return False


cdef bint descriptor_is_of_another(const slot *s, int fd) noexcept nogil:
    """Whether who listens there does so for another port: a link that leads to its socket may be
    made at any time, by who may write to the directory of this one's. That port's guest may have
    bound a name that is none here, so it is also looked where a link leads. The other port, whose
    path is none, is not to blame."""
    cdef dataplane *dp = dataplane_get()
    cdef const slot *other
    cdef char[PATH_BYTES] name
    cdef int i
    shim_listener(fd, name, sizeof(name))
    if strcmp(name, s.path) == 0:
        return False
    for i in range(MAX_SLOTS):
        other = &dp.slots[i]
        if load_acquire_i32(&other.used) and (
                strcmp(other.path, name) == 0 or shim_leads_to(s.path, other.path)):
            return True
    return False
