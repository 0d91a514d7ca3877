# What a descriptor of a front end's is.
cdef extern from * nogil:
    """
    #ifndef SHIM_EVENTFDS
    #define SHIM_EVENTFDS
    #include <stdio.h>
    #include <string.h>
    #include <unistd.h>

    /* The kernel tells what a descriptor is by the name of its file alone. */
    static int
    shim_is_eventfd(int fd)
    {
        static const char name[] = "anon_inode:[eventfd]";
        char link[32], file[sizeof name];

        if (fd < 0)
            return 0;
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        return readlink(link, file, sizeof file) == (ssize_t)(sizeof name - 1) &&
               memcmp(file, name, sizeof name - 1) == 0;
    }
    #endif
    """
    bint shim_is_eventfd(int fd)
