# Declarations only: hashes, checksums, byte order.
from libc.stdint cimport uint16_t, uint32_t, uint64_t


cdef extern from "rte_jhash.h" nogil:
    uint32_t rte_jhash(const void *key, uint32_t length, uint32_t initval)
    uint32_t rte_jhash_2words(uint32_t a, uint32_t b, uint32_t initval)

cdef extern from "rte_ip.h" nogil:
    struct rte_ipv4_hdr:
        pass
    struct rte_ipv6_hdr:
        pass
    uint16_t rte_raw_cksum(const void *buf, size_t len)
    uint16_t rte_ipv4_cksum(const rte_ipv4_hdr *ipv4_hdr)
    uint16_t rte_ipv4_phdr_cksum(const rte_ipv4_hdr *ipv4_hdr, uint64_t ol_flags)
    uint16_t rte_ipv6_phdr_cksum(const rte_ipv6_hdr *ipv6_hdr, uint64_t ol_flags)

cdef extern from "rte_byteorder.h" nogil:
    uint16_t rte_cpu_to_be_16(uint16_t v)

cdef extern from "rte_hash_crc.h" nogil:
    uint32_t rte_hash_crc(const void *data, uint32_t data_len, uint32_t init_val)
