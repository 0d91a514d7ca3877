# The multicast groups of one bridge: which ports joined what, and which lead to routers.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from pmd_ext.slotsets cimport SLOT_WORDS, slot_set


cdef enum:
    SLOTS = SLOT_WORDS * 64
    ADDRESS_BYTES = 16          # of a group; an IPv4 address is mapped (::ffff:224.1.2.3)

# What told of a group last.
cdef enum:
    ROUTER                      # nothing did: these are the ports towards a VLAN's routers
    IGMP_V1
    IGMP_V2
    IGMP_V3
    MLD_V1
    MLD_V2

# What group_lookup() found.
cdef enum:
    GROUP_UNKNOWN
    GROUP_KNOWN
    GROUP_BUSY                  # a writer was there all the time

# Of group_table: PMDs read without a lock (see 'version'), the one who holds it writes.
cdef struct group:
    uint8_t address[ADDRESS_BYTES]
    uint16_t vlan
    uint16_t protocol           # IGMP_V1 ...
    uint32_t chain              # next with the same hash, or next free; 0: none
    uint32_t n_ports
    slot_set ports

# A port in a group.
cdef struct joined:
    uint32_t group              # 0: this entry is free
    uint32_t chain              # as in 'group'
    uint16_t slot
    uint16_t refreshed          # when the last report came (s, wraps)
    uint32_t serial             # how many reports the table had taken then (wraps)
    # of those of its slot, in order of their last report
    uint32_t older
    uint32_t newer

cdef struct group_table:
    # main writes before the table is published, everybody reads
    uint32_t max_groups
    uint32_t max_joined
    uint32_t secret             # of the hashes, so that no guest can choose what collides
    uint32_t mask               # of group_heads
    uint32_t joined_mask        # of joined_heads
    # 1..max_groups, then one for the routers of each VLAN; 0 is none
    group *groups
    # 1..max_joined, then heads of each slot's list, from 'joined_end' on; 0 is none
    joined *all
    uint32_t joined_end
    uint32_t *group_heads
    uint32_t *joined_heads
    # PMDs and main: odd while one of them writes. A reader that finds it odd or changed looks again.
    uint32_t version
    # who holds the version
    uint32_t n_groups
    uint32_t n_joined
    uint32_t n_owners           # slots that are in a group
    uint32_t free_group
    uint32_t free_joined
    uint32_t used_groups        # entries that were ever in use; main reads
    uint32_t used_joined
    uint32_t serial
    uint32_t owned[SLOTS]       # groups that each slot is in

# A row for main.
cdef struct group_row:
    uint8_t address[ADDRESS_BYTES]
    uint16_t vlan
    uint16_t protocol
    uint16_t slot
    uint16_t refreshed
    uint32_t serial

# Main. A table for up to 'max_groups' groups; NULL without memory.
cdef group_table *group_table_new(uint32_t max_groups, uint32_t secret) noexcept nogil
cdef void group_table_free(group_table *t) noexcept nogil
# PMDs. The slot is in the group from now on. Lost when another thread keeps the table locked.
cdef void group_join(group_table *t, uint16_t vlan, const uint8_t *address, uint16_t protocol,
                     uint16_t slot, uint16_t now_s) noexcept nogil
# PMDs. The slot is not in the group any more; likewise.
cdef void group_leave(group_table *t, uint16_t vlan, const uint8_t *address,
                      uint16_t slot) noexcept nogil
# PMDs. The slot leads to a router of the VLAN from now on; likewise.
cdef void router_join(group_table *t, uint16_t vlan, uint16_t slot, uint16_t now_s) noexcept nogil
# PMDs. Adds the slots of the group, unless 'address' is NULL, and those of the VLAN's routers to
# 'found'; GROUP_...
cdef int group_lookup(group_table *t, uint16_t vlan, const uint8_t *address,
                      slot_set *found) noexcept nogil
# Main. Removes what no report was seen of for that long.
cdef void group_expire(group_table *t, uint16_t aging_s, uint16_t router_aging_s,
                       uint16_t now_s) noexcept nogil
# Main. Removes one slot from all groups, or all slots with slot -1.
cdef void group_flush(group_table *t, int slot) noexcept nogil
# Main. The row of an entry, 1..used_joined; False when there is none.
cdef bint group_read(group_table *t, uint32_t entry, group_row *row) noexcept nogil
