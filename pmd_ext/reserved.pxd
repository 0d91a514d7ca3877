# Addresses that bridges keep to themselves (OVS: eth_addr_is_reserved). Any thread.
from libc.stdint cimport uint64_t


# 'address' is a little-endian load of the six bytes.
cdef inline bint is_reserved(uint64_t address) noexcept nogil:
    cdef uint64_t head = address & 0xffffff
    cdef uint64_t tail = address >> 24
    if head == 0xc28001:                        # 01:80:c2:00:00:00..0f
        return tail & 0xffff == 0 and tail >> 16 < 0x10
    if head == 0x2be000:                        # 00:e0:2b:00:00:00, :04, :06
        return tail & 0xffff == 0 and (tail >> 16) in (0x00, 0x04, 0x06)
    if head != 0x0c0001:
        return False
    return (tail == 0                           # 01:00:0c:00:00:00
            or tail & 0xffff == 0xcccc and (tail >> 16 in (0xcc, 0xcd)
                                            or 0xc0 <= tail >> 16 <= 0xc7)
            or tail == 0xcdcdcd)
