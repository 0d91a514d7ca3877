"""libvirt's XML, read as libvirt reads it."""
from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from agent.guest_nic import Nic
from agent.libvirt_xml import text
from agent.refusal import PortError

NIC = Nic("/tmp/c0", True, "02:00:00:00:00:01")


def parse(printed: str) -> tuple[ET.Element, list[ET.Element]]:
    """A domain of what stands in the comment, and the interfaces."""
    match = re.fullmatch(r"<!--[^<]*\n(<.*)\n-->\n(.*)", printed, re.DOTALL)
    assert match is not None
    return (ET.fromstring(f"<domain>{match[1]}</domain>"),
            list(ET.fromstring(f"<devices>{match[2]}</devices>")))


def interface(nic: Nic) -> ET.Element:
    (found,) = parse(text([nic], 1024, 1, False))[1]
    return found


def attributes(element: ET.Element, path: str) -> dict[str, str]:
    found = element.find(path)
    assert found is not None, path
    return dict(found.attrib)


def test_interface_of_a_client_port_has_a_socket_of_qemu() -> None:
    found = interface(NIC)
    assert (found.tag, found.attrib) == ("interface", {"type": "vhostuser"})
    assert attributes(found, "mac") == {"address": "02:00:00:00:00:01"}
    assert attributes(found, "source") == {"type": "unix", "path": "/tmp/c0", "mode": "server"}
    assert found.find("source/reconnect") is None
    assert attributes(found, "model") == {"type": "virtio"}
    assert attributes(found, "driver") == {}
    assert attributes(found, "driver/host") == {"mrg_rxbuf": "on"}


def test_interface_of_a_server_port_comes_back_to_the_socket() -> None:
    found = interface(replace(NIC, listens=False))
    assert attributes(found, "source")["mode"] == "client"
    assert attributes(found, "source/reconnect") == {"enabled": "yes", "timeout": "1"}


def test_what_is_set_is_in_the_driver() -> None:
    found = interface(replace(NIC, queues=4, rx_queue_size=1024, tx_queue_size=256, iommu=True))
    assert attributes(found, "driver") == {"queues": "4", "rx_queue_size": "1024",
                                           "tx_queue_size": "256", "iommu": "on", "ats": "on"}


def test_mtu_is_named_for_the_reader_alone() -> None:
    """As an element it would keep the domain from starting."""
    printed = text([replace(NIC, mtu=9000)], 1024, 1, False)
    assert "mtu_request=9000" in printed
    assert parse(printed)[1][0].find("mtu") is None


def test_several_interfaces_follow_each_other() -> None:
    _, found = parse(text([NIC, replace(NIC, path="/tmp/c1")], 1024, 1, False))
    assert [attributes(i, "source")["path"] for i in found] == ["/tmp/c0", "/tmp/c1"]


@pytest.mark.parametrize(("vcpus", "cpus"), [(1, "0"), (2, "0-1"), (16, "0-15")])
def test_domain_shares_its_memory(vcpus: int, cpus: str) -> None:
    domain, _ = parse(text([NIC], 512, vcpus, False))
    assert domain.findtext("memory") == "512"
    assert attributes(domain, "memory") == {"unit": "MiB"}
    assert attributes(domain, "memoryBacking/source") == {"type": "memfd"}
    assert attributes(domain, "memoryBacking/access") == {"mode": "shared"}
    assert domain.findtext("vcpu") == str(vcpus)
    assert attributes(domain, "cpu/numa/cell") == {
        "id": "0", "cpus": cpus, "memory": "512", "unit": "MiB", "memAccess": "shared"}


def test_domain_on_hugepages() -> None:
    domain, _ = parse(text([NIC], 512, 1, True))
    assert [child.tag for child in domain.findall("memoryBacking/*")] == ["hugepages"]
    assert attributes(domain, "cpu/numa/cell")["memAccess"] == "shared"


@pytest.mark.parametrize("path", ["/a&b", "/<x>", '/"x"', "/it's", "/a b", "/--", "/ü"])
def test_path_reaches_libvirt_as_it_is(path: str) -> None:
    assert attributes(interface(replace(NIC, path=path)), "source")["path"] == path


@pytest.mark.parametrize("path", ["/\x01", "/\x1b[m", "/\ufffe"])
def test_path_that_xml_cannot_hold_is_refused(path: str) -> None:
    with pytest.raises(PortError, match="has a character that XML cannot hold"):
        interface(replace(NIC, path=path))
