"""kill -9 of everything in turn, under traffic: it resumes by itself, others lose nothing."""
from __future__ import annotations

from tests.functional.conftest import Site
from tools.host import wait_until


def test_guest_killed(site: Site) -> None:
    for name in ("a", "b", "c", "d"):
        site.guest(name)
    with site.probe("a", "b") as untouched, site.probe("c", "d", rate=200) as hurt:
        site.guests["d"].kill()
        wait_until(lambda: not site.host.connected("d"), "link_state is down")
        site.guests["d"].start()
        site.wait_ready("d")
        wait_until(lambda: site.ping("c", "d"), "they reach each other again")
        hurt_report = hurt.stop()
        report = untouched.stop()
    assert report.sent > 500
    assert report.lossless, f"{report}\n{site.drops()}"
    assert hurt_report.lost > 0                     # it really was down
    assert hurt_report.gap_ended_by_seq is not None


def test_agent_killed(site: Site) -> None:
    site.guest("a")
    site.guest("b")
    with site.probe("a", "b") as probe:
        site.host.kill_agent()
        site.host.start_agent()
        site.wait_ready("a", "b")
        wait_until(lambda: site.ping("a", "b"), "they reach each other again")
        report = probe.stop()
    assert report.gap_ended_by_seq is not None
    assert report.duplicated == 0
    assert all(guest.running for guest in site.guests.values())
    for name in ("a", "b"):
        assert site.host.interface(name, "error") is None


def test_database_killed(site: Site) -> None:
    site.guest("a")
    site.guest("b")
    with site.probe("a", "b") as probe:
        for name in ("c", "d", "e"):
            site.host.kill_ovsdb()
            assert site.ping("a", "b")
            site.host.start_ovsdb()
            site.add_port(name)                     # returns: the agent is back at work
        report = probe.stop()
    assert report.sent > 300
    assert report.lossless, f"{report}\n{site.drops()}"


def test_agent_killed_with_server_ports(site: Site) -> None:
    """As OVS says of these ports: the guest must come again itself; the socket must be there."""
    for name in ("a", "b"):
        site.guest(name, client=False)
    site.host.kill_agent()
    site.host.start_agent()
    for name in ("a", "b"):
        wait_until(lambda name=name: site.host.interface(name, "status")["status"]
                   == "disconnected", "the port is served anew")
        site.guests[name].stop()
        site.guests[name].start()
    site.wait_ready("a", "b")
    assert site.ping("a", "b")
