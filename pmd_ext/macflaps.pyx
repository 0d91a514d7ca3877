"""Damping of addresses that flap between two ports.

A guest that migrates or a router that fails over moves its address once or twice; a loop, or two
guests with one address, move it with every frame. The latter is held for a while, and said.
"""
from libc.stdint cimport int16_t, uint16_t, uint32_t, uint64_t

from pmd_ext.atomics cimport cas_u32, store_release_u32
from pmd_ext.dpdk.eal cimport rte_pause


cdef enum:
    MOVES_MOST = 5      # in MOVES_S: more is no migration and no failover
    MOVES_S = 5
    HOLD_S = 10
    QUIET_S = 30        # without an attempt to move: it does not flap any more


cdef inline bint within(uint16_t since_s, uint16_t now_s, int seconds) noexcept nogil:
    return <int16_t>(now_s - since_s) < seconds


cdef int move(mac_flap *e, uint64_t key, uint16_t now_s) noexcept nogil:
    cdef bint holds
    if e.key != key:
        # One that is held keeps its place: the new one is not watched. Others are forgotten.
        if e.key != 0 and e.flapping and within(e.held_s, now_s, HOLD_S):
            return MOVE_ALLOWED
        e.key, e.flapping, e.moves, e.since_s = key, False, 0, now_s
    e.last_s = now_s
    holds = e.flapping and within(e.held_s, now_s, HOLD_S)
    if holds:
        return MOVE_HELD
    if not within(e.since_s, now_s, MOVES_S):
        e.moves, e.since_s = 0, now_s
    e.moves += 1
    if e.moves <= MOVES_MOST:
        return MOVE_ALLOWED
    e.flapping, e.held_s, e.moves, e.since_s = True, now_s, 0, now_s + HOLD_S
    return MOVE_HELD


cdef int flap_check(mac_flaps *f, uint32_t hash, uint64_t key, uint16_t old, uint16_t new,
                    uint16_t now_s) noexcept nogil:
    cdef mac_flap *e = &f.entries[hash & (FLAPS - 1)]
    cdef int verdict
    if not cas_u32(&f.lock, 0, 1):
        return MOVE_LATER
    verdict = move(e, key, now_s)
    if e.key == key:
        e.slots[0], e.slots[1] = old, new
    store_release_u32(&f.lock, 0)
    return verdict


cdef inline bint among(const uint64_t *slots, uint16_t slot) noexcept nogil:
    return slots[slot >> 6] >> (slot & 63) & 1


cdef uint32_t flaps_look(mac_flaps *f, const uint64_t *gone, mac_flap *out, uint16_t now_s
                         ) noexcept nogil:
    cdef mac_flap *e
    cdef uint32_t i, n = 0
    while not cas_u32(&f.lock, 0, 1):
        rte_pause()
    for i in range(FLAPS):
        e = &f.entries[i]
        if e.key == 0:
            continue
        if not within(e.last_s, now_s, QUIET_S) or (
                gone != NULL and (among(gone, e.slots[0]) or among(gone, e.slots[1]))):
            e.key = 0
        elif e.flapping:
            out[n] = e[0]
            n += 1
    store_release_u32(&f.lock, 0)
    return n
