# Typed names for the generic atomic macros of shim.h.
from libc.stdint cimport int16_t, int32_t, uint16_t, uint32_t, uint64_t


cdef extern from "shim.h" nogil:
    int32_t load_acquire_i32 "shim_load_acquire"(const int32_t *p)
    uint32_t load_acquire_u32 "shim_load_acquire"(const uint32_t *p)
    uint64_t load_acquire_u64 "shim_load_acquire"(const uint64_t *p)
    void *load_acquire_ptr "shim_load_acquire"(void **p)
    int16_t load_relaxed_i16 "shim_load_relaxed"(const int16_t *p)
    int32_t load_relaxed_i32 "shim_load_relaxed"(const int32_t *p)
    uint32_t load_relaxed_u32 "shim_load_relaxed"(const uint32_t *p)
    uint64_t load_relaxed_u64 "shim_load_relaxed"(const uint64_t *p)
    void store_release_i32 "shim_store_release"(int32_t *p, int32_t v)
    void store_release_u16 "shim_store_release"(uint16_t *p, uint16_t v)
    void store_release_u32 "shim_store_release"(uint32_t *p, uint32_t v)
    void store_release_u64 "shim_store_release"(uint64_t *p, uint64_t v)
    void store_release_ptr "shim_store_release"(void **p, void *v)
    void store_relaxed_i16 "shim_store_relaxed"(int16_t *p, int16_t v)
    void store_relaxed_u32 "shim_store_relaxed"(uint32_t *p, uint32_t v)
    void add_release_u32 "shim_add_release"(uint32_t *p, uint32_t v)
    void add_release_u64 "shim_add_release"(uint64_t *p, uint64_t v)
    void fence_acquire "shim_fence_acquire"()
    void fence_release "shim_fence_release"()
    void fence_full "shim_fence_full"()
    bint cas_u32 "shim_cas_u32"(uint32_t *p, uint32_t old, uint32_t new_)
    bint cas_u64 "shim_cas_u64"(uint64_t *p, uint64_t old, uint64_t new_)
