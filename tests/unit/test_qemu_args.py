"""QEMU's arguments, read as a shell and QEMU read them."""
from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import replace

import pytest

from agent.guest_nic import Nic
from agent.qemu_args import arguments, command_line

NIC = Nic("/tmp/c0", True, "02:00:00:00:00:01")
DEVICE = {"": "virtio-net-pci", "mac": "02:00:00:00:00:01", "netdev": "mynet1", "mrg_rxbuf": "on"}

Options = dict[str, list[dict[str, str]]]


def parse(text: str) -> Options:
    """{option: the keys of each time it is there}; what has no key is ''."""
    found: Options = {}
    keys: dict[str, str] = {}
    for word in shlex.split(text):
        if word.startswith("-"):
            keys = {}
            found.setdefault(word, []).append(keys)
        else:
            keys.update(pairs(word))
    return found


def pairs(value: str) -> Iterator[tuple[str, str]]:
    """As QEMU's parser has it: two commas are one that ends nothing."""
    for part in re.findall("(?:[^,]|,,)+", value):
        match = re.fullmatch("(?:([^=]*)=)?(.*)", part.replace(",,", ","), re.DOTALL)
        assert match is not None
        yield match[1] or "", match[2]


def options(*nics: Nic, memory_mib: int = 1024, hugepages: str | None = None) -> Options:
    return parse(command_line(arguments(nics, memory_mib, hugepages), False))


def test_whole_line_for_a_client_port() -> None:
    assert options(NIC) == {
        "-m": [{"": "1024M"}],
        "-object": [{"": "memory-backend-memfd", "id": "mem", "size": "1024M", "share": "on"}],
        "-numa": [{"": "node", "memdev": "mem"}],
        "-mem-prealloc": [{}],
        "-chardev": [{"": "socket", "id": "char1", "path": "/tmp/c0", "server": "on",
                      "wait": "off"}],
        "-netdev": [{"type": "vhost-user", "id": "mynet1", "chardev": "char1",
                     "vhostforce": "on"}],
        "-device": [DEVICE]}


def test_memory_on_hugepages_is_as_large_as_the_guest() -> None:
    found = options(NIC, memory_mib=512, hugepages="/dev/huge,pages")
    assert found["-m"] == [{"": "512M"}]
    assert found["-object"] == [{"": "memory-backend-file", "id": "mem", "size": "512M",
                                 "mem-path": "/dev/huge,pages", "share": "on"}]


def test_qemu_comes_back_to_the_socket_of_a_server_port() -> None:
    found = options(replace(NIC, listens=False))
    assert found["-chardev"] == [{"": "socket", "id": "char1", "path": "/tmp/c0", "reconnect": "1"}]


@pytest.mark.parametrize("queues", [2, 3, 128])
def test_vectors_of_several_queue_pairs(queues: int) -> None:
    found = options(replace(NIC, queues=queues))
    assert found["-netdev"][0]["queues"] == str(queues)
    assert found["-device"] == [DEVICE | {"mq": "on", "vectors": str(2 * queues + 2)}]


def test_what_is_set_is_a_property_of_the_device() -> None:
    found = options(replace(NIC, rx_queue_size=1024, tx_queue_size=512, mtu=9000, iommu=True))
    assert found["-device"] == [DEVICE | {
        "rx_queue_size": "1024", "tx_queue_size": "512", "host_mtu": "9000",
        "disable-legacy": "on", "iommu_platform": "on", "ats": "on"}]


def test_several_devices_have_each_their_own_chardev_and_netdev() -> None:
    found = options(NIC, replace(NIC, path="/tmp/c1", mac="02:00:00:00:00:02"))
    assert [c["path"] for c in found["-chardev"]] == ["/tmp/c0", "/tmp/c1"]
    assert [c["id"] for c in found["-chardev"]] == [n["chardev"] for n in found["-netdev"]]
    assert [n["id"] for n in found["-netdev"]] == [d["netdev"] for d in found["-device"]]
    assert len({c["id"] for c in found["-chardev"]}) == 2
    assert len(found["-object"]) == 1


@pytest.mark.parametrize("path", ["/a b", "/a,server=off", "/a,,b", "/$(x)", "/it's", "/a=b",
                                  "/#", "/ü", "/back\\slash"])
def test_path_reaches_qemu_as_it_is(path: str) -> None:
    assert options(replace(NIC, path=path))["-chardev"][0]["path"] == path


def test_lines_are_continued_on_a_terminal_alone() -> None:
    made = arguments([NIC], 1024, None)
    plain, pasted = (command_line(made, to_terminal) for to_terminal in (False, True))
    assert [shlex.split(line)[0] for line in plain.splitlines()] == [o[0] for o in made]
    assert pasted == plain.replace("\n", " \\\n").removesuffix(" \\\n") + "\n"
    assert parse(pasted.replace("\\\n", "")) == parse(plain)
