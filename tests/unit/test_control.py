"""ovs-appctl commands: the bytes of fdb/show as ovs-vswitchd's, and errors as replies."""
from __future__ import annotations

from collections.abc import Callable, Sequence

import ovs.unixctl
import pytest

from agent import VERSION, control
from agent.command import CommandError
from agent.model import OFPORT_LOCAL, FdbEntry

OFPORTS = {"a": 2, "b": 12345, "br0": OFPORT_LOCAL}
A = FdbEntry("a", 10, "52:54:00:aa:bb:01", 7)
B = FdbEntry("b", 4095, "52:54:00:aa:bb:03", 123)
LOCAL = FdbEntry("br0", 0, "52:54:00:aa:bb:02", 0)


def test_single_bridge() -> None:
    assert control.fdb_show({"br0": [A, LOCAL, B]}, OFPORTS, several=False) == (
        " Port  VLAN  MAC                Age\n"
        "12345  4095  52:54:00:aa:bb:03  123\n"
        "    2    10  52:54:00:aa:bb:01    7\n"
        "LOCAL     0  52:54:00:aa:bb:02    0\n")


def test_single_bridge_without_entries() -> None:
    assert control.fdb_show({"br0": []}, OFPORTS, several=False) == (
        " Port  VLAN  MAC                Age\n")


def test_several_bridges_named_once_each_even_when_empty() -> None:
    older = FdbEntry("a", 10, "52:54:00:aa:bb:03", 9)
    assert control.fdb_show({"br-tenant": [A, older], "br0": []}, OFPORTS, several=True) == (
        " Bridge     Port  VLAN  MAC                Age\n"
        " br-tenant     2    10  52:54:00:aa:bb:03    9\n"
        "               2    10  52:54:00:aa:bb:01    7\n"
        " br0\n")


def test_column_is_as_wide_as_its_title_at_least() -> None:
    assert control.fdb_show({"b": [A], "c": [LOCAL]}, OFPORTS, several=True) == (
        " Bridge  Port  VLAN  MAC                Age\n"
        " b          2    10  52:54:00:aa:bb:01    7\n"
        " c      LOCAL     0  52:54:00:aa:bb:02    0\n")


def test_rows_come_longest_unseen_first_then_by_address() -> None:
    entries = [FdbEntry("a", vlan, f"00:00:00:00:00:0{mac}", age)
               for vlan, mac, age in ((0, 3, 1), (2, 1, 1), (1, 1, 1), (0, 2, 9))]
    rows = control.fdb_lines(entries, OFPORTS)
    assert [(r.split()[1], r.split()[2][-1], r.split()[3]) for r in rows] == [
        ("0", "2", "9"), ("1", "1", "1"), ("2", "1", "1"), ("0", "3", "1")]
    assert control.fdb_lines(entries[::-1], OFPORTS) == rows


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
