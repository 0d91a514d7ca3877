"""What `make bench` measures: how switches are set up, what is sent, what each row is called."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tools.load import MOST_ENDPOINTS, Stream

ALL = ("agent", "testpmd", "OVS")
DAEMONS = ("agent", "OVS")      # testpmd knows no addresses, and at most 32 devices
SHARES = (10, 50, 90)           # percent of its own most that a switch is given for delays
PERCENTILES = (50.0, 99.0, 99.9)


@dataclass(frozen=True, slots=True)
class Case:
    """A row of the table: one number for each side and turn."""

    key: str
    title: str
    group: str                  # the chart that it is in
    streams: Sequence[Stream] = ()      # of each load generator
    unit: str = "M packets/s"
    better: str = "more"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What all switches are set up for at the same time, and the cases measured with it."""

    cases: Sequence[Case]
    ports: int = 2
    mtu: int = 1500
    ring: int = 1024
    options: str = ""           # of the guests' net_virtio_user
    sides: Sequence[str] = ALL
    delays: bool = False        # those of round trips are measured, too


def pairs(ports: int, size: int = 64, *, macs: int = 1, flows: int = 1) -> tuple[Stream, ...]:
    """All send to their neighbour all they can."""
    return tuple(Stream(source=port, destination=port ^ 1, bytes=size, macs=macs, flows=flows)
                 for port in range(ports))


def flood(ports: int) -> tuple[Stream, ...]:
    return (Stream(source=0, destination=None),)


def ring_case(key: str, title: str) -> Case:
    return Case(key, title, "rings", pairs(2))


QUICK = Case("64", "64 bytes, one flow", "sizes", pairs(2))
TRIPS = Case("trips", "round trips, as many as there can be", "latency",
             (Stream(source=0, destination=1, returns=True),))

SETUPS = (
    Setup(cases=(
        QUICK,
        *(Case(str(size), f"{size} bytes, one flow", "sizes", pairs(2, size))
          for size in (256, 512, 1500)),
        Case("flows", "64 bytes, 100,000 flows", "tables", pairs(2, flows=50_000)),
        Case("macs_1000", "64 bytes, 1,000 addresses", "tables", pairs(2, macs=500)),
        Case("macs_100000", "64 bytes, 100,000 addresses", "tables", pairs(2, macs=50_000)),
    ), delays=True),
    *(Setup(ring=256, ports=ports, sides=ALL if ports <= 32 else DAEMONS, cases=(
        Case(f"ports_{ports}", f"64 bytes, {ports} ports", "ports",
             pairs(min(ports, MOST_ENDPOINTS))),))
      for ports in (8, 32, 64)),
    Setup(ports=9, sides=DAEMONS, cases=(
        Case("flood", "64 bytes, flood to 8 ports", "ports", flood(9)),)),
    Setup(options=",packed_vq=1", cases=(ring_case("packed", "packed rings"),)),
    Setup(options=",packed_vq=1,in_order=1", cases=(
        ring_case("packed_in_order", "packed rings, in order"),)),
    Setup(options=",in_order=1", cases=(ring_case("in_order", "split rings, in order"),)),
    Setup(options=",mrg_rxbuf=0", cases=(ring_case("unmergeable", "mergeable buffers off"),)),
    Setup(ring=256, cases=(ring_case("ring_256", "rings of 256"),)),
    Setup(mtu=9000, cases=(Case("9000", "9000 bytes, one flow", "sizes", pairs(2, 9000)),)),
)


LOST = Case("lost", "lost by neighbours while 100 ports come and go", "neighbours", unit="frames",
            better="less")
NEIGHBOURS_99 = Case("neighbours_99", "the neighbours' way meanwhile: p99", "neighbours", unit="us",
                     better="less")
TCP = tuple(Case(f"tcp_{word}", f"TCP between two taps, segmentation {word}", "tcp", unit="Gbit/s")
            for word in ("off", "on"))
DAEMON_CASES = (LOST, NEIGHBOURS_99, *TCP)      # measured with a fresh daemon each time
# What can be asked for alone; those that are measured together come together.
KEYS = tuple(case.key for cases in (*(setup.cases for setup in SETUPS), (TRIPS,), DAEMON_CASES)
             for case in cases)


def delay_case(share: int, percent: float) -> Case:
    """The row of one percentile of round trips."""
    return Case(f"rtt_{share}_{percent:g}", f"round trip at {share} % of its most: p{percent:g}",
                "latency", unit="us", better="less")


def all_cases(setups: Sequence[Setup]) -> list[Case]:
    """In the order of the table."""
    found: list[Case] = []
    for setup in setups:
        found += setup.cases
        if setup.delays:
            found += [TRIPS, *(delay_case(share, percent)
                               for share in SHARES for percent in PERCENTILES)]
    return found
