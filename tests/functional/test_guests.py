"""Guests reach each other, and are told the truth about."""
from __future__ import annotations

import pytest

from tests.functional.conftest import Site
from tools.host import wait_until


@pytest.mark.parametrize("client", [True, False])
def test_two_guests_reach_each_other(site: Site, client: bool) -> None:
    site.guest("a", client=client)
    site.guest("b", client=client)
    assert site.ping("a", "b")
    status = site.host.interface("a", "status")
    assert status["mode"] == ("client" if client else "server")
    assert status["vring_0_size"] == "1024"
    table = site.host.appctl("fdb/show", "br0")
    for name in ("a", "b"):
        assert site.namespaces[name].mac in table


def test_stream_loses_nothing_and_is_counted_exactly(site: Site) -> None:
    site.guest("a")
    site.guest("b")
    with site.probe("a", "b") as probe:
        wait_until(lambda: site.arrived("b") > 2000, "traffic flows")
        assert site.host.counted("b", "tx_packets") > 2000
        report = probe.stop()
    assert report.lossless, f"{report}\n{site.drops()}"
    wait_until(lambda: site.host.counted("a", "rx_packets") >= report.sent
               and site.host.statistic("a", "rx_packets") == site.host.statistic("b", "tx_packets"),
               "what came in at one port went out at the other")
    for name in ("a", "b"):
        for drops in ("rx_dropped", "tx_dropped", "ovs_tx_failure_drops"):
            assert site.host.statistic(name, drops) == 0


def test_three_guests_and_a_deleted_port(site: Site) -> None:
    for name in ("a", "b", "c"):
        site.guest(name)
    assert site.ping("a", "b")
    assert site.ping("c", "a")
    site.host.vsctl("del-port", "c")
    assert site.cut_off("c", "a")
    assert site.ping("a", "b")


def test_guest_that_was_there_before_its_port(site: Site) -> None:
    site.guest("a")
    site.add_port("b")
    site.guest("b", port=False)
    site.host.vsctl("del-port", "b")
    site.add_port("b")                              # the guest waits on its socket meanwhile
    site.wait_ready("b")
    wait_until(lambda: site.ping("a", "b", count=1), "they reach each other again")


def test_guests_on_ordinary_memory(site: Site) -> None:
    guest = site.guest("a")
    guest.stop()
    guest.hugepages = False
    guest.start()
    site.wait_ready("a")
    site.guest("b")
    assert site.ping("a", "b")
