"""vhost-agent doctor on this machine: real libraries, a real database, agents and users."""
from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from agent import dpdk_files
from tools.host import AGENT, SCHEMA, Host, temporary_host, wait_until
from tools.vswitchd import Vswitchd

SECONDS = 90                    # of a busy machine, for what is to end by itself in less than ten
ROOT = Path(__file__).parents[2]
# Who may look into every directory, for the tests' own may be closed, but write nowhere.
NOBODY = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups",
          "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]


class Report:
    """What doctor found."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        assert done.returncode in (0, 1, 2), done.stderr
        assert done.stderr == ""
        self.status = done.returncode
        self.json: dict[str, Any] = json.loads(done.stdout)
        self.findings = self.json["findings"]
        assert self.json["status"] == self.status
        assert sum(self.json["summary"].values()) == len(self.findings)

    def of(self, severity: str) -> set[str]:
        return {f["id"] for f in self.findings if f["severity"] == severity}

    def get(self, id_: str) -> dict[str, Any]:
        return dict(next(f for f in self.findings if f["id"] == id_))


def doctor(host: Host, *words: str, before: tuple[str, ...] = (), **env: str) -> Report:
    return Report(subprocess.run(
        [*before, *host.agent_command(), "doctor", "--json", *words], env=host.env | env,
        text=True, capture_output=True, timeout=SECONDS, check=False))


@pytest.fixture(scope="module")
def good() -> Iterator[Host]:
    """An agent with a port: a host that nothing is wrong with."""
    with temporary_host("vhost-doctor") as host:
        host.start_ovsdb()
        host.enable_dpdk()
        host.start_agent("--pidfile")
        host.vsctl("add-br", "br0", "--", "set", "Bridge", "br0", "datapath_type=netdev",
                   "--", "add-port", "br0", "vm1", "--", "set", "Interface", "vm1",
                   "type=dpdkvhostuser", "options:vhost-sock-mode=0660")
        yield host


@pytest.fixture
def clean(good: Host) -> Iterator[Host]:
    """The same, and what a test added to the database is taken away."""
    yield good
    for port in set(good.vsctl("list-ports", "br0").split()) - {"vm1"}:
        good.vsctl("del-port", "br0", port)
    for key in ("pmd-cpu-mask", "vlan-limit"):
        good.vsctl("remove", "Open_vSwitch", ".", "other_config", key)


def test_good_host_is_green(good: Host) -> None:
    report = doctor(good)
    assert (report.status, report.of("error"), report.of("warning")) == (0, set(), set())
    assert {"dpdk-libraries", "vhost-library", "dpdk-drivers", "database", "dpdk-init", "ports",
            "agent", "lock", "pmd-cores", "tap-devices", "descriptors", "sockets"} <= (
        report.of("ok"))
    assert report.of("info") <= {"schema-old", "no-isolated-cores", "no-qemu", "cpu-governor",
                                 "hugepages", "not-seen", "port-reason"}


def test_nothing_is_changed(good: Host) -> None:
    def state() -> tuple[str, list[str], str]:
        dump = good.check("ovsdb-client", "dump", f"unix:{good.directory}/db.sock", "Open_vSwitch",
                          "Open_vSwitch", "other_config", "next_cfg", "cur_cfg", "bridges")
        return (dump, sorted(p.name for p in good.directory.iterdir()),
                str((good.directory / "vm1").stat().st_ctime_ns))
    before, log = state(), good.output()
    doctor(good)
    assert state() == before
    assert good.output() == log         # nor did the agent lose its lock


def test_report_for_a_person(good: Host) -> None:
    done = good.run(*good.agent_command(), "doctor")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[-1].endswith("things are fine")
    assert "\x1b" not in done.stdout
    assert any(line.startswith("ok: DPDK ") for line in lines)
    long = good.run(*good.agent_command(), "doctor", "--verbose").stdout
    assert "net_af_packet: arguments iface=" in long
    assert "net_af_packet" not in done.stdout
    assert "rte_vhost_vring_stats_get" in long


def test_faults_in_rows(clean: Host) -> None:
    add = "type=dpdkvhostuserclient"
    clean.vsctl("add-port", "br0", "long", "--", "set", "Interface", "long", add,
                f"options:vhost-server-path=/tmp/{'x' * 200}")
    clean.vsctl("add-port", "br0", "nodir", "--", "set", "Interface", "nodir", add,
                "options:vhost-server-path=/nowhere/at/all")
    clean.vsctl("add-port", "br0", "eth", "--", "set", "Interface", "eth", "type=dpdk",
                "options:dpdk-devargs=net_af_paket0,iface=lo")
    clean.vsctl("set", "Open_vSwitch", ".", "other_config:vlan-limit=many")
    report = doctor(clean)
    assert report.status == 2
    assert {"port-error", "driver-missing"} == report.of("error")
    assert {"setting-unusable", "socket-directory-missing"} == report.of("warning")
    assert "net_af_paket" in report.get("driver-missing")["title"]
    assert report.get("socket-directory-missing")["fix"] == "mkdir -p /nowhere"
    said = {f["title"] for f in report.findings if f["id"] == "port-error"}
    assert len(said) == 2
    assert any("socket path" in text for text in said)


def test_database_without_an_agent() -> None:
    with temporary_host("vhost-doctor-alone") as host:
        host.start_ovsdb()
        host.vsctl("--no-wait", "add-br", "br0", "--", "add-port", "br0", "p", "--", "set",
                   "Interface", "p", "type=dpdkvhostuser")
        report = doctor(host)
        assert report.status == 2
        assert {"dpdk-init-missing", "bridge-datapath"} == report.of("error")
        assert {"agent-not-running"} <= report.of("warning")
        assert "hugepages" in report.of("ok") | report.of("info")


def test_more_packet_buffers_than_hugepages() -> None:
    with temporary_host("vhost-doctor-short") as host:
        host.start_ovsdb()
        host.enable_dpdk("")
        words = ["--no-wait", "set", "Open_vSwitch", ".", "other_config:per-port-memory=true",
                 "--", "add-br", "br0", "--", "set", "Bridge", "br0", "datapath_type=netdev"]
        for i in range(1000):
            words += ["--", "add-port", "br0", f"p{i}", "--", "set", "Interface", f"p{i}",
                      "type=dpdkvhostuser", "mtu_request=9000"]
        host.vsctl(*words)
        report = doctor(host)
        assert "hugepages-short" in report.of("error")
        assert "nr_hugepages" in report.get("hugepages-short")["fix"]


def test_commands_that_mend_do_mend(clean: Host) -> None:
    """Some of them can be typed as they stand."""
    clean.vsctl("set", "Open_vSwitch", ".", "other_config:vlan-limit=many")
    fix = doctor(clean).get("setting-unusable")["fix"]
    clean.check("sh", "-c", fix)
    assert doctor(clean).status == 0


def test_no_database_at_all(tmp_path: Path) -> None:
    env = {**os.environ, "OVS_RUNDIR": str(tmp_path)}
    done = subprocess.run([AGENT, "doctor", "--json"], env=env, text=True, capture_output=True,
                          timeout=SECONDS, check=False)
    report = Report(done)
    assert report.of("error") == {"database-unreachable"}
    assert "dpdk-libraries" in report.of("ok")


def test_other_user_is_told_what_it_cannot_see(good: Host) -> None:
    done = subprocess.run([*NOBODY, AGENT, "doctor", "--json"], env=good.env, text=True,
                          capture_output=True, timeout=SECONDS, check=False)
    report = Report(done)
    assert report.status == 1
    title = report.get("database-not-seen")["title"]
    assert "user nobody may not" in title
    assert "the agent runs as root" in title
    assert report.get("not-seen")
    assert "agent-silent" not in {f["id"] for f in report.findings}


def test_stopped_daemons_hold_nobody_up(good: Host) -> None:
    assert good.ovsdb is not None
    agent = good.agents[-1]
    server = int(subprocess.run(["pgrep", "-f", f"^ovsdb-server {good.directory}"], text=True,
                                capture_output=True, check=True).stdout.split()[0])
    began = time.monotonic()
    for pid in (server, agent.pid):
        os.kill(pid, signal.SIGSTOP)
    try:
        report = doctor(good)
    finally:
        for pid in (server, agent.pid):
            os.kill(pid, signal.SIGCONT)
    assert time.monotonic() - began < SECONDS
    assert report.of("error") == {"database-silent", "agent-silent"}
    assert f"kill -CONT {agent.pid}" in report.get("agent-silent")["fix"]
    wait_until(lambda: doctor(good).status == 0, "it is green again")


# --- beside other processes -----------------------------------------------------------------------

@contextmanager
def qemu(*words: str, user: str | None = None) -> Iterator[int]:
    """A process that looks like a QEMU; its number."""
    process = subprocess.Popen(["qemu-system-x86_64", "-c", "input()", *words], user=user,
                               executable="/usr/bin/python3", stdin=subprocess.PIPE,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


def test_guest_whose_memory_is_its_own(clean: Host) -> None:
    path = str(clean.directory / "vm1")
    with qemu("-chardev", f"socket,id=c,path={path}", "-m", "1G") as pid:
        finding = doctor(clean).get("guest-memory-private")
        assert (finding["severity"], str(pid) in finding["title"]) == ("error", True)
    with qemu("-chardev", f"socket,id=c,path={path}", "-object",
              "memory-backend-file,id=m,size=1G,mem-path=/dev/hugepages,share=on"):
        assert doctor(clean).status == 0


def test_guest_that_may_not_connect(clean: Host) -> None:
    clean.vsctl("add-port", "br0", "vm2", "--", "set", "Interface", "vm2", "type=dpdkvhostuser",
                "options:vhost-sock-mode=0600")
    clean.vsctl("remove", "Interface", "vm2", "options", "vhost-sock-mode")
    words = ("-chardev", f"socket,id=c,path={clean.directory}/vm2", "-object",
             "memory-backend-memfd,id=m,size=1G")
    with qemu(*words, user="nobody"):
        report = doctor(clean)
    assert report.of("error") == {"socket-closed-to-qemu"}
    finding = report.get("socket-closed-to-qemu")
    assert "user nobody may not use" in finding["title"]
    assert "the agent runs as root" in finding["why"]
    clean.check("sh", "-c", finding["fix"])
    with qemu(*words, user="nobody"):
        wait_until(lambda: "socket-closed-to-qemu" not in doctor(clean).of("error"),
                   "the command lets the guest in")
    for key in ("vhost-sock-owner", "vhost-sock-mode"):
        clean.vsctl("remove", "Open_vSwitch", ".", "other_config", key)


def test_second_agent_waits_for_the_lock(good: Host) -> None:
    agent = good.start_agent("--as", "second", wait=False)
    try:
        control = good.directory / f"second.{agent.pid}.ctl"
        wait_until(control.exists, "the second agent starts")
        report = doctor(good)
    finally:
        good.stop_agent()
    assert report.of("warning") == {"lock-contended"}
    title = report.get("lock-contended")["title"]
    assert f"second (process {agent.pid})" in title
    assert f"vhost-agent (process {good.agents[-1].pid})" in title


def test_companion_beside_ovs_vswitchd() -> None:
    with temporary_host("vhost-doctor-beside") as host:
        host.start_ovsdb()
        with Vswitchd(host):
            host.vsctl("add-br", "ovs0", "--", "set", "Bridge", "ovs0", "datapath_type=netdev")
            host.start_agent("--role", "companion", "--pidfile")
            host.vsctl("add-br", "br0", "--", "set", "Bridge", "br0", "datapath_type=vhost",
                       "--", "add-port", "br0", "vm1", "--", "set", "Interface", "vm1",
                       "type=dpdkvhostuserclient",
                       f"options:vhost-server-path={host.directory}/vm1.sock")
            report = doctor(host)
            assert (report.status, report.of("warning")) == (0, set())
            assert "ovs_vhost_agent" in report.get("lock")["title"]
            assert report.get("ports")["details"] == ["br0", "vm1"]
            host.vsctl("set", "Open_vSwitch", ".", "other_config:vhost-agent-vlan-limit=many")
            fix = doctor(host).get("setting-unusable")["fix"]
            host.check("sh", "-c", fix)
            assert doctor(host).status == 0
            assert "agent-not-running" in doctor(host, "--role=vswitchd").of("warning")


def test_agent_with_a_control_socket_elsewhere(tmp_path: Path) -> None:
    with temporary_host("vhost-doctor-else") as host:
        host.start_ovsdb()
        host.enable_dpdk()
        host.start_agent("--pidfile", f"--unixctl={tmp_path}/ctl", wait=False)
        wait_until((tmp_path / "ctl").exists, "the agent starts")
        wait_until(lambda: "lock" in doctor(host).of("ok"), "the agent is seen")
        assert doctor(host).of("warning") == set()


def test_agent_that_was_killed() -> None:
    with temporary_host("vhost-doctor-dead") as host:
        host.start_ovsdb()
        host.enable_dpdk()
        agent = host.start_agent()
        host.kill_agent()
        report = doctor(host)
        assert report.of("warning") == {"agent-not-running"}
        assert f"rm {host.directory}/vhost-agent.{agent.pid}.ctl" == (
            report.get("control-socket-left")["fix"])


# --- DPDK that is not as it should be -------------------------------------------------------------

@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A directory for PYTHONPATH with an extension of its own."""
    shutil.copytree(ROOT / "pmd_ext", tmp_path / "pmd_ext",
                    ignore=lambda _, names: [n for n in names if n.endswith((".pyx", ".pxd"))])
    return tmp_path


def with_copy(host: Host, copied: Path, **env: str) -> Report:
    return doctor(host, PYTHONPATH=f"{copied}:{ROOT}", **env)


def rename_needed(directory: Path, old: bytes, new: bytes) -> None:
    """Another soname of the same length in all that the extension was linked with."""
    assert len(old) == len(new)
    for file in directory.glob("*.so"):
        file.write_bytes(file.read_bytes().replace(old + b"\0", new + b"\0"))


def test_copy_is_as_good(good: Host, copied: Path) -> None:
    report = with_copy(good, copied)
    assert report.status == 0
    if (copied / "pmd_ext/lib").exists():       # librte_vhost that tools/build-vhost made
        assert str(copied) in dpdk_line(report)


def dpdk_line(report: Report) -> str:
    return " ".join([*report.get("dpdk-libraries")["details"],
                     *report.get("vhost-library")["details"]])


def test_missing_library_is_named(good: Host, copied: Path) -> None:
    soname = next(n for n in dpdk_files.gather().needed if n.startswith("librte_vhost"))
    other = soname[:-2] + "99"
    rename_needed(copied / "pmd_ext", soname.encode(), other.encode())
    report = with_copy(good, copied)
    assert report.of("error") == {"dpdk-library-missing"}
    finding = report.get("dpdk-library-missing")
    assert other in finding["title"]
    assert finding["fix"] == "apt-get install librte-vhost99"
    assert soname in finding["details"][0]      # what is here in its place


def test_library_that_is_another(good: Host, copied: Path, tmp_path: Path) -> None:
    """One without most functions, found by LD_LIBRARY_PATH; then one that is broken."""
    soname = next(n for n in dpdk_files.gather().needed if n.startswith("librte_meter"))
    wrong = tmp_path / "wrong"
    wrong.mkdir()
    source = tmp_path / "x.c"
    source.write_text("int rte_meter_none;")
    subprocess.run(["gcc", "-shared", "-o", str(wrong / soname), f"-Wl,-soname,{soname}",
                    str(source)], check=True)
    report = with_copy(good, copied, LD_LIBRARY_PATH=str(wrong))
    assert report.status == 2
    assert report.of("error") <= {"dpdk-symbols-missing", "dpdk-not-loadable"}
    assert "rte_meter" in json.dumps(report.findings)
    (wrong / soname).write_bytes(b"\x7fELF")
    assert with_copy(good, copied, LD_LIBRARY_PATH=str(wrong)).status == 2


def test_extension_that_was_not_built(good: Host, copied: Path) -> None:
    for file in (copied / "pmd_ext").glob("*.so"):
        file.unlink()
    report = with_copy(good, copied)
    assert report.of("error") == {"extension-missing"}


def test_schema_of_something_else(tmp_path: Path) -> None:
    whole = json.loads(SCHEMA.read_text())
    del whole["tables"]["Interface"]["columns"]["options"]
    odd = tmp_path / "odd.ovsschema"
    odd.write_text(json.dumps(whole))
    with temporary_host("vhost-doctor-odd") as host:
        database = host.directory / "conf.db"
        host.check("ovsdb-tool", "create", str(database), str(odd))
        host.ovsdb = host.spawn_ovsdb("ovsdb-server", database, "db.sock")
        wait_until(lambda: (host.directory / "db.sock").exists(), "ovsdb-server listens")
        report = doctor(host)
        assert report.of("error") == {"schema-unfit"}
        assert "Interface.options" in report.get("schema-unfit")["details"]
