"""`make demo` does what it says, and leaves nothing behind however it ends."""
from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tools.doc_pages import ROOT, fences
from tools.host import wait_until

DEMO = [sys.executable, "-u", "-m", "tools.demo"]


def traces() -> set[str]:
    """What the demo makes and must take away."""
    def listed(*command: str) -> list[str]:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()

    found = {f"namespace {word}" for word in listed("ip", "netns") if "vhostdemo" in word}
    found |= {f"link {word}" for word in listed("ip", "-br", "link") if "vhostdemo" in word}
    found |= {str(p) for p in Path("/tmp").glob("*") if p.name.startswith(
        ("vhost-demo.", "dpdkvhostclient"))}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if "vhost-demo." in command or "dpdkvhostclient" in command:
            found.add(command)
    return found


def test_demo_works_and_leaves_nothing() -> None:
    done = subprocess.run(DEMO, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "tx_packets" in done.stdout
    assert shown_in_readme() - headings_and_commands(done.stdout) == set()
    assert traces() == set()


def shown_in_readme() -> set[str]:
    """What README shows of a run, without the figures."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (block,) = (block.text for block in fences(text) if "# They reach each other" in block.text)
    return headings_and_commands(block.replace("\\\n    ", ""))


def headings_and_commands(text: str) -> set[str]:
    return set(re.findall(r"^[#$] .*", re.sub("kill -9 [0-9]+", "kill -9 PID", text), re.M))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_demo_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    output = tmp_path / "out"
    with output.open("wb") as out:
        demo = subprocess.Popen(DEMO, stdout=out, stderr=subprocess.STDOUT,
                                start_new_session=True)
    wait_until(lambda: b"link up" in output.read_bytes() or demo.poll() is not None,
               "the demo is under way", 60)
    assert traces()
    os.killpg(demo.pid, number)                     # as Ctrl-C in a terminal does
    assert demo.wait(60) == 130
    assert b"Traceback" not in output.read_bytes()
    assert traces() == set()


def test_failed_demo_says_one_sentence(tmp_path: Path) -> None:
    """With the sockets' place taken the demo cannot work."""
    blocker = Path("/tmp/dpdkvhostclient0")
    blocker.mkdir()
    try:
        done = subprocess.run(DEMO, capture_output=True, text=True, timeout=100, check=False)
    finally:
        blocker.rmdir()
    assert done.returncode == 1
    assert "demo: " in done.stderr
    assert "Traceback" not in done.stderr
    assert traces() == set()
