"""The network device that the guest of a port needs, of the port's row: pure."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from uuid import UUID

from agent import vhost_device
from agent.host_device import ethernet_address
from agent.hostconfig import COLUMN, TABLE, HostConfig, socket_dir
from agent.model import CLIENT_TYPE, SERVER_TYPE, VHOST_TYPES, InterfaceRow
from agent.options import Texts, shown
from agent.refusal import PortError
from agent.remotes import TlsFiles
from agent.role import VSWITCHD, Role
from agent.shell import quoted
from agent.validate import port_memory
from agent.vduse import is_vduse

RECONNECT_S = 1                 # how often QEMU tries a socket that the switch makes
DEVICES = {CLIENT_TYPE: vhost_device.client, SERVER_TYPE: vhost_device.server}


@dataclass(frozen=True, slots=True)
class GuestRow:
    """An Interface row, and what of it only concerns the guest."""

    row: InterfaceRow
    attached_mac: str | None = None     # external_ids:attached-mac
    error: str = ""                     # Interface.error


@dataclass(frozen=True, slots=True)
class Wish:
    """What is wanted of all devices of the guest."""

    queues: int | None = None           # pairs, 1..128; None: n_rxq of the port's row, else 1
    rx_queue_size: int | None = None    # one of RING_SIZES; None: QEMU's default, 256
    tx_queue_size: int | None = None    # likewise


@dataclass(frozen=True, slots=True)
class Question:
    """Which ports a guest shall have, and where they are."""

    ports: tuple[str, ...]
    remote: str                         # of the database
    tls: TlsFiles
    rundir: str                         # of the agent: where dpdkvhostuser ports have sockets
    wish: Wish


@dataclass(frozen=True, slots=True)
class Nic:
    """A virtio-net device and its vhost-user back end."""

    path: str                           # of the socket
    listens: bool                       # whether QEMU makes the socket, and the switch connects
    mac: str
    queues: int = 1                     # pairs, 1..128
    rx_queue_size: int | None = None    # of the guest's receive rings; None: QEMU's default
    tx_queue_size: int | None = None
    mtu: int | None = None              # bytes, 68..9702; None: the guest is told none
    iommu: bool = False


def host_config(other_config: Mapping[str, str], rundir: str, role: Role = VSWITCHD
                ) -> HostConfig:
    """Of the settings of an agent in this role those that a socket is made of."""
    texts = Texts(role.settings(other_config), TABLE, COLUMN, role.prefix)
    return HostConfig(socket_dir=socket_dir(texts, rundir),
                      iommu=bool(texts.boolean("vhost-iommu-support")), role=role)


def nic(found: GuestRow, config: HostConfig, wish: Wish) -> tuple[Nic, list[str]]:
    """The device for a port, and what of its row could not be used or needs a look. Raises
    PortError."""
    row = found.row
    if row.type not in VHOST_TYPES:
        raise PortError(f"port {row.name} is of type {shown(row.type or 'system')}: only ports of "
                        f"type {CLIENT_TYPE} and {SERVER_TYPE} have a guest")
    said = [f"it is not served: {found.error}"] if found.error else []
    queues = wish.queues
    if queues is None:
        texts = Texts(row.options, "Interface", "options")
        queues = texts.integer("n_rxq")
        said += [problem for _, problem in texts.problems]
    # what is wrong with n_rxq is said already, or of no concern
    options = {key: text for key, text in row.options.items() if key != "n_rxq"}
    device, problems = DEVICES[row.type](replace(row, options=options), config)
    if device is None:
        raise PortError(f"port {row.name} has no socket yet: ovs-vsctl set Interface "
                        f"{quoted(row.name)} options:vhost-server-path=/path/to/socket")
    if is_vduse(device.path):
        raise PortError(f"port {row.name} is the VDUSE device {device.path}, which the kernel "
                        "gives to a guest ('vdpa dev add'): QEMU does not speak vhost-user to it")
    _, mtu_problems = port_memory(row, config)
    if device.iommu:
        said.append("vhost-iommu-support: the guest needs an IOMMU, too (QEMU: -machine q35 "
                    "-device intel-iommu,device-iotlb=on before its other devices; libvirt: "
                    "<iommu model='intel'><driver iotlb='on'/></iommu>)")
    return Nic(
        path=device.path, listens=device.client, mac=address(found), queues=queues,
        rx_queue_size=wish.rx_queue_size, tx_queue_size=wish.tx_queue_size,
        mtu=None if mtu_problems else row.mtu_request, iommu=device.iommu,
    ), [*said, *problems, *mtu_problems]


def address(found: GuestRow) -> str:
    """external_ids:attached-mac, else a locally administered one made of the row's UUID, which is
    the same for as long as the row lives. Raises PortError."""
    if found.attached_mac is None:
        return address_of(found.row.uuid).hex(":")
    octets = ethernet_address(found.attached_mac)
    if octets is None:
        raise PortError(f"port {found.row.name}: external_ids:attached-mac: "
                        f"{shown(found.attached_mac)} is not a unicast Ethernet address")
    return octets.hex(":")


def address_of(uuid: UUID) -> bytes:
    """Six bytes that are random in a UUID of version 4, less the bits that say what they are."""
    return bytes([uuid.bytes[0] & ~0x01 | 0x02, *uuid.bytes[1:6]])
