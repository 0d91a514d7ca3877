# Mirrors of bridges as tables: made aside by main with the forwarding table, and freed with it.
from pmd_ext.state cimport bridge_view, forwarding, mirror_counts


# Owner of what one mirror counted, on all PMDs; lives as long as the mirror is published.
cdef class MirrorCounts:
    cdef mirror_counts *counts
    cdef tuple sums(self)       # (packets, bytes)

# Gives a bridge whose members are set its mirrors, each a tuple as in Runtime.set_bridges();
# 'counts' has the MirrorCounts of each name. MemoryError.
cdef int set_mirrors(forwarding *fwd, bridge_view *view, mirrors, dict counts) except -1
cdef void free_mirrors(bridge_view *view) noexcept nogil
