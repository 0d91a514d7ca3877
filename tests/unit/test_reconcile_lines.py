"""What the reconciler logs: each thing once, and again only when it has come back."""
from __future__ import annotations

from uuid import UUID

from agent import loglines
from agent.hostconfig import LOCKED
from agent.model import SERVER_TYPE, InterfaceRow
from tests.unit.conftest import OneBridge


def test_settings_are_said_when_dpdk_has_started_and_when_they_change(lines: list[loglines.Line]
                                                                      ) -> None:
    host = OneBridge(lines)
    plane, host.datapath = host.datapath, None
    assert host.step() == []
    host.datapath = plane
    assert host.step() == [
        ("info", "Per port memory for DPDK devices disabled."),
        ("info", "No vhost-sock-dir provided - defaulting to /run/ovs"),
        ("info", "IOMMU support for vhost-user-client disabled."),
        ("info", "POSTCOPY support for vhost-user-client disabled."),
        ("info", "Default PMD thread max sleep:    0 us.")]
    assert host.step() == []
    host.other_config["per-port-memory"] = "true"
    assert host.step() == [("info", "Per port memory for DPDK devices enabled.")]


def test_problem_is_said_once_for_as_long_as_it_lasts(pair: OneBridge) -> None:
    pair.client("a", tx_retries_max="99")
    said = [("warn", "a: tx-retries-max: 99 is outside 0..32, using 8")]
    assert pair.step() == said
    assert pair.step() == []
    pair.client("a")
    assert pair.step() == []
    pair.client("a", tx_retries_max="99")
    assert pair.step() == said


def test_problem_of_all_ports_is_said_once_and_stands_in_each_status(pair: OneBridge) -> None:
    pair.other_config["vhost-iommu-support"] = "yes"
    problem = "vhost-iommu-support: 'yes' is neither true nor false, using false"
    assert pair.step() == [("warn", problem)]
    assert [spec.problems for spec in pair.reconciler.desired.ports.values()] == [(problem,)] * 2


def test_postcopy_is_refused_in_words_while_memory_is_filled(lines: list[loglines.Line]
                                                             ) -> None:
    host = OneBridge(lines)
    host.reconciler.fills_memory = True
    host.other_config["vhost-postcopy-support"] = "true"
    said = host.step()
    assert ("warn", LOCKED) in said
    assert ("info", "POSTCOPY support for vhost-user-client disabled.") in said


def test_unsupported_mtu_is_said_as_ovs_says_it(pair: OneBridge) -> None:
    pair.client("a", mtu=9703)
    (line,) = pair.step()
    assert line[0] == "warn"
    assert line[1].startswith("a: unsupported MTU 9703")


def test_change_that_waits_for_a_restart_is_said(pair: OneBridge) -> None:
    pair.other_config["dpdk-extra"] = "-m 5"
    assert pair.step() == [
        ("warn", "dpdk-extra: the change takes effect when the agent is started again")]
    del pair.other_config["dpdk-extra"]
    assert pair.step() == []


def test_server_ports_are_said_to_be_deprecated_once(pair: OneBridge) -> None:
    for name in ("s", "t"):
        pair.rows[name] = InterfaceRow(UUID(bytes=name.encode().rjust(16, b"\0")), name,
                                       SERVER_TYPE)
        assert (("warn", loglines.DEPRECATED) in pair.step()) == (name == "s")


def test_retries_that_change_are_said(pair: OneBridge) -> None:
    pair.client("a", tx_retries_max="3")
    assert pair.step() == [("info", "Max Tx retries for vhost device 'a' set to 3")]
    assert pair.plane.ports["a"].tx_retries_max == 3


def test_guests_are_said_as_they_come_and_go(pair: OneBridge) -> None:
    pair.plane.guest("a")
    assert pair.step(changed=False) == [
        ("info", "State of queue 0 ( tx_qid 0 ) of vhost device '/tmp/a' changed to 'enabled'"),
        ("info", "State of queue 1 ( rx_qid 0 ) of vhost device '/tmp/a' changed to 'enabled'"),
        ("info", "vHost Device '/tmp/a' has been added on numa node 0")]
    assert pair.step(changed=False) == []
    pair.plane.leave("a")
    assert pair.step(changed=False) == [
        ("info", "vHost Device '/tmp/a' has been removed"),
        ("info", "vHost Device '/tmp/a' connection has been destroyed")]
