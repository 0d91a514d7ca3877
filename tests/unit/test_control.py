"""ovs-appctl commands: errors as replies."""
from __future__ import annotations

from collections.abc import Callable, Sequence

import ovs.unixctl
import pytest

from agent import VERSION, control
from agent.command import CommandError


def test_version_names_program_and_dpdk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ovs.util.PROGRAM_NAME", "ovs-vswitchd")
    assert control.version_text("DPDK 24.11.1") == (
        f"ovs-vswitchd (ovs-vhost-agent) {VERSION}\nDPDK 24.11.1\n")


class Connection:
    """What a command did with its connection."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []

    def reply(self, text: str) -> None:
        self.said.append(("reply", text))

    def reply_error(self, text: str) -> None:
        self.said.append(("error", text))


def refuse(_: Sequence[str]) -> str:
    raise CommandError("no such bridge br9")


def break_down(_: Sequence[str]) -> str:
    raise KeyError("x")


def not_there(_: Sequence[str]) -> str:
    raise FileNotFoundError(2, "No such file", "/x")


@pytest.mark.parametrize(("answer", "expected"), [
    (not_there, ("error", "x/y: /x: No such file\n")),
    ("+".join, ("reply", "br0+br1\n")),
    (refuse, ("error", "no such bridge br9\n")),
    (break_down, ("error", "x/y failed: 'x'\n")),
])
def test_each_call_gets_one_reply_and_a_bug_costs_no_more_than_an_error(
        monkeypatch: pytest.MonkeyPatch, answer: Callable[[Sequence[str]], str],
        expected: tuple[str, str]) -> None:
    monkeypatch.setattr(ovs.unixctl, "commands", {})
    control.register("x/y", "[bridge...]", 0, 3, answer)
    control.guard_commands()
    command = ovs.unixctl.commands["x/y"]
    assert (command.usage, command.min_args, command.max_args) == ("[bridge...]", 0, 3)
    connection = Connection()
    command.callback(connection, ["br0", "br1"], command.aux)
    assert connection.said == [expected]
