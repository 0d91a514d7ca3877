"""The two roles: what of a database each sees, and by which names."""
from __future__ import annotations

from uuid import UUID

import pytest
from click.testing import CliRunner

import schema
from agent import cli
from agent.eal_args import eal_args
from agent.hostconfig import COLUMN, LOCKED, TABLE, host_config
from agent.model import BridgeRow, InterfaceRow, Snapshot
from agent.role import COMPANION, ROLES, VSWITCHD, Role, usual
from agent.validate import desired

BRIDGES = tuple(BridgeRow(UUID(int=i), f"br{i}", type_)
                for i, type_ in enumerate(("", "netdev", "odd", "system", "vhost")))
CORES = {0: (0, 1, 2), 1: (3, 4)}


def test_each_sees_its_bridges() -> None:
    before = Snapshot(7, {"pmd-cpu-mask": "1", "vhost-agent-pmd-cpu-mask": "2"}, BRIDGES)
    theirs = VSWITCHD.view(before)
    assert (theirs.bridges, theirs.apart) == (BRIDGES[:4], ("br4",))
    assert (theirs.next_cfg, theirs.other_config) == (7, before.other_config)
    ours = COMPANION.view(before)
    assert (ours.bridges, ours.apart) == (BRIDGES[4:], ())
    assert (ours.next_cfg, ours.other_config) == (0, {"dpdk-init": "true", "pmd-cpu-mask": "2"})


def test_what_a_companion_does_not_read_changes_nothing() -> None:
    one = COMPANION.view(Snapshot(1, {"dpdk-init": "true"}, BRIDGES))
    other = COMPANION.view(Snapshot(2, {"dpdk-extra": "x"}, BRIDGES[3:]))
    assert one == other


def test_taps_that_others_have_to_do_with() -> None:
    def bridge(name: str, type_: str, *rows: InterfaceRow) -> BridgeRow:
        return BridgeRow(UUID(int=9), name, type_, interfaces=rows)

    def row(name: str, tap: str, type_: str = "tap") -> InterfaceRow:
        return InterfaceRow(UUID(int=8), name, type_, {"tap-name": tap} if tap else {})

    ours = bridge("br0", "vhost", row("a", "t0"), row("b", "t1"), row("c", ""))
    theirs = bridge("ovs0", "netdev", row("t0", "", ""), row("c", ""), row("d", "t2"),
                    row("e", "t3", "internal"))
    seen = COMPANION.view(Snapshot(bridges=(ours, theirs)))
    assert (seen.taps_elsewhere, seen.taps_shared) == ({"t2"}, {"t0": "ovs0"})
    seen = VSWITCHD.view(Snapshot(bridges=(ours, theirs)))
    assert (seen.taps_elsewhere, seen.taps_shared) == ({"t0", "t1"}, {})


@pytest.mark.parametrize("said", ["false", "try", "no"])
def test_a_companion_starts_dpdk_unless_told(said: str) -> None:
    assert COMPANION.view(Snapshot()).other_config == {"dpdk-init": "true"}
    told = COMPANION.view(Snapshot(other_config={"vhost-agent-dpdk-init": said}))
    assert told.other_config == {"dpdk-init": said}


def test_the_roles_share_nothing() -> None:
    for what in ("name", "lock", "datapath_type", "prefix", "file_prefix"):
        assert len({getattr(role, what) for role in ROLES.values()}) == len(ROLES)


def problems(other_config: dict[str, str], **kw: bool) -> tuple[str, ...]:
    return host_config(COMPANION.settings(other_config), rundir="/r", numa_cores=CORES,
                       dpdk_initialized=True, role=COMPANION, **kw).problems


@pytest.mark.parametrize(("key", "text", "said"), [
    ("pmd-cpu-mask", "x", "pmd-cpu-mask: 'x' is not a hexadecimal mask: what is no digit counts "
     "as 0"),
    ("vhost-sock-mode", "9", "vhost-sock-mode: '9' is not an octal number of 0000..0777"),
    ("stats-update-interval", "1", "stats-update-interval: 1 is outside 5000.., using 5000"),
    ("n-handler-threads", "1", "n-handler-threads: has no effect: "),
    ("pmd-cpu-maks", "1", "pmd-cpu-maks: not an option; did you mean vhost-agent-pmd-cpu-mask?"),
    ("pmd-maxsleep", "1", "pmd-maxsleep: is deprecated, use vhost-agent-pmd-sleep-max"),
    ("pmd-rxq-isolate", "false", "pmd-rxq-isolate: can only be false with "
     "vhost-agent-pmd-rxq-assign=group, using true")])
def test_complaints_name_the_key_as_it_was_typed(key: str, text: str, said: str) -> None:
    found = problems({f"vhost-agent-{key}": text, key: text})
    assert found[0].startswith(f"vhost-agent-{said}")
    assert all(problem.startswith("vhost-agent-") for problem in found)
    assert problems({key: text}) == ()


def test_a_complaint_that_names_two_settings() -> None:
    (said,) = problems({"vhost-agent-vhost-postcopy-support": "true"}, fills_memory=True)
    assert said == "vhost-agent-" + LOCKED.replace(
        "other_config:", "other_config:vhost-agent-")


def test_settings_of_a_companion_are_nothing_to_the_other_role() -> None:
    other = {f"vhost-agent-{o.key}": "x" for o in schema.options_of(TABLE, COLUMN)}
    other |= {f"vhost-agent-{key}": "x" for key in schema.without_effect(TABLE, COLUMN)}
    assert host_config(other, rundir="/r", numa_cores=CORES, dpdk_initialized=True).problems == ()


def test_pmd_threads_of_the_two_are_apart_by_default() -> None:
    for role, cores in ((VSWITCHD, (0, 3)), (COMPANION, (2, 4))):
        config = host_config({}, rundir="/r", numa_cores=CORES, dpdk_initialized=True, role=role)
        assert tuple(pmd.core for pmd in config.pmds) == cores


@pytest.mark.parametrize(("extra", "expected"), [
    ("", ["--file-prefix", "vhost-agent"]), ("--no-huge", ["--file-prefix", "vhost-agent"]),
    ("--file-prefix=mine", []), ("--file-prefix mine", ["--file-prefix", "mine"])])
def test_files_of_dpdk_are_a_companions_own(extra: str, expected: list[str]) -> None:
    argv, _ = eal_args({"dpdk-extra": extra}, program="p", main_cpu=0, online=(0,),
                       prefix=COMPANION.prefix, file_prefix=COMPANION.file_prefix)
    at = argv.index("--file-prefix") if "--file-prefix" in argv else len(argv)
    assert list(argv[at:at + 2]) == expected


def test_lines_about_dpdks_arguments_name_the_keys_as_they_were_typed() -> None:
    _, lines = eal_args({"dpdk-extra": "--lcores 0", "dpdk-lcore-mask": "1"}, program="p",
                        main_cpu=0, online=(0,), prefix=COMPANION.prefix)
    assert lines == (("warn", "Ignoring database defined option 'vhost-agent-dpdk-lcore-mask' due "
                      "to vhost-agent-dpdk-extra config"),)


def test_bridges_of_a_companion_are_said_to_be_left_alone() -> None:
    config = host_config({}, rundir="/r", numa_cores=CORES, dpdk_initialized=True)
    result = desired(VSWITCHD.view(Snapshot(bridges=BRIDGES)), config, dict)
    assert [p for p in result.problems if "br4" in p] == [
        "bridge br4: datapath_type vhost is for an agent that runs with --role companion, left "
        "alone"]


def test_a_companion_needs_somebody_to_be_beside() -> None:
    result = CliRunner().invoke(cli.main, ["run", "--standalone", "--role", "companion"])
    assert result.exit_code == 2
    assert "--standalone has no ovs-vswitchd" in result.output


@pytest.mark.parametrize(("bridges", "role"), [
    (BRIDGES, COMPANION), (BRIDGES[4:], COMPANION), (BRIDGES[:4], VSWITCHD), ((), VSWITCHD)])
def test_role_that_a_database_is_made_for(bridges: tuple[BridgeRow, ...], role: Role) -> None:
    assert usual(Snapshot(bridges=bridges)) == role
    assert usual(VSWITCHD.view(Snapshot(bridges=bridges))) == role
