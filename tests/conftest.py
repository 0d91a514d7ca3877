"""Tiers, and what they need. A tier that cannot run is skipped on a developer's machine and a
failure in CI."""
from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.ending import interrupt_when_told_to_end
from tools.host import Host, temporary_host

TIERS = ("unit", "structure", "agent", "ext", "hostile", "functional", "docs", "metrics", "guests",
         "package")


def pytest_configure() -> None:
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:       # of a job in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)    # programs under test get it
    interrupt_when_told_to_end()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test's tier is the folder it lies in; quick tiers run first."""
    for item in items:
        item.add_marker(tier_of(item))
    items.sort(key=lambda item: TIERS.index(tier_of(item)))


def tier_of(item: pytest.Item) -> str:
    return item.path.relative_to(Path(__file__).parent).parts[0]


def missing(tier: str) -> str | None:
    """What this machine lacks for a tier, as a sentence."""
    programs = {"agent": ["ovsdb-server", "ovs-vswitchd", "ovs-vsctl", "ovs-appctl"],
                "hostile": ["ovsdb-server", "ovs-vsctl", "ovs-appctl"],
                "functional": ["ovsdb-server", "ovs-vswitchd", "dpdk-testpmd", "ip", "ethtool"],
                "docs": ["ovsdb-server", "ovs-vsctl", "ovs-appctl", "ovs-ofctl", "ovs-vswitchd",
                         "unshare", "ip", "tcpdump", "ping"],
                "metrics": ["ovsdb-server", "prometheus", "promtool"],
                "guests": ["ovsdb-server", "dpdk-testpmd", "ip", "ethtool", "debootstrap"],
                "package": ["dpdk-testpmd", "ip", "ethtool", "debootstrap"]}
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    for program in programs.get(tier, []):
        if shutil.which(program, path=path) is None:
            return f"{program} is not installed (make setup)"
    if tier in ("agent", "ext", "hostile", "functional", "docs", "metrics", "guests"):
        try:
            import pmd_ext.runtime  # noqa: F401
        except ImportError as e:
            return f"the extension is not built (make setup): {e}"
    if tier in ("functional", "docs", "metrics", "guests", "package") and os.geteuid() != 0:
        return "network namespaces need root"
    return None


def pytest_runtest_setup(item: pytest.Item) -> None:
    reason = missing(tier_of(item))
    if reason is not None:
        if os.environ.get("CI"):
            pytest.fail(f"tier {tier_of(item)} cannot run here: {reason}", pytrace=False)
        pytest.skip(reason)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says which tiers did not run: a skip is no pass."""
    skipped = {Path(report.fspath).parts[1] for report in terminalreporter.stats.get("skipped", [])}
    for tier in sorted(skipped):
        terminalreporter.write_line(f"NOT RUN: tests of tier {tier} were skipped", red=True)


@pytest.fixture
def host() -> Iterator[Host]:
    """A host with ovsdb-server and DPDK enabled in its database; no agent yet."""
    with temporary_host("vhost-test") as host:
        host.start_ovsdb()
        host.enable_dpdk()
        yield host


@pytest.fixture
def served(host: Host) -> Host:
    """The same with an agent and an empty bridge br0."""
    host.start_agent()
    host.vsctl("add-br", "br0", "--", "set", "Bridge", "br0", "datapath_type=netdev")
    return host
