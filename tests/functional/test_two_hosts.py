"""Two hosts, each with an agent of its own, and a trunk between their physical ports."""
from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.functional.conftest import Site
from tools.host import join, temporary_host, wait_until


@pytest.fixture
def sites() -> Iterator[tuple[Site, Site]]:
    """Hosts whose ports up0 are the two ends of one wire."""
    with ExitStack() as stack:
        hosts = [stack.enter_context(temporary_host(f"vhost-site{number}")) for number in range(2)]
        for host in hosts:
            host.start_ovsdb()
            host.enable_dpdk()
            host.start_agent()
            host.vsctl("add-br", "br0", "--", "set", "Bridge", "br0", "datapath_type=netdev")
        join(*hosts)
        here, there = (Site(host, stack) for host in hosts)
        there.namespaces = here.namespaces              # addresses are those of one network
        yield here, there


def transfer(here: Site, source: str, target: str) -> dict[str, Any]:
    """What iperf3 says of a second of TCP between two guests."""
    inside = here.namespaces[target]
    with subprocess.Popen(["ip", "netns", "exec", inside.name, "iperf3", "-s", "-1"],
                          stdout=subprocess.DEVNULL) as server:
        try:
            wait_until(lambda: ":5201" in inside.run(["ss", "-ltn"], capture_output=True).stdout,
                       "iperf3 listens")
            done = here.namespaces[source].run(
                ["iperf3", "-c", inside.ip, "-t", "1", "-J"], capture_output=True)
            return dict(json.loads(done.stdout)["end"])
        finally:
            server.kill()


def test_guests_of_one_vlan_reach_each_other_over_the_trunk(sites: tuple[Site, Site]) -> None:
    here, there = sites
    for site, name, tag in ((here, "a", 10), (there, "b", 10), (there, "c", 20)):
        site.guest(name)
        site.host.vsctl("set", "Port", name, f"tag={tag}")
    assert here.ping("a", "b")
    assert transfer(here, "a", "b")["sum_received"]["bytes"] > 1 << 20
    assert here.cut_off("a", "c")
    assert there.cut_off("b", "c")
    there.host.vsctl("set", "Port", "c", "tag=10", "--", "set", "Port", "b", "tag=20")
    assert here.ping("a", "c")
    assert here.cut_off("a", "b")
    assert here.host.counted("up0", "tx_packets") >= 3
    assert there.host.counted("up0", "rx_packets") >= 3
