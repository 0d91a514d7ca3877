# Addresses that moved lately between the ports of one bridge, and which of them are damped.
from libc.stdint cimport uint16_t, uint32_t, uint64_t

cdef enum:
    FLAPS = 256                 # addresses that are watched at a time; direct mapped

cdef enum:
    MOVE_ALLOWED
    MOVE_HELD                   # the address stays where it is for now
    MOVE_LATER                  # another PMD looks just now: the next frame should try

cdef struct mac_flap:
    uint64_t key                # mac_key(); 0: free
    uint16_t since_s            # when its moves began to be counted
    uint16_t last_s             # when something last tried to move it
    uint16_t held_s             # when it was held last
    uint16_t moves
    uint16_t slots[2]           # from and to, last
    uint16_t flapping           # it was held and is not quiet since
    uint16_t unused

# PMDs and main read and write with the lock: PMDs only try for it, main waits for it.
cdef struct mac_flaps:
    uint32_t lock
    mac_flap entries[FLAPS]

# PMDs. Whether the address may move from one slot to another now; counts the move.
cdef int flap_check(mac_flaps *f, uint32_t hash, uint64_t key, uint16_t old, uint16_t new,
                    uint16_t now_s) noexcept nogil
# Main. Forgets what is quiet, or concerns one of the slots (a bit each; NULL: none); copies what
# is left of those that flap, at most FLAPS; returns how many.
cdef uint32_t flaps_look(mac_flaps *f, const uint64_t *gone, mac_flap *out, uint16_t now_s
                         ) noexcept nogil
