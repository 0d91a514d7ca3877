"""Who may connect to the sockets of server ports, as settings say it."""
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.access import AS_MADE, SocketAccess
from agent.accessconfig import ID_MOST, KEYS, access
from agent.hostconfig import HostConfig, host_config
from agent.model import CLIENT_TYPE, SERVER_TYPE
from agent.options import Texts

ELSEWHERE = SocketAccess("qemu", "kvm", 0o660)
BEFORE = SocketAccess("root", "", 0o600)


def read(**given: str) -> tuple[SocketAccess, list[str]]:
    """What a port's options say, and what is said of them."""
    texts = Texts({f"vhost-sock-{key}": text for key, text in given.items()}, "Interface",
                  "options")
    found = access(texts, ELSEWHERE, BEFORE)
    return found, [problem for _, problem in texts.problems]


def config(before: SocketAccess = AS_MADE, **texts: str) -> HostConfig:
    return host_config({f"vhost-sock-{key}": text for key, text in texts.items()},
                       rundir="/run/ovs", numa_cores={0: (0,)}, dpdk_initialized=True,
                       access_before=before)


@pytest.mark.parametrize(("given", "found"), [
    ({}, ELSEWHERE), ({"owner": "", "group": "", "mode": ""}, ELSEWHERE),
    ({"owner": "nobody"}, SocketAccess("nobody", "kvm", 0o660)),
    ({"owner": "0", "group": str(ID_MOST)}, SocketAccess("0", str(ID_MOST), 0o660)),
    ({"group": "DOMAIN\\a group"}, SocketAccess("qemu", "DOMAIN\\a group", 0o660)),
    ({"mode": "0"}, SocketAccess("qemu", "kvm", 0)),
    ({"mode": "000775"}, SocketAccess("qemu", "kvm", 0o775)),
    ({"mode": "60"}, SocketAccess("qemu", "kvm", 0o060))])
def test_setting_wins_over_those_elsewhere(given: dict[str, str], found: SocketAccess) -> None:
    assert read(**given) == (found, [])


@pytest.mark.parametrize("mode", ["0002", "62", "666", "0777"])
def test_mode_for_everybody_is_used_and_said(mode: str) -> None:
    everybody = SocketAccess("qemu", "kvm", int(mode, 8))
    assert read(mode=mode) == (everybody, [
        f"vhost-sock-mode: {int(mode, 8):04o} lets every user of this host connect"])
    assert config(mode=mode).port_problems[SERVER_TYPE] == (
        f"vhost-sock-mode: {int(mode, 8):04o} lets every user of this host connect for ports "
        "without values of their own",)


@pytest.mark.parametrize("mode", ["1000", "1777", "8", "0o660", "rw-rw----", "-1", "+7", " 7", "٣",
                                  "7" * 5000])
def test_mode_is_an_octal_number_of_three_digits(mode: str) -> None:
    found, (said,) = read(mode=mode)
    assert found == BEFORE
    assert said.startswith("vhost-sock-mode: '")
    assert said.endswith(" is not an octal number of 0000..0777, using owner root, the agent's "
                         "group, mode 0600")


@pytest.mark.parametrize("key", ["owner", "group"])
@pytest.mark.parametrize(("text", "why"), [
    ("-1", f"'-1' is outside 0..{ID_MOST}"),
    (str(ID_MOST + 1), f"'{ID_MOST + 1}' is outside 0..{ID_MOST}"),
    ("a\nb", "'a\\x0ab' is neither a name nor a number"),
    ("a\0b", "'a\\x00b' is neither a name nor a number")])
def test_owner_and_group_are_names_or_numbers(key: str, text: str, why: str) -> None:
    assert read(**{key: text}) == (BEFORE, [
        f"vhost-sock-{key}: {why}, using owner root, the agent's group, mode 0600"])


@pytest.mark.parametrize("text", ["9" * 5000, "x" * 256])
def test_name_of_any_length_takes_few_words(text: str) -> None:
    _, (said,) = read(owner=text)
    assert f"({len(text)} characters) is neither a name nor a number" in said
    assert len(said) < 300


def test_what_is_usable_is_not_used_beside_what_is_not() -> None:
    found, said = read(owner="nobody", group="-5", mode="9")
    assert found == BEFORE
    assert [problem.partition(":")[0] for problem in said] == ["vhost-sock-group",
                                                               "vhost-sock-mode"]


@given(st.dictionaries(st.sampled_from(["owner", "group", "mode"]), st.text()))
def test_no_setting_stops_the_agent(given: dict[str, str]) -> None:
    found, said = read(**given)
    assert (found == BEFORE) is bool(said)
    assert found.mode is None or 0 <= found.mode <= 0o777


def test_settings_of_the_whole_agent() -> None:
    assert config().access is AS_MADE
    assert config(ELSEWHERE).access is AS_MADE       # removed: it does not stay
    assert config(owner="qemu", group="36", mode="0660").access == SocketAccess("qemu", "36", 0o660)


def test_unusable_setting_of_the_whole_agent_changes_nothing_and_is_said_of_server_ports() -> None:
    got = config(ELSEWHERE, owner="root", mode="0999")
    assert got.access == ELSEWHERE
    assert got.problems == (
        "vhost-sock-mode: '0999' is not an octal number of 0000..0777, using owner qemu, group kvm,"
        " mode 0660 for ports without values of their own",)
    assert got.port_problems[SERVER_TYPE] == got.problems
    assert got.port_problems[CLIENT_TYPE] == ()


@pytest.mark.parametrize("key", KEYS)
def test_misspelt_setting_is_said_of_server_ports(key: str) -> None:
    got = host_config({f"{key}s": "0"}, rundir="/run/ovs", numa_cores={0: (0,)},
                      dpdk_initialized=True)
    assert got.port_problems[SERVER_TYPE] == (f"{key}s: not an option; did you mean {key}?",)
