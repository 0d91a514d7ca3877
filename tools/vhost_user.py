"""What vhost-user messages are made of: numbers of the specification, and layouts."""

import enum
import mmap
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress

NET_F_CSUM = 1 << 0  # the guest may leave checksums to the switch
NET_F_MTU = 1 << 3
NET_F_HOST_TSO4 = 1 << 11
NET_F_HOST_TSO6 = 1 << 12
NET_F_MRG_RXBUF = 1 << 15
NET_F_MQ = 1 << 22
F_LOG_ALL = 1 << 26
RING_F_INDIRECT_DESC = 1 << 28
VHOST_USER_F_PROTOCOL_FEATURES = 1 << 30
F_VERSION_1 = 1 << 32
F_ACCESS_PLATFORM = 1 << 33
F_RING_PACKED = 1 << 34
PROTOCOL_F_MQ = 1 << 0
PROTOCOL_F_LOG_SHMFD = 1 << 1
PROTOCOL_F_REPLY_ACK = 1 << 3
PROTOCOL_F_NET_MTU = 1 << 4
PROTOCOL_F_BACKEND_REQ = 1 << 5
PROTOCOL_F_INFLIGHT_SHMFD = 1 << 12

IOTLB_READ_WRITE, IOTLB_MISS, IOTLB_UPDATE = 3, 1, 2

VHOST_USER_VERSION = 1
NEED_REPLY = 1 << 3  # flag of a message: say whether it worked
VRING_NO_FD = 1 << 8

MESSAGE = struct.Struct("<III")  # request, flags, payload bytes
IOTLB = struct.Struct("<QQQBB6x")  # address, bytes, user address, permission, kind


class Request(enum.IntEnum):
    GET_FEATURES = 1
    SET_FEATURES = 2
    SET_OWNER = 3
    RESET_OWNER = 4
    SET_MEM_TABLE = 5
    SET_LOG_BASE = 6
    SET_LOG_FD = 7
    SET_VRING_NUM = 8
    SET_VRING_ADDR = 9
    SET_VRING_BASE = 10
    GET_VRING_BASE = 11
    SET_VRING_KICK = 12
    SET_VRING_CALL = 13
    SET_VRING_ERR = 14
    GET_PROTOCOL_FEATURES = 15
    SET_PROTOCOL_FEATURES = 16
    GET_QUEUE_NUM = 17
    SET_VRING_ENABLE = 18
    SEND_RARP = 19
    NET_SET_MTU = 20
    SET_BACKEND_REQ_FD = 21
    IOTLB_MSG = 22
    GET_CONFIG = 24
    SET_CONFIG = 25
    CREATE_CRYPTO_SESSION = 26
    CLOSE_CRYPTO_SESSION = 27
    POSTCOPY_ADVISE = 28
    POSTCOPY_LISTEN = 29
    POSTCOPY_END = 30
    GET_INFLIGHT_FD = 31
    SET_INFLIGHT_FD = 32
    SET_STATUS = 39
    GET_STATUS = 40


def message_of(request: int, payload: bytes = b"", flags: int = 0, size: int | None = None
               ) -> bytes:
    """A message of these flags besides the version, that says `size` bytes follow, true or not."""
    said = len(payload) if size is None else size
    return MESSAGE.pack(request, VHOST_USER_VERSION | flags, said) + payload


def asked_pages(backend: socket.socket) -> Iterator[int]:
    """The pages whose translation the switch has asked for; never blocks."""
    with suppress(BlockingIOError):
        while message := backend.recv(MESSAGE.size + IOTLB.size):
            address, _, _, _, kind = IOTLB.unpack_from(message, MESSAGE.size)
            if kind != IOTLB_MISS:
                raise ConnectionError(f"the switch asks what no switch does: {message.hex()}")
            yield address - address % mmap.PAGESIZE


def translation(address: int, size: int, user: int) -> bytes:
    """Payload of the message that says where so many bytes are."""
    return IOTLB.pack(address, size, user, IOTLB_READ_WRITE, IOTLB_UPDATE)
