"""The first stage of the pipeline: what the headers of a burst say."""
from libc.stdint cimport uint8_t, uint16_t, uint64_t
from libc.string cimport memcpy

from pmd_ext.dpdk.mbuf cimport rte_mbuf
from pmd_ext.mactable cimport mac_key
from pmd_ext.reserved cimport is_reserved
from pmd_ext.tally cimport tally
from pmd_ext.vlan cimport OUT_FLOOD, OUT_RESERVED, PCP, VID, frame, vlan_strip


cdef extern from "shim.h" nogil:
    uint8_t *shim_mbuf_data(rte_mbuf *m)
    uint16_t shim_load_be16(const uint8_t *p)
    uint64_t shim_load_u64(const uint8_t *p)
    enum:
        RTE_ETHER_TYPE_VLAN
        RTE_ETHER_TYPE_QINQ

cdef enum:
    ETHER_BYTES = 14
    VLAN_BYTES = 4
    MULTICAST = 1               # first bit on the wire; addresses are little-endian loads here

cdef enum:
    ADDRESS = 0xffffffffffff


cdef inline bint read_header(burst *b, rte_mbuf *m, bint forward_bpdu, frame *f) noexcept nogil:
    """Reads the frame's header; False when it is too short to have one."""
    cdef uint8_t *data = shim_mbuf_data(m)
    cdef uint64_t destination, source
    cdef uint16_t type, tci
    if m.data_len < ETHER_BYTES:
        return False
    destination = shim_load_u64(data) & <uint64_t>ADDRESS
    source = shim_load_u64(data + 6) & <uint64_t>ADDRESS
    type = shim_load_be16(data + 12)
    f.vlan = f.pcp = f.tpid = f.inner = 0
    f.rx_pcp = f.wire_tpid = f.wire_tci = f.out = 0
    if type == RTE_ETHER_TYPE_VLAN or type == RTE_ETHER_TYPE_QINQ:
        if m.data_len < ETHER_BYTES + VLAN_BYTES:
            return False
        tci = shim_load_be16(data + 14)
        f.vlan = tci & VID
        f.pcp = f.rx_pcp = tci & PCP
        f.tpid, f.wire_tpid, f.wire_tci = type, type, tci
        if f.vlan | f.pcp == 0:
            vlan_strip(f, m)    # it says nothing, and no port sends it on
            b.sum = NULL
    f.source = 0 if source & MULTICAST else mac_key(source, f.vlan)
    f.destination = 0
    if is_reserved(destination) and not forward_bpdu:
        f.source = 0
        f.out = OUT_RESERVED
    elif destination & MULTICAST:
        f.out = OUT_FLOOD
    else:
        f.destination = mac_key(destination, f.vlan)
    return True


cdef inline bint are_alike(rte_mbuf **pkts, uint16_t n, const tally *sum) noexcept nogil:
    """Whether all are from one address to another, of one type, and without a VLAN tag."""
    cdef uint64_t first, second, different = 0
    cdef uint8_t *data = shim_mbuf_data(pkts[0])
    cdef uint16_t i, type = shim_load_be16(data + 12)
    if (sum == NULL or sum.shortest < ETHER_BYTES or type == RTE_ETHER_TYPE_VLAN
            or type == RTE_ETHER_TYPE_QINQ):
        return False
    first, second = shim_load_u64(data), shim_load_u64(data + ETHER_BYTES - 8)
    for i in range(1, n):
        data = shim_mbuf_data(pkts[i])
        different |= shim_load_u64(data) ^ first | shim_load_u64(data + ETHER_BYTES - 8) ^ second
    return different == 0


cdef void classify(burst *b, rte_mbuf **pkts, uint16_t n) noexcept nogil:
    cdef bint plain = b.source != NULL and b.source.bridge.plain
    cdef bint forward_bpdu = b.source != NULL and b.source.bridge.forward_bpdu
    cdef uint16_t i
    b.alike = plain and are_alike(pkts, n, b.sum)
    b.n = 0
    if b.alike:
        read_header(b, pkts[0], forward_bpdu, &b.frames[0])
        memcpy(b.pkts, pkts, n * sizeof(rte_mbuf *))
        b.n = n
        return
    for i in range(n):
        if read_header(b, pkts[i], forward_bpdu, &b.frames[b.n]):
            b.pkts[b.n] = pkts[i]
            b.n += 1
    b.counts.rx_malformed_drops += n - b.n
    if b.n < n:
        b.sum = NULL
