"""Sets of VLANs as the tables have them."""
from libc.stdint cimport uint16_t, uint64_t
from libc.stdlib cimport calloc

from pmd_ext.state cimport vlan_set


cdef vlan_set *vlan_set_new(vlans) except? NULL:
    cdef vlan_set *s
    cdef uint16_t vlan
    if not vlans:
        return NULL
    s = <vlan_set *>calloc(1, sizeof(vlan_set))
    if s == NULL:
        raise MemoryError
    for vlan in vlans:
        s.bits[vlan >> 6] |= <uint64_t>1 << (vlan & 63)
    return s
