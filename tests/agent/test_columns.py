"""What ovs-vsctl writes takes effect, and what it reads is true when it returns."""
from __future__ import annotations

import pytest

from tools.frontend import FrontEnd
from tools.host import Host, wait_until


def add_client(host: Host, name: str, *words: str) -> str:
    path = str(host.directory / f"{name}.sock")
    host.vsctl("add-port", "br0", name, "--", "set", "Interface", name,
               "type=dpdkvhostuserclient", f"options:vhost-server-path={path}", *words)
    return path


def test_ofport_survives_a_restart(served: Host) -> None:
    add_client(served, "a0")
    add_client(served, "z0")
    served.vsctl("del-port", "a0")
    served.stop_agent()
    served.start_agent()
    served.vsctl("set", "Open_vSwitch", ".", "external_ids:x=1")
    assert served.interface("z0", "ofport") == 2


def test_columns_stay_when_the_agent_ends_and_are_true_again_when_it_is_back(served: Host) -> None:
    path = add_client(served, "c0", "mtu_request=9000")
    columns = ("ofport", "error", "admin_state", "link_state", "mtu", "ifindex", "status")
    with FrontEnd(path, listen=True) as guest:
        guest.connect()
        wait_until(lambda: served.connected("c0"), "the guest is connected")
        before = {column: served.interface("c0", column) for column in columns}
        served.stop_agent()
        assert {column: served.interface("c0", column) for column in columns} == before
    served.start_agent()
    wait_until(lambda: not served.connected("c0"), "the guest that left is seen")
    assert served.interface("c0", "ofport") == before["ofport"]
    with FrontEnd(path, listen=True) as guest:
        guest.connect()
        wait_until(lambda: served.connected("c0"), "the guest is connected again")
        assert {column: served.interface("c0", column) for column in columns} == before


@pytest.mark.parametrize("count", [60])
def test_many_ports_in_one_transaction(served: Host, count: int) -> None:
    words: list[str] = []
    for i in range(count):
        words += ["--", "add-port", "br0", f"p{i}", "--", "set", "Interface", f"p{i}",
                  "type=dpdkvhostuserclient", f"options:vhost-server-path={served.directory}/p{i}"]
    served.vsctl(*words[1:])
    numbers = {served.interface(f"p{i}", "ofport") for i in range(count)}
    assert numbers == set(range(1, count + 1))


def test_idle_agent_writes_nothing(served: Host) -> None:
    add_client(served, "c0")
    before = (served.directory / "conf.db").stat().st_size
    served.vsctl("wait-until", "Interface", "c0", "ofport=1")
    for _ in range(3):
        served.appctl("version")
    assert (served.directory / "conf.db").stat().st_size == before
