"""One frame from or to a device of the host's kernel: a tap, or another device's packet socket.

Each has a virtio-net header in front. A tap is told that nothing is left to others (no offloads),
so its header says nothing. On a packet socket the kernel leaves checksums of local senders to the
device, which are completed here, and segmentation, which is not: such frames are dropped. It takes
off the outermost VLAN tag, too, which is put back.
"""
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memcpy, memmove, memset

from pmd_ext.dpdk.mbuf cimport rte_mbuf
from pmd_ext.state cimport host_port


cdef extern from * nogil:
    """
    #include <linux/if_packet.h>
    #include <linux/virtio_net.h>
    #include <string.h>
    #include <sys/socket.h>
    #include <unistd.h>

    /* Control messages need macros. 'tag' is what the kernel took off the frame: TPID and TCI. */
    static ssize_t
    shim_packet_receive(int fd, void *buffer, size_t bytes, uint32_t *tag)
    {
        union {
            struct cmsghdr head;
            char space[CMSG_SPACE(sizeof(struct tpacket_auxdata))];
        } control;
        struct iovec part = { buffer, bytes };
        struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control,
                                  .msg_controllen = sizeof control };
        struct tpacket_auxdata about;
        struct cmsghdr *c;
        ssize_t n = recvmsg(fd, &message, MSG_DONTWAIT | MSG_TRUNC);

        *tag = 0;
        if (n < 0)
            return -1;
        for (c = CMSG_FIRSTHDR(&message); c != NULL; c = CMSG_NXTHDR(&message, c)) {
            if (c->cmsg_level != SOL_PACKET || c->cmsg_type != PACKET_AUXDATA)
                continue;
            memcpy(&about, CMSG_DATA(c), sizeof about);
            if (about.tp_status & TP_STATUS_VLAN_VALID)
                *tag = (about.tp_status & TP_STATUS_VLAN_TPID_VALID
                        ? (uint32_t)about.tp_vlan_tpid << 16 : 0x81000000u) | about.tp_vlan_tci;
        }
        return n;
    }
    """
    struct virtio_net_hdr:
        uint8_t flags
        uint8_t gso_type
        uint16_t csum_start
        uint16_t csum_offset
    enum:
        VIRTIO_NET_HDR_F_NEEDS_CSUM
        VIRTIO_NET_HDR_GSO_NONE
        MSG_DONTWAIT
        MSG_NOSIGNAL
    ssize_t shim_packet_receive(int fd, void *buffer, size_t bytes, uint32_t *tag)
    ssize_t read(int fd, void *buffer, size_t bytes)
    ssize_t write(int fd, const void *buffer, size_t bytes)
    ssize_t send(int fd, const void *buffer, size_t bytes, int flags)

cdef extern from "rte_ip.h" nogil:
    uint16_t rte_raw_cksum(const void *data, size_t bytes)

cdef extern from "shim.h" nogil:
    uint8_t *shim_mbuf_data(rte_mbuf *m)
    void shim_store_be16(uint8_t *p, uint16_t v)

cdef enum:
    HEADER = 10                 # struct virtio_net_hdr, in the buffer's headroom
    ADDRESSES = 12
    TAG = 4


cdef bint complete_checksum(uint8_t *frame, size_t bytes, uint16_t start,
                            uint16_t offset) noexcept nogil:
    """False when it would stand outside the frame."""
    cdef size_t place = <size_t>start + offset
    cdef uint16_t sum
    if place + 2 > bytes:
        return False
    sum = ~rte_raw_cksum(frame + start, bytes - start)
    if sum == 0:
        sum = 0xffff            # 0 is UDP's word for none
    memcpy(frame + place, &sum, sizeof(sum))    # sums are as they lie in the frame
    return True


cdef void put_tag_back(rte_mbuf *m, uint32_t tag) noexcept nogil:
    cdef uint8_t *data
    m.data_off -= TAG
    m.data_len += TAG
    m.pkt_len += TAG
    data = shim_mbuf_data(m)
    memmove(data, data + TAG, ADDRESSES)
    shim_store_be16(data + ADDRESSES, <uint16_t>(tag >> 16))
    shim_store_be16(data + ADDRESSES + 2, <uint16_t>tag)


cdef int host_receive(host_port *port, rte_mbuf *m) noexcept nogil:
    cdef uint8_t *data = shim_mbuf_data(m)
    cdef virtio_net_hdr *header = <virtio_net_hdr *>(data - HEADER)
    cdef ssize_t room = m.buf_len - m.data_off, n
    cdef uint32_t tag = 0
    if port.packet:
        n = shim_packet_receive(port.fd, header, HEADER + room, &tag)
    else:
        n = read(port.fd, header, HEADER + room)
    if n < 0:
        if port.packet or errno in (EAGAIN, EINTR):
            return IO_NOTHING   # reading an error of a socket clears it
        port.error = errno
        return IO_GONE
    n -= HEADER
    if n < 0:
        return IO_BROKEN
    if header.gso_type != VIRTIO_NET_HDR_GSO_NONE:
        return IO_SEGMENTABLE   # the place to cut it into segments
    if n >= room:
        return IO_OVERSIZE      # a tap does not say how much it cut off
    if (header.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM
            and not complete_checksum(data, n, header.csum_start, header.csum_offset)):
        return IO_BROKEN
    m.data_len = <uint16_t>n
    m.pkt_len = <uint32_t>n
    if tag and n >= ADDRESSES:
        put_tag_back(m, tag)
    return IO_FRAME


cdef bint host_send(host_port *port, rte_mbuf *m) noexcept nogil:
    cdef uint8_t *header = shim_mbuf_data(m) - HEADER
    cdef size_t bytes = HEADER + m.data_len
    # more segments: for a moment its pool had room for less than its MTU
    if m.nb_segs != 1:
        return False
    memset(header, 0, HEADER)
    if port.packet:
        return send(port.fd, header, bytes, MSG_DONTWAIT | MSG_NOSIGNAL) == <ssize_t>bytes
    return write(port.fd, header, bytes) == <ssize_t>bytes
