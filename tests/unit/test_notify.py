"""What a service manager is told, on a socket as systemd's."""
from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.notify import Notify, sentence


@pytest.fixture(params=["/", "@"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[socket.socket]:
    """A service manager's socket: a file, or an abstract address."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as listening:
        name = f"{tmp_path}/notify"
        listening.bind(name if request.param == "/" else f"\0{name}")
        yield listening


def environment(manager: socket.socket, **more: str) -> dict[str, str]:
    address = manager.getsockname()
    text = address if isinstance(address, str) else "@" + address[1:].decode()
    return {"NOTIFY_SOCKET": text, **more}


def heard(manager: socket.socket) -> list[str]:
    lines = []
    while True:
        try:
            lines.append(manager.recv(4096).decode())
        except BlockingIOError:
            return lines


def test_start_and_end_and_a_status_that_is_new(manager: socket.socket) -> None:
    notify = Notify(environment(manager))
    notify.started()
    notify.status("a")
    notify.status("a")
    notify.status("b")
    notify.ending()
    assert heard(manager) == ["READY=1", "STATUS=a", "STATUS=b", "STOPPING=1"]


def test_watchdog_hears_twice_in_its_time(manager: socket.socket) -> None:
    notify = Notify(environment(manager, WATCHDOG_USEC="2000000", WATCHDOG_PID=str(os.getpid())))
    for now_ms in (5000, 5999, 6000, 6001, 7000):
        notify.run(now_ms)
    assert heard(manager) == ["WATCHDOG=1"] * 3
    assert notify.alive_at_ms() == 8000


@pytest.mark.parametrize("more", [
    {}, {"WATCHDOG_USEC": "2000000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "soon"}])
def test_who_does_not_watch_hears_nothing(manager: socket.socket, more: dict[str, str]) -> None:
    notify = Notify(environment(manager, **more))
    notify.run(5000)
    assert heard(manager) == []
    assert notify.alive_at_ms() is None


@pytest.mark.parametrize("address", ["", "no/path", "/nowhere/at/all"])
def test_no_manager_is_no_error(address: str) -> None:
    notify = Notify({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000000"})
    notify.started()
    notify.run(0)
    notify.ending()


def said(**given: object) -> str:
    usual: dict[str, object] = {
        "seen": True, "contended": False, "lock": "ovs_vswitchd", "remote": "unix:/db",
        "dpdk": True, "ports": 2, "refused": 0}
    return sentence(**(usual | given))       # type: ignore[arg-type]


def test_sentences() -> None:
    assert said() == "serving 2 ports"
    assert said(ports=1, refused=1) == (
        "serving 1 port; 1 port with an error (Interface.error says which)")
    assert said(dpdk=False, ports=0) == "DPDK is off; serving 0 ports"
    assert said(seen=False) == "waiting for the database at unix:/db"
    assert said(contended=True) == (
        "waiting: another process has the lock ovs_vswitchd of unix:/db")
