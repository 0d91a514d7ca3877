"""How far two cores are from each other: what a word takes from one to the other.

On a virtual machine it changes while it runs, several times over: the host moves its cores, and two
that shared a cache a moment ago do not any more.
"""
from libc.stdint cimport uint32_t, uint64_t

from pmd_ext.atomics cimport (
    load_acquire_u32, load_relaxed_u32, store_relaxed_u32, store_release_u32,
)
from pmd_ext.dpdk.eal cimport rte_rdtsc


cdef extern from * nogil:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <pthread.h>
    #include <sched.h>

    static void
    shim_pin(int core)
    {
        cpu_set_t cpus;

        CPU_ZERO(&cpus);
        CPU_SET(core, &cpus);
        pthread_setaffinity_np(pthread_self(), sizeof cpus, &cpus);
    }
    """
    ctypedef unsigned long pthread_t
    void shim_pin(int core)
    int pthread_create(pthread_t *thread, void *attributes, void *(*start)(void *) noexcept nogil,
                       void *arg)
    int pthread_join(pthread_t thread, void **result)

cdef enum:
    TRIPS = 200                 # there and back, in each of
    TRIES = 20                  # so many: the quickest counts, the others were interrupted
    PATIENCE = 100_000_000      # cycles: whoever waits for longer has nobody to wait for

# Two threads and the word that they hand to each other.
cdef struct table:
    uint32_t word
    uint32_t stop
    int core
    uint64_t unused[15]


cdef void *answer(void *arg) noexcept nogil:
    cdef table *t = <table *>arg
    cdef uint32_t next = 1
    shim_pin(t.core)
    while not load_relaxed_u32(&t.stop):
        if load_acquire_u32(&t.word) == next:
            store_release_u32(&t.word, next + 1)
            next += 2
    return NULL


cdef uint64_t ask(table *t) noexcept nogil:
    cdef uint64_t best = <uint64_t>-1, start
    cdef uint32_t next = 1
    cdef int trips, tries = 0
    while tries < TRIES:
        tries += 1
        trips = 0
        start = rte_rdtsc()
        while trips < TRIPS:
            trips += 1
            store_release_u32(&t.word, next)
            while load_acquire_u32(&t.word) != next + 1:
                if rte_rdtsc() - start > PATIENCE:
                    return best
            next += 2
        best = min(best, (rte_rdtsc() - start) // (2 * TRIPS))
    return best


def distance(core: int) -> int:
    """TSC cycles that a word takes from the caller's core to another one, both of them idle."""
    cdef table t
    cdef pthread_t thread = 0
    cdef uint64_t cycles
    t.word, t.stop, t.core = 0, 0, core
    with nogil:
        if pthread_create(&thread, NULL, answer, &t) != 0:
            cycles = 0
        else:
            cycles = ask(&t)
            store_relaxed_u32(&t.stop, 1)
            pthread_join(thread, NULL)
    if cycles == 0:
        raise OSError("cores: no thread")
    return cycles
