"""libvirt's XML for a guest on vhost-user ports, in the words of OVS's document: pure."""
from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence

from agent.guest_nic import RECONNECT_S, Nic
from agent.options import shown
from agent.refusal import PortError

UNWRITABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")   # XML 1.0, 2.2
# <mtu> would have libvirt set the MTU of a device of the host with the port's name, which no vhost
# port is, and the domain would not start (seen with 9.0).
MTU = " mtu_request={}: to be set in the guest, libvirt cannot tell it "
COMMENT = """<!-- The domain needs memory that it shares with the switch:
{}
-->
"""


def text(nics: Sequence[Nic], memory_mib: int, vcpus: int, hugepages: bool) -> str:
    """The interfaces, which belong into <devices>, after a comment with what the domain needs
    besides: so that one alone is a file for 'virsh attach-device'. Raises PortError."""
    needs = "\n".join(map(shown_element, domain(memory_mib, vcpus, hugepages)))
    return COMMENT.format(needs) + "".join(f"{shown_element(interface(nic))}\n" for nic in nics)


def shown_element(element: ET.Element) -> str:
    ET.indent(element)
    return ET.tostring(element, encoding="unicode")


def domain(memory_mib: int, vcpus: int, hugepages: bool) -> list[ET.Element]:
    """Elements of a domain whose memory the switch can map."""
    memory = ET.Element("memory", unit="MiB")
    memory.text = str(memory_mib)
    backing = ET.Element("memoryBacking")
    if hugepages:
        ET.SubElement(backing, "hugepages")
    else:
        ET.SubElement(backing, "source", type="memfd")
        ET.SubElement(backing, "access", mode="shared")
    vcpu = ET.Element("vcpu")
    vcpu.text = str(vcpus)
    cpu = ET.Element("cpu")
    cpus = "0" if vcpus == 1 else f"0-{vcpus - 1}"
    ET.SubElement(ET.SubElement(cpu, "numa"), "cell", id="0", cpus=cpus, memory=str(memory_mib),
                  unit="MiB", memAccess="shared")
    return [memory, backing, vcpu, cpu]


def interface(nic: Nic) -> ET.Element:
    """The vectors of several queues are libvirt's to reckon. Raises PortError."""
    if UNWRITABLE.search(nic.path):
        raise PortError(f"socket path {shown(nic.path)} has a character that XML cannot hold")
    element = ET.Element("interface", type="vhostuser")
    ET.SubElement(element, "mac", address=nic.mac)
    source = ET.SubElement(element, "source", type="unix", path=nic.path,
                           mode="server" if nic.listens else "client")
    if not nic.listens:
        ET.SubElement(source, "reconnect", enabled="yes", timeout=str(RECONNECT_S))
    ET.SubElement(element, "model", type="virtio")
    driver = ET.SubElement(element, "driver", {
        name: str(number) for name, number in (
            ("queues", nic.queues if nic.queues > 1 else None),
            ("rx_queue_size", nic.rx_queue_size), ("tx_queue_size", nic.tx_queue_size))
        if number is not None})
    if nic.iommu:
        driver.attrib.update(iommu="on", ats="on")
    ET.SubElement(driver, "host", mrg_rxbuf="on")
    if nic.mtu is not None:
        element.append(ET.Comment(MTU.format(nic.mtu)))
    return element
