"""What ovs-vsctl writes takes effect, and what it reads is true when it returns."""
from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.frontend import FrontEnd
from tools.host import SCHEMA, Host, wait_until

SIX = {"ovs_tx_retries", "ovs_tx_failure_drops", "ovs_tx_mtu_exceeded_drops", "ovs_tx_qos_drops",
       "ovs_rx_qos_drops", "ovs_tx_invalid_hwol_drops"}


def add_client(host: Host, name: str, *words: str) -> str:
    path = str(host.directory / f"{name}.sock")
    host.vsctl("add-port", "br0", name, "--", "set", "Interface", name,
               "type=dpdkvhostuserclient", f"options:vhost-server-path={path}", *words)
    return path


def test_schema_is_part_of_the_real_one() -> None:
    import schema

    real = json.loads(Path(SCHEMA).read_text(encoding="utf-8"))["tables"]
    for table, columns in schema.columns().items():
        assert columns.keys() <= real[table]["columns"].keys()


def test_the_hosts_columns(served: Host) -> None:
    def get(column: str) -> object:
        return served.get("Open_vSwitch", ".", column)

    assert get("cur_cfg") == get("next_cfg")
    assert get("dpdk_initialized") is True
    assert str(get("dpdk_version")).startswith("DPDK ")
    assert get("datapath_types") == "netdev"
    assert get("iface_types") == ["dpdkvhostuser", "dpdkvhostuserclient", "internal"]


def test_bridge_and_its_own_port(served: Host) -> None:
    uuid = served.get("Bridge", "br0", "_uuid")
    dpid = served.get("Bridge", "br0", "datapath_id")
    assert len(dpid) == 16
    assert dpid[6:8] == uuid[4:6]
    assert served.interface("br0", "ofport") == 65534
    assert served.interface("br0", "error") is None


def test_new_port_works_when_ovs_vsctl_returns(served: Host) -> None:
    add_client(served, "c0")
    served.vsctl("add-port", "br0", "s0", "--", "set", "Interface", "s0", "type=dpdkvhostuser")
    assert [served.interface(n, "ofport") for n in ("c0", "s0")] == [1, 2]
    assert (served.directory / "s0").is_socket()
    for name, mode in (("c0", "client"), ("s0", "server")):
        assert served.interface(name, "status") == {"mode": mode, "status": "disconnected"}
        assert served.interface(name, "admin_state") == "up"
        assert served.interface(name, "link_state") == "down"
        assert served.interface(name, "mtu") == 0
        assert served.interface(name, "mac_in_use") == "00:00:00:00:00:00"
        assert served.interface(name, "error") is None
        assert served.interface(name, "statistics").keys() == SIX


def test_guest_comes_and_goes_in_the_columns(served: Host) -> None:
    path = add_client(served, "c0")
    with FrontEnd(path, listen=True, queues=2) as guest:
        guest.connect()
        wait_until(lambda: served.connected("c0"), "link_state is up")
        status = served.interface("c0", "status")
        assert status | {"mode": "client", "status": "connected", "socket": path,
                         "features": f"0x{guest.features:016x}", "num_of_vrings": "4",
                         "vring_0_size": "256", "vring_3_size": "256", "n_rxq": "2",
                         "n_txq": "2"} == status
        assert served.interface("c0", "mtu") == 1500
        assert served.interface("c0", "statistics").keys() > SIX
        assert served.statistic("c0", "rx_packets") == 0
    wait_until(lambda: not served.connected("c0"), "link_state is down")
    assert served.interface("c0", "status") == {"mode": "client", "status": "disconnected"}
    assert served.interface("c0", "mtu") == 1500
    assert served.interface("c0", "statistics").keys() == SIX


def test_deleted_port_is_gone_and_its_number_free(served: Host) -> None:
    served.vsctl("add-port", "br0", "s0", "--", "set", "Interface", "s0", "type=dpdkvhostuser")
    served.vsctl("del-port", "s0")
    wait_until(lambda: not (served.directory / "s0").exists(), "the socket is unlinked")
    served.vsctl("add-port", "br0", "s0", "--", "set", "Interface", "s0", "type=dpdkvhostuser")
    assert served.interface("s0", "ofport") == 1
    served.vsctl("del-br", "br0")
    wait_until(lambda: not (served.directory / "s0").exists(), "the socket is unlinked")


def test_ofport_request(served: Host) -> None:
    add_client(served, "c0", "ofport_request=77")
    assert served.interface("c0", "ofport") == 77


def test_ofport_survives_a_restart(served: Host) -> None:
    add_client(served, "a0")
    add_client(served, "z0")
    served.vsctl("del-port", "a0")
    served.stop_agent()
    served.start_agent()
    served.vsctl("set", "Open_vSwitch", ".", "external_ids:x=1")
    assert served.interface("z0", "ofport") == 2


def test_path_set_later_and_changed_moves_the_port(served: Host) -> None:
    served.vsctl("add-port", "br0", "c0", "--", "set", "Interface", "c0",
                 "type=dpdkvhostuserclient")
    assert served.interface("c0", "ofport") == 1
    assert "vhost-server-path is not set" in served.interface("c0", "status")["problems"]
    for name in ("one", "two"):
        path = str(served.directory / name)
        with FrontEnd(path, listen=True) as guest:
            served.vsctl("set", "Interface", "c0", f"options:vhost-server-path={path}")
            guest.connect()
            wait_until(lambda: served.connected("c0"), "connected")
            assert served.interface("c0", "status")["socket"] == path


def test_type_change_makes_the_port_anew(served: Host) -> None:
    served.vsctl("add-port", "br0", "p", "--", "set", "Interface", "p", "type=dpdkvhostuser")
    served.vsctl("set", "Interface", "p", "type=dpdkvhostuserclient")
    assert not (served.directory / "p").exists()
    assert served.interface("p", "status")["mode"] == "client"


def test_vhost_sock_dir(served: Host) -> None:
    (served.directory / "sub").mkdir()
    served.vsctl("set", "Open_vSwitch", ".", "other_config:vhost-sock-dir=sub")
    served.vsctl("add-port", "br0", "s0", "--", "set", "Interface", "s0", "type=dpdkvhostuser")
    assert (served.directory / "sub" / "s0").is_socket()


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
