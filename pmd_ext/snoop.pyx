"""IGMP and MLD on their way through a bridge (RFC 4541; OVS: xlate_normal, mcast-snooping).

Every length is held against what the frame has; nothing is learned from what does not add up, or whose
checksum is wrong.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from pmd_ext.dpdk.mbuf cimport rte_mbuf
from pmd_ext.dpdk.net cimport rte_cpu_to_be_16, rte_raw_cksum
from pmd_ext.groups cimport (
    ADDRESS_BYTES, GROUP_BUSY, GROUP_KNOWN, IGMP_V1, IGMP_V2, IGMP_V3, MLD_V1, MLD_V2,
    group_join, group_leave, group_lookup, router_join,
)
from pmd_ext.slotsets cimport SLOT_WORDS, slot_in, slot_set
from pmd_ext.state cimport member, snooping
from pmd_ext.vlan cimport OUT_FLOOD, OUT_SLOTS, frame


cdef extern from "shim.h" nogil:
    uint8_t *shim_mbuf_data(rte_mbuf *m)
    uint16_t shim_load_be16(const uint8_t *p)
    uint64_t shim_load_u64(const uint8_t *p)
    enum:
        RTE_ETHER_TYPE_VLAN
        RTE_ETHER_TYPE_QINQ
        RTE_ETHER_TYPE_IPV4
        RTE_ETHER_TYPE_IPV6

cdef enum:
    ADDRESSES = 12              # bytes in front of the first tag
    TAG = 4
    IPV4_BYTES = 20
    IPV6_BYTES = 40
    FRAGMENT = 0x1fff           # of an IPv4 header: not the first fragment

cdef enum:
    IP_NONE = 0xff              # no protocol that anybody looks at
    IP_IGMP = 2
    IP_ICMPV6 = 58
    IP_HOP_BY_HOP = 0           # headers of IPv6 that may stand in front
    IP_ROUTING = 43
    IP_DESTINATION = 60

cdef enum:
    MESSAGE_BYTES = 8           # of IGMP and MLD: what comes before records, or an address of MLD
    IGMP_QUERY = 0x11
    IGMP_V1_REPORT = 0x12
    IGMP_V2_REPORT = 0x16
    IGMP_LEAVE = 0x17
    IGMP_V3_REPORT = 0x22
    MLD_QUERY = 130
    MLD_REPORT = 131
    MLD_DONE = 132
    MLD_V2_REPORT = 143

# Types of a record.
cdef enum:
    IS_INCLUDE = 1
    TO_INCLUDE = 3
    BLOCK_OLD_SOURCES = 6       # the last

# What a multicast frame holds, as far as it is sound.
cdef struct packet:
    uint8_t group[ADDRESS_BYTES]        # destination; zeros when the header is not sound
    bint ipv4
    bint from_nobody            # its source address is zero
    uint32_t protocol           # IP_...
    const uint8_t *ip           # its header
    const uint8_t *message      # behind the IP headers
    uint32_t n                  # bytes of that


cdef inline void map_ipv4(uint8_t *address, const uint8_t *ipv4) noexcept nogil:
    memset(address, 0, 10)
    memset(address + 10, 0xff, 2)
    memcpy(address + 12, ipv4, 4)


cdef inline bint is_zero(const uint8_t *bytes, uint32_t n) noexcept nogil:
    cdef uint32_t i
    for i in range(n):
        if bytes[i]:
            return False
    return True


cdef void read_ipv4(packet *p, uint32_t room) noexcept nogil:
    cdef uint32_t head, total
    if room < IPV4_BYTES or p.ip[0] >> 4 != 4:
        return
    head, total = (p.ip[0] & 0xf) * 4, shim_load_be16(p.ip + 2)
    if head < IPV4_BYTES or head > total or total > room:
        return
    p.protocol = p.ip[9]
    p.from_nobody = is_zero(p.ip + 12, 4)
    map_ipv4(p.group, p.ip + 16)
    if shim_load_be16(p.ip + 6) & FRAGMENT == 0:
        p.message, p.n = p.ip + head, total - head


cdef void read_ipv6(packet *p, uint32_t room) noexcept nogil:
    cdef uint32_t at = IPV6_BYTES, end
    cdef uint8_t next
    if room < IPV6_BYTES or p.ip[0] >> 4 != 6:
        return
    end = IPV6_BYTES + shim_load_be16(p.ip + 4)
    if end > room:
        return
    p.from_nobody = is_zero(p.ip + 8, 16)
    memcpy(p.group, p.ip + 24, ADDRESS_BYTES)
    next = p.ip[6]
    while next == IP_HOP_BY_HOP or next == IP_ROUTING or next == IP_DESTINATION:
        if at + 8 > end or at + 8 * (1 + p.ip[at + 1]) > end:
            return
        next = p.ip[at]
        at += 8 * (1 + p.ip[at + 1])
    p.protocol = next
    p.message, p.n = p.ip + at, end - at


cdef bint read_packet(packet *p, rte_mbuf *m, uint32_t tags) noexcept nogil:
    """Whether the frame is one of IP, behind up to so many VLAN tags."""
    cdef const uint8_t *data = shim_mbuf_data(m)
    cdef uint32_t at = ADDRESSES
    cdef uint16_t type = shim_load_be16(data + at)
    while tags and (type == RTE_ETHER_TYPE_VLAN or type == RTE_ETHER_TYPE_QINQ):
        at += TAG
        if at + 2 > m.data_len:
            return False
        type = shim_load_be16(data + at)
        tags -= 1
    if type != RTE_ETHER_TYPE_IPV4 and type != RTE_ETHER_TYPE_IPV6:
        return False
    memset(p, 0, sizeof(packet))
    p.protocol, p.ipv4, p.ip = IP_NONE, type == RTE_ETHER_TYPE_IPV4, data + at + 2
    if p.ipv4:
        read_ipv4(p, m.data_len - at - 2)
    else:
        read_ipv6(p, m.data_len - at - 2)
    return True


cdef bint is_sound(const packet *p) noexcept nogil:
    """Whether the message's checksum is right; of MLD it covers the addresses, too."""
    cdef uint32_t sum = rte_raw_cksum(p.message, p.n)
    if not p.ipv4:
        sum += rte_raw_cksum(p.ip + 8, 2 * ADDRESS_BYTES)
        sum += rte_cpu_to_be_16(<uint16_t>p.n)
        sum += rte_cpu_to_be_16(IP_ICMPV6)
        sum = (sum & 0xffff) + (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16)
    return sum == 0xffff


# --- learning -------------------------------------------------------------------------------------

cdef inline bint is_multicast(const uint8_t *address, bint ipv4) noexcept nogil:
    return address[12] & 0xf0 == 0xe0 if ipv4 else address[0] == 0xff


cdef void join_or_leave(const member *source, uint16_t vlan, const packet *p, const uint8_t *group,
                        bint joins, uint16_t protocol, uint16_t now_s) noexcept nogil:
    """'group' as it stands in the message: four bytes in IGMP, sixteen in MLD."""
    cdef const snooping *s = source.bridge.snoop
    cdef uint8_t address[ADDRESS_BYTES]
    cdef slot_set routers
    if p.ipv4:
        map_ipv4(address, group)
    else:
        memcpy(address, group, ADDRESS_BYTES)
    if not is_multicast(address, p.ipv4):
        return
    if not joins:
        # Behind a port that takes reports there are more switches and hosts than the one that left.
        if not slot_in(&s.reports, source.slot):
            group_leave(s.groups, vlan, address, source.slot)
        return
    memset(&routers, 0, sizeof(slot_set))
    group_lookup(s.groups, vlan, NULL, &routers)
    if not slot_in(&routers, source.slot):      # a router's port gets everything anyway
        group_join(s.groups, vlan, address, protocol, source.slot, now_s)


cdef void learn_records(const member *source, uint16_t vlan, const packet *p,
                        uint16_t now_s) noexcept nogil:
    """IGMPv3 and MLDv2: records of a group and its sources each, as many as fit."""
    cdef uint32_t address = 4 if p.ipv4 else ADDRESS_BYTES
    cdef uint32_t left = shim_load_be16(p.message + 6), at = MESSAGE_BYTES, end, sources
    cdef const uint8_t *record
    cdef bint leaves
    while left and at + 4 + address <= p.n:
        record = p.message + at
        sources = shim_load_be16(record + 2)
        end = at + 4 + address + sources * address + record[1] * 4
        if end > p.n:
            return
        if 1 <= record[0] <= BLOCK_OLD_SOURCES:
            # To want what comes from none of all sources is to want nothing.
            leaves = sources == 0 and (record[0] == IS_INCLUDE or record[0] == TO_INCLUDE)
            join_or_leave(source, vlan, p, record + 4, not leaves, IGMP_V3 if p.ipv4 else MLD_V2,
                          now_s)
        at = end
        left -= 1


cdef void learn(const member *source, uint16_t vlan, const packet *p,
                uint16_t now_s) noexcept nogil:
    cdef const snooping *s = source.bridge.snoop
    cdef uint8_t type = p.message[0]
    if slot_in(&s.flood, source.slot) or not is_sound(p):
        return
    if type == (IGMP_QUERY if p.ipv4 else MLD_QUERY):
        if not p.from_nobody:
            router_join(s.groups, vlan, source.slot, now_s)
    elif type == (IGMP_V3_REPORT if p.ipv4 else MLD_V2_REPORT):
        learn_records(source, vlan, p, now_s)
    elif p.ipv4:
        join_or_leave(source, vlan, p, p.message + 4, type != IGMP_LEAVE,
                      IGMP_V1 if type == IGMP_V1_REPORT else IGMP_V2, now_s)
    elif p.n >= MESSAGE_BYTES + ADDRESS_BYTES:
        join_or_leave(source, vlan, p, p.message + MESSAGE_BYTES, type != MLD_DONE, MLD_V1, now_s)


# --- outputs --------------------------------------------------------------------------------------

cdef inline bint is_report(const packet *p) noexcept nogil:
    cdef uint8_t type
    if p.n < MESSAGE_BYTES:
        return False
    type = p.message[0]
    if p.ipv4:
        return type in (IGMP_V1_REPORT, IGMP_V2_REPORT, IGMP_LEAVE, IGMP_V3_REPORT)
    return type in (MLD_REPORT, MLD_DONE, MLD_V2_REPORT)


cdef inline bint is_query(const packet *p) noexcept nogil:
    return p.n >= MESSAGE_BYTES and p.message[0] == (IGMP_QUERY if p.ipv4 else MLD_QUERY)


cdef inline bint goes_to_all(const packet *p) noexcept nogil:
    """224.0.0.0/24 and ff02::1: hosts do not report these (RFC 4541, 2.1.2)."""
    if p.ipv4:
        return p.group[12] == 224 and p.group[13] == 0 and p.group[14] == 0
    return p.group[0] == 0xff and p.group[1] == 2 and p.group[15] == 1 and is_zero(p.group + 2, 13)


cdef inline bint go_to(slot_set *set, const slot_set *more) noexcept nogil:
    cdef int i
    for i in range(SLOT_WORDS):
        set.bits[i] |= more.bits[i]
    return True


cdef bint outputs(const member *source, uint16_t vlan, const packet *p, slot_set *set,
                  uint16_t now_s) noexcept nogil:
    """Whether the frame goes to the ports of 'set' alone, and not to all."""
    cdef const snooping *s = source.bridge.snoop
    cdef bint igmp = p.ipv4 and p.protocol == IP_IGMP
    cdef bint mld = not p.ipv4 and p.protocol == IP_ICMPV6
    cdef int found
    memset(set, 0, sizeof(slot_set))
    if (igmp or mld) and is_report(p):
        learn(source, vlan, p, now_s)
        if group_lookup(s.groups, vlan, NULL, set) == GROUP_BUSY:
            return False
        return go_to(set, &s.reports)
    if (igmp or mld) and is_query(p):
        learn(source, vlan, p, now_s)
        return False
    if igmp or goes_to_all(p):
        return False
    found = group_lookup(s.groups, vlan, p.group, set)
    if found == GROUP_BUSY or (found != GROUP_KNOWN and s.flood_unregistered):
        return False
    return go_to(set, &s.flood)


cdef inline bint same_way(const packet *a, const packet *b) noexcept nogil:
    """Whether what two frames are to do follows from their addresses, which are the same."""
    return (a.ipv4 == b.ipv4 and memcmp(a.group, b.group, ADDRESS_BYTES) == 0
            and a.protocol != IP_IGMP and a.protocol != IP_ICMPV6
            and b.protocol != IP_IGMP and b.protocol != IP_ICMPV6)


cdef inline bint is_broadcast(rte_mbuf *m) noexcept nogil:
    return shim_load_u64(shim_mbuf_data(m)) & <uint64_t>0xffffffffffff == <uint64_t>0xffffffffffff


cdef void snoop(const member *source, frame *frames, rte_mbuf **pkts, uint16_t n, slot_set *sets,
                uint16_t now_s) noexcept nogil:
    cdef packet packets[2]
    cdef packet *p = &packets[0]
    cdef packet *before = NULL
    cdef uint16_t i, vlan = 0, out = OUT_FLOOD, n_sets = 0
    for i in range(n):
        if frames[i].destination != 0 or frames[i].out != OUT_FLOOD:
            continue
        if is_broadcast(pkts[i]) or not read_packet(p, pkts[i], source.bridge.tags):
            continue
        if before == NULL or frames[i].vlan != vlan or not same_way(p, before):
            out, vlan = OUT_FLOOD, frames[i].vlan
            if outputs(source, vlan, p, &sets[n_sets], now_s):
                out = OUT_SLOTS + n_sets
                n_sets += 1
        frames[i].out = out
        before, p = p, &packets[0] if p == &packets[1] else &packets[1]

