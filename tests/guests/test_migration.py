"""Live migration between two QEMUs, each on a port of its own, while others talk to the guest."""
from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.guests.lab import Lab, new_lab, says
from tests.guests.migration import (
    PINGS_PER_S,
    SETTLED_S,
    STREAM_S,
    Answers,
    Move,
    Place,
    allow,
    begin_pings,
    check_work,
    checksum,
    fill,
    migrate,
    stream,
)
from tools.guest import GuestError
from tools.host import AGENT, Host, join, wait_until
from tools.qemu import Machine

MAC = "52:54:00:00:07:08"
QUIET_MAC = "52:54:00:00:07:09"
# To all, from its address, of this type.
RARP = b"\xff" * 6 + bytes.fromhex(QUIET_MAC.replace(":", "")) + b"\x80\x35"
SENT = "cat /sys/class/net/eth0/statistics/tx_packets"
PINGS = 400                     # as OVS-DPDK was measured, ten a second:
LOSES_MOST = 4                  # it loses so many of them
POSTCOPY = "vhost-user-client Post-copy Live Migration Support"


def port_of(host: Host, mac: str) -> int | None:
    """Where frames for this address go, by fdb/show."""
    found = re.search(rf"^ +(\d+) +\d+ +{mac} ", host.appctl("fdb/show", "br0"), re.MULTILINE)
    return int(found[1]) if found else None


@dataclass(frozen=True)
class Trip:
    """A guest at one of two places, and one that pings it."""

    lab: Lab                    # of the pinger
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


def board(lab: Lab, places: list[Place]) -> Trip:
    """Boots the guest at the first place, one that pings it, and gives the host an address."""
    places[0].start()
    lab.add_port("c")
    (pinger,) = lab.boot("c")
    lab.wait_up(places[0].machine)
    lab.host.inside("ip", "address", "add", "10.30.0.99/24", "dev", "br0")
    lab.host.inside("ip", "link", "set", "br0", "up")
    return Trip(lab, lab.address(places[0].machine), places, pinger, fill(places[0].machine))


@pytest.fixture(scope="module")
def trip() -> Iterator[Trip]:
    with new_lab("--mlockall", other_config=("vhost-postcopy-support=true",)) as lab:
        yield board(lab, [add_place(lab, port, MAC, "--hugepages", "/hugepages")
                          for port in ("a", "b")])


def travel(trip: Trip, *, postcopy: bool, pings: int = PINGS) -> Move:
    """Moves the guest to the other place under traffic, and checks all that must hold."""
    source, target = trip.places
    target.expect(postcopy)
    begin_pings(trip.pinger, trip.address, pings)
    with stream(trip.lab.host, trip.address) as answers:
        move = migrate(source, target, postcopy=postcopy)
        assert checksum(target.machine) == trip.blob
        check_work(target.machine)
    answered = Answers.of(trip.pinger.finish("pings"))
    drops = {port: {key: n for key, n in target.host.interface(port, "statistics").items()
                    if n and key.endswith("drops")} for port in ("br0", target.machine.name)}
    check_loss(answered.lost(pings), answered.gap, answers[0], move, f"drops: {drops}")
    source.machine.kill()
    trip.places.reverse()
    return move


def check_loss(lost: list[int], gap: float, fast: Answers, move: Move, drops: str) -> None:
    """Of pings and of a faster stream nothing is lost but what was sent while the guest stood
    still; or of the stream, while a guest that moved by post-copy waits for its memory again and
    again."""
    away = move.resumed - move.stopped
    losses = [(after - move.stopped, before - move.resumed) for before, after in fast.losses()]
    figures = (
        f"pings lost: {lost}, longest time without an answer {gap * 1e3:.0f} ms; the guest stood "
        f"still for {away * 1e3:.0f} ms; besides one packet every {STREAM_S * 1e3:.0f} ms: "
        f"{len(fast.sent)} answered, longest time without {fast.gap * 1e3:.0f} ms, " + ", ".join(
            f"some lost that were sent up to {end * 1e3:.0f} ms after it stopped and from "
            f"{begin * 1e3:+.0f} ms of its going on" for end, begin in losses) + f"; {drops}")
    print(figures)
    assert len(lost) <= min(LOSES_MOST, 1 + int((away + SETTLED_S) * PINGS_PER_S)), figures
    assert max(fast.sent.values()) > move.resumed + SETTLED_S, figures
    assert all(end > 0 and begin < move.whole - move.resumed + SETTLED_S
               for end, begin in losses), figures


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


@says(POSTCOPY, "The default value is false; a port may have its own")
def test_postcopy_is_refused_without_it(trip: Trip) -> None:
    """A QEMU on a port with vhost-postcopy-support=false, that waits for a guest, refuses to let
    it come by post-copy."""
    trip.lab.add_port("n", "options:vhost-postcopy-support=false")
    place = Place(trip.lab, "n", trip.lab.qemu_args("n"))
    place.start("-incoming", "defer")
    allow(place.machine, postcopy=False)
    with pytest.raises(GuestError, match=r"[Pp]ostcopy is not supported"):
        allow(place.machine, postcopy=True)
    place.machine.kill()


@says("Live migration", "The announcement (RARP) moves the address to the other port")
def test_announcement(trip: Trip) -> None:
    """A guest that cannot announce itself (guest_announce=off) migrates and sends nothing, by its
    own counters; the agent sends a RARP for it, and `fdb/show` has the address at the new port,
    where what is sent to it arrives."""
    lab, host = trip.lab, trip.lab.host
    source, target = (add_place(lab, port, QUIET_MAC, device=",guest_announce=off")
                      for port in ("p", "q"))
    source.start()
    lab.wait_up(source.machine)
    assert lab.ping(trip.pinger, source.machine) == 5
    wait_until(lambda: port_of(host, QUIET_MAC) == host.interface("p", "ofport"), "it is known")
    # Neither asks after some seconds whether the other is still there.
    trip.pinger.run(f"arp -d {lab.address(source.machine)}")
    source.machine.run(f"arp -d {lab.address(trip.pinger)}")
    said_before = source.machine.run(SENT)
    target.expect(postcopy=False)
    frame = host.directory / "announcement"
    control = host.directory / f"vhost-agent.{host.agents[-1].pid}.ctl"
    with subprocess.Popen([AGENT, "capture", "-c", "1", "-d", "rx", "-w", str(frame), "-t",
                           str(control), "q"], env=host.env) as capture:
        try:
            migrate(source, target)
            wait_until(lambda: port_of(host, QUIET_MAC) == host.interface("q", "ofport"),
                       "the address is at the new port")
            assert target.machine.run(SENT) == said_before
            assert capture.wait(30) == 0
        finally:
            capture.terminate()
    assert RARP in frame.read_bytes()
    sent = host.statistic("q", "tx_packets")
    assert lab.ping(trip.pinger, source.machine) == 5
    wait_until(lambda: host.statistic("q", "tx_packets") >= sent + 5, "it arrives at the new port")
    for place in (source, target):
        place.machine.kill()


@says("Live migration", "From one host to another, each with an agent of its own")
def test_between_hosts() -> None:
    """Bridges of two hosts are joined by a trunk of physical ports (af_packet); a guest moves from
    one to the other under such traffic, 200 pings, with the same bounds, and both agents have its
    address where it is now."""
    with new_lab() as here, new_lab() as there:
        join(here.host, there.host)
        places = [add_place(lab, "a", MAC) for lab in (here, there)]
        trip = board(here, places)
        travel(trip, postcopy=False, pings=PINGS // 2)
        wait_until(lambda: port_of(here.host, MAC) == here.host.interface("up0", "ofport"),
                   "the old host knows that it is behind the trunk")
        assert port_of(there.host, MAC) == there.host.interface("a", "ofport")
