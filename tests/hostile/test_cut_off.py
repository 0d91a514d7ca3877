"""What is said of a port whose front end was cut off, and how it is opened again."""
from __future__ import annotations

import os
import struct
from collections.abc import Callable

import pytest

from tests.hostile.arena import Arena
from tests.hostile.front_end import Hostile
from tools.frontend import FrontEnd
from tools.host import wait_until
from tools.vhost_user import Request

Make = Callable[..., Hostile]


@pytest.fixture
def path(arena: Arena) -> str:
    """The socket of a new server port."""
    return arena.port()


def error(arena: Arena, path: str) -> str:
    """Interface.error of the port, once it has one."""
    name = os.path.basename(path)
    wait_until(lambda: arena.host.interface(name, "error"), "an error is said")
    return str(arena.host.interface(name, "error"))


def test_explain_tells_when_a_port_opens_and_what_opens_it_at_once(
        arena: Arena, hostile: Make, path: str) -> None:
    name = os.path.basename(path)
    for _ in range(3):
        guest = hostile(path).negotiate()
        guest.tell(Request.SET_VRING_NUM, struct.pack("<II", 0, 3))
        assert guest.hung_up()
        assert "set a ring to a size or an index that it cannot have" in error(arena, path)
        said = " ".join(arena.host.appctl("vhost/explain", name).split())
        open_at_once = f"netdev-dpdk/set-admin-state {name} up"
        assert "and opens again by itself in " in said
        assert f"to open the port at once: ovs-appctl -t vhost-agent {open_at_once} type " in said
        arena.host.appctl(*open_at_once.split())
        wait_until(lambda: arena.host.interface(name, "error") is None, "it is open")
    assert "times in a row" not in said     # all is forgotten each time
    with FrontEnd(path, listen=False) as guest:
        guest.connect()
