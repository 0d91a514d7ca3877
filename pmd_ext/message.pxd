# The messages of a front end, as the library shows them to who looks at them.
from libc.stdint cimport uint8_t, uint32_t, uint64_t


cdef extern from * nogil:
    """
    #ifndef SHIM_MESSAGE
    #define SHIM_MESSAGE
    #include <stdint.h>

    #pragma pack(push, 1)
    struct shim_region { uint64_t guest, bytes, user, offset; };
    struct shim_state { uint32_t index, number; };
    struct shim_addr { uint32_t index, flags; uint64_t desc, used, avail, log; };
    struct shim_memory { uint32_t n, padding; struct shim_region regions[8]; };
    struct shim_iotlb { uint64_t iova, bytes, user; uint8_t access, kind; };
    struct shim_log { uint64_t bytes, offset; };
    /* What the library gives to who looks at its messages (vhost_user.h: struct vhu_msg_context,
     * which "can't be changed carelessly"): the message as the specification has it, in the room
     * of the longest, and the descriptors that came with it. */
    struct shim_message {
        uint32_t request, flags, bytes;
        union shim_payload {
            uint64_t number;
            struct shim_state state;
            struct shim_addr addr;
            struct shim_memory memory;
            struct shim_iotlb iotlb;
            struct shim_log log;
            uint8_t longest[632];
        } u;
        int fds[8];
        int n_fds;
    };
    #pragma pack(pop)
    #endif
    """
    struct shim_region:
        uint64_t guest
        uint64_t bytes
        uint64_t user
        uint64_t offset
    struct shim_state:
        uint32_t index
        uint32_t number
    struct shim_addr:
        uint32_t index
        uint64_t desc
        uint64_t used
        uint64_t avail
    struct shim_memory:
        uint32_t n
        shim_region *regions
    struct shim_iotlb:
        uint64_t iova
        uint64_t bytes
        uint64_t user
        uint8_t kind
    struct shim_log:
        uint64_t bytes
        uint64_t offset
    union shim_payload:
        uint64_t number
        shim_state state
        shim_addr addr
        shim_memory memory
        shim_iotlb iotlb
        shim_log log
    struct shim_message:
        uint32_t request
        uint32_t flags
        uint32_t bytes
        shim_payload u
        int *fds
        int n_fds

cdef enum:
    SET_FEATURES = 2
    RESET_OWNER = 4
    SET_MEM_TABLE = 5
    SET_LOG_BASE = 6
    SET_VRING_NUM = 8
    SET_VRING_ADDR = 9
    SET_VRING_BASE = 10
    GET_VRING_BASE = 11
    SET_VRING_KICK = 12
    SET_VRING_CALL = 13
    SET_BACKEND_REQ_FD = 21
    IOTLB_MSG = 22
    POSTCOPY_ADVISE = 28
    POSTCOPY_END = 30
    GET_INFLIGHT_FD = 31
    SET_INFLIGHT_FD = 32

    NEED_REPLY = 8              # of a message's flags
