"""QEMU guests with Linux's virtio-net driver, started with what `vhost-agent qemu-args` prints."""
from __future__ import annotations

import pytest

from tests.guests.conftest import Lab, says


@says("{section}", "The socket is passed to QEMU with -chardev, -netdev and -device")
@pytest.mark.parametrize(("section", "client"), [
    ("vhost-user", False), ("vhost-user-client", True)])
def test_boots_and_pings(lab: Lab, section: str, client: bool) -> None:
    """Two guests boot with the arguments as they are printed; 5 of 5 pings are answered."""
    for name in ("a", "b"):
        lab.add_port(name, client=client)
    a, b = lab.boot("a", "b")
    assert lab.ping(a, b) == 5
