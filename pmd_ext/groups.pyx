"""The groups of a bridge: readers take no lock, writers take turns, and memory has an end.

When there is no room, the port that is in most groups gives up the one it was silent about for
longest. So a guest that joins groups at random loses its own.
"""
from libc.stdint cimport int16_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memset

from pmd_ext.atomics cimport (
    cas_u32, fence_acquire, fence_release, load_acquire_u32, load_relaxed_u32, store_release_u32,
)
from pmd_ext.dpdk.eal cimport rte_pause
from pmd_ext.dpdk.net cimport rte_jhash, rte_jhash_2words
from pmd_ext.slotsets cimport SLOT_WORDS, slot_add, slot_set

cdef enum:
    VLANS = 4096
    JOINED_LEAST = 16384        # room for ports in groups: so many, and more for each group
    JOINED_EACH = 8
    READ_TRIES = 16             # a writer is some stores long; a preempted one must not stop readers
    READ_STEPS = 64             # of a chain that may change meanwhile
    LOCK_TRIES = 4096           # of a PMD; likewise


cdef uint32_t power_of_two(uint32_t least) noexcept nogil:
    cdef uint32_t n = 1
    while n < least:
        n *= 2
    return n


cdef group_table *group_table_new(uint32_t max_groups, uint32_t secret) noexcept nogil:
    """Its memory is there once touched."""
    cdef group_table *t = <group_table *>calloc(1, sizeof(group_table))
    cdef uint32_t slot, head
    if t == NULL:
        return NULL
    t.secret, t.max_groups = secret, max_groups
    t.max_joined = JOINED_LEAST + JOINED_EACH * max_groups
    t.joined_end = t.max_joined + 1
    t.mask = power_of_two(max_groups) - 1
    t.joined_mask = power_of_two(t.max_joined) - 1
    t.groups = <group *>calloc(1 + max_groups + VLANS, sizeof(group))
    t.all = <joined *>calloc(t.joined_end + SLOTS, sizeof(joined))
    t.group_heads = <uint32_t *>calloc(t.mask + 1, sizeof(uint32_t))
    t.joined_heads = <uint32_t *>calloc(t.joined_mask + 1, sizeof(uint32_t))
    if t.groups == NULL or t.all == NULL or t.group_heads == NULL or t.joined_heads == NULL:
        group_table_free(t)
        return NULL
    for slot in range(<uint32_t>SLOTS):
        head = t.joined_end + slot
        t.all[head].older = t.all[head].newer = head
    return t


cdef void group_table_free(group_table *t) noexcept nogil:
    free(t.groups)
    free(t.all)
    free(t.group_heads)
    free(t.joined_heads)
    free(t)


# --- the lock -------------------------------------------------------------------------------------

cdef inline bint try_lock(group_table *t) noexcept nogil:
    cdef uint32_t version = load_relaxed_u32(&t.version)
    if version & 1 or not cas_u32(&t.version, version, version + 1):
        return False
    fence_release()             # the odd version is seen before any store that follows
    return True


cdef inline bint try_hard(group_table *t) noexcept nogil:
    cdef int tries = 0
    while tries < LOCK_TRIES:
        tries += 1
        if try_lock(t):
            return True
        rte_pause()
    return False


cdef inline void lock(group_table *t) noexcept nogil:
    while not try_lock(t):
        rte_pause()


cdef inline void unlock(group_table *t) noexcept nogil:
    store_release_u32(&t.version, t.version + 1)


# --- finding --------------------------------------------------------------------------------------

cdef inline uint32_t *head_of(group_table *t, uint16_t vlan, const uint8_t *address) noexcept nogil:
    return &t.group_heads[rte_jhash(address, ADDRESS_BYTES, t.secret ^ vlan) & t.mask]


cdef inline uint32_t *joined_head(group_table *t, uint32_t g, uint16_t slot) noexcept nogil:
    return &t.joined_heads[rte_jhash_2words(g, slot, t.secret) & t.joined_mask]


cdef inline uint32_t routers_of(const group_table *t, uint16_t vlan) noexcept nogil:
    return 1 + t.max_groups + vlan


cdef inline uint32_t find(group_table *t, uint16_t vlan, const uint8_t *address,
                          uint32_t steps) noexcept nogil:
    """The group, or 0; looks at no more than 'steps' of the chain."""
    cdef uint32_t i = head_of(t, vlan, address)[0]
    while i and steps:
        if (t.groups[i].vlan == vlan
                and memcmp(t.groups[i].address, address, ADDRESS_BYTES) == 0):
            return i
        i = t.groups[i].chain
        steps -= 1
    return 0


cdef inline uint32_t find_joined(group_table *t, uint32_t g, uint16_t slot) noexcept nogil:
    cdef uint32_t i = joined_head(t, g, slot)[0]
    while i and (t.all[i].group != g or t.all[i].slot != slot):
        i = t.all[i].chain
    return i


cdef inline void add_slots(slot_set *found, const slot_set *more) noexcept nogil:
    cdef int i
    for i in range(SLOT_WORDS):
        found.bits[i] |= more.bits[i]


cdef int group_lookup(group_table *t, uint16_t vlan, const uint8_t *address,
                      slot_set *found) noexcept nogil:
    cdef slot_set read
    cdef uint32_t version, g
    cdef int tries = 0
    while tries < READ_TRIES:
        tries += 1
        version = load_acquire_u32(&t.version)
        if version & 1:
            rte_pause()
            continue
        g = find(t, vlan, address, READ_STEPS) if address != NULL else 0
        read = t.groups[routers_of(t, vlan)].ports
        if g:
            add_slots(&read, &t.groups[g].ports)
        fence_acquire()
        if load_relaxed_u32(&t.version) == version:
            add_slots(found, &read)
            return GROUP_KNOWN if g else GROUP_UNKNOWN
    return GROUP_BUSY


# --- adding and removing; the caller has the lock -------------------------------------------------

cdef inline void unlink(joined *all, uint32_t i) noexcept nogil:
    all[all[i].older].newer = all[i].newer
    all[all[i].newer].older = all[i].older


cdef inline void link_newest(joined *all, uint32_t head, uint32_t i) noexcept nogil:
    all[i].older, all[i].newer = all[head].older, head
    all[all[i].older].newer = i
    all[head].older = i


cdef void remove_group(group_table *t, uint32_t g) noexcept nogil:
    cdef uint32_t *at = head_of(t, t.groups[g].vlan, t.groups[g].address)
    while at[0] != g:
        at = &t.groups[at[0]].chain
    at[0] = t.groups[g].chain
    t.groups[g].chain, t.free_group = t.free_group, g
    t.n_groups -= 1


cdef void remove(group_table *t, uint32_t i) noexcept nogil:
    cdef joined *j = &t.all[i]
    cdef group *g = &t.groups[j.group]
    cdef uint32_t *at = joined_head(t, j.group, j.slot)
    while at[0] != i:
        at = &t.all[at[0]].chain
    at[0] = j.chain
    unlink(t.all, i)
    g.ports.bits[j.slot >> 6] &= ~(<uint64_t>1 << (j.slot & 63))
    g.n_ports -= 1
    if g.n_ports == 0 and j.group <= t.max_groups:
        remove_group(t, j.group)
    t.owned[j.slot] -= 1
    if t.owned[j.slot] == 0:
        t.n_owners -= 1
    t.n_joined -= 1
    j.group = 0
    j.chain, t.free_joined = t.free_joined, i


cdef uint32_t who_gives_way(const group_table *t, uint16_t slot) noexcept nogil:
    """The slot itself when it is in as many groups as the others on average, else the one that is
    in most: so a guest that joins and joins makes nobody search."""
    cdef uint32_t i, most = 0
    if <uint64_t>t.owned[slot] * t.n_owners >= t.n_joined:
        return slot
    for i in range(<uint32_t>SLOTS):
        if t.owned[i] > t.owned[most]:
            most = i
    return most


cdef void make_room(group_table *t, bint for_group, uint16_t slot) noexcept nogil:
    while ((for_group and t.n_groups >= t.max_groups) or t.n_joined >= t.max_joined):
        remove(t, t.all[t.joined_end + who_gives_way(t, slot)].newer)


cdef uint32_t add_group(group_table *t, uint16_t vlan, const uint8_t *address) noexcept nogil:
    cdef uint32_t *head = head_of(t, vlan, address)
    cdef uint32_t i = t.free_group
    if i:
        t.free_group = t.groups[i].chain
    else:
        t.used_groups += 1
        i = t.used_groups
    memset(&t.groups[i], 0, sizeof(group))
    memcpy(t.groups[i].address, address, ADDRESS_BYTES)
    t.groups[i].vlan = vlan
    t.groups[i].chain, head[0] = head[0], i
    t.n_groups += 1
    return i


cdef uint32_t add_joined(group_table *t, uint32_t g, uint16_t slot) noexcept nogil:
    cdef uint32_t *head = joined_head(t, g, slot)
    cdef uint32_t i = t.free_joined
    if i:
        t.free_joined = t.all[i].chain
    else:
        t.used_joined += 1
        i = t.used_joined
    t.all[i].group, t.all[i].slot = g, slot
    t.all[i].chain, head[0] = head[0], i
    link_newest(t.all, t.joined_end + slot, i)
    slot_add(&t.groups[g].ports, slot)
    t.groups[g].n_ports += 1
    t.n_owners += t.owned[slot] == 0
    t.owned[slot] += 1
    t.n_joined += 1
    return i


cdef void refresh(group_table *t, uint32_t g, uint16_t slot, uint16_t now_s) noexcept nogil:
    """The slot is in the group, as of now; there is room for it."""
    cdef uint32_t i = find_joined(t, g, slot)
    if i == 0:
        i = add_joined(t, g, slot)
    else:
        unlink(t.all, i)
        link_newest(t.all, t.joined_end + slot, i)
    t.serial += 1
    t.all[i].refreshed, t.all[i].serial = now_s, t.serial


# --- what PMDs learn ------------------------------------------------------------------------------

cdef void group_join(group_table *t, uint16_t vlan, const uint8_t *address, uint16_t protocol,
                     uint16_t slot, uint16_t now_s) noexcept nogil:
    cdef uint32_t g
    if not try_hard(t):
        return
    g = find(t, vlan, address, t.max_groups)
    if g == 0 or find_joined(t, g, slot) == 0:
        make_room(t, g == 0, slot)
        g = find(t, vlan, address, t.max_groups)    # making room may have removed it
        if g == 0:
            g = add_group(t, vlan, address)
    t.groups[g].protocol = protocol
    refresh(t, g, slot, now_s)
    unlock(t)


cdef void group_leave(group_table *t, uint16_t vlan, const uint8_t *address,
                      uint16_t slot) noexcept nogil:
    cdef uint32_t g, i
    if not try_hard(t):
        return
    g = find(t, vlan, address, t.max_groups)
    i = find_joined(t, g, slot) if g else 0
    if i:
        remove(t, i)
    unlock(t)


cdef void router_join(group_table *t, uint16_t vlan, uint16_t slot, uint16_t now_s) noexcept nogil:
    cdef uint32_t g = routers_of(t, vlan)
    if not try_hard(t):
        return
    t.groups[g].vlan, t.groups[g].protocol = vlan, ROUTER
    if find_joined(t, g, slot) == 0:
        make_room(t, False, slot)
    refresh(t, g, slot, now_s)
    unlock(t)


# --- what main does -------------------------------------------------------------------------------

cdef inline bint is_aged(const group_table *t, uint32_t i, uint16_t aging_s, uint16_t router_aging_s,
                         uint16_t now_s) noexcept nogil:
    cdef uint32_t g = t.all[i].group
    cdef int age = <int16_t>(now_s - t.all[i].refreshed)
    return g != 0 and age >= <int>(router_aging_s if g > t.max_groups else aging_s)


cdef void group_expire(group_table *t, uint16_t aging_s, uint16_t router_aging_s,
                       uint16_t now_s) noexcept nogil:
    cdef uint32_t i
    for i in range(1, load_relaxed_u32(&t.used_joined) + 1):
        if not is_aged(t, i, aging_s, router_aging_s, now_s):
            continue
        lock(t)                 # for one at a time: PMDs do not wait long
        if is_aged(t, i, aging_s, router_aging_s, now_s):
            remove(t, i)
        unlock(t)


cdef void group_flush(group_table *t, int slot) noexcept nogil:
    cdef uint32_t i
    for i in range(1, load_relaxed_u32(&t.used_joined) + 1):
        if t.all[i].group == 0 or (slot >= 0 and t.all[i].slot != slot):
            continue
        lock(t)
        if t.all[i].group != 0 and (slot < 0 or t.all[i].slot == slot):
            remove(t, i)
        unlock(t)


cdef bint group_read(group_table *t, uint32_t entry, group_row *row) noexcept nogil:
    cdef const joined *j = &t.all[entry]
    cdef const group *g
    cdef uint32_t version
    cdef bint found
    while True:
        version = load_acquire_u32(&t.version)
        if version & 1:
            rte_pause()
            continue
        g = &t.groups[j.group]
        found = j.group != 0
        row.slot, row.refreshed, row.serial = j.slot, j.refreshed, j.serial
        row.vlan, row.protocol = g.vlan, g.protocol
        memcpy(row.address, g.address, ADDRESS_BYTES)
        fence_acquire()
        if load_relaxed_u32(&t.version) == version:
            return found
