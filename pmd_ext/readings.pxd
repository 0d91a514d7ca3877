# What main reads while callbacks and PMDs write: states of ports, counters.
from libc.stdint cimport uint16_t, uint64_t

from pmd_ext.state cimport dataplane


# Main. A tuple of one entry for each port that changed since the last call; see Runtime.changes().
cdef tuple changed_ports(dataplane *dp)
# Main. (port's values, of each rxq, of each txq); see Runtime.counters().
cdef tuple port_readings(dataplane *dp, int index)
# Main. What the port's front end has said; see Ports.handshake().
cdef tuple port_handshake(dataplane *dp, int index)
# Main. One entry for each running PMD: (core, *values); see Runtime.readings().
cdef tuple pmd_readings(dataplane *dp)
cdef uint64_t rxq_cycles(dataplane *dp, int index, uint16_t queue)
