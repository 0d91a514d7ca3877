"""All PMD threads and what each has to poll."""
import errno

from libc.stdint cimport uint32_t

from pmd_ext.atomics cimport store_relaxed_u32, store_release_i32, store_release_u32
from pmd_ext.errors cimport check
from pmd_ext.errors import DatapathError
from pmd_ext.pmd cimport (
    pmd_publish, pmd_rest, pmd_start, pmd_stop, poll_list_free, poll_list_new,
)
from pmd_ext.state cimport MAX_PMDS, dataplane_get, pmd, poll_list, synchronize


cdef class Pmds:
    def __cinit__(self) -> None:
        self.lists = {}

    cdef int start(self, int core, uint32_t sleep_max_us, bint block) except -2:
        cdef pmd *me = self.on(-1)
        cdef int rc
        if me == NULL:
            raise DatapathError(errno.ENFILE, f"start of a PMD on core {core}")
        # Who counts txqs by threads sees the number first, then one more thread.
        store_release_u32(&me.dp.n_pmds, len(self.lists) + 1)
        store_relaxed_u32(&me.tx_id, len(self.lists))
        pmd_rest(me, sleep_max_us, block)
        with nogil:
            rc = pmd_start(me, core)
        if rc != 0:
            store_release_u32(&me.dp.n_pmds, len(self.lists))
        check(rc, f"start of a PMD on core {core}")
        self.lists[core] = ()
        return me.work.lcore

    cdef int stop(self, int core) except -1:
        cdef pmd *me = self.on(core)
        cdef pmd *other
        cdef int i, rc
        with nogil:
            rc = pmd_stop(me)
        check(rc, f"stop of the PMD on core {core}")
        del self.lists[core]
        # Numbers are 0..n - 1 again: the highest takes the place that is free now.
        for i in range(MAX_PMDS):
            other = &me.dp.pmds[i]
            if other.running and other.tx_id == len(self.lists):
                store_release_u32(&other.tx_id, me.tx_id)
        store_release_u32(&me.dp.n_pmds, len(self.lists))
        return 0

    cdef int rest(self, int core, uint32_t sleep_max_us, bint block) except -1:
        pmd_rest(self.on(core), sleep_max_us, block)
        return 0

    cdef int set_lists(self, dict lists) except -1:
        wanted = {core: rxqs for core, rxqs in lists.items() if rxqs != self.lists[core]}
        # first without what goes elsewhere, then with what came
        leaving = {core: tuple(filter(set(rxqs).__contains__, self.lists[core]))
                   for core, rxqs in wanted.items()}
        self.publish({core: rxqs for core, rxqs in leaving.items() if rxqs != self.lists[core]})
        self.publish({core: rxqs for core, rxqs in wanted.items() if rxqs != self.lists[core]})
        return 0

    cdef int publish(self, dict lists) except -1:
        cdef poll_list *made
        cdef poll_list *old[MAX_PMDS]
        cdef pmd *p
        cdef int i, k, n = 0
        if not lists:
            return 0
        for core, rxqs in lists.items():
            p = self.on(core)
            made = poll_list_new(p.dp, len(rxqs))
            if made == NULL:
                raise MemoryError
            for k, (index, queue) in enumerate(rxqs):
                made.rxqs[k].slot = index
                made.rxqs[k].queue = queue
                store_release_i32(&p.dp.slots[<int>index].detached, False)
            old[n] = pmd_publish(p, made)
            n += 1
            self.lists[core] = rxqs
        with nogil:
            synchronize()
            for i in range(n):
                poll_list_free(old[i])
        return 0

    cdef pmd *on(self, int core) noexcept:
        """The PMD that runs on the core; with -1 one that does not run. NULL: there is none."""
        cdef pmd *p
        cdef int i
        for i in range(MAX_PMDS):
            p = &dataplane_get().pmds[i]
            if (p.core == core if p.running else core == -1):
                return p
        return NULL
