"""A guest in miniature: the front-end side of vhost-user, in plain Python.

Owns one UNIX socket, one piece of shared memory and the split rings in it, so that a test or a
benchmark attaches to a switch port within milliseconds and exchanges exact frames with it. Knows
nothing of the agent.
"""

import mmap
import os
import socket
import struct
import time
from collections.abc import Iterable, Sequence
from itertools import accumulate
from pathlib import Path

from tools.vhost_user import (
    F_ACCESS_PLATFORM,
    F_VERSION_1,
    MESSAGE,
    NET_F_MQ,
    NET_F_MRG_RXBUF,
    NET_F_MTU,
    PROTOCOL_F_BACKEND_REQ,
    PROTOCOL_F_MQ,
    PROTOCOL_F_NET_MTU,
    VHOST_USER_F_PROTOCOL_FEATURES,
    VRING_NO_FD,
    Request,
    asked_pages,
    message_of,
    translation,
)
from tools.virtqueue import NET_HEADER_BYTES, Ring, turn_round

RX_BUFFER_BYTES = 2048  # a longer frame has to be spread over several buffers by the switch
TX_BUFFER_BYTES = 10240  # a jumbo frame fits into one descriptor; untouched pages cost nothing
NO_REQUEST = bytes(NET_HEADER_BYTES)  # the virtio-net header of a frame that is as it should be

# Guest, user, I/O and file addresses never overlap: one taken for another kind hits no region.
GUEST_BASE = 0x0001_0000_0000
USER_BASE = 0x5000_0000_0000
IO_BASE = 0x0070_0000_0000

_POLL_S = 50e-6


def ethernet(
    dst: str, src: str, payload: bytes = b"", vlan: int | None = None, ethertype: int = 0x88B5
) -> bytes:
    """Build a frame without FCS, padded to 60 bytes; `vlan` is a whole 802.1Q TCI."""
    tag = b"" if vlan is None else struct.pack("!HH", 0x8100, vlan)
    addresses = bytes.fromhex((dst + src).replace(":", ""))
    return (addresses + tag + struct.pack("!H", ethertype) + payload).ljust(60, b"\0")


class FrontEnd:
    """One virtio-net device as its guest sees it.

    Not thread-safe. connect() may be called again after stop(), close() or the loss of the switch:
    that is a guest coming back, with empty rings and counters at zero.
    """

    features: int  # negotiated virtio features, 0 before connect()
    offered: int  # virtio and protocol features of the switch, 0 before the first connect()
    offered_protocol: int
    ring: type[Ring] = Ring
    mapping = mmap.MAP_SHARED  # of the file that the switch gets; MAP_PRIVATE is QEMU's share=off

    def __init__(
        self, path: str, *, listen: bool, queues: int = 1, queue_size: int = 256,
        enable: Iterable[int] | None = None, late: Iterable[int] = (), mtu: int = 0,
        iommu: bool = False, lazy: bool = False, scattered: bool = False, features: int = 0,
        tx_buffer_bytes: int = TX_BUFFER_BYTES, timeout_s: float = 10.0,
    ) -> None:
        """Prepare a device of `queues` queue pairs, each ring of `queue_size` (2, 4, 8, ...).

        With `listen` the socket is ours and open from now on (dpdkvhostuserclient ports), a file in
        its way is removed; otherwise the switch owns it. `enable` names the queue pairs connect()
        enables, all by default; those of `late` it leaves out, set_up() sets them up. With `mtu`
        the device has NET_F_MTU and says that value; with `iommu` all addresses are an IOMMU's,
        whose translations the switch is told, or with `lazy` those of the rings alone: see
        answer_misses(); with `scattered` pages lie backwards in memory. `features` are more virtio
        features, wanted where offered. A frame of `tx_buffer_bytes` less NET_HEADER_BYTES fits.
        `timeout_s` bounds the attaching and each reply of the switch.
        """
        self.features = self.offered = self.offered_protocol = 0
        self._path = path
        self._listen = listen
        self._queues = queues
        self._queue_size = queue_size
        self._late = set(late)
        self._enable = [q for q in (range(queues) if enable is None else enable)
                        if q not in self._late]
        self._mtu = mtu
        self._iommu = iommu
        self._lazy = lazy
        self._scattered = scattered
        self._wanted, self._tx_buffer_bytes = features, tx_buffer_bytes
        self._timeout_s = timeout_s
        self._listener: socket.socket | None = None
        self._socket = socket.socket(socket.AF_UNIX)
        self._misses = socket.socket(socket.AF_UNIX)
        self._rings: list[Ring] = []  # ring 2q: the guest receives, 2q + 1: the guest sends
        if listen:
            self._listening()

    def __enter__(self) -> "FrontEnd":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def connect(self) -> "FrontEnd":
        """Attach to the switch and start the rings; return self.

        On return the switch has run its callbacks for the enabled queues. Raises TimeoutError when
        it does not come or answer in time, ConnectionError when it refuses; either closes.
        """
        self._detach()
        try:
            self._attach()
            self._negotiate()
            self._share_rings()
            for queue in self._enable:
                self._enable_pair(queue, True)
            self._settle()
        except BaseException:
            self.close()
            raise
        return self

    def send(self, frames: Sequence[bytes], queue: int = 0, header: bytes = NO_REQUEST) -> int:
        """Put frames on the guest's TX ring, each after that virtio-net header; return how many
        fitted, never block.

        Raises ValueError for a frame that is too long for a buffer, before anything is sent.
        """
        fitting = self.prepare(frames, queue, header)
        if fitting:
            self.show(queue)
        return fitting

    def prepare(self, frames: Sequence[bytes], queue: int = 0, header: bytes = NO_REQUEST) -> int:
        """Do all of send() but for the last step, show(), with which the switch may see them."""
        ring = self._rings[2 * queue + 1]
        most = self._tx_buffer_bytes - NET_HEADER_BYTES
        if any(len(frame) > most for frame in frames):
            raise ValueError(f"a frame is longer than {most} bytes")
        self.sent_back(queue)
        fitting = min(len(frames), len(ring.free))
        for frame in frames[:fitting]:
            ring.post_frame(ring.free.popleft(), frame, header)
        return fitting

    def show(self, queue: int = 0) -> None:
        """Make what was prepared visible, and kick the switch if it asked for that."""
        self._rings[2 * queue + 1].publish()

    def sent_back(self, queue: int = 0) -> int:
        """Return how many sent frames the switch has consumed since connect()."""
        ring = self._rings[2 * queue + 1]
        consumed = ring.waiting()
        ring.free.extend(ring.peek(n)[0] for n in range(consumed))
        ring.taken += consumed
        return ring.taken

    def waiting(self, queue: int = 0) -> int:
        """Return how many buffers the switch has filled that recv() has not given back yet."""
        return self._rings[2 * queue].waiting()

    def recv(self, queue: int = 0) -> list[bytes]:
        """Return every frame waiting on the guest's RX ring and give its buffers back; never block.

        Raises ValueError when the switch wrote something no virtio driver could accept.
        """
        return [whole[NET_HEADER_BYTES:] for whole in self.recv_whole(queue)]

    def recv_whole(self, queue: int = 0) -> list[bytes]:
        """As recv(), each frame after its virtio-net header."""
        ring = self._rings[2 * queue]
        frames: list[bytes] = []
        waiting = ring.waiting()
        while waiting:
            # num_buffers, the header's last field, is only kept by librte_vhost under MRG_RXBUF.
            head = ring.read(ring.peek(0)[0], NET_HEADER_BYTES)
            count = int.from_bytes(head[10:], "little") if self.features & NET_F_MRG_RXBUF else 1
            if not count:
                raise ValueError("the switch wrote a frame of no buffers")
            if count > waiting:
                break  # the rest of this frame is not published yet
            used = [ring.peek(n) for n in range(count)]
            frames.append(b"".join(ring.read(*entry) for entry in used))
            for ident, _ in used:
                ring.post(ident)
            ring.taken += count
            waiting -= count
        if frames:
            ring.publish()
        return frames

    def recv_wait(self, count: int, timeout_s: float = 5.0, queue: int = 0) -> list[bytes]:
        """Receive until there are `count` frames or more; TimeoutError drops those that came."""
        deadline = time.monotonic() + timeout_s
        frames = self.recv(queue)
        while len(frames) < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(frames)} of {count} frames after {timeout_s} s")
            time.sleep(_POLL_S)
            frames += self.recv(queue)
        return frames

    def enable(self, queue: int, on: bool) -> None:
        """Enable or disable both rings of a queue pair; the switch has taken notice on return."""
        self._enable_pair(queue, on)
        self._settle()

    def set_up(self, queue: int) -> None:
        """Share and enable a pair that connect() left out; return when the switch knows."""
        for index in (2 * queue, 2 * queue + 1):
            self._share_ring(index)
        self.enable(queue, True)

    def restart(self, queue_size: int) -> None:
        """Stop the rings and start anew on this connection, as a driver that is loaded again does;
        the switch has taken notice on return."""
        for index in range(len(self._rings)):
            self._ask(Request.GET_VRING_BASE, struct.pack("<II", index, 0))
        self._close_rings()
        self._queue_size = queue_size
        self._share_rings()
        for queue in self._enable:
            self._enable_pair(queue, True)
        self._settle()

    def set_kick(self, queue: int, fd: int | None) -> None:
        """Give the switch another kick descriptor of a pair's TX ring; None: it has to poll."""
        self._share_kick(2 * queue + 1, fd)
        self._settle()

    def answer_misses(self) -> int:
        """Give the switch every translation that it asked for; return how many."""
        pages = list(asked_pages(self._misses))
        for page in pages:
            self._translate(start := page - IO_BASE, start + mmap.PAGESIZE, start)
        return len(pages)

    def memory(self) -> bytes:
        return bytes(self._rings[0].memory)

    def interrupts(self) -> int:
        """Want interrupts on all rings from now on; return how many came since the last call."""
        return sum(ring.interrupts() for ring in self._rings)

    def stop(self) -> None:
        """Shut the guest down cleanly; the switch has let go of the rings before they vanish."""
        try:
            for index in range(len(self._rings)):
                self._ask(Request.GET_VRING_BASE, struct.pack("<II", index, 0))
        finally:
            self.close()

    def close(self) -> None:
        """Vanish like a killed guest: sockets and memory go, the switch is told nothing."""
        if self._listener:  # first: a switch that sees us go calls again at once
            self._listener.close()
            self._listener = None
        self._detach()

    def _detach(self) -> None:
        self._socket.close()
        self._misses.close()
        self._close_rings()
        self.features = 0

    def _close_rings(self) -> None:
        for ring in self._rings:
            os.close(ring.kick)
            os.close(ring.call)
        # The memory goes with its last view; mmap.close() would refuse while there is one.
        self._rings.clear()

    def _listening(self) -> socket.socket:
        if not self._listener:
            Path(self._path).unlink(missing_ok=True)
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.settimeout(self._timeout_s)
            self._listener.bind(self._path)
            self._listener.listen()
        return self._listener

    def _attach(self) -> None:
        if self._listen:
            self._socket, _ = self._listening().accept()
            self._socket.settimeout(self._timeout_s)
            return
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(self._timeout_s)
        deadline = time.monotonic() + self._timeout_s
        while True:  # the switch may still be about to open its socket
            try:
                return self._socket.connect(self._path)
            except (FileNotFoundError, ConnectionRefusedError, BlockingIOError) as error:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"nobody listens on {self._path}") from error
                time.sleep(0.005)

    def _negotiate(self) -> None:
        needed = F_VERSION_1 | VHOST_USER_F_PROTOCOL_FEATURES
        needed |= (NET_F_MTU if self._mtu else 0) | (F_ACCESS_PLATFORM if self._iommu else 0)
        offered = self.offered = self._ask(Request.GET_FEATURES)
        if offered & needed != needed:
            raise ConnectionError(f"features {offered:#x} lack {needed & ~offered:#x}")
        self.offered_protocol = self._ask(Request.GET_PROTOCOL_FEATURES)
        wanted_protocol = PROTOCOL_F_MQ | (PROTOCOL_F_NET_MTU if self._mtu else 0)
        wanted_protocol |= PROTOCOL_F_BACKEND_REQ if self._lazy else 0
        protocol = self.offered_protocol & wanted_protocol
        self._tell(Request.SET_PROTOCOL_FEATURES, struct.pack("<Q", protocol))
        most = self._ask(Request.GET_QUEUE_NUM) if protocol & PROTOCOL_F_MQ else 1
        if self._queues > most:
            raise ConnectionError(f"the switch has {most} queue pairs, not {self._queues}")
        if protocol & PROTOCOL_F_BACKEND_REQ:
            self._misses, theirs = socket.socketpair()
            self._misses.setblocking(False)
            self._tell(Request.SET_BACKEND_REQ_FD, b"", theirs.fileno())
            theirs.close()
        self._tell(Request.SET_OWNER)
        wanted = needed | NET_F_MRG_RXBUF | (NET_F_MQ if self._queues > 1 else 0)
        self.features = offered & (wanted | self._wanted)
        self._tell(Request.SET_FEATURES, struct.pack("<Q", self.features))
        if protocol & PROTOCOL_F_NET_MTU:
            self._tell(Request.NET_SET_MTU, struct.pack("<Q", self._mtu))

    def _share_rings(self) -> None:
        buffers = [RX_BUFFER_BYTES, self._tx_buffer_bytes] * self._queues
        needed = (Ring.bytes_needed(self._queue_size, each) for each in buffers)
        *starts, total = accumulate(needed, initial=0)
        ends = [*starts[1:], total]
        memfd = os.memfd_create("frontend")
        try:
            os.ftruncate(memfd, total)
            memory = mmap.mmap(memfd, total, self.mapping)
            if self._scattered:
                turn_round(memory, memfd, zip(starts, ends, strict=True))
            table = struct.pack("<IIQQQQ", 1, 0, GUEST_BASE, total, USER_BASE, 0)
            self._tell(Request.SET_MEM_TABLE, table, memfd)
        finally:
            os.close(memfd)
        base = IO_BASE if self._iommu else GUEST_BASE
        for index, start in enumerate(starts):
            self._rings.append(self.ring(memory, start, self._queue_size, buffers[index], base))
            if index % 2 == 0:
                self._rings[-1].offer_all()
            if index // 2 not in self._late:
                self._share_ring(index)
        if self._iommu:  # after the rings: the switch keeps translations per ring
            for ring, end in zip(self._rings, ends, strict=True):
                for piece in ring.places(end, self._lazy, self._scattered):
                    self._translate(*piece)

    def _translate(self, start: int, end: int, place: int) -> None:
        message = translation(IO_BASE + start, end - start, USER_BASE + place)
        self._tell(Request.IOTLB_MSG, message)

    def _share_ring(self, index: int) -> None:
        ring = self._rings[index]
        base = IO_BASE if self._iommu else USER_BASE
        places = (base + at for at in (ring.desc, ring.used, ring.avail))
        self._tell(Request.SET_VRING_NUM, struct.pack("<II", index, ring.size))
        self._tell(Request.SET_VRING_BASE, struct.pack("<II", index, ring.first))
        self._tell(Request.SET_VRING_ADDR, struct.pack("<IIQQQQ", index, 0, *places, 0))
        self._share_kick(index, ring.kick)
        self._tell(Request.SET_VRING_CALL, struct.pack("<Q", index), ring.call)

    def _share_kick(self, index: int, fd: int | None) -> None:
        if fd is None:
            self._tell(Request.SET_VRING_KICK, struct.pack("<Q", index | VRING_NO_FD))
        else:
            self._tell(Request.SET_VRING_KICK, struct.pack("<Q", index), fd)

    def _enable_pair(self, queue: int, on: bool) -> None:
        for index in (2 * queue, 2 * queue + 1):
            self._tell(Request.SET_VRING_ENABLE, struct.pack("<II", index, on))

    def _settle(self) -> None:
        # The switch handles messages in order: any answer proves that it is done with all before.
        self._ask(Request.GET_FEATURES)

    def _tell(self, request: Request, payload: bytes = b"", *fds: int) -> None:
        socket.send_fds(self._socket, [message_of(request, payload)], fds)

    def _ask(self, request: Request, payload: bytes = b"") -> int:
        self._tell(request, payload)
        answer = self._socket.recv(512)  # whole: on a UNIX socket one small message is one read
        if not answer:
            raise ConnectionResetError(f"the switch hung up instead of answering {request.name}")
        answered, _, size = MESSAGE.unpack_from(answer)
        if answered != request or len(answer) != MESSAGE.size + size:
            raise ConnectionError(f"bad answer to {request.name}: {answer.hex()}")
        return int.from_bytes(answer[MESSAGE.size :], "little")
