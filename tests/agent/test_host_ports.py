"""Ports of the host's kernel, from ovs-vsctl to packets; the bridge's own among them."""
from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from tests.agent.conftest import Contract
from tools.frontend import ethernet
from tools.host import AGENT, temporary_host, wait_until
from tools.netns import Netns

A, B = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
ALL = "ff:ff:ff:ff:ff:ff"
NO_DEVICE = "could not open network device {} ({}): "


def links(contract: Contract) -> set[str]:
    """Devices in the agent's namespace."""
    words = [line.split() for line in contract.host.inside("ip", "-o", "link").splitlines()]
    return {word[1].rstrip(":").partition("@")[0] for word in words} - {"lo"}


def add(contract: Contract, name: str, type_: str, *settings: str) -> str:
    """Adds a port; its error."""
    return contract.attempt(name, f"type={type_}", *settings)


@contextmanager
def far_end(contract: Contract, name: str) -> Iterator[Netns]:
    """A veth pair from the agent's namespace, where it is NAME, to another, where it is eth0."""
    host = contract.host
    with Netns() as other:
        host.inside("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns",
                    other.path)
        other.run("ip", "link", "set", "eth0", "up")
        host.inside("ip", "link", "set", name, "up")
        yield other


def test_bridge_is_a_device_with_its_address(contract: Contract) -> None:
    host = contract.host
    assert "br0" in links(contract)
    mac = host.get("Bridge", "br0", "datapath_id")[4:]
    assert contract.get("br0", "mac_in_use").replace(":", "") == mac
    assert contract.get("br0", "ofport") == 65534
    assert (contract.get("br0", "admin_state"), contract.get("br0", "link_state")) == (
        "down", "down")
    host.inside("ip", "link", "set", "br0", "up", "mtu", "1400")
    wait_until(lambda: contract.get("br0", "link_state") == "up", "the kernel is heard")
    assert (contract.get("br0", "admin_state"), contract.get("br0", "mtu")) == ("up", 1400)
    assert host.inside("ip", "-o", "link", "show", "br0").startswith(
        f"{contract.get('br0', 'ifindex')}: br0:")
    assert contract.status("br0")["driver_name"] == "tun"
    host.vsctl("set", "Bridge", "br0", f'other_config:hwaddr="{A}"')
    wait_until(lambda: contract.get("br0", "mac_in_use") == A, "the address follows")
    assert A in host.inside("ip", "link", "show", "br0")


@pytest.mark.parametrize("type_", ["internal", "system"])
def test_what_the_kernel_had_no_room_for_is_counted(contract: Contract, type_: str) -> None:
    """While the agent is stopped more is sent than the kernel keeps."""
    host, agent = contract.host, contract.host.agents[-1]
    frame = ethernet(ALL, A, bytes(1400))

    def send() -> None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
            sender.bind(("eth0" if type_ == "system" else "h0", 0))
            for _ in range(4000):
                sender.send(frame)

    with far_end(contract, "h0" if type_ == "system" else "other") as other:
        assert add(contract, "h0", type_) == ""
        host.inside("ip", "link", "set", "h0", "up")
        before = contract.fresh("h0")
        agent.send_signal(signal.SIGSTOP)
        try:
            (other if type_ == "system" else host.netns).call(send)
        finally:
            agent.send_signal(signal.SIGCONT)

        def is_known_of_all() -> bool:
            said = contract.fresh("h0")
            return said["rx_missed_errors"] + said["rx_packets"] >= 4000
        wait_until(is_known_of_all, "each frame is one that came or was missed")
        said = contract.fresh("h0")
        assert said["rx_dropped"] >= said["rx_missed_errors"] > before["rx_missed_errors"]


def test_host_pings_through_its_bridge(contract: Contract) -> None:
    host = contract.host
    host.inside("ip", "link", "set", "br0", "up")
    host.inside("ip", "address", "add", "10.7.0.1/24", "dev", "br0")
    with far_end(contract, "h0") as other:
        other.run("ip", "address", "add", "10.7.0.2/24", "dev", "eth0")
        assert add(contract, "h0", "system") == ""
        assert " 0% packet loss" in host.inside("ping", "-c", "3", "-l", "3", "-i", "5",
                                                "10.7.0.2")
    values = contract.fresh("br0")
    assert values["rx_packets"] >= 4
    assert values["tx_packets"] >= 4
    assert values["rx_errors"] == 0


@pytest.mark.parametrize("type_", ["internal", "tap"])
def test_guest_and_a_second_device(contract: Contract, type_: str) -> None:
    host = contract.host
    assert add(contract, "h0", type_, f'mac="{A}"', "mtu_request=2000") == ""
    wait_until(lambda: contract.get("h0", "mtu") == 2000, "it has its MTU")
    if type_ == "internal":
        assert contract.get("h0", "mac_in_use") == A
    host.inside("ip", "link", "set", "h0", "up")
    host.inside("ip", "address", "add", "10.7.1.1/24", "dev", "h0")
    guest = contract.attached("a")
    arp = bytes.fromhex("0001080006040001" + B.replace(":", "") + "0a070102"
                        + "000000000000" + "0a070101")
    guest.send([ethernet(ALL, B, arp, ethertype=0x0806)])
    reply = wait_until(lambda: [f for f in guest.recv() if f[12:14] == b"\x08\x06" and f[21] == 2],
                       "the host answers")
    assert reply[0][:6].hex(":") == B
    host.vsctl("del-port", "br0", "h0")
    assert links(contract) == {"br0"}


def test_mtu_that_is_asked_for_no_more_is_the_default_and_one_set_by_hand_stays(
        contract: Contract) -> None:
    host = contract.host
    assert add(contract, "h0", "internal", "mtu_request=2000") == ""
    wait_until(lambda: contract.get("h0", "mtu") == 2000, "it has its MTU")
    host.vsctl("clear", "Interface", "h0", "mtu_request")
    wait_until(lambda: contract.get("h0", "mtu") == 1500, "it has the default")
    assert "problems" not in contract.status("h0")
    host.inside("ip", "link", "set", "h0", "mtu", "1400")
    contract.set("h0", f'mac="{A}"')
    wait_until(lambda: contract.get("h0", "mac_in_use") == A, "it has its address")
    assert contract.get("h0", "mtu") == 1400


def test_deleted_from_outside_and_made_again(contract: Contract) -> None:
    host = contract.host
    add(contract, "h0", "internal")
    guest = contract.attached("a")
    host.inside("ip", "link", "set", "br0", "up")
    before = contract.get("h0", "ifindex")
    host.inside("ip", "link", "del", "h0")
    wait_until(lambda: contract.get("h0", "ifindex") not in (None, before), "it is made again")
    assert contract.get("h0", "error") is None
    assert "the device was deleted from outside" in contract.log()
    guest.send([ethernet(ALL, B)])
    wait_until(lambda: contract.fresh("br0")["tx_packets"] > 0, "its neighbour works")


def test_device_that_comes_later_is_found(contract: Contract) -> None:
    host = contract.host
    error = add(contract, "h0", "system")
    assert error == NO_DEVICE.format("h0", "No such device") + "there is no device of that name"
    host.inside("ip", "link", "add", "h0", "type", "veth", "peer", "name", "far")
    try:
        wait_until(lambda: contract.get("h0", "error") is None, "it is found")
        host.inside("ip", "link", "del", "h0")
        wait_until(lambda: "deleted from outside" in str(contract.get("h0", "error"))
                   or "there is no device" in str(contract.get("h0", "error")), "it is missed")
    finally:
        host.run(*host.netns.command("ip", "link", "del", "h0"))


@pytest.mark.parametrize(("name", "type_", "why"), [
    ("lo", "system", "(Invalid argument): it is no Ethernet device"),
    ("h1", "internal", "(Invalid argument): the name is taken by a device that is no tap"),
    ("x" * 16, "tap", "(File name too long): the name of a device of the host has 15 bytes at"),
])
def test_device_that_cannot_be_had(contract: Contract, name: str, type_: str, why: str) -> None:
    host = contract.host
    host.inside("ip", "link", "add", "h1", "type", "veth", "peer", "name", "far")
    try:
        assert why in add(contract, name, type_)
        assert contract.get(name, "ofport") == -1
        assert contract.get("br0", "error") is None
        host.vsctl("del-port", "br0", name)
    finally:
        host.inside("ip", "link", "del", "h1")


def test_bridge_whose_name_is_taken_serves_its_other_ports(contract: Contract) -> None:
    host = contract.host
    host.inside("ip", "link", "add", "br1", "type", "veth", "peer", "name", "far")
    try:
        host.run("ovs-vsctl", "--timeout=30", "add-br", "br1", "--", "set", "Bridge", "br1",
                 "datapath_type=netdev")
        assert "the name is taken by a device that is no tap" in str(contract.get("br1", "error"))
        assert contract.attempt("h2", "type=internal", bridge="br1") == ""
    finally:
        host.inside("ip", "link", "del", "br1")
    wait_until(lambda: contract.get("br1", "error") is None, "it is made once the name is free")
    host.vsctl("del-br", "br1")


def test_a_device_that_was_there_is_left_there(contract: Contract) -> None:
    host = contract.host
    host.inside("ip", "tuntap", "add", "dev", "h0", "mode", "tap")
    try:
        assert add(contract, "h0", "tap") == ""
        host.vsctl("del-port", "br0", "h0")
        assert "h0" in links(contract)
    finally:
        host.inside("ip", "link", "del", "h0")


def test_without_permission_the_error_says_which() -> None:
    less = "-net_admin,-net_raw"
    with temporary_host("vhost-permission") as host:
        host.start_ovsdb()
        host.enable_dpdk()
        host.netns.run("ip", "link", "add", "h0", "type", "veth", "peer", "name", "far")
        host.start(*host.netns.command("setpriv", "--bounding-set", less, "--inh-caps", less,
                                       AGENT), "run")
        host.run("ovs-vsctl", "--timeout=30", "add-br", "br0", "--", "set", "Bridge", "br0",
                 "datapath_type=netdev")
        host.run("ovs-vsctl", "--timeout=30", "add-port", "br0", "h0")
        host.vsctl("add-port", "br0", "s0", "--", "set", "Interface", "s0", "type=dpdkvhostuser")
        for name, what in (("br0", "make a tap"), ("h0", "open it")):
            assert host.interface(name, "error") == (
                NO_DEVICE.format(name, "Operation not permitted") + f"no permission to {what}: it "
                "needs CAP_NET_ADMIN and CAP_NET_RAW, run the agent as root or grant them")
        assert host.interface("s0", "error") is None


def test_nothing_is_left_when_the_bridge_goes(contract: Contract) -> None:
    add(contract, "h0", "internal")
    add(contract, "h1", "tap")
    assert links(contract) == {"br0", "h0", "h1"}
    contract.host.vsctl("del-br", "br0")
    assert links(contract) == set()


@contextmanager
def moved_taps(contract: Contract) -> Iterator[tuple[Netns, Netns]]:
    """Ports t0 and t1 in namespaces of their own, with 10.9.0.1 and 10.9.0.2."""
    host = contract.host
    with Netns() as one, Netns() as other:
        for number, (tap, place) in enumerate((("t0", one), ("t1", other))):
            assert add(contract, tap, "internal") == ""
            host.inside("ip", "link", "set", tap, "netns", place.path)
            place.run("ip", "address", "add", f"10.9.0.{number + 1}/24", "dev", tap)
            place.run("ip", "link", "set", tap, "up")
        yield one, other


def received(listener: socket.socket) -> bytes:
    peer, _ = listener.accept()
    with peer:
        return b"".join(iter(lambda: peer.recv(1 << 16), b""))


@pytest.fixture
def alone() -> Iterator[Contract]:
    """An agent for one test, that may be told what cannot be taken back."""
    with temporary_host("vhost-tso") as host:
        host.start_ovsdb()
        host.enable_dpdk()
        host.start_agent()
        contract = Contract(host)
        contract.sweep()
        yield contract


def test_tcp_between_taps_that_leave_it_to_each_other(alone: Contract) -> None:
    data = bytes(i * 31 >> 3 & 255 for i in range(4_000_000))
    offloads = [f"tx_{name}_offload" for name in ("tcp_csum", "udp_csum", "tcp_seg")]

    def bytes_a_frame() -> float:
        before = alone.fresh("t0")
        with ThreadPoolExecutor(1) as reader, other.call(
                lambda: socket.create_server(("10.9.0.2", 0))) as listener:
            listener.settimeout(20)
            taken = reader.submit(received, listener)
            with one.call(lambda: socket.create_connection(listener.getsockname()[:2], 20)) as peer:
                peer.sendall(data)
            assert taken.result() == data
        after = alone.fresh("t0")
        return float((after["rx_bytes"] - before["rx_bytes"])
                     / (after["rx_packets"] - before["rx_packets"]))

    with moved_taps(alone) as (one, other):
        assert bytes_a_frame() <= 1514
        assert {alone.status("t0")[key] for key in offloads} == {"false"}
        alone.config("userspace-tso-enable=true")
        assert {alone.status("t0")[key] for key in offloads} == {"true"}
        assert bytes_a_frame() > 4000
        assert other.run("nstat", "-asz", "TcpInCsumErrors").split("TcpInCsumErrors")[1].split()[
            0] == "0"


def test_taps_work_in_the_namespaces_that_they_are_moved_to(contract: Contract) -> None:
    with moved_taps(contract) as (one, _):
        one.run("ping", "-c", "3", "-l", "3", "-i", "5", "10.9.0.2")
        assert (contract.get("t0", "error"), contract.get("t1", "error")) == (None, None)
        one.run("ip", "link", "del", "t0")
        wait_until(lambda: "t0" in links(contract), "a tap that is deleted there is made anew here")
