"""The values that say what limits the packets of a port. Imports nothing of ours; all frozen."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

EGRESS_POLICER, TRTCM_POLICER = "egress-policer", "trtcm-policer"
QOS_TYPES = (EGRESS_POLICER, TRTCM_POLICER)


@dataclass(frozen=True, slots=True)
class QueueRow:
    """One Queue row."""

    other_config: Mapping[str, str] = field(default_factory=dict)
    unserved: tuple[str, ...] = ()          # set columns that do nothing here


@dataclass(frozen=True, slots=True)
class QosRow:
    """One QoS row with its Queue rows."""

    type: str
    other_config: Mapping[str, str] = field(default_factory=dict)
    queues: tuple[tuple[int, QueueRow], ...] = ()           # numbers ascending


@dataclass(frozen=True, slots=True)
class Bucket:
    """A rate a second and a burst, in bytes or packets, both above 0."""

    rate: int
    burst: int


@dataclass(frozen=True, slots=True)
class TwoRates:
    """Committed and excess rates (bytes a second) and bursts (bytes) of RFC 4115."""

    cir: int
    cbs: int
    eir: int = 0
    ebs: int = 0


@dataclass(frozen=True, slots=True)
class StormRate:
    """Packets a second that a port may flood; 0: as many as there are."""

    broadcast: int = 0
    unknown_unicast: int = 0
    multicast: int = 0


@dataclass(frozen=True, slots=True)
class Qos:
    """What limits the packets sent to a port."""

    type: str                           # one of QOS_TYPES
    rates: TwoRates
    queues: tuple[tuple[int, TwoRates], ...] = ()   # of a trtcm-policer, 0 among them; ascending


@dataclass(frozen=True, slots=True)
class Limits:
    """What limits the packets of a port; bytes are those after the Ethernet header."""

    rx_bytes: Bucket | None = None
    rx_packets: Bucket | None = None
    storm: StormRate = StormRate()
    qos: Qos | None = None


NO_LIMITS = Limits()
