"""The command line parses as those of OVS's daemons do (getopt_long)."""
from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from agent import VERSION, cli
from agent.remotes import TlsFiles
from agent.role import COMPANION, VSWITCHD
from agent.settings import DEFAULT_FILE, Settings

Parse = Callable[..., Settings]


@pytest.fixture
def parse(monkeypatch: pytest.MonkeyPatch) -> Parse:
    """Settings that 'vhost-agent run' with these words would serve."""
    served: list[Settings] = []

    def serve(parsed: Settings) -> int:
        served.append(parsed)
        return 0

    monkeypatch.setattr(cli, "serve", serve)
    for name in ("OVS_RUNDIR", "OVS_LOGDIR", "OVS_PKGDATADIR", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)

    def parse(*words: str) -> Settings:
        result = CliRunner().invoke(cli.main, ["run", *words])
        assert (result.exit_code, result.output) == (0, "")
        return served.pop()

    return parse


def test_a_start_loads_little_before_dpdk_starts() -> None:
    """Guests wait for it; the rest is loaded meanwhile."""
    code = ("import sys; from agent import cli, daemon; "
            "daemon.run = lambda settings: print("
            "*(m for m in sys.modules if m.startswith('agent.'))); "
            "cli.main(['run'])")
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                            check=True).stdout.split()
    assert {"agent.starting", "agent.exposure"} <= set(loaded)
    assert {"agent.model", "agent.main", "agent.pmd_datapath"}.isdisjoint(loaded)


def test_no_words_at_all(parse: Parse) -> None:
    assert parse() == Settings(
        name="vhost-agent", remote="unix:/var/run/openvswitch/db.sock",
        rundir="/var/run/openvswitch", logdir="/var/log/openvswitch", standalone=None,
        schema_file=Path("/usr/share/openvswitch/vswitch.ovsschema"))


def test_directories_come_from_the_environment(parse: Parse, monkeypatch: pytest.MonkeyPatch
                                               ) -> None:
    monkeypatch.setenv("OVS_RUNDIR", "/r")
    monkeypatch.setenv("OVS_LOGDIR", "/l")
    monkeypatch.setenv("OVS_PKGDATADIR", "/p")
    got = parse("--log-file")
    assert (got.remote, got.rundir, got.logdir) == ("unix:/r/db.sock", "/r", "/l")
    assert got.log_file == "/l/vhost-agent.log"
    assert got.schema_file == Path("/p/vswitch.ovsschema")


def test_empty_variable_is_as_none(parse: Parse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVS_RUNDIR", "")
    assert parse().rundir == "/var/run/openvswitch"


@pytest.mark.parametrize("words", [["unix:/x"], ["--pidfile", "unix:/x"], ["unix:/x", "--pidfile"],
                                   ["--log-file", "unix:/x"], ["-v", "unix:/x"],
                                   ["--verbose", "unix:/x"], ["--detach", "--", "unix:/x"]])
def test_option_with_optional_value_leaves_the_next_word_alone(parse: Parse, words: list[str]
                                                               ) -> None:
    assert parse(*words).remote == "unix:/x"


@pytest.mark.parametrize(("words", "pidfile"), [
    ([], None), (["--pidfile"], DEFAULT_FILE), (["--pidfile="], DEFAULT_FILE),
    (["--pidfile=F"], "F"), (["--pidfile=/a b"], "/a b"),
])
def test_pidfile(parse: Parse, words: list[str], pidfile: str | None) -> None:
    assert parse(*words).pidfile == pidfile


@pytest.mark.parametrize(("words", "log_file"), [
    ([], None), (["--log-file"], "/var/log/openvswitch/vhost-agent.log"),
    (["--log-file=/f"], "/f"), (["--log-file=f"], str(Path("f").absolute())),
])
def test_log_file_is_absolute_as_a_daemon_changes_its_directory(
        parse: Parse, words: list[str], log_file: str | None) -> None:
    assert parse(*words).log_file == log_file


@pytest.mark.parametrize(("words", "verbose"), [
    (["-v"], ("any:any:dbg",)), (["--verbose"], ("any:any:dbg",)),
    (["-vconsole:off"], ("console:off",)), (["--verbose=console:off"], ("console:off",)),
    (["-vconsole:off", "-vfile:info"], ("console:off", "file:info")),
    (["-v", "-vconsole:off"], ("any:any:dbg", "console:off")),
])
def test_verbose(parse: Parse, words: list[str], verbose: tuple[str, ...]) -> None:
    assert parse(*words).verbose == verbose


def test_line_of_ovs_ctl(parse: Parse) -> None:
    """As ovs-ctl starts ovs-vswitchd."""
    got = parse("unix:/run/db.sock", "-vconsole:emer", "-vsyslog:err", "-vfile:info",
                "--mlockall", "--no-chdir", "--log-file=/var/log/v.log", "--pidfile=/run/v.pid",
                "--detach", "--monitor", "--overwrite-pidfile", "--unixctl=/run/v.ctl",
                "--as", "ovs-vswitchd")
    assert got == Settings(
        name="ovs-vswitchd", remote="unix:/run/db.sock", rundir="/var/run/openvswitch",
        logdir="/var/log/openvswitch", standalone=None,
        schema_file=Path("/usr/share/openvswitch/vswitch.ovsschema"), detach=True, chdir=False,
        monitor=True, pidfile="/run/v.pid", overwrite_pidfile=True, log_file="/var/log/v.log",
        verbose=("console:emer", "syslog:err", "file:info"), unixctl="/run/v.ctl",
        mlockall=True)


def test_tls_files_are_absolute_as_a_daemon_changes_its_directory(
        parse: Parse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.remotes.TlsFiles.check", lambda _: None)
    monkeypatch.chdir(tmp_path)
    got = parse("ssl:[::1]:6640", "-p", "k", "--certificate=c", "-C/a")
    assert got.remote == "ssl:[::1]:6640"
    assert got.tls == TlsFiles(f"{tmp_path}/k", f"{tmp_path}/c", "/a")


@pytest.mark.parametrize("words", [["foo"], ["ssl:1.2.3.4:5"], ["-p", "/nowhere/key"]])
def test_unusable_remote_or_file_is_said(words: list[str]) -> None:
    result = CliRunner().invoke(cli.main, ["run", *words])
    assert result.exit_code == 1
    assert result.output.startswith("vhost-agent: ")
    assert result.output.count("\n") == 1


def test_as_names_the_files(parse: Parse) -> None:
    got = parse("--as", "ovs-vswitchd", "--log-file")
    assert got.name == "ovs-vswitchd"
    assert got.log_file == "/var/log/openvswitch/ovs-vswitchd.log"


def test_standalone_keeps_all_in_its_directory(parse: Parse, monkeypatch: pytest.MonkeyPatch,
                                               tmp_path: Path) -> None:
    monkeypatch.setenv("OVS_RUNDIR", "/r")
    monkeypatch.chdir(tmp_path)
    got = parse("--standalone", "sub", "--log-file")
    here = str(tmp_path / "sub")
    assert (str(got.standalone), got.rundir, got.logdir) == (here, here, here)
    assert got.remote == f"unix:{here}/db.sock"
    assert got.log_file == f"{here}/vhost-agent.log"


@pytest.mark.parametrize(("state_home", "directory"), [
    ("/s", "/s/vhost-agent"), ("", "/home/u/.local/state/vhost-agent")])
def test_standalone_without_a_directory(parse: Parse, monkeypatch: pytest.MonkeyPatch,
                                        state_home: str, directory: str) -> None:
    monkeypatch.setenv("HOME", "/home/u")
    monkeypatch.setenv("XDG_STATE_HOME", state_home)
    assert parse("--standalone").standalone == Path(directory)


@pytest.mark.parametrize("status", [0, 1])
def test_exit_status_is_that_of_the_agent(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    monkeypatch.setattr(cli, "serve", lambda _: status)
    assert CliRunner().invoke(cli.main, ["run"]).exit_code == status


@pytest.mark.parametrize("words", [["run", "--nonsense"], ["run", "a", "b"], ["nonsense"]])
def test_nothing_is_served_when_the_line_is_wrong(monkeypatch: pytest.MonkeyPatch,
                                                  words: list[str]) -> None:
    monkeypatch.setattr(cli, "serve", lambda _: pytest.fail("served"))
    assert CliRunner().invoke(cli.main, words).exit_code == 2


@pytest.mark.parametrize(("words", "text"), [
    (["--version"], VERSION), (["-h"], "run"), (["run", "-h"], "--pidfile"),
    (["run", "--help"], "--standalone")])
def test_help_and_version(words: list[str], text: str) -> None:
    result = CliRunner().invoke(cli.main, words)
    assert result.exit_code == 0
    assert text in result.output


def test_role(parse: Parse) -> None:
    assert (parse().role, parse("--role", "companion").role) == (VSWITCHD, COMPANION)
