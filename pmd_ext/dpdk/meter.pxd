# Declarations only: traffic meters (librte_meter).
from libc.stdint cimport uint32_t, uint64_t


cdef extern from "rte_meter.h" nogil:
    enum rte_color:
        RTE_COLOR_GREEN
        RTE_COLOR_YELLOW
        RTE_COLOR_RED
    struct rte_meter_srtcm_params:
        uint64_t cir
        uint64_t cbs
        uint64_t ebs
    struct rte_meter_srtcm_profile:
        pass
    struct rte_meter_srtcm:
        uint64_t time
        # ...
    struct rte_meter_trtcm_rfc4115_params:
        uint64_t cir
        uint64_t eir
        uint64_t cbs
        uint64_t ebs
    struct rte_meter_trtcm_rfc4115_profile:
        pass
    struct rte_meter_trtcm_rfc4115:
        uint64_t time_tc
        # ...
    int rte_meter_srtcm_profile_config(rte_meter_srtcm_profile *p, rte_meter_srtcm_params *params)
    int rte_meter_srtcm_config(rte_meter_srtcm *m, rte_meter_srtcm_profile *p)
    rte_color rte_meter_srtcm_color_blind_check(rte_meter_srtcm *m, rte_meter_srtcm_profile *p,
                                                uint64_t time, uint32_t bytes)
    int rte_meter_trtcm_rfc4115_profile_config(rte_meter_trtcm_rfc4115_profile *p,
                                               rte_meter_trtcm_rfc4115_params *params)
    int rte_meter_trtcm_rfc4115_config(rte_meter_trtcm_rfc4115 *m,
                                       rte_meter_trtcm_rfc4115_profile *p)
    rte_color rte_meter_trtcm_rfc4115_color_blind_check(
        rte_meter_trtcm_rfc4115 *m, rte_meter_trtcm_rfc4115_profile *p, uint64_t time,
        uint32_t bytes)
    rte_color rte_meter_trtcm_rfc4115_color_aware_check(
        rte_meter_trtcm_rfc4115 *m, rte_meter_trtcm_rfc4115_profile *p, uint64_t time,
        uint32_t bytes, rte_color color)
