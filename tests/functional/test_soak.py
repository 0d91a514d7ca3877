"""`make soak` in small: a run that is ended early has a good report, and a leak does not pass."""
from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tools.guest import last_cpu
from tools.host import Host, temporary_host, wait_until
from tools.soak import PACE_S, Run
from tools.soak_churn import Churn
from tools.soak_numbers import FEWEST_SAMPLES, faults

PATIENCE_S = 240.0
EVERY_S = 2


def test_interrupted_run_reports_what_it_saw(tmp_path: Path) -> None:
    target = tmp_path / "soak.json"

    def document() -> dict[str, Any]:
        return json.loads(target.read_text()) if target.exists() else {"samples": []}
    with subprocess.Popen(
            [sys.executable, "-m", "tools.soak", "--seconds=3600", f"--every={EVERY_S}",
             f"--json={target}"], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler)) as soak:
        wait_until(lambda: len(document()["samples"]) > FEWEST_SAMPLES or soak.poll() is not None,
                   "enough samples", PATIENCE_S)
        soak.send_signal(signal.SIGINT)
        out, err = soak.communicate(timeout=PATIENCE_S)
    found = document()
    assert found["faults"] == [], err
    assert soak.returncode == 130, err
    assert found["traffic"]["sent"] > 1000
    assert found["traffic"]["lost"] == 0
    assert f"seed {found['about']['seed']}" in out
    assert {each["key"] for each in found["quantities"]} > {"descriptors", "own_mib", "heap_mib"}
    # changes of the round that the signal ended
    begun = sum(found["steps"].values()) - found["samples"][-1]["steps"]
    assert 0 <= begun <= EVERY_S / PACE_S + 1
    assert found["samples"][-1]["steps"] > 0
    assert not os.path.exists(f"/tmp/vhost-soak.{soak.pid}")


class Leaking(Churn):
    """Each change costs the agent a descriptor: a connection that nobody closes."""

    left: list[socket.socket]

    def step(self) -> None:
        super().step()
        self.left.append(socket.socket(socket.AF_UNIX))
        self.left[-1].connect(control(self.host))


def control(host: Host) -> str:
    return f"{host.directory}/vhost-agent.{host.agents[-1].pid}.ctl"


def test_leak_of_a_descriptor_for_each_change_is_found() -> None:
    with temporary_host("vhost-leak") as host:
        run = Run(host, seed=1, about={}, core=last_cpu())
        run.churn = Leaking(host, 1, "steady0")
        run.churn.left = []
        run.start()

        def until_enough() -> None:
            if len(run.samples) > FEWEST_SAMPLES + 3:
                raise KeyboardInterrupt
        with pytest.raises(KeyboardInterrupt):
            run.run(seconds=PATIENCE_S, every_s=0.5, after_each=until_enough)
        found = faults(run.soak)
        for each in run.churn.left:
            each.close()
    assert len(found) == 1, found
    assert found[0].startswith("descriptors grew: from ")
