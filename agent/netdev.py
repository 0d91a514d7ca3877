"""Devices of the host's kernel: the only place with ioctls. An OSError says in words what is wrong.

All of it concerns the network namespace that the agent runs in.
"""
from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from fcntl import ioctl

from agent.host_model import Link

TUN = "/dev/net/tun"
TUNSETIFF, TUNSETPERSIST, TUNSETOFFLOAD = 0x400454CA, 0x400454CB, 0x400454D0
TUNGETIFF = 0x800454D2
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
TUN_F_CSUM, TUN_F_TSO4, TUN_F_TSO6 = 0x01, 0x02, 0x04
IFF_UP, IFF_RUNNING = 0x1, 0x40
SIOCGIFFLAGS, SIOCGIFMTU, SIOCSIFMTU = 0x8913, 0x8921, 0x8922
SIOCSIFHWADDR, SIOCGIFHWADDR, SIOCGIFINDEX, SIOCETHTOOL = 0x8924, 0x8927, 0x8933, 0x8946
ETHTOOL_GDRVINFO = 3
DRVINFO_BYTES = 196
ARPHRD_ETHER = 1
ETH_P_ALL = 0x0003
SOL_PACKET, PACKET_ADD_MEMBERSHIP, PACKET_AUXDATA = 263, 1, 8
PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING = 15, 23
PACKET_MR_PROMISC = 1
PACKET_STATISTICS = 6
TX_DROP = 11                    # word of a line of /proc/net/dev, behind the name
RTMGRP_LINK = 1
RTM_NEWLINK, NLM_F_REQUEST_AND_ACK = 16, 5
RTM_GETLINK, NLM_F_REQUEST = 18, 1
IFLA_PROMISCUITY = 30
ATTRIBUTES_AT = 32              # in the answer to RTM_GETLINK
RECEIVE_BYTES = 1 << 20         # that may wait in a packet socket; the kernel may grant less
EVENT_BYTES = 1 << 16

NO_PERMISSION = "it needs CAP_NET_ADMIN and CAP_NET_RAW, run the agent as root or grant them"


def request(name: str, rest: bytes = b"") -> bytes:
    """A struct ifreq."""
    return struct.pack("16s24s", name.encode(), rest)


def ask(number: int, name: str, rest: bytes = b"") -> bytes:
    """What the kernel answers to an ioctl about the device, behind its name."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        return ioctl(any_socket, number, request(name, rest))[16:]


def open_tap(name: str) -> int:
    """A descriptor of the tap of that name, made when there is none: then it goes when the
    descriptor is closed. A tap that was there already, and that nobody has open, stays."""
    try:
        fd = os.open(TUN, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as e:
        if e.errno in (errno.ENOENT, errno.ENXIO, errno.ENODEV):
            raise OSError(e.errno, f"there is no {TUN} (modprobe tun)") from e
        raise OSError(e.errno, f"no permission to open {TUN}") from e
    try:
        ioctl(fd, TUNSETIFF, request(name, struct.pack("H", IFF_TAP | IFF_NO_PI | IFF_VNET_HDR)))
    except OSError as e:
        os.close(fd)
        why = {errno.EINVAL: "the name is taken by a device that is no tap",
               errno.EBUSY: "the name is taken by a tap that another process has open",
               errno.EPERM: f"no permission to make a tap: {NO_PERMISSION}"}
        raise OSError(e.errno, why.get(e.errno or 0, f"no tap: {e.strerror}")) from e
    return fd


def set_tap_offloads(fd: int, on: bool) -> None:
    """Whether the kernel leaves checksums and segmentation of TCP to who reads from the tap; else
    it does both itself."""
    ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 if on else 0)


def set_tap_lasting(fd: int, lasts: bool) -> None:
    """Whether the tap of open_tap() stays when its descriptor is closed."""
    ioctl(fd, TUNSETPERSIST, int(lasts))


def has_tap(fd: int) -> bool:
    """Whether the tap of open_tap() is there still, in whatever network namespace."""
    try:
        ioctl(fd, TUNGETIFF, request(""))
    except OSError:
        return False
    return True


def open_packet(name: str) -> int:
    """A descriptor that gives and takes the frames of the Ethernet device of that name. The device
    is promiscuous while it is open."""
    try:
        opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
    except PermissionError as e:
        raise OSError(e.errno, f"no permission to open it: {NO_PERMISSION}") from e
    with opened:
        try:
            for option in (PACKET_VNET_HDR, PACKET_AUXDATA, PACKET_IGNORE_OUTGOING):
                opened.setsockopt(SOL_PACKET, option, 1)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
            (kind,) = struct.unpack_from("H", ask(SIOCGIFHWADDR, name))
            if kind != ARPHRD_ETHER:
                raise OSError(errno.EINVAL, "it is no Ethernet device")
            opened.bind((name, ETH_P_ALL))
            (ifindex,) = struct.unpack_from("i", ask(SIOCGIFINDEX, name))
            opened.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP,
                              struct.pack("iHH8s", ifindex, PACKET_MR_PROMISC, 0, b""))
        except OSError as e:
            if e.errno in (errno.ENODEV, errno.ENXIO):
                raise OSError(errno.ENODEV, "there is no device of that name") from e
            raise
        return opened.detach()


def set_mac(name: str, mac: str) -> None:
    address = struct.pack("H6s", ARPHRD_ETHER, bytes.fromhex(mac.replace(":", "")))
    try:
        ask(SIOCSIFHWADDR, name, address)
    except OSError as e:
        raise OSError(e.errno, f"it does not take the address {mac}: {e.strerror}") from e


def set_mtu(name: str, mtu: int) -> None:
    try:
        ask(SIOCSIFMTU, name, struct.pack("i", mtu))
    except OSError as e:
        raise OSError(e.errno, f"it does not take the MTU {mtu}: {e.strerror}") from e


def set_up(name: str) -> None:
    """Changes this flag alone: ovs-vswitchd may be setting another at the same moment."""
    try:
        change = struct.pack("BxHiII", socket.AF_UNSPEC, 0, socket.if_nametoindex(name), IFF_UP,
                             IFF_UP)
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel:
            kernel.send(struct.pack("IHHII", 16 + len(change), RTM_NEWLINK, NLM_F_REQUEST_AND_ACK,
                                    0, 0) + change)
            (error,) = struct.unpack_from("i", kernel.recv(EVENT_BYTES), 16)
        if error:
            raise OSError(-error, os.strerror(-error))
    except OSError as e:
        raise OSError(e.errno, f"it cannot be set up: {e.strerror}") from e


def look(name: str) -> Link | None:
    """How the device is now; None: there is none of that name."""
    try:
        (ifindex,) = struct.unpack_from("i", ask(SIOCGIFINDEX, name))
        (flags,) = struct.unpack_from("H", ask(SIOCGIFFLAGS, name))
        (mtu,) = struct.unpack_from("i", ask(SIOCGIFMTU, name))
        mac = ask(SIOCGIFHWADDR, name)[2:8].hex(":")
    except OSError:
        return None
    return Link(ifindex, bool(flags & IFF_UP), bool(flags & IFF_RUNNING), mtu, mac)


def is_promiscuous(ifindex: int) -> bool:
    """Whether the device takes frames to any address; a switch has that of its ports. Its flags
    have only what was set by hand."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel:
        kernel.send(struct.pack("IHHII", 32, RTM_GETLINK, NLM_F_REQUEST, 0, 0)
                    + struct.pack("BxHiII", socket.AF_UNSPEC, 0, ifindex, 0, 0))
        answer = kernel.recv(EVENT_BYTES)
    at = ATTRIBUTES_AT
    while at + 4 <= len(answer):
        length, kind = struct.unpack_from("HH", answer, at)
        if kind == IFLA_PROMISCUITY:
            return bool(struct.unpack_from("I", answer, at + 4)[0])
        at += max(4, length + 3 & ~3)
    return False


def is_tap(name: str) -> bool:
    """Whether there is a tap of that name."""
    try:
        (kind,) = struct.unpack_from("H", ask(SIOCGIFHWADDR, name))
    except OSError:
        return False
    return kind == ARPHRD_ETHER and driver(name)[0] == "tun"        # of taps, too


def driver(name: str) -> tuple[str, str, str]:
    """(name, version, version of the firmware), each empty where it is not known."""
    info = ctypes.create_string_buffer(struct.pack("I", ETHTOOL_GDRVINFO), DRVINFO_BYTES)
    try:
        ask(SIOCETHTOOL, name, struct.pack("P", ctypes.addressof(info)))
    except OSError:
        return "", "", ""
    _, found, version, firmware = struct.unpack_from("I32s32s32s", info.raw)
    words = [text.partition(b"\0")[0].decode(errors="replace")
             for text in (found, version, firmware)]
    return words[0], words[1], words[2]


def packet_drops(fd: int) -> int:
    """Frames that a packet socket had no room for since the last call."""
    with socket.socket(fileno=os.dup(fd)) as opened:
        counts = opened.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8)
    return int(struct.unpack("II", counts)[1])


def tap_drops(name: str) -> int | None:
    """Frames that the kernel could not give to who reads from a tap; None: there is none."""
    with open("/proc/net/dev", encoding="utf-8", errors="replace") as devices:
        for line in devices:
            device, _, counts = line.partition(":")
            if device.strip() == name:
                return int(counts.split()[TX_DROP])
    return None


class LinkEvents:
    """Says that some device of the kernel changed, came or went; not which. Main alone."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK,
                                     socket.NETLINK_ROUTE)
        self._socket.bind((0, RTMGRP_LINK))

    def fileno(self) -> int:
        return self._socket.fileno()

    def drain(self) -> bool:
        """Whether there were events since the last call; an overrun is one."""
        any_came = False
        while True:
            try:
                self._socket.recv(EVENT_BYTES)
            except BlockingIOError:
                return any_came
            except OSError:             # ENOBUFS: more than fitted
                pass
            any_came = True

    def close(self) -> None:
        self._socket.close()
