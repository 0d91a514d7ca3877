"""Mirrors of bridges as tables, and what they counted."""
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset
from posix.stdlib cimport posix_memalign

from pmd_ext.state cimport MAX_PMDS, bridge_view, forwarding, mirror, mirror_counts
from pmd_ext.vlansets cimport vlan_set_new


cdef class MirrorCounts:
    def __cinit__(self) -> None:
        cdef size_t size = MAX_PMDS * sizeof(mirror_counts)
        if posix_memalign(<void **>&self.counts, sizeof(mirror_counts), size) != 0:
            raise MemoryError
        memset(self.counts, 0, size)

    def __dealloc__(self) -> None:
        free(self.counts)

    cdef tuple sums(self):
        cdef uint64_t packets = 0, n_bytes = 0
        cdef int p
        for p in range(MAX_PMDS):
            packets += self.counts[p].packets
            n_bytes += self.counts[p].bytes
        return (packets, n_bytes)


cdef int set_mirrors(forwarding *fwd, bridge_view *view, mirrors, dict counts) except -1:
    cdef uint32_t i, k, bit
    cdef mirror *m
    cdef MirrorCounts counted
    if not mirrors:
        return 0
    view.plain = False
    view.mirrors = <mirror *>calloc(len(mirrors), sizeof(mirror))
    if view.mirrors == NULL:
        raise MemoryError
    for i, (name, sources, destinations, vlans, output, output_vlan, snaplen) in enumerate(mirrors):
        view.n_mirrors += 1
        m, bit, counted = &view.mirrors[i], <uint32_t>1 << i, counts[name]
        m.counts, m.vlans, m.snaplen = counted.counts, vlan_set_new(vlans), snaplen
        for slot in sources:
            fwd.member_of[<int>slot].src_mirrors |= bit
        for slot in destinations:
            fwd.member_of[<int>slot].dst_mirrors |= bit
        if output is None:
            m.out_vlan = output_vlan
        else:
            m.out = fwd.member_of[<int>output]
            fwd.member_of[<int>output].mirror_output = True
        for k in range(i + 1):
            if m.out == view.mirrors[k].out and m.out_vlan == view.mirrors[k].out_vlan:
                view.mirrors[k].same_output |= bit
                m.same_output |= <uint32_t>1 << k
    return 0


cdef void free_mirrors(bridge_view *view) noexcept nogil:
    cdef uint32_t i
    for i in range(view.n_mirrors):
        free(view.mirrors[i].vlans)
    free(view.mirrors)
