"""The facade: all that the control plane knows of the data plane."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

if TYPE_CHECKING:
    from agent.actions import Action
    from agent.fdb import FdbCounters, Flap
    from agent.mirror_model import MirrorCounters
    from agent.model import Counters, FdbEntry, MdbEntry, Observed, Readings
    from agent.reason_model import Handshake, Sight


class ApplyError(Exception):
    """The data plane refused an action; the text is a sentence for Interface.error or the log."""


class Datapath(Protocol):
    """A running data plane. For the main thread only."""

    @property
    def wake_fd(self) -> int:
        """Readable while drain_wake() would be true."""

    def drain_wake(self) -> bool:
        """Whether guests changed something since the last call; call it before observe()."""

    def observe(self) -> Observed: ...

    def look_for_sockets(self) -> bool:
        """Whether a server port without a guest has lost its socket, which observe() then says; to
        be called once a second."""

    def apply(self, action: Action) -> None:
        """Does it, or raises ApplyError and leaves everything else as it was."""

    def counters(self, port: str) -> Counters: ...

    def handshake(self, port: str) -> Handshake:
        """What the front end of a vhost-user port has said."""

    def sight(self, port: str) -> Sight:
        """What is seen of the memory of a port's guest."""

    def queue_counters(self, port: str) -> tuple[int, int, int]:
        """Packets, bytes and red packets of queue 0 of the port's trtcm-policer; 0 without."""

    def start_capture(self, port: str, path: str, snaplen: int, rx: bool, tx: bool) -> None:
        """Writes copies of the port's frames (capture_record in pmd_ext/capture.pxd), received
        and sent ones as asked for, to who listens on the socket 'path', until that one ends or
        the port goes. Raises ApplyError."""

    def lcore(self, core: int) -> int:
        """DPDK's number for the PMD of a core; -1: it gave none, and the PMD is slower."""

    def readings(self) -> Readings:
        """What PMDs and the rxqs they poll did so far."""

    def describe_mempool(self, port: str | None) -> str:
        """DPDK's words for the packet buffers of a port; for those of all without one."""

    def describe_lcores(self) -> str:
        """DPDK's words for its threads."""

    def describe_log_levels(self) -> str:
        """DPDK's words for what it logs."""

    def set_log_level(self, pattern: str, level: int) -> bool:
        """Level (RTE_LOG_*) of DPDK's modules whose names match; False: it is no pattern."""

    def fdb(self, bridge: str) -> Sequence[FdbEntry]: ...

    def fdb_entry(self, bridge: str, vlan: int, mac: str) -> FdbEntry | None: ...

    def set_fdb(self, bridge: str, port: str, vlan: int, mac: str) -> bool:
        """Sets an entry by hand, in place of any of that address; False: there is no room."""

    def delete_fdb(self, bridge: str, vlan: int, mac: str) -> bool:
        """Removes an entry that was set by hand; False: there is none."""

    def flush_fdb(self, bridge: str) -> None:
        """Forgets what was learned."""

    def expire_fdb(self) -> None:
        """Removes aged entries; to be called once a second."""

    def fdb_flaps(self) -> Sequence[Flap]:
        """Addresses that flap now or did lately."""

    def fdb_counters(self, bridge: str) -> FdbCounters: ...

    def clear_fdb_counters(self, bridge: str) -> None:
        """Makes fdb_counters() say from when on they are to be counted."""

    def mirror_counters(self) -> Mapping[UUID, MirrorCounters]:
        """Of the mirrors in force, by their rows."""

    def mdb(self, bridge: str) -> Sequence[MdbEntry]:
        """Multicast groups and routers of a bridge with snooping, the longest silent first."""

    def flush_mdb(self, bridge: str) -> None: ...

    def expire_mdb(self) -> None: ...

    def usage(self) -> Mapping[str, int]:
        """What is in use, by name: ports, PMD threads, packet buffers."""

    def memory(self) -> tuple[int, int, int]:
        """Bytes: reserved by DPDK, in use of these, in pools of packet buffers of those."""

    def memory_line(self) -> str:
        """How much memory is used for what, for the log."""

    def close(self) -> None:
        """Stops the threads and unlinks the sockets."""
