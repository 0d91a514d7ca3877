"""The benchmarks work, and leave nothing behind however they end."""
from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tools.host import temporary_host, wait_until

CONTROL = [sys.executable, "-u", "-m", "tools.bench_control", "--no-peer", "--quick", "--ports=20"]
QUICK = [sys.executable, "-u", "-m", "tools.bench", "--quick", "--seconds=0.1"]
IDLE = [sys.executable, "-u", "-m", "tools.bench_idle", "--quick"]


def traces(bench: int) -> set[str]:
    """What a benchmark of this process id has made and must take away."""
    prefix = f"vhost-bench.{bench}"
    found = {str(path) for path in Path("/tmp").glob(f"{prefix}*")}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            told = (process / "environ").read_bytes() + (process / "cmdline").read_bytes()
        except OSError:
            continue
        if f"/tmp/{prefix}".encode() in told:
            found.add((process / "comm").read_text())
    return found


def run(command: list[str], output: Path) -> tuple[subprocess.Popen[str], str, str]:
    """The benchmark, which has ended, and what it said."""
    with subprocess.Popen([*command, f"--json={output}"], text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as bench:
        return bench, *bench.communicate(timeout=100)


def test_packets_a_second_are_measured_beside_testpmd_and_compared(tmp_path: Path) -> None:
    output = tmp_path / "out.json"
    bench, out, err = run([*QUICK, "--turns=2"], output)
    assert bench.returncode in (0, 1), out + err    # the machine is busy: any ratio will do
    assert "kept in the repository" in out
    case, = json.loads(output.read_text())["cases"]
    assert [len(case["values"][side]) for side in ("agent", "testpmd")] == [2, 2]
    assert min(case["values"]["agent"]) > 0.01
    assert traces(bench.pid) == set()


def test_control_plane_is_measured_in_every_case(tmp_path: Path) -> None:
    output = tmp_path / "out.json"
    bench, out, err = run(CONTROL, output)
    assert bench.returncode == 0, out + err
    assert "add 20 ports at once" in out
    cases = json.loads(output.read_text())["cases"]
    assert all(case["sides"]["agent"]["pairs"] for case in cases.values())
    assert {key for key, case in cases.items() if "floor" in case["sides"]} == {
        "add_first", "add_many", "add_more", "add_open", "add_many_open"}
    assert traces(bench.pid) == set()


def test_pmd_threads_at_rest_are_measured_in_every_case(tmp_path: Path) -> None:
    output = tmp_path / "out.json"
    bench, out, err = run(IDLE, output)
    assert bench.returncode == 0, out + err
    assert "two silent guests: PMD thread" in out
    measured = json.loads(output.read_text())
    cases = {key: case["modes"] for key, case in measured["cases"].items()}
    for modes in cases.values():
        assert modes.keys() == {"poll", "sleep", "block"}
        assert all(modes.values())
    at_rest = {mode: number for mode, (number,) in cases["rest_pmd"].items()}
    assert at_rest["poll"] > at_rest["sleep"] > at_rest["block"] == 0
    assert [len(rounds[0]) for rounds in measured["single_frames_us"].values()] == [100] * 3
    assert traces(bench.pid) == set()


def test_closed_host_leaves_no_command_that_waits() -> None:
    with temporary_host("vhost-left") as host:
        left = subprocess.Popen(["ovs-vsctl", f"--db={host.remote}", "--retry", "show"])
        wait_until(lambda: Path(f"/proc/{left.pid}/comm").read_text() == "ovs-vsctl\n",
                   "it waits")
    assert left.wait(10) == -signal.SIGKILL


@pytest.mark.parametrize("command", [CONTROL, IDLE], ids=["control", "idle"])
def test_interrupted_run_leaves_nothing(command: list[str], tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as out:
        bench = subprocess.Popen([*command, f"--json={tmp_path}/json"], stdout=out,
                                 stderr=subprocess.STDOUT, start_new_session=True)
    control = Path(f"/tmp/vhost-bench.{bench.pid}")
    wait_until(lambda: list(control.glob("*.ctl")) or bench.poll() is not None,
               "the benchmark is under way", 30)
    assert traces(bench.pid)
    os.kill(bench.pid, signal.SIGTERM)
    assert bench.wait(30) == 130
    assert b"Traceback" not in (tmp_path / "out").read_bytes()
    assert not (tmp_path / "json").exists()
    assert traces(bench.pid) == set()
