"""The benchmark of the control plane works, and leaves nothing behind however it ends."""
from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from tools.host import wait_until

BENCH = [sys.executable, "-u", "-m", "tools.bench_control", "--no-peer", "--quick", "--ports=20"]


def traces(bench: int) -> set[str]:
    """What a benchmark of this process id has made and must take away."""
    prefix = f"vhost-bench.{bench}"
    found = {str(path) for path in Path("/tmp").glob(f"{prefix}*")}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            told = (process / "environ").read_bytes()
        except OSError:
            continue
        if f"OVS_RUNDIR=/tmp/{prefix}\0".encode() in told:
            found.add((process / "comm").read_text())
    return found


def test_quick_run_measures_every_case(tmp_path: Path) -> None:
    output = tmp_path / "out.json"
    with subprocess.Popen([*BENCH, f"--json={output}"], text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as bench:
        out, err = bench.communicate(timeout=100)
    assert bench.returncode == 0, out + err
    assert "add 20 ports at once" in out
    cases = json.loads(output.read_text())["cases"]
    assert all(case["sides"]["agent"]["pairs"] for case in cases.values())
    assert {key for key, case in cases.items() if "floor" in case["sides"]} == {
        "add_first", "add_many", "add_more", "add_open", "add_many_open"}
    assert traces(bench.pid) == set()


def test_interrupted_run_leaves_nothing(tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as out:
        bench = subprocess.Popen([*BENCH, f"--json={tmp_path}/json"], stdout=out,
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
