"""A hash of what makes a flow: IP addresses, protocol and ports, else Ethernet addresses."""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from pmd_ext.dpdk.mbuf cimport rte_mbuf


cdef extern from "shim.h" nogil:
    uint8_t *shim_mbuf_data(rte_mbuf *m)
    uint64_t shim_load_u64(const uint8_t *p)
    uint32_t rte_hash_crc_8byte(uint64_t data, uint32_t seed)
    uint32_t rte_hash_crc_4byte(uint32_t data, uint32_t seed)

cdef enum:
    ETHER_TYPE_AT = 12          # bytes from the frame's begin
    VLAN_BYTES = 4
    MOST_VLANS = 2
    IPV4 = 0x0800
    IPV6 = 0x86dd
    VLAN = 0x8100
    QINQ = 0x88a8
    IPV4_BYTES = 20
    IPV6_BYTES = 40
    PORTS_BYTES = 4
    TCP = 6
    UDP = 17
    SCTP = 132
    FRAGMENT = 0x3fff           # offset and 'more' of an IPv4 header


cdef inline uint16_t load_be16(const uint8_t *p) noexcept nogil:
    return <uint16_t>(p[0] << 8 | p[1])


cdef inline uint32_t load_u32(const uint8_t *p) noexcept nogil:
    cdef uint32_t v = 0
    memcpy(&v, p, sizeof(v))        # wherever it lies: one mov on x86
    return v


cdef inline uint32_t with_ports(uint32_t h, uint8_t protocol, const uint8_t *at,
                                const uint8_t *end) noexcept nogil:
    h = rte_hash_crc_4byte(protocol, h)
    if protocol in (TCP, UDP, SCTP) and at + PORTS_BYTES <= end:
        h = rte_hash_crc_4byte(load_u32(at), h)
    return h


cdef uint32_t flow_hash(rte_mbuf *m) noexcept nogil:
    # Who calls has seen an Ethernet header; all else is looked for within the frame.
    cdef const uint8_t *frame = shim_mbuf_data(m)
    cdef const uint8_t *end = frame + m.data_len
    cdef const uint8_t *at = frame + ETHER_TYPE_AT + 2
    cdef uint16_t ether_type = load_be16(frame + ETHER_TYPE_AT)
    cdef uint32_t h
    cdef int vlans = 0
    while ether_type in (VLAN, QINQ) and vlans < MOST_VLANS and at + VLAN_BYTES <= end:
        ether_type = load_be16(at + 2)
        at += VLAN_BYTES
        vlans += 1
    if ether_type == IPV4 and at + IPV4_BYTES <= end:
        h = rte_hash_crc_8byte(shim_load_u64(at + 12), 0)
        # later fragments have no ports: all of a packet's go where its first one goes
        if load_be16(at + 6) & FRAGMENT:
            return rte_hash_crc_4byte(at[9], h)
        return with_ports(h, at[9], at + 4 * (at[0] & 0x0f), end)
    if ether_type == IPV6 and at + IPV6_BYTES <= end:
        h = rte_hash_crc_8byte(shim_load_u64(at + 8), 0)
        h = rte_hash_crc_8byte(shim_load_u64(at + 16), h)
        h = rte_hash_crc_8byte(shim_load_u64(at + 24), h)
        h = rte_hash_crc_8byte(shim_load_u64(at + 32), h)
        return with_ports(h, at[6], at + IPV6_BYTES, end)
    h = rte_hash_crc_8byte(shim_load_u64(frame), ether_type)
    return rte_hash_crc_4byte(load_u32(frame + 8), h)
