"""Who may connect to the socket of a server port: rows to what should be."""
from __future__ import annotations

from dataclasses import replace

import pytest

from agent.access import AS_MADE, SocketAccess
from agent.model import SERVER_TYPE, PortSpec
from agent.validate import Memo
from tests.unit.test_validate import CONFIG, port, row, wish

EVERYWHERE = replace(CONFIG, access=SocketAccess("qemu", "kvm", 0o660))


def test_socket_of_a_server_port_is_as_its_options_say_and_else_as_those_of_all_ports() -> None:
    assert port(type_=SERVER_TYPE).access is AS_MADE
    assert port(EVERYWHERE, SERVER_TYPE).access is EVERYWHERE.access
    assert port(EVERYWHERE, SERVER_TYPE, vhost_sock_group="0", vhost_sock_mode="0600").access == (
        SocketAccess("qemu", "0", 0o600))
    # empty is unset
    assert port(EVERYWHERE, SERVER_TYPE, vhost_sock_owner="", vhost_sock_mode="").access == (
        EVERYWHERE.access)


def test_unusable_option_keeps_all_that_the_socket_had() -> None:
    memo: Memo = {}

    def options(**given: str) -> PortSpec:
        named = {f"vhost-sock-{key}": text for key, text in given.items()}
        return wish(row("p", SERVER_TYPE, options=named), memo=memo, config=EVERYWHERE).ports["p"]

    # it is new: nothing says to whom it may be open
    assert options(owner="nobody", mode="999").access == AS_MADE
    good = options(owner="nobody", mode="0600")
    assert good.access == SocketAccess("nobody", "kvm", 0o600)
    bad = options(owner="root", mode="01000")
    assert bad.access == good.access
    assert bad.problems == (
        "vhost-sock-mode: '01000' is not an octal number of 0000..0777, using owner nobody, group "
        "kvm, mode 0600",)
    assert options(mode="0640").access == SocketAccess("qemu", "kvm", 0o640)


@pytest.mark.parametrize("key", ["vhost-sock-owner", "vhost-sock-group", "vhost-sock-mode"])
def test_socket_of_a_client_port_is_its_guests(key: str) -> None:
    spec = port(EVERYWHERE, vhost_server_path="/tmp/p", **{key: "0"})
    assert spec == replace(port(), problems=(
        f"{key}: has no effect: QEMU makes the socket of this type of port",))
