# Forwarding tables. Main.
from pmd_ext.state cimport forwarding


# A table of the bridges as Runtime.set_bridges() has them; 'tables' and 'groups' are theirs by name,
# 'counts' the MirrorCounts of mirrors by name. MemoryError.
cdef forwarding *forwarding_new(list bridges, dict tables, dict groups, dict counts) except NULL
cdef void forwarding_free(forwarding *fwd) noexcept nogil
