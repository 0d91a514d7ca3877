# Sets of VLANs as the tables have them. Main.
from pmd_ext.state cimport vlan_set


# NULL, which is all VLANs or none, for no VLANs; else to be freed. MemoryError.
cdef vlan_set *vlan_set_new(vlans) except? NULL
