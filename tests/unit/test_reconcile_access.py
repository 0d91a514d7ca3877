"""Sockets that cannot be given owner, group and mode: told, tried again, and nobody else hurt."""
from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest

from agent import loglines
from agent.access import AS_MADE, SocketAccess
from agent.actions import AddPort, SetSocketAccess
from agent.model import SERVER_TYPE, InterfaceRow
from tests.unit.conftest import OneBridge

WHY = "vhost-sock-owner: this host has no user 'qemu'; the socket keeps owner root"


def server(host: OneBridge, name: str, **options: str) -> None:
    """Sets a server port's row."""
    given = {f"vhost-sock-{key}": text for key, text in options.items()}
    host.rows[name] = InterfaceRow(UUID(bytes=name.encode().rjust(16, b"\0")), name, SERVER_TYPE,
                                   options=given)


def access(host: OneBridge, name: str) -> SocketAccess:
    return host.plane.ports[name].access


@pytest.fixture
def served(lines: list[loglines.Line]) -> OneBridge:
    """A host with server ports a and b, each with a guest."""
    host = OneBridge(lines)
    for name in ("a", "b"):
        server(host, name)
    host.step()
    for name in ("a", "b"):
        host.plane.guest(name)
    host.step(changed=False)
    host.tried(AddPort)
    return host


@pytest.fixture
def denied(served: OneBridge) -> OneBridge:
    """The same, after owners were asked for of which that of port a is not there."""
    served.plane.refused[SetSocketAccess, "a"] = WHY
    served.other_config["vhost-sock-owner"] = "qemu"
    assert ("err", f"a: {WHY}") in served.step()
    return served


def test_change_for_all_ports_reaches_each_under_its_guest(served: OneBridge) -> None:
    server(served, "b", mode="0600")
    served.other_config |= {"vhost-sock-owner": "qemu", "vhost-sock-mode": "0660"}
    assert ("info", "a: the socket has owner qemu, the agent's group, mode 0660 now"
            ) in served.step()
    assert access(served, "a") == SocketAccess("qemu", "", 0o660)
    assert access(served, "b") == SocketAccess("qemu", "", 0o600)
    served.other_config.clear()
    served.step()
    assert (access(served, "a"), access(served, "b")) == (AS_MADE, SocketAccess(mode=0o600))
    assert served.tried(AddPort) == 0
    assert all(state.connected for state in served.plane.ports.values())


def test_unusable_value_for_all_ports_leaves_what_was_asked_for_before(served: OneBridge) -> None:
    served.other_config["vhost-sock-mode"] = "0660"
    served.step()
    served.other_config |= {"vhost-sock-mode": "9", "vhost-sock-owner": "qemu"}
    server(served, "b", group="kvm")
    for _ in range(2):
        served.step()
        served.other_config["other"] = "setting"
    assert access(served, "a") == SocketAccess(mode=0o660)
    assert access(served, "b") == SocketAccess("", "kvm", 0o660)


def test_port_whose_socket_is_denied_works_on_and_tells(denied: OneBridge) -> None:
    assert denied.reconciler.problems == {"a": (WHY,)}
    assert denied.reconciler.errors == {}
    assert (access(denied, "a"), access(denied, "b")) == (AS_MADE, SocketAccess("qemu"))
    assert denied.step(changed=False) == []
    assert denied.tried(SetSocketAccess) == 2       # one each


def test_it_is_asked_for_at_longer_intervals_until_it_can_be(denied: OneBridge) -> None:
    begun, times = denied.now_ms, []
    for _ in range(3):
        assert denied.later() == []
        times.append(denied.now_ms - begun)
    assert times == [500, 1500, 3500]
    denied.plane.refused.clear()
    denied.later()
    assert access(denied, "a") == SocketAccess("qemu")
    assert (denied.reconciler.problems, denied.reconciler.retry_at_ms()) == ({}, None)


def test_it_ends_with_the_wish_or_the_port(denied: OneBridge) -> None:
    row = denied.rows["a"]
    server(denied, "a", owner="root")
    denied.plane.refused.clear()
    denied.step()
    assert (denied.reconciler.problems, denied.reconciler.retry_at_ms()) == ({}, None)
    denied.plane.refused[SetSocketAccess, "a"] = WHY
    denied.rows["a"] = replace(row)
    denied.step()
    assert denied.reconciler.problems == {"a": (WHY,)}
    del denied.rows["a"]
    denied.step()
    assert (denied.reconciler.problems, denied.reconciler.retry_at_ms()) == ({}, None)


def test_new_port_whose_socket_is_denied_is_served(denied: OneBridge) -> None:
    denied.plane.refused[SetSocketAccess, "c"] = WHY
    server(denied, "c")
    denied.step()
    assert denied.plane.ports["c"].access == AS_MADE
    assert denied.reconciler.problems == {"a": (WHY,), "c": (WHY,)}
    assert "c" in denied.plane.members("br0")
