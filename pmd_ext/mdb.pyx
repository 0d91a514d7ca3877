"""The multicast groups of a bridge as main has them: owned, read, flushed, aged."""
import os

from libc.stdint cimport int16_t, uint16_t, uint32_t

from pmd_ext.atomics cimport load_relaxed_u32
from pmd_ext.groups cimport (
    ADDRESS_BYTES, group_expire, group_flush, group_read, group_row, group_table_free,
    group_table_new,
)


cdef class Groups:
    def __cinit__(self, uint32_t max_groups) -> None:
        self.table = group_table_new(max_groups, int.from_bytes(os.urandom(4), "little"))
        if self.table == NULL:
            raise MemoryError

    def __dealloc__(self) -> None:
        if self.table != NULL:
            group_table_free(self.table)

    cdef list rows(self, uint16_t now_s):
        """See Bridges.mdb()."""
        cdef group_row row
        cdef uint32_t i
        found = []
        for i in range(1, load_relaxed_u32(&self.table.used_joined) + 1):
            if group_read(self.table, i, &row):
                address = int.from_bytes(row.address[:ADDRESS_BYTES], "big")
                found.append((row.serial, row.slot, row.vlan, address, row.protocol,
                              max(0, <int>(<int16_t>(now_s - row.refreshed)))))
        return [entry[1:] for entry in sorted(found)]

    cdef int flush(self, int slot) except -1:
        with nogil:
            group_flush(self.table, slot)
        return 0

    cdef int expire(self, uint16_t aging_s, uint16_t router_aging_s, uint16_t now_s) except -1:
        with nogil:
            group_expire(self.table, aging_s, router_aging_s, now_s)
        return 0
