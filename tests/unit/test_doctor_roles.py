"""What doctor says of an agent of either role, and of ovs-vswitchd beside it."""
from __future__ import annotations

import errno
from dataclasses import replace
from uuid import UUID

from agent import check_daemons, check_database, doctor_facts
from agent.database_values import DatabaseFacts, Told
from agent.host_values import FileFacts, Process
from agent.model import BridgeRow, PortRow, Snapshot
from agent.role import COMPANION
from agent.role import VSWITCHD as VSWITCHD_ROLE
from tests.unit.doctor_values import HOST, REMOTE, ROOT, VSWITCHD, daemon, ids, row


def test_companion_and_ovs_vswitchd_have_a_lock_each() -> None:
    both = [daemon(words="vhost-agent run --role companion"), VSWITCHD]
    assert ids(check_daemons.check(both, 0, COMPANION)) == [
        ("ok", "agent"), ("ok", "lock"), ("ok", "lock")]
    assert ids(check_daemons.check(both, 0, VSWITCHD_ROLE))[0] == ("warning", "agent-not-running")
    found = check_daemons.check([VSWITCHD], 2, COMPANION)
    assert ids(found) == [("warning", "agent-not-running"), ("ok", "lock")]
    assert str(found[0].fix).endswith(" --role=companion")
    found = check_daemons.check([VSWITCHD], 2, COMPANION, "/usr")
    assert found[0].fix == "systemctl restart vhost-agent"
    facts = doctor_facts.Facts(Process(1), "/run", daemons=tuple(both))
    assert (facts.role, facts.agent) == (COMPANION, both[0].process)
    assert replace(facts, role_name="vswitchd").role == VSWITCHD_ROLE
    assert replace(facts, daemons=()).role == VSWITCHD_ROLE


def test_role_is_guessed_where_no_agent_runs() -> None:
    """What ovs-vswitchd serves is no agent's to serve."""
    there = {path: FileFacts(path, 0, kind, 0o777, 0, 0, "root", "root") for path, kind in (
        ("/", "directory"), ("/tmp", "directory"), ("/tmp/c0", "socket"), ("/tmp/x", "socket"))}
    ours = BridgeRow(UUID(int=1), "ours", "vhost", interfaces=(row("c0"),))
    bond = BridgeRow(UUID(int=2), "br0", "netdev", interfaces=(
        replace(row("bond0", "dpdk"), port=PortRow("bond", 2)), row("x")))
    facts = doctor_facts.Facts(
        Process(1, user=ROOT), "/run/ovs", host=HOST, daemons=(VSWITCHD,),
        database=DatabaseFacts(REMOTE, "", "8.3.1", (), Snapshot(1, {}, (bond,))), files=there)
    assert (facts.role, facts.agent) == (COMPANION, None)
    for bridges in ((bond,), (bond, ours)):
        database = DatabaseFacts(REMOTE, "", "8.3.1", (), Snapshot(1, {}, bridges))
        found = doctor_facts.findings(replace(facts, database=database))
        assert not {"port-error", "vswitchd-runs", "dpdk-init-missing"} & {f.id for f in found}
        fixes = [finding.fix for finding in found if finding.fix is not None]
        assert not any("appctl" in fix for fix in fixes)
        assert any(fix.endswith("run --pidfile --log-file --detach --role=companion")
                   for fix in fixes)
    asked = doctor_facts.findings(replace(facts, role_name="vswitchd"))
    assert {"vswitchd-runs", "dpdk-init-missing"} <= {finding.id for finding in asked}
    alone = replace(facts, daemons=())
    assert alone.role == VSWITCHD_ROLE
    assert replace(alone, database=database).role == COMPANION
    gone = replace(VSWITCHD, process=None)
    assert replace(facts, daemons=(gone,)).role == VSWITCHD_ROLE


def test_who_is_to_go_is_no_ovs_vswitchd() -> None:
    for both in ([daemon(), VSWITCHD], [VSWITCHD, daemon()]):
        (finding,) = (f for f in check_daemons.check(both, 0) if f.id == "lock-contended")
        assert str(finding.fix).startswith(f"ovs-appctl -t {daemon().control} exit")


def test_companion_is_started_again_as_one() -> None:
    old = daemon(version="vhost-agent (ovs-vhost-agent) 0.0.1", words="vhost-agent run "
                 "--role=companion")
    assert str(check_daemons.check([old], 0, COMPANION)[0].fix).endswith("--role=companion")


def test_agent_that_commands_do_not_find_is_named_to_them() -> None:
    told = (Told("c0", "", "down", "", "why"),)
    there = {path: FileFacts(path, errno.ENOENT) for path in ("/", "/tmp", "/tmp/c0")}
    facts = DatabaseFacts(REMOTE, "", "8.3.1", (), Snapshot(1, {}, (
        BridgeRow(UUID(int=1), "br0", "netdev", interfaces=(row("c0"),)),)), told)
    running = doctor_facts.Facts(Process(1, user=ROOT), "/run", host=HOST, database=facts,
                                 daemons=(daemon("other"),),
                                 files=there)
    for found, fix in (("", "vhost-agent explain -t /run/other.5.ctl c0"),
                       ("/run/other.5.ctl", "vhost-agent explain c0")):
        said = doctor_facts.findings(replace(running, found_control=found))
        assert [f.fix for f in said if f.id == "port-reason"] == [fix]


def test_companion_looks_at_its_own_bridges_and_keys() -> None:
    mine = BridgeRow(UUID(int=1), "mine", "vhost", interfaces=(row("c0"),))
    other = BridgeRow(UUID(int=2), "other", "system", interfaces=(row("x"),))
    told = (Told("c0"), Told("x", "no DPDK"))
    settings = {"vhost-agent-pmd-cpu-mask": "0x10", "pmd-cpu-mask": "0x2"}
    facts = DatabaseFacts(REMOTE, "", "8.3.1", (), Snapshot(1, settings, (mine, other)), told)
    wanted = doctor_facts.wanted(facts, HOST, "/run/ovs", COMPANION)
    assert wanted.ports.keys() == {"c0"}
    found = check_database.rows(facts, wanted, True, COMPANION)
    assert ids(found) == [("ok", "dpdk-init"), *[("warning", "setting-unusable")] * 2]
    assert found[0].title.endswith("dpdk-init is not set: DPDK starts by itself")
    assert "remove Open_vSwitch . other_config vhost-agent-pmd-cpu-mask" in str(found[1].fix)
    found = check_database.rows(facts, doctor_facts.wanted(facts, HOST, "/run/ovs"), True)
    assert ids(found) == [("error", "dpdk-init-missing"), ("error", "bridge-datapath")]
