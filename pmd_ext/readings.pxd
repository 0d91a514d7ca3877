# What main reads while callbacks and PMDs write: states of ports, counters.
from pmd_ext.state cimport dataplane


# Main. A tuple of one entry for each port that changed since the last call; see Runtime.changes().
cdef tuple changed_ports(dataplane *dp)
# Main. (port's values, of each rxq, of each txq); see Runtime.counters().
cdef tuple port_readings(dataplane *dp, int index)
