"""Live migration between two QEMUs, each on a port of its own, while others talk to the guest."""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.guests.conftest import Lab, new_lab, says
from tests.guests.migration import (
    PINGS,
    PINGS_PER_S,
    SETTLED_S,
    STREAM_S,
    Answers,
    Move,
    Place,
    begin_pings,
    check_work,
    checksum,
    fill,
    migrate,
    stream,
)
from tools.qemu import Machine

MAC = "52:54:00:00:07:08"
LOSES_MOST = 4                  # OVS-DPDK, of as many pings
POSTCOPY = "vhost-user-client Post-copy Live Migration Support"


@dataclass(frozen=True)
class Trip:
    """A guest at one of two places, and one that pings it."""

    lab: Lab
    address: str
    places: list[Place]         # the first is where the guest is
    pinger: Machine
    blob: str                   # checksum of what the guest keeps in memory


def add_place(lab: Lab, port: str, mac: str, *options: str, device: str = "") -> Place:
    """A port for a guest of this address, and a QEMU that is not started yet; 'device' is more of
    its network device."""
    lab.add_port(port, f'external_ids:attached-mac="{mac}"')
    return Place(lab, port, [word + device if word.startswith("virtio-net-pci,") else word
                             for word in lab.qemu_args(*options, port)])


def board(lab: Lab, first: Place, second: Place, pinger_lab: Lab) -> Trip:
    """Boots the guest at the first place, and one that pings it."""
    pinger_lab.add_port("c")
    first.start()
    (pinger,) = pinger_lab.boot("c")
    lab.wait_up(first.machine)
    return Trip(lab, lab.address(first.machine), [first, second], pinger, fill(first.machine))


@pytest.fixture(scope="module")
def trip() -> Iterator[Trip]:
    with new_lab(other_config=("vhost-postcopy-support=true",)) as lab:
        first, second = (add_place(lab, port, MAC, "--hugepages", "/hugepages")
                         for port in ("a", "b"))
        host = lab.host
        trip = board(lab, first, second, lab)
        host.inside("ip", "address", "add", "10.30.0.99/24", "dev", "br0")
        host.inside("ip", "link", "set", "br0", "up")
        yield trip


def travel(trip: Trip, *, postcopy: bool) -> Move:
    """Moves the guest to the other place under traffic, and checks all that must hold."""
    source, target = trip.places
    target.expect(postcopy)
    begin_pings(trip.pinger, trip.address)
    with stream(trip.lab.host, trip.address) as answers:
        move = migrate(source, target, postcopy=postcopy)
        assert checksum(target.machine) == trip.blob
        check_work(target.machine)
    check_loss(Answers.of(trip.pinger.finish("pings")), answers[0], move)
    source.machine.kill()
    trip.places.reverse()
    return move


def check_loss(pings: Answers, fast: Answers, move: Move) -> None:
    """Nothing is lost but what was sent while the guest stood still."""
    lost = pings.lost(PINGS)
    away = move.resumed - move.stopped
    losses = [(after - move.stopped, before - move.resumed) for before, after in fast.losses()]
    figures = (
        f"{len(lost)} of {PINGS} pings lost ({lost}), longest gap {pings.gap * 1e3:.0f} ms; the "
        f"guest stood still for {away * 1e3:.0f} ms; of {len(fast.sent)} packets, one every "
        f"{STREAM_S * 1e3:.0f} ms, some were lost " + ", ".join(
            f"until {end * 1e3:+.0f} ms of its stop, from {begin * 1e3:+.0f} ms of its going on"
            for end, begin in losses))
    print(figures)
    assert len(lost) <= min(LOSES_MOST, 1 + int((away + SETTLED_S) * PINGS_PER_S)), figures
    assert all(end > 0 and begin < SETTLED_S for end, begin in losses), figures


@says("Live migration", "The normal 'pre-copy' migration; here under traffic")
def test_precopy(trip: Trip) -> None:
    """QEMU moves a guest from port a to port b, both on one bridge, while it changes its memory.
    Checksums are right; of 400 pings at 10 a second those are lost that were sent while it stood
    still, at most 4; of 100 packets a second none else."""
    travel(trip, postcopy=False)


@says(POSTCOPY, "Post-copy support is enabled with vhost-postcopy-support=true; userfaultfd on "
                "shared 2 MiB pages")
def test_postcopy(trip: Trip) -> None:
    """The same, back again: the guest runs at the target before its memory is there; pages are
    asked for, and the agent holds a userfaultfd then."""
    move = travel(trip, postcopy=True)
    assert move.faults_handled
    assert move.figures["ram"]["postcopy-requests"] > 0
    assert move.figures["ram"]["postcopy-bytes"] > 0
