"""What a port's front end has said so far, for who asks why it has no guest.

The library shows each message before it handles it. What is noted of them wakes nobody: main reads
it when it looks. It stays after the connection, until the next one says something: a QEMU that
gives up is connected to once more before it is gone, and says nothing then.
"""
from libc.string cimport memset

from pmd_ext.dpdk.vhost cimport (
    RTE_VHOST_MSG_RESULT_NOT_HANDLED, rte_vhost_extern_callback_register, rte_vhost_msg_result,
    rte_vhost_user_extern_ops,
)
from pmd_ext.message cimport SET_FEATURES, SET_MEM_TABLE, shim_message
from pmd_ext.rings cimport rings_after, rings_before
from pmd_ext.state cimport dataplane, dataplane_get, slot


cdef rte_vhost_user_extern_ops _ops     # the library keeps the pointer


cdef slot *slot_of_connection(int vid) noexcept nogil:
    """NULL for one that a newer has replaced."""
    cdef dataplane *dp = dataplane_get()
    if dp.vid_slot[vid] < 0 or dp.slots[dp.vid_slot[vid]].connection != vid:
        return NULL
    return &dp.slots[dp.vid_slot[vid]]


cdef int handshake_begin(slot *s, int vid) noexcept nogil:
    s.said.heard = 0
    s.said.was_ready = False
    _ops.pre_msg_handle = on_message
    _ops.post_msg_handle = on_message_handled
    return rte_vhost_extern_callback_register(vid, &_ops, NULL)


cdef void handshake_done(slot *s) noexcept nogil:
    s.said.was_ready = True
    s.said.given_up = 0


cdef void handshake_end(slot *s) noexcept nogil:
    if s.said.heard and not s.said.was_ready:
        s.said.given_up += 1
    s.said.heard = 0


cdef void handshake_forget(slot *s) noexcept nogil:
    memset(&s.said, 0, sizeof(s.said))


cdef rte_vhost_msg_result on_message(int vid, void *message) noexcept nogil:
    cdef shim_message *m = <shim_message *>message
    cdef slot *s = slot_of_connection(vid)
    if s == NULL:
        return RTE_VHOST_MSG_RESULT_NOT_HANDLED
    if s.said.heard == 0:
        s.said.asked = 0
        s.said.regions = 0
        s.said.withheld = False
    s.said.heard += 1
    s.said.last_request = m.request
    if m.request == SET_FEATURES:
        s.said.asked = m.u.number
    elif m.request == SET_MEM_TABLE:
        s.said.regions = m.u.memory.n
        s.said.withheld = False
    return (rings_before(vid, m) if s.iotlb else RTE_VHOST_MSG_RESULT_NOT_HANDLED)


cdef rte_vhost_msg_result on_message_handled(int vid, void *message) noexcept nogil:
    cdef slot *s = slot_of_connection(vid)
    if s != NULL and s.iotlb:
        rings_after(vid, <shim_message *>message)
    return RTE_VHOST_MSG_RESULT_NOT_HANDLED
