"""What limits ports: tables of meters that main builds aside and publishes."""
from errno import EINVAL, ENOMEM

from libc.stdlib cimport calloc, free
from posix.stdlib cimport posix_memalign

from pmd_ext.atomics cimport store_release_ptr
from pmd_ext.errors cimport check
from pmd_ext.errors import DatapathError
from pmd_ext.meters cimport (
    STORM_BROADCAST, STORM_MULTICAST, STORM_UNKNOWN, limits, meter, meter_init, two_rate_meter,
    two_rate_meter_init,
)
from pmd_ext.state cimport slot, synchronize

cdef enum:
    CACHE_LINE_BYTES = 64


cdef class Meter:
    def __dealloc__(self) -> None:
        free(self.m)
        free(self.two_rates)


cdef Meter meter_new(str name, tuple numbers, str port):
    cdef Meter made = Meter()
    if name in ("tx_port", "tx_queue"):
        cir, cbs, eir, ebs = numbers
        if posix_memalign(<void **>&made.two_rates, CACHE_LINE_BYTES, sizeof(two_rate_meter)) != 0:
            raise DatapathError(ENOMEM, "posix_memalign", port)
        check(two_rate_meter_init(made.two_rates, cir, cbs, eir, ebs),
              "rte_meter_trtcm_rfc4115_profile_config", port)
    else:
        rate, burst = numbers
        if posix_memalign(<void **>&made.m, CACHE_LINE_BYTES, sizeof(meter)) != 0:
            raise DatapathError(ENOMEM, "posix_memalign", port)
        check(meter_init(made.m, rate, burst), "rte_meter_srtcm_profile_config", port)
    return made


cdef int put(limits *l, str name, Meter m, str port) except -1:
    if name == "rx_bytes":
        l.rx_bytes = m.m
    elif name == "rx_packets":
        l.rx_packets = m.m
    elif name == "broadcast":
        l.storm[STORM_BROADCAST] = m.m
    elif name == "multicast":
        l.storm[STORM_MULTICAST] = m.m
    elif name == "unknown_unicast":
        l.storm[STORM_UNKNOWN] = m.m
    elif name == "tx_bytes":
        l.tx_bytes = m.m
    elif name == "tx_port":
        l.tx_port = m.two_rates
    elif name == "tx_queue":
        l.tx_queue = m.two_rates
    else:
        raise DatapathError(EINVAL, f"set_limits: {name}", port)
    return 0


cdef class Limits:
    def __cinit__(self) -> None:
        self.meters_of = {}

    cdef set(self, slot *s, int index, dict wanted, str port):
        cdef dict had = self.meters_of.get(index, {})
        cdef limits *l = NULL
        cdef limits *old = s.limits
        if ("tx_port" in wanted) != ("tx_queue" in wanted):
            raise DatapathError(EINVAL, "set_limits", port)
        meters = {name: had[name] if name in had and had[name][0] == numbers
                  else (numbers, meter_new(name, numbers, port))
                  for name, numbers in wanted.items()}
        if meters:
            l = <limits *>calloc(1, sizeof(limits))
            if l == NULL:
                raise DatapathError(ENOMEM, "calloc", port)
            try:
                for name, (_, made) in meters.items():
                    put(l, name, made, port)
            except DatapathError:
                free(l)
                raise
        with nogil:
            store_release_ptr(<void **>&s.limits, l)
            synchronize()
            free(old)
        self.meters_of[index] = meters      # frees the meters that are in none any more

    cdef drop(self, slot *s, int index):
        free(s.limits)
        s.limits = NULL
        self.meters_of.pop(index, None)

    cdef tuple queue(self, int index):
        cdef Meter m
        if "tx_queue" not in self.meters_of.get(index, {}):
            return (0, 0, 0)
        m = self.meters_of[index]["tx_queue"][1]
        return (m.two_rates.packets, m.two_rates.bytes, m.two_rates.red)
