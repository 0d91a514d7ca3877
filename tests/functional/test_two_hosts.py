"""Two hosts, each with an agent of its own, and a trunk between their physical ports."""
from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.functional.conftest import Site
from tools.host import temporary_host, wait_until


@pytest.fixture
def wire() -> Iterator[tuple[str, str]]:
    ends = f"vtw{os.getpid() % 100_000}a", f"vtw{os.getpid() % 100_000}b"
    subprocess.run(f"ip link add {ends[0]} type veth peer name {ends[1]}".split(), check=True)
    try:
        for end in ends:                # the kernel says nothing of its own on it
            subprocess.run(f"ip link set {end} addrgenmode none".split(), check=True)
            subprocess.run(f"ip link set {end} up".split(), check=True)
        yield ends
    finally:
        subprocess.run(f"ip link del {ends[0]}".split(), check=True)


@pytest.fixture
def sites(wire: tuple[str, str]) -> Iterator[tuple[Site, Site]]:
    """Hosts whose ports up0 are the two ends of one wire."""
    with ExitStack() as stack:
        made = []
        for number, end in enumerate(wire):
            host = stack.enter_context(temporary_host(f"vhost-site{number}"))
            host.start_ovsdb()
            host.enable_dpdk()
            host.start_agent()
            host.vsctl("add-br", "br0", "--", "set", "Bridge", "br0", "datapath_type=netdev",
                       "--", "add-port", "br0", "up0", "--", "set", "Interface", "up0",
                       "type=dpdk", f'options:dpdk-devargs="net_af_packet0,iface={end}"')
            assert host.interface("up0", "error") is None
            made.append(Site(host, stack))
        made[1].namespaces = made[0].namespaces         # addresses are those of one network
        yield made[0], made[1]


def test_guests_of_one_vlan_reach_each_other_over_the_trunk(sites: tuple[Site, Site]) -> None:
    here, there = sites
    for site, name, tag in ((here, "a", 10), (there, "b", 10), (there, "c", 20)):
        site.guest(name)
        site.host.vsctl("set", "Port", name, f"tag={tag}")
    assert here.ping("a", "b")
    assert not here.ping("a", "c", count=1)
    assert not there.ping("b", "c", count=1)
    there.host.vsctl("set", "Port", "c", "tag=10", "--", "set", "Port", "b", "tag=20")
    assert here.ping("a", "c")
    assert not here.ping("a", "b", count=1)
    wait_until(lambda: here.host.statistic("up0", "tx_packets") >= 3
               and there.host.statistic("up0", "rx_packets") >= 3, "the trunk was counted")
    for site in sites:
        assert site.host.statistic("up0", "tx_dropped") == 0
