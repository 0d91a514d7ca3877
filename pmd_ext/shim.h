/* What Cython cannot spell: atomics, prefetch, DPDK macros and version differences.
 * No logic lives here. */
#pragma once

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include <rte_ether.h>
#include <rte_hash_crc.h>
#include <rte_mbuf.h>
#include <rte_prefetch.h>
#include <rte_version.h>
#include <rte_vhost.h>

#define shim_load_acquire(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define shim_load_relaxed(p) __atomic_load_n((p), __ATOMIC_RELAXED)
#define shim_store_release(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
#define shim_store_relaxed(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)
#define shim_add_release(p, v) ((void)__atomic_fetch_add((p), (v), __ATOMIC_RELEASE))
#define shim_fence_acquire() __atomic_thread_fence(__ATOMIC_ACQUIRE)
#define shim_fence_release() __atomic_thread_fence(__ATOMIC_RELEASE)
#define shim_fence_full() __atomic_thread_fence(__ATOMIC_SEQ_CST)

/* Which of a vring's statistics the library knows. */
#define SHIM_STATS_23_07 (RTE_VERSION >= RTE_VERSION_NUM(23, 7, 0, 0))
#define SHIM_STATS_23_11 (RTE_VERSION >= RTE_VERSION_NUM(23, 11, 0, 0))
#define SHIM_STATS_24_03 (RTE_VERSION >= RTE_VERSION_NUM(24, 3, 0, 0))

#define SHIM_VDUSE (RTE_VERSION >= RTE_VERSION_NUM(23, 7, 0, 0))

/* Queue pairs of a VDUSE device; -1 or -errno. */
static inline int
shim_set_max_queue_num(const char *path, uint32_t pairs)
{
#if SHIM_VDUSE
    return rte_vhost_driver_set_max_queue_num(path, pairs);
#else
    (void)path;
    (void)pairs;
    return -EOPNOTSUPP;
#endif
}

/* 0 for 0, else one more than the index of the highest bit set. */
static inline int
shim_bit_width(uint32_t v)
{
    return v ? 32 - __builtin_clz(v) : 0;
}

#define shim_lowest_bit(v) __builtin_ctz(v)     /* its index; 'v' is not 0 */

/* Strong compare-and-swap; true when *p was 'old' and is 'new_' now. */
static inline int
shim_cas_u32(uint32_t *p, uint32_t old, uint32_t new_)
{
    return __atomic_compare_exchange_n(p, &old, new_, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

static inline int
shim_cas_u64(uint64_t *p, uint64_t old, uint64_t new_)
{
    return __atomic_compare_exchange_n(p, &old, new_, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

static inline uint8_t *
shim_mbuf_data(struct rte_mbuf *m)
{
    return rte_pktmbuf_mtod(m, uint8_t *);
}

static inline uint64_t
shim_load_u64(const uint8_t *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof v);    /* unaligned on purpose: one mov on x86 */
    return v;
}

static inline uint16_t
shim_load_be16(const uint8_t *p)
{
    return p[0] << 8 | p[1];
}

static inline void
shim_store_be16(uint8_t *p, uint16_t v)
{
    p[0] = v >> 8;
    p[1] = v;
}

static inline uint32_t
shim_hash_u64(uint64_t key)
{
    return rte_hash_crc_8byte(key, 0);
}
