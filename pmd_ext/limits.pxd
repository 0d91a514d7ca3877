# What limits ports: tables of meters that main builds aside and publishes. Main alone.
from pmd_ext.meters cimport meter, two_rate_meter
from pmd_ext.state cimport slot


# Who owns a meter; it is freed with the last table that names it.
cdef class Meter:
    cdef meter *m
    cdef two_rate_meter *two_rates      # one of both is NULL

cdef class Limits:
    cdef dict meters_of         # slot -> {name of the limit: (numbers, Meter)}
    # Limits the port by 'wanted' {name: numbers} and waits until no PMD uses what is gone. A
    # meter whose numbers stay keeps its bucket. Raises DatapathError EINVAL, ENOMEM in the name of
    # 'port'; all is as it was then.
    cdef set(self, slot *s, int index, dict wanted, str port)
    # Of a port that no PMD uses any more.
    cdef drop(self, slot *s, int index)
    # What queue 0 of a trtcm-policer let through and did not: (packets, bytes, red packets).
    cdef tuple queue(self, int index)
