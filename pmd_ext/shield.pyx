"""Guests that would take a thread of the switch with them.

What a front end shares stays its own. It can make the file of its memory shorter: who touches what
was cut off gets SIGBUS. There a page of zeros is put in its place, and the connection ended. And it
can let a descriptor that PMDs write to, for the guest's interrupts, take no more: the writer waits.
So a thread looks after the others, and has one that waits on a guest's behalf carry on. And it can
have rings walked that lead nowhere: each of as many chains as there are descriptors, through all of
them, is a thousand million steps. Nothing ends that; it is not begun again.
"""
from libc.stdint cimport int16_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memset
from posix.types cimport pid_t

from pmd_ext.atomics cimport (
    load_acquire_ptr, load_relaxed_i32, load_relaxed_u8, load_relaxed_u32, store_relaxed_i16,
    store_relaxed_u8,
)
from pmd_ext.connection cimport connection_drop
from pmd_ext.dpdk.eal cimport rte_rdtsc
from pmd_ext.duty cimport DOUBT, SERVING_SLOT, SLOW, TOO_SLOW
from pmd_ext.front_end cimport OFFENCE_ENDLESS, OFFENCE_BEYOND, OFFENCE_SHRUNK, OFFENCE_STUCK
from pmd_ext.guards cimport guards_have
from pmd_ext.state cimport (
    MAX_PMDS, MAX_QUEUE_PAIRS, TXQ_NONE, dataplane, dataplane_get, pmd, slot, slot_changed,
)


cdef extern from * nogil:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <errno.h>
    #include <fcntl.h>
    #include <pthread.h>
    #include <signal.h>
    #include <stdint.h>
    #include <stdio.h>
    #include <string.h>
    #include <sys/mman.h>
    #include <sys/syscall.h>
    #include <time.h>
    #include <unistd.h>

    static __thread void *shim_thread;      /* the pmd that this thread is */
    static __thread void *shim_slot;        /* whose front end the event thread works on */
    static int (*shim_on_missing)(void *address);

    #define shim_set_thread(me) ((void)(shim_thread = (me)))
    #define shim_set_slot(s) ((void)(shim_slot = (s)))
    #define shim_get_thread() shim_thread
    #define shim_get_slot() shim_slot

    /* In place of the page, of whatever size, that is there no more. */
    static int
    shim_put_zeros(void *address)
    {
        static const uint64_t pages[] = { 1 << 12, 1 << 21, 1 << 30 };
        unsigned i;

        for (i = 0; i < sizeof pages / sizeof *pages; i++)
            if (mmap((void *)((uintptr_t)address & ~(pages[i] - 1)), pages[i],
                     PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) != MAP_FAILED)
                return 1;
        return 0;
    }

    static void
    shim_on_sigbus(int number, siginfo_t *info, void *context)
    {
        int before = errno;

        (void)context;
        if (info->si_code <= 0 || !shim_on_missing(info->si_addr))
            signal(number, SIG_DFL);        /* it comes again, and ends the process */
        errno = before;
    }

    static void
    shim_on_sigurg(int number)
    {
        (void)number;
    }

    static int
    shim_set_handlers(int (*on_missing)(void *))
    {
        struct sigaction bus = { .sa_sigaction = shim_on_sigbus, .sa_flags = SA_SIGINFO };
        struct sigaction urg = { .sa_handler = shim_on_sigurg };

        shim_on_missing = on_missing;
        return sigaction(SIGBUS, &bus, NULL) == 0 && sigaction(SIGURG, &urg, NULL) == 0 ? 0
               : -errno;
    }

    static void
    shim_unblock(void)
    {
        sigset_t wanted;

        sigemptyset(&wanted);
        sigaddset(&wanted, SIGBUS);
        sigaddset(&wanted, SIGURG);
        pthread_sigmask(SIG_UNBLOCK, &wanted, NULL);
    }

    static int
    shim_start_thread(void *(*run)(void *), void *argument)
    {
        sigset_t all, before;
        pthread_t thread;
        int error;

        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        error = pthread_create(&thread, NULL, run, argument);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        if (error == 0) {
            pthread_setname_np(thread, "vhost-watchdog");
            pthread_detach(thread);
        }
        return -error;
    }

    static void
    shim_sleep_ms(unsigned ms)
    {
        struct timespec t = { .tv_nsec = ms * 1000000L };

        nanosleep(&t, NULL);
    }

    /* What the kernel has in one of a thread's files; empty when it has gone. */
    static void
    shim_read_task(pid_t tid, const char *name, char text[128])
    {
        ssize_t n = 0;
        int fd;

        snprintf(text, 128, "/proc/self/task/%d/%s", (int)tid, name);
        fd = open(text, O_RDONLY | O_CLOEXEC);
        if (fd >= 0) {
            n = read(fd, text, 127);
            close(fd);
        }
        text[n > 0 ? n : 0] = 0;
    }

    /* Waits in a system call that a signal ends: neither runs, nor could, nor is a page read in. */
    static int
    shim_waits(pid_t tid)
    {
        char text[128];
        const char *state;

        shim_read_task(tid, "stat", text);
        state = strrchr(text, ')');
        return state != NULL && state[1] == ' ' && state[2] == 'S';
    }

    /* How long the thread has run on a CPU; 0: not known. */
    static uint64_t
    shim_ran_ns(pid_t tid)
    {
        char text[128];
        unsigned long long ns = 0;

        shim_read_task(tid, "schedstat", text);
        sscanf(text, "%llu", &ns);
        return ns;
    }

    #define shim_nudge(tid) ((void)syscall(SYS_tgkill, getpid(), (tid), SIGURG))
    """
    void shim_set_thread(void *me)
    void shim_set_slot(void *s)
    void *shim_get_thread()
    void *shim_get_slot()
    bint shim_put_zeros(void *address)
    int shim_set_handlers(int (*on_missing)(void *) noexcept nogil)
    void shim_unblock()
    int shim_start_thread(void *(*run)(void *) noexcept nogil, void *argument)
    void shim_sleep_ms(unsigned ms)
    bint shim_waits(pid_t tid)
    uint64_t shim_ran_ns(pid_t tid)
    void shim_nudge(pid_t tid)

cdef enum:
    LOOK_MS = 30            # one that waits longer than from one look to the next waits for a guest
    LONG_NS = 15_000_000    # that a thread ran in one call, between two looks: a thousand bursts' time
    SLOW_HZ = 10_000        # a call that sends nothing takes some 50 ns; this long, it is slow

# What the watchdog saw of a thread last.
cdef struct look:
    uint32_t serving
    uint64_t ran_ns         # how long the thread had run then, if it was in a call


cdef void silence(slot *s) noexcept nogil:
    """No more is sent to it or received from it, until it is connected to anew. What callbacks
    write in between is undone when they end the connection."""
    cdef int q
    for q in range(MAX_QUEUE_PAIRS):
        store_relaxed_u8(&s.rx_enabled[q], 0)
        store_relaxed_i16(&s.tx_map[q], TXQ_NONE)
    slot_changed(s)


cdef slot *served(const pmd *me) noexcept nogil:
    """NULL: the thread is not in the library on a guest's behalf."""
    cdef uint32_t index = load_relaxed_u32(&me.work.duty.serving) & SERVING_SLOT
    return &me.dp.slots[index - 1] if index else NULL


cdef int on_missing(void *address) noexcept nogil:
    """SIGBUS. Whose the address is follows from whom the thread works for."""
    cdef pmd *me = <pmd *>shim_get_thread()
    cdef slot *s = served(me) if me != NULL else <slot *>shim_get_slot()
    if s == NULL or not shim_put_zeros(address):
        return False
    cut_off(s, OFFENCE_BEYOND if guards_have(<int16_t>(s - dataplane_get().slots), address)
            else OFFENCE_SHRUNK)
    return True


cdef void cut_off(slot *s, uint32_t offence) noexcept nogil:
    connection_drop(s, offence)
    silence(s)


cdef void in_vain(pmd *me, slot *s, size_t index, uint64_t begun) noexcept nogil:
    """A call that sent nothing. Threads lose their CPU at any moment: one such call proves nothing."""
    cdef uint8_t *doubts = &me.work.duty.doubts[index]
    if doubts[0] == 0:
        doubts[0] = DOUBT
    elif rte_rdtsc() - begun < me.dp.tsc_hz // SLOW_HZ:
        doubts[0] -= doubts[0] > DOUBT
    elif doubts[0] + SLOW > TOO_SLOW:
        doubts[0] = 0
        cut_off(s, OFFENCE_ENDLESS)
    else:
        doubts[0] += SLOW


cdef void look_after(pmd *me, look *seen) noexcept nogil:
    cdef uint32_t serving = load_relaxed_u32(&me.work.duty.serving)
    cdef slot *s = served(me)
    cdef int tid = load_relaxed_i32(&me.work.tid)
    cdef uint64_t ran_ns = shim_ran_ns(tid) if s != NULL else 0
    # what arrives by post-copy is waited for
    if s != NULL and serving == seen.serving and not load_relaxed_u8(&s.said.moving):
        if shim_waits(tid):
            cut_off(s, OFFENCE_STUCK)
            shim_nudge(tid)
        elif ran_ns > seen.ran_ns + LONG_NS:
            cut_off(s, OFFENCE_ENDLESS)
    seen.serving, seen.ran_ns = serving, ran_ns


cdef void *watch(void *argument) noexcept nogil:
    cdef dataplane *dp = <dataplane *>argument
    cdef look seen[MAX_PMDS + 1]
    cdef int i
    memset(seen, 0, sizeof(seen))
    while True:
        shim_sleep_ms(LOOK_MS)
        for i in range(MAX_PMDS):
            if load_acquire_ptr(<void **>&dp.pmds[i].work) != NULL:
                look_after(&dp.pmds[i], &seen[i])
        if load_acquire_ptr(<void **>&dp.host.work) != NULL:
            look_after(&dp.host, &seen[MAX_PMDS])


cdef int shield_start(dataplane *dp) noexcept nogil:
    cdef int rc = shim_set_handlers(on_missing)
    return rc if rc != 0 else shim_start_thread(watch, dp)


cdef void shield_begin_thread(pmd *me) noexcept nogil:
    shim_set_thread(me)
    shim_unblock()


cdef void shield_begin_message(slot *s) noexcept nogil:
    if shim_get_slot() == NULL:
        shim_unblock()
    shim_set_slot(s)
