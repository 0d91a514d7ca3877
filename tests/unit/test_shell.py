"""Commands for a person to copy: whatever ports and paths are called, a shell does nothing else."""
from __future__ import annotations

import re
import subprocess
from dataclasses import replace

import pytest

from agent.model import Registration
from agent.reason import reasons
from agent.reason_model import Facts
from agent.shell import argument, is_plain, quoted
from tests.unit.test_reason import CASES

WORDS = ("c0", "vm-1.sock", "/run/vm/p", "", "no dir;touch x", "$(touch x)", "`x`", "it's", "-r",
         "a\nb", "\x1b[31m", "é ü", "\u2028", "\x7f1", "tab\there's \\ and $HOME", "!x", "*")
NASTY = "-p q;$(touch x)\n\x1b[0m"
IN_QUOTES = re.compile(r"\$?'(?:[^'\\]|\\.)*'")


@pytest.mark.parametrize("word", WORDS)
def test_a_shell_takes_it_for_one_word_and_it_is_on_one_line(word: str) -> None:
    assert quoted(word).isprintable()
    given = subprocess.run(["bash", "-c", f"printf '%s\\0' {quoted(word)}"],
                           env={"LC_ALL": "C.UTF-8"}, capture_output=True, check=True).stdout
    assert given.decode() == f"{word}\0"


def test_what_needs_no_quotes_has_none() -> None:
    assert [quoted(word) for word in WORDS[:3]] == list(WORDS[:3])
    assert argument("a", "b c") == "a 'b c'"
    assert argument("a", "-b") == "-- a -b"


def test_plain_commands() -> None:
    assert is_plain("ovs-vsctl set Bridge 'a b' datapath_type=netdev")
    for command in ("ovs-vsctl del-br $(x)", "ovs-vsctl x; y", "ovs-vsctl 'x", "ovs-vsctl a\nb",
                    "ovs-vsctl a > b"):
        assert not is_plain(command)


@pytest.mark.parametrize("case", CASES)
def test_mends_of_ports_with_names_that_are_commands(case: str) -> None:
    spec, state, facts = CASES[case]
    path = f"/run/{NASTY}/{NASTY}"
    device = state.device
    if isinstance(device, Registration):
        device = replace(device, path=path)
        spec = replace(spec, device=device)
    state = replace(state, name=NASTY, device=device)
    for reason in reasons(replace(spec, name=NASTY, bridge=NASTY), state, at(facts, path)):
        rest = IN_QUOTES.sub("", reason.mend)
        assert "touch" not in rest
        assert reason.mend.isprintable()


def at(facts: Facts, path: str) -> Facts:
    """The same, of a socket there."""
    if facts.socket is None:
        return facts
    access = facts.socket.access and facts.socket.access._replace(path=path)
    return replace(facts, socket=facts.socket._replace(path=path, access=access, user="a b;touch"))
