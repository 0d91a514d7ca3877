"""What doctor says of the database, of daemons and of programs, and how it is shown."""
from __future__ import annotations

import errno
import json
import time
from dataclasses import replace
from pathlib import Path
from threading import Event
from uuid import UUID

import pytest

from agent import (
    check_daemons,
    check_database,
    check_programs,
    doctor,
    doctor_facts,
    doctor_text,
    elf,
    process_facts,
    select_rows,
)
from agent.database_values import DatabaseFacts, Told
from agent.dpdk_values import Driver
from agent.finding import Finding, exit_status
from agent.host_facts import module_name
from agent.host_values import Daemon, FileFacts, Kernel, Program, User
from agent.model import BridgeRow, InterfaceRow, PortRow, Snapshot
from tests.unit.doctor_values import HOST, REMOTE, ROOT, VSWITCHD, client, daemon, ids, row

NOBODY = User("nobody", 65534, frozenset({65534}))


def files(mode: int = 0o750, error: int = 0) -> dict[str, FileFacts]:
    found = {path: FileFacts(path, 0, "directory", 0o755, 0, 0, "root", "root")
             for path in ("/", "/run", "/run/ovs")}
    return found | {"/run/ovs/db.sock": FileFacts("/run/ovs/db.sock", error, "socket", mode, 0, 0,
                                                  "root", "root")}


# --- the database ---------------------------------------------------------------------------------

@pytest.mark.parametrize(("error", "who", "there", "expected"), [
    ("unix:/x: database connection failed (Permission denied)", NOBODY, files(),
     ("warning", "database-not-seen")),
    ("unix:/x: database connection failed", ROOT, files(error=errno.ENOENT),
     ("error", "database-unreachable")),
    ("unix:/x: no answer (Connection timed out)", ROOT, files(), ("error", "database-silent")),
    ("unix:/x: the server refuses: unknown database", ROOT, files(),
     ("error", "database-unreachable")),
    ("tcp:1.2.3.4:6640: database connection failed (No route to host)", ROOT, {},
     ("error", "database-unreachable"))])
def test_database_that_does_not_answer(error: str, who: User, there: dict[str, FileFacts],
                                       expected: tuple[str, str]) -> None:
    facts = DatabaseFacts(REMOTE, error)
    assert ids(check_database.check(facts, there, who, None)) == [expected]


def test_both_users_are_named_at_the_databases_door() -> None:
    facts = DatabaseFacts(REMOTE, "Permission denied")
    (finding,) = check_database.check(facts, files(), NOBODY, ROOT)
    assert finding.title == ("user nobody may not use /run/ovs/db.sock (owner root, group root, "
                             "mode 0750), the database's socket; the agent runs as root")
    facts = DatabaseFacts(REMOTE, "", "8.3.1", (), Snapshot())
    found = check_database.check(facts, files(), ROOT, NOBODY)
    assert ids(found) == [("error", "database-closed"), ("ok", "database"), ("ok", "schema")]
    assert "the agent runs as nobody" in found[0].why


@pytest.mark.parametrize(("facts", "expected"), [
    (DatabaseFacts(REMOTE, "", "8.3.1", (), Snapshot()), ("ok", "schema")),
    (DatabaseFacts(REMOTE, "", "8.3.1", ("Mirror.filter",), Snapshot()), ("info", "schema-old")),
    (DatabaseFacts(REMOTE, "", "8.3.1", ("Port.name",), None), ("error", "schema-unfit")),
    (DatabaseFacts(REMOTE, "", "8.3.1"), ("warning", "database-empty"))])
def test_schema(facts: DatabaseFacts, expected: tuple[str, str]) -> None:
    assert ids(check_database.check(facts, files(), ROOT, None)) == [("ok", "database"), expected]


def rows(*found: InterfaceRow, told: tuple[Told, ...] = (), runs: bool = True,
         datapath_type: str = "netdev", **other_config: str) -> list[Finding]:
    settings = {key.replace("_", "-"): text for key, text in other_config.items()}
    bridge = BridgeRow(UUID(int=1), "br0", datapath_type, interfaces=found)
    facts = DatabaseFacts(REMOTE, "", "8.3.1", (), Snapshot(1, settings, (bridge,)), told)
    wanted = doctor_facts.wanted(facts, HOST, "/run/ovs")
    return check_database.rows(facts, wanted, runs)


def test_rows_that_nothing_is_wrong_with() -> None:
    assert ids(rows(row("c0"), dpdk_init="true")) == [("ok", "dpdk-init"), ("ok", "ports")]


@pytest.mark.parametrize(("mode", "severity"), [("", "error"), ("false", "error"), ("try", "ok")])
def test_dpdk_init(mode: str, severity: str) -> None:
    assert rows(row("c0"), dpdk_init=mode)[0].severity == severity


def test_dpdk_init_without_a_port_that_needs_it() -> None:
    assert ids(rows()) == [("warning", "dpdk-init-missing")]


@pytest.mark.parametrize(("type_", "expected"), [
    ("dpdkvhostuser", ("error", "bridge-datapath")), ("internal", ("info", "bridge-elsewhere"))])
def test_bridge_that_is_not_served(type_: str, expected: tuple[str, str]) -> None:
    found = rows(row("c0", type_), dpdk_init="true", datapath_type="")
    assert ids(found) == [("ok", "dpdk-init"), expected]
    assert found[1].fix == "ovs-vsctl set Bridge br0 datapath_type=netdev"


def test_errors_of_ports_are_the_agents_or_what_an_agent_would_say() -> None:
    told = (Told("c0", "no memory (modprobe memory)"),)
    found = rows(row("c0"), told=told, dpdk_init="true")[1]
    assert (found.severity, found.id, found.fix) == ("error", "port-error", "modprobe memory")
    assert ids(rows(row("c0"), told=told, runs=False, dpdk_init="true"))[1] == ("ok", "ports")
    odd = replace(row("c0"), mtu_request=5)
    assert ids(rows(odd, runs=False, dpdk_init="true"))[1] == ("warning", "port-problems")
    assert ids(rows(odd, told=(Told("c0"),), dpdk_init="true"))[1] == ("ok", "ports")
    long = replace(row("c0"), options={"vhost-server-path": "/" + "x" * 200})
    assert "File name too long" in rows(long, runs=False, dpdk_init="true")[1].title


def test_only_a_plain_command_of_an_error_is_repeated() -> None:
    for error in ("no (ovs-vsctl set Bridge $(x) a=b)", "no (ovs-vsctl x; y)",
                  "no 'x (ovs-vsctl del-br br0)' is there"):
        found = rows(row("c0"), told=(Told("c0", error),), dpdk_init="true")[1]
        assert str(found.fix).startswith("ovs-vsctl list Interface c0 ")
    found = rows(row("c 0"), told=(Told("c 0", "no (ovs-vsctl set Bridge 'b r' a=b)"),),
                 dpdk_init="true")[1]
    assert found.fix == "ovs-vsctl set Bridge 'b r' a=b"
    found = rows(row("$(x)"), told=(Told("$(x)", "no"),), dpdk_init="true")[1]
    assert str(found.fix).startswith("ovs-vsctl list Interface '$(x)' ")


def test_what_concerns_all_ports_is_said_once() -> None:
    mask = "pmd-cpu-mask: no such core: 4, left out"
    told = (Told("c0", problems=f"{mask}; own"), Told("c1", problems=mask))
    found = rows(row("c0"), row("c1"), told=told, dpdk_init="true", pmd_cpu_mask="0x11")
    assert ids(found) == [("ok", "dpdk-init"), ("warning", "setting-unusable"),
                          ("warning", "port-problems")]
    assert found[1].title == mask
    assert str(found[1].fix).startswith("ovs-vsctl remove Open_vSwitch . other_config pmd-cpu-mask")
    assert found[2].title == "port c0: own"


@pytest.mark.parametrize(("state", "severity"), [("up", "warning"), ("down", "info")])
def test_reason(state: str, severity: str) -> None:
    found = rows(row("c0"), told=(Told("c0", "", state, "", "why"),), dpdk_init="true")
    assert (severity, "port-reason") in ids(found)


def test_rows_of_select_become_what_decisions_are_made_of() -> None:
    a, b, c = (["uuid", str(UUID(int=i))] for i in (1, 2, 3))
    empty, nothing = ["map", []], ["set", []]
    found = select_rows.snapshot({
        "Open_vSwitch": [{"bridges": a, "next_cfg": 7,
                          "other_config": ["map", [["dpdk-init", "true"]]]}],
        "Bridge": [{"_uuid": a, "name": "br0", "datapath_type": "netdev", "fail_mode": nothing,
                    "other_config": empty, "ports": ["set", [b]]}],
        "Port": [{"_uuid": b, "name": "p", "interfaces": c, "vlan_mode": nothing, "tag": 5,
                  "other_config": empty}],
        "Interface": [{"_uuid": c, "name": "i", "type": "dpdkvhostuser", "options": empty,
                       "other_config": empty, "ofport": nothing, "mtu_request": 9000,
                       "mac": nothing}]})
    assert found == Snapshot(7, {"dpdk-init": "true"}, (BridgeRow(
        UUID(int=1), "br0", "netdev", interfaces=(InterfaceRow(
            UUID(int=3), "i", "dpdkvhostuser", mtu_request=9000, port=PortRow("p", tag=5)),)),))
    tables: dict[str, list[dict[str, object]]] = {name: [] for name in select_rows.COLUMNS}
    assert select_rows.snapshot(tables) is None


# --- daemons and programs -------------------------------------------------------------------------

@pytest.mark.parametrize(("daemons", "expected"), [
    ([], [("warning", "agent-not-running")]),
    ([daemon()], [("ok", "agent"), ("ok", "lock")]),
    ([daemon("ovs-vswitchd")], [("ok", "agent"), ("ok", "lock")]),
    ([daemon(version="vhost-agent (ovs-vhost-agent) 0.0.1")],
     [("warning", "agent-version"), ("ok", "lock")]),
    ([daemon(version=None, silence="Connection timed out")],
     [("error", "agent-silent"), ("ok", "lock")]),
    ([daemon(version=None, silence="Permission denied")], [("info", "not-seen"), ("ok", "lock")]),
    ([daemon("odd", version=None, words="python3 /usr/bin/vhost-agent run", silence="x")],
     [("error", "agent-silent"), ("ok", "lock")]),
    ([VSWITCHD], [("warning", "agent-not-running"), ("warning", "vswitchd-runs")]),
    ([daemon(), VSWITCHD], [("ok", "agent"), ("warning", "lock-contended")]),
    ([replace(daemon(version=None, words="/usr/bin/vhost-agent run"), control="")],
     [("info", "not-seen"), ("ok", "lock")]),
    ([daemon("ovsdb-server", version=None)], [("warning", "agent-not-running")]),
    ([replace(daemon(), process=None, version=None)],
     [("warning", "agent-not-running"), ("info", "control-socket-left")])])
def test_daemons(daemons: list[Daemon], expected: list[tuple[str, str]]) -> None:
    assert ids(check_daemons.check(daemons, 0)) == expected


@pytest.mark.parametrize(("version", "iommu", "postcopy", "expected"), [
    ((7, 2, 22), True, True, ["ok"]),
    ((2, 6), False, False, ["warning", "error"]),
    ((2, 9), True, False, ["error"]),
    ((2, 9, 1), True, False, ["ok"]),
    ((2, 11), False, True, ["error", "warning"]),
    ((2, 12), False, True, ["warning"])])
def test_qemu_against_the_document(version: tuple[int, ...], iommu: bool, postcopy: bool,
                                   expected: list[str]) -> None:
    ports = [client(iommu=iommu, postcopy=postcopy)]
    found = check_programs.check([Program("QEMU", version)], ports, Kernel("6.1.0-1"))
    assert [finding.severity for finding in found] == expected


def test_programs_that_are_not_there_or_odd() -> None:
    assert ids(check_programs.check([], [], Kernel())) == [("info", "no-qemu")]
    assert ids(check_programs.check([Program("QEMU", problem="why"), Program("libvirt", (2, 2))],
                                    [], Kernel())) == [
        ("info", "not-seen"), ("warning", "program-old")]
    old = check_programs.check([Program("QEMU", (5, 0))], [client(postcopy=True)], Kernel("4.9.0"))
    assert ids(old) == [("ok", "program"), ("error", "kernel-old")]


@pytest.mark.parametrize(("cgroups", "file", "expected"), [
    ("0::/a/b", "a/b/cpuset.cpus.effective", (1, 2)),
    ("0::/a/b", "a/cpuset.cpus.effective", (1, 2)),         # b has no controller of its own
    ("0::/", "cpuset.cpus.effective", (1, 2)),
    ("4:cpu:/x\n3:cpuset:/x\n0::/", "cpuset/x/cpuset.effective_cpus", (1, 2)),
    ("3:cpuset:/gone\n0::/", "cpuset/cpuset.cpus", (1, 2)),
    ("4:cpu:/x", "cpu/x/cpuset.cpus", ()), ("", "x", ())])
def test_cores_that_a_control_group_leaves(tmp_path: Path, cgroups: str, file: str,
                                           expected: tuple[int, ...]) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("1-2\n")
    assert process_facts.cpuset(cgroups, tmp_path) == expected


# --- files ----------------------------------------------------------------------------------------

def test_drivers_in_the_constants_of_a_file() -> None:
    data = (b'xPMD_INFO_STRING= {"name": "net_a", "params": " a=<int> ", "kmod": "* vfio-pci", '
            b'"pci_ids": [[32902, 4347, 65535, 65535]]}\0y'
            b'PMD_INFO_STRING= {"name": 7}\0PMD_INFO_STRING= [broken')
    found = [elf.described(text, "f.so") for text in elf.texts(data, elf.DRIVER_MARK)]
    assert found == [Driver("net_a", "f.so", "a=<int>", "* vfio-pci",
                            ((0x8086, 0x10fb, 0xffff, 0xffff),)), Driver("7", "f.so"), None]


@pytest.mark.parametrize("content", [b"", b"no ELF", b"\x7fELF\x02\x01\x01" + bytes(9)])
def test_broken_files_are_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "librte_vhost.so.23"
    file.write_bytes(content)
    with pytest.raises(elf.ElfError, match="librte_vhost"):
        elf.Elf(file).library()


def test_own_library_is_read(tmp_path: Path) -> None:
    """Wherever it is cut off, an error is of its own kind."""
    import _ctypes as module

    whole = Path(str(module.__file__)).read_bytes()
    with elf.Elf(Path(str(module.__file__))) as file:
        assert "libc.so.6" in file.library().needed
        assert "PyInit__ctypes" in file.library().exports
        assert file.drivers() == []
    part = tmp_path / "part.so"
    refused = 0
    for size in range(0, len(whole), len(whole) // 40 + 1):
        part.write_bytes(whole[:size])
        try:
            with elf.Elf(part) as file:
                file.library()
        except elf.ElfError:
            refused += 1
    assert refused


def test_names_of_modules() -> None:
    assert module_name("kernel/drivers/vfio/pci/vfio-pci.ko.xz") == "vfio_pci"


# --- the report -----------------------------------------------------------------------------------

FOUND = [Finding("good", "ok", "well"), Finding("bad", "error", "broken\nline", "it hurts", "mend",
                                               ("a", "b")), Finding("odd", "warning", "hm")]


def test_problems_come_first_and_what_is_fine_has_a_line() -> None:
    assert doctor_text.text(FOUND, False, False).splitlines() == [
        "error: broken\\x0aline [bad]", "    why: it hurts", "    fix: mend", "    a", "    b",
        "warning: hm [odd]", "ok: well", "", "1 error, 1 warning, 1 thing is fine"]
    assert "✓" in doctor_text.text(FOUND, False, True)


def test_findings_for_programs() -> None:
    said = json.loads(doctor_text.json_text(FOUND))
    assert (said["status"], said["summary"]) == (
        2, {"error": 1, "warning": 1, "info": 0, "ok": 1})
    assert said["findings"][0] == {
        "id": "bad", "severity": "error", "title": "broken\nline", "why": "it hurts",
        "fix": "mend", "details": ["a", "b"]}


def test_exit_status() -> None:
    assert [exit_status(found) for found in ([], FOUND[:1], FOUND[2:], FOUND)] == [0, 0, 1, 2]


def test_task_that_hangs_or_fails_is_left_behind() -> None:
    began = time.monotonic()
    found, missed = doctor.within(0.1, {"good": lambda: 1, "hangs": Event().wait,
                                        "fails": lambda: 1 // 0})
    assert time.monotonic() - began < 20
    assert found == {"good": 1}
    assert missed.keys() == {"hangs", "fails"}
    assert "ZeroDivisionError" in missed["fails"]
