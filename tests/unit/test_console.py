"""How commands end, and what a terminal gets."""
from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from agent.command_line import INTERRUPTED
from agent.console import plain

ROOT = Path(__file__).parents[2]
BEGIN = "from agent.command_line import command_line; command_line()"
# A command that does what is told after '#'
ECHO = """
import sys
import click
from agent import cli
@cli.main.command()
def told():
    {}
cli.main(["told"], prog_name="vhost-agent")
"""


def typed(program: str, *words: str, stdout: int = subprocess.PIPE, **environment: str
          ) -> tuple[int, bytes, str]:
    done = subprocess.run([sys.executable, "-c", program, *words], cwd=ROOT, stdout=stdout,
                          stderr=subprocess.PIPE, check=False, timeout=60,
                          env={**os.environ, "PYTHONPATH": str(ROOT), **environment})
    return done.returncode, done.stdout, done.stderr.decode()


@pytest.mark.parametrize("does", ["click.echo('x')", "print('x')", "print('x'); sys.exit(0)"])
def test_full_disk_is_said_in_one_sentence(does: str) -> None:
    with open("/dev/full", "wb") as full:
        status, _, said = typed(ECHO.format(does), stdout=full.fileno())
    assert (status, said) == (
        1, "vhost-agent: the output cannot be written: No space left on device\n")


@pytest.mark.parametrize("does", ["click.echo('x')", "print('x')"])
def test_reader_that_has_gone_hears_nothing(does: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        assert typed(ECHO.format(does), stdout=writer)[::2] == (1, "")
    finally:
        os.close(writer)


@pytest.mark.parametrize(("encoding", "does"), [
    ("latin-1", "click.echo"), ("latin-1", "print"), ("ascii", "print")])
def test_letters_that_the_output_lacks_are_escaped(encoding: str, does: str) -> None:
    said = typed(ECHO.format(f"{does}('\\u2717 x')"), PYTHONIOENCODING=encoding)
    assert said == (0, b"\\u2717 x\n", "")


def test_other_errors_keep_their_traceback() -> None:
    status, _, said = typed(ECHO.format("open('/nowhere/x')"))
    assert status == 1
    assert "Traceback" in said


@pytest.mark.parametrize(("words", "status"), [
    (["--help"], 0), (["nonsense"], 2), (["doctor", "--nonsense"], 2), ([], 2),
    (["show", "-t", "/nowhere"], 1)])
def test_status(words: list[str], status: int) -> None:
    assert typed(BEGIN, *words)[0] == status


@pytest.mark.parametrize("program", [
    ECHO.format("print(flush=True); sys.stdin.read()"),
    # while modules are imported
    "import sys, builtins\nreal = builtins.__import__\n"
    "def slow(name, *rest):\n    if name == 'agent.cli':\n        print(flush=True)\n"
    "        sys.stdin.read()\n    return real(name, *rest)\n"
    f"builtins.__import__ = slow\n{BEGIN}"], ids=["working", "importing"])
def test_ctrl_c_ends_quietly(program: str) -> None:
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          env={**os.environ, "PYTHONPATH": str(ROOT)}) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert (process.returncode, said.strip()) == (INTERRUPTED, b"")


@pytest.mark.parametrize(("environment", "expected"), [
    ({}, False), ({"NO_COLOR": ""}, False), ({"NO_COLOR": "1"}, True), ({"TERM": "dumb"}, True),
    ({"TERM": "xterm"}, False)])
def test_who_wants_no_colours(environment: dict[str, str], expected: bool) -> None:
    assert plain(environment) is expected


@pytest.mark.parametrize(("environment", "coloured"), [
    ({"TERM": "xterm", "NO_COLOR": ""}, True), ({"TERM": "xterm", "NO_COLOR": "1"}, False),
    ({"TERM": "dumb", "NO_COLOR": ""}, False)])
def test_colours_of_a_terminal(environment: dict[str, str], coloured: bool) -> None:
    ours, theirs = os.openpty()
    try:
        status, _, _ = typed(ECHO.format("click.secho('x', fg='red')"), stdout=theirs,
                             **environment)
        said = os.read(ours, 100)
    finally:
        os.close(ours)
        os.close(theirs)
    assert (status, b"\x1b[31m" in said) == (0, coloured)
