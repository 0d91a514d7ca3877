"""One frame from or to a device of the host's kernel: a tap, or another device's packet socket.

Each has a virtio-net header in front, by which the kernel leaves checksums and TCP segmentation to
us and we to it. A tap was told what it may leave; on a packet socket local senders and the
device's own merging leave what they like. A checksum that was left is completed here, a long frame
goes on as guests' do. A packet socket takes off the outermost VLAN tag, too, which is put back.
"""
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memmove, memset

from pmd_ext.atomics cimport store_relaxed_u32
from pmd_ext.dpdk.mbuf cimport (
    RTE_BAD_IOVA, RTE_MBUF_F_RX_L4_CKSUM_NONE, RTE_MBUF_F_RX_LRO, RTE_MBUF_F_TX_IPV4,
    RTE_MBUF_F_TX_L4_MASK, RTE_MBUF_F_TX_TCP_CKSUM, RTE_MBUF_F_TX_TCP_SEG, RTE_PKTMBUF_HEADROOM,
    rte_mbuf, rte_mbuf_ext_shared_info, rte_pktmbuf_attach_extbuf,
    rte_pktmbuf_ext_shinfo_init_helper,
)
from pmd_ext.dpdk.net cimport (
    rte_ipv4_hdr, rte_ipv4_phdr_cksum, rte_ipv6_hdr, rte_ipv6_phdr_cksum, rte_raw_cksum,
)
from pmd_ext.offload cimport TCP_CHECKSUM, UDP_CHECKSUM
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
    shim_packet_receive(int fd, struct iovec *parts, int n_parts, uint32_t *tag)
    {
        union {
            struct cmsghdr head;
            char space[CMSG_SPACE(sizeof(struct tpacket_auxdata))];
        } control;
        struct msghdr message = { .msg_iov = parts, .msg_iovlen = n_parts, .msg_control = &control,
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

    static ssize_t
    shim_packet_send(int fd, struct iovec *parts, int n_parts)
    {
        struct msghdr message = { .msg_iov = parts, .msg_iovlen = n_parts };

        return sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    }
    """
    struct virtio_net_hdr:
        uint8_t flags
        uint8_t gso_type
        uint16_t hdr_len
        uint16_t gso_size
        uint16_t csum_start
        uint16_t csum_offset
    enum:
        VIRTIO_NET_HDR_F_NEEDS_CSUM
        VIRTIO_NET_HDR_GSO_NONE
        VIRTIO_NET_HDR_GSO_TCPV4
        VIRTIO_NET_HDR_GSO_TCPV6
        VIRTIO_NET_HDR_GSO_ECN
    ssize_t shim_packet_receive(int fd, iovec *parts, int n_parts, uint32_t *tag)
    ssize_t shim_packet_send(int fd, iovec *parts, int n_parts)

cdef extern from "sys/uio.h" nogil:
    struct iovec:
        void *iov_base
        size_t iov_len
    ssize_t readv(int fd, iovec *parts, int n_parts)
    ssize_t writev(int fd, iovec *parts, int n_parts)

cdef extern from "shim.h" nogil:
    uint8_t *shim_mbuf_data(rte_mbuf *m)
    void shim_store_be16(uint8_t *p, uint16_t v)

cdef enum:
    HEADER = 10                 # struct virtio_net_hdr, in the buffer's headroom
    ADDRESSES = 12
    TAG = 4
    LONGEST = 65535             # bytes of memory for a long frame, as DPDK counts them
    BUFFERS_MOST = 80           # that one frame is in, when it is sent
    # in memory that holds a long frame: headroom and DPDK's own word, aligned
    BESIDE = RTE_PKTMBUF_HEADROOM + sizeof(rte_mbuf_ext_shared_info) + sizeof(void *)

# The host thread's memory for the next long frame; NULL: the last one took it.
cdef uint8_t *_memory = NULL


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


cdef void free_long(void *memory, void *_) noexcept nogil:
    free(memory)


cdef inline void hold_long(rte_mbuf *m, size_t room) noexcept nogil:
    """Gives the mbuf the memory, which has all of a frame but its first 'room' bytes. malloc's and
    not DPDK's: the thread may lose its core under that one's lock, for which PMDs would wait."""
    global _memory
    cdef uint16_t size = LONGEST
    cdef rte_mbuf_ext_shared_info *shared = rte_pktmbuf_ext_shinfo_init_helper(
        _memory, &size, free_long, _memory)
    memcpy(_memory + RTE_PKTMBUF_HEADROOM, shim_mbuf_data(m), room)
    rte_pktmbuf_attach_extbuf(m, _memory, RTE_BAD_IOVA, size, shared)
    m.data_off = RTE_PKTMBUF_HEADROOM
    _memory = NULL


cdef bint is_tcp(uint8_t gso_type) noexcept nogil:
    gso_type &= <uint8_t>~VIRTIO_NET_HDR_GSO_ECN
    return gso_type == VIRTIO_NET_HDR_GSO_TCPV4 or gso_type == VIRTIO_NET_HDR_GSO_TCPV6


cdef int host_receive(host_port *port, rte_mbuf *m) noexcept nogil:
    cdef uint8_t *data = shim_mbuf_data(m)
    cdef virtio_net_hdr *header = <virtio_net_hdr *>(data - HEADER)
    cdef ssize_t room = m.buf_len - m.data_off, n
    cdef uint32_t tag = 0
    cdef iovec parts[2]
    global _memory
    if _memory == NULL:
        _memory = <uint8_t *>malloc(LONGEST)
        if _memory == NULL:
            return IO_NOTHING   # frames wait in the kernel meanwhile
    parts[0].iov_base, parts[0].iov_len = header, HEADER + room
    # what does not fit in the buffer comes to where it will be, behind the rest
    parts[1].iov_base = _memory + RTE_PKTMBUF_HEADROOM + room
    parts[1].iov_len = max(1, LONGEST - BESIDE - room)
    if port.packet:
        n = shim_packet_receive(port.fd, parts, 2, &tag)
    else:
        n = readv(port.fd, parts, 2)
    if n < 0:
        if port.packet or errno in (EAGAIN, EINTR):
            return IO_NOTHING   # reading an error of a socket clears it
        store_relaxed_u32(&port.error, errno)
        return IO_GONE
    n -= HEADER
    if n < 0:
        return IO_BROKEN
    if header.gso_type != VIRTIO_NET_HDR_GSO_NONE:
        if not is_tcp(header.gso_type):
            return IO_SEGMENTABLE
        m.tso_segsz = header.gso_size
        m.ol_flags |= RTE_MBUF_F_RX_LRO | RTE_MBUF_F_RX_L4_CKSUM_NONE
    if n > room:
        if not m.ol_flags & RTE_MBUF_F_RX_LRO or n >= LONGEST - BESIDE:
            return IO_OVERSIZE
        hold_long(m, room)
    if (header.gso_type == VIRTIO_NET_HDR_GSO_NONE and header.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM
            and not complete_checksum(data, n, header.csum_start, header.csum_offset)):
        return IO_BROKEN
    m.data_len = <uint16_t>n
    m.pkt_len = <uint32_t>n
    if tag and n >= ADDRESSES:
        put_tag_back(m, tag)
    return IO_FRAME


cdef void leave_to_kernel(virtio_net_hdr *header, rte_mbuf *m) noexcept nogil:
    """Says in the header what the kernel is to do of a frame (the mbuf has it for DPDK)."""
    cdef uint8_t *ip = shim_mbuf_data(m) + m.l2_len
    cdef bint four = m.ol_flags & RTE_MBUF_F_TX_IPV4 != 0
    cdef bint tcp = m.ol_flags & RTE_MBUF_F_TX_L4_MASK == RTE_MBUF_F_TX_TCP_CKSUM
    cdef uint16_t sum = (rte_ipv4_phdr_cksum(<rte_ipv4_hdr *>ip, 0) if four
                         else rte_ipv6_phdr_cksum(<rte_ipv6_hdr *>ip, 0))
    header.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM
    header.csum_start = m.l2_len + m.l3_len
    header.csum_offset = TCP_CHECKSUM if tcp else UDP_CHECKSUM
    memcpy(ip + m.l3_len + header.csum_offset, &sum, sizeof(sum))
    if m.ol_flags & RTE_MBUF_F_TX_TCP_SEG:
        header.gso_type = VIRTIO_NET_HDR_GSO_TCPV4 if four else VIRTIO_NET_HDR_GSO_TCPV6
        header.gso_size = m.tso_segsz
        header.hdr_len = header.csum_start + m.l4_len


cdef bint host_send(host_port *port, rte_mbuf *m) noexcept nogil:
    cdef uint8_t *header = shim_mbuf_data(m) - HEADER
    cdef ssize_t bytes = HEADER + m.pkt_len
    cdef iovec parts[BUFFERS_MOST]
    cdef int n = 1
    if m.nb_segs > BUFFERS_MOST:
        return False
    memset(header, 0, HEADER)
    if m.ol_flags & RTE_MBUF_F_TX_L4_MASK:
        leave_to_kernel(<virtio_net_hdr *>header, m)
    parts[0].iov_base, parts[0].iov_len = header, HEADER + m.data_len
    m = m.next
    while m != NULL:
        parts[n].iov_base, parts[n].iov_len = shim_mbuf_data(m), m.data_len
        n += 1
        m = m.next
    if port.packet:
        return shim_packet_send(port.fd, parts, n) == bytes
    return writev(port.fd, parts, n) == bytes
