"""Which device the guest of a port needs, of the port's row."""
from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest

from agent.guest_nic import GuestRow, Nic, Wish, host_config, nic
from agent.model import CLIENT_TYPE, SERVER_TYPE, InterfaceRow
from agent.refusal import PortError

UUID_1 = UUID("ffeeddcc-bbaa-4998-8877-665544332211")
PATH = {"vhost-server-path": "/tmp/c0"}
NO_WISH = Wish()
CLIENT = InterfaceRow(UUID_1, "c0", CLIENT_TYPE, PATH)
SERVER = InterfaceRow(UUID_1, "s0", SERVER_TYPE)


def made(row: InterfaceRow, other_config: dict[str, str] | None = None, wish: Wish = NO_WISH,
         attached_mac: str | None = None, error: str = "") -> tuple[Nic, list[str]]:
    return nic(GuestRow(row, attached_mac, error), host_config(other_config or {}, "/run/ovs"),
               wish)


def options(**texts: str) -> InterfaceRow:
    """The client port with these options besides its path."""
    return replace(CLIENT, options=PATH | texts)


def refusal(row: InterfaceRow, **kw: str) -> str:
    with pytest.raises(PortError) as e:
        made(row, **kw)     # type: ignore[arg-type]
    return str(e.value)


def test_qemu_makes_the_socket_of_a_client_port() -> None:
    assert made(CLIENT) == (Nic("/tmp/c0", True, "fe:ee:dd:cc:bb:aa"), [])


def test_switch_makes_the_socket_of_a_server_port_in_its_directory() -> None:
    assert made(SERVER) == (Nic("/run/ovs/s0", False, "fe:ee:dd:cc:bb:aa"), [])
    found, _ = made(SERVER, {"vhost-sock-dir": "sub"})
    assert found.path == "/run/ovs/sub/s0"
    found, _ = made(SERVER, {"vhost-sock-dir": "../x"})
    assert found.path == "/run/ovs/s0"


@pytest.mark.parametrize("first", range(256))
def test_made_address_is_local_and_unicast_whatever_the_uuid(first: int) -> None:
    row = replace(CLIENT, uuid=UUID(bytes=bytes([first]) + UUID_1.bytes[1:]))
    mac = bytes.fromhex(made(row)[0].mac.replace(":", ""))
    assert mac[0] & 3 == 2
    assert (mac[0] ^ first) & ~3 == 0
    assert mac[1:] == UUID_1.bytes[1:6]


def test_attached_mac_wins() -> None:
    assert made(CLIENT, attached_mac="52:54:0:AB:cd:1")[0].mac == "52:54:00:ab:cd:01"


@pytest.mark.parametrize("mac", ["", "x", "01:00:5e:00:00:01", "00:00:00:00:00:00", "52:54:00"])
def test_attached_mac_that_is_none_is_refused(mac: str) -> None:
    assert refusal(CLIENT, attached_mac=mac) == (
        f"port c0: external_ids:attached-mac: '{mac}' is not a unicast Ethernet address")


@pytest.mark.parametrize("row", [options(n_rxq="4"), replace(SERVER, options={"n_rxq": "4"})])
def test_queues_are_those_asked_for_else_n_rxq_of_the_row(row: InterfaceRow) -> None:
    found, problems = made(row)
    assert (found.queues, problems) == (4, [])
    found, problems = made(row, wish=Wish(queues=2))
    assert (found.queues, problems) == (2, [])


def test_unusable_n_rxq_is_said_unless_queues_are_asked_for() -> None:
    row = options(n_rxq="500")
    assert made(row)[0].queues == 1
    assert made(row)[1] == ["n_rxq: 500 is outside 1..128, using 1"]
    assert made(row, wish=Wish(queues=128))[1] == []


def test_ring_sizes_are_those_asked_for() -> None:
    found, _ = made(CLIENT, wish=Wish(rx_queue_size=512, tx_queue_size=1024))
    assert (found.rx_queue_size, found.tx_queue_size) == (512, 1024)


@pytest.mark.parametrize(("mtu", "told"), [(None, None), (68, 68), (9702, 9702), (67, None)])
def test_mtu_is_told_when_it_is_requested_and_can_be_had(mtu: int | None, told: int | None) -> None:
    found, problems = made(replace(CLIENT, mtu_request=mtu))
    assert found.mtu == told
    assert ["mtu_request" in problem for problem in problems] == [True] * (mtu == 67)


@pytest.mark.parametrize(("everywhere", "own", "iommu"), [
    (None, None, False), ("true", None, True), ("true", "false", False), (None, "true", True)])
def test_iommu_is_that_of_the_port_else_that_of_all(everywhere: str | None, own: str | None,
                                                    iommu: bool) -> None:
    other_config = {} if everywhere is None else {"vhost-iommu-support": everywhere}
    found, problems = made(CLIENT if own is None else options(**{"vhost-iommu-support": own}),
                           other_config)
    assert found.iommu == iommu
    assert len(problems) == iommu               # that the guest needs one, too


def test_server_port_has_no_iommu() -> None:
    assert made(SERVER, {"vhost-iommu-support": "true"}) == (
        Nic("/run/ovs/s0", False, "fe:ee:dd:cc:bb:aa"), [])


def test_what_the_agent_would_say_of_the_row_is_said() -> None:
    row = replace(CLIENT, options={"vhost-server-path": "rel", "nonsense": "1"})
    assert [problem.split(":")[0] for problem in made(row)[1]] == ["nonsense", "vhost-server-path"]
    assert made(CLIENT, error="no DPDK")[1] == ["it is not served: no DPDK"]


@pytest.mark.parametrize(("row", "said"), [
    (replace(CLIENT, type="internal"), "port c0 is of type 'internal': only ports of type "
     "dpdkvhostuserclient and dpdkvhostuser have a guest"),
    (replace(CLIENT, type=""), "port c0 is of type 'system': only ports of type "
     "dpdkvhostuserclient and dpdkvhostuser have a guest"),
    (replace(CLIENT, options={}), "port c0 has no socket yet: ovs-vsctl set Interface c0 "
     "options:vhost-server-path=/path/to/socket"),
    (replace(CLIENT, options={"vhost-server-path": "/dev/vduse/v0"}),
     "port c0 is the VDUSE device /dev/vduse/v0, which the kernel gives to a guest ('vdpa dev "
     "add'): QEMU does not speak vhost-user to it")])
def test_port_without_a_guest_on_vhost_user_is_refused(row: InterfaceRow, said: str) -> None:
    assert refusal(row) == said


def test_path_that_no_socket_can_have_is_refused() -> None:
    assert "a UNIX socket can have 107" in refusal(
        replace(CLIENT, options={"vhost-server-path": f"/{'x' * 107}"}))
