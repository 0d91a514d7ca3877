"""Domains of libvirt: the document's sample, with the interfaces that `vhost-agent libvirt-xml`
prints, under Debian's own user for them."""
from __future__ import annotations

import os
import re
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from tests.guests.lab import PING, Lab, new_lab, received, says
from tools.console import Console
from tools.debian13 import made_root
from tools.guest import is_listening
from tools.guest_image import ONE_PROCESSOR, kernel, made_initramfs
from tools.host import AGENT, wait_until
from tools.libvirt import Libvirt
from tools.qemu import inner

SECTION = "vhost-user (libvirt)"
SAMPLE = Path(__file__).with_name("demovm.xml")     # the document's, word for word
QEMU_USER = "libvirt-qemu"
CONNECT = ("import socket, sys; "
           "sys.exit(bool(socket.socket(socket.AF_UNIX).connect_ex(sys.argv[1])))")
DOMAINS = ("demovm", "demovm2")
DEVICES = 2                     # of each domain


@dataclass(frozen=True)
class Site:
    """A lab, libvirt beside it, and the user that its QEMU runs as."""

    lab: Lab
    libvirt: Libvirt
    user: int
    group: int

    def give_sockets(self) -> None:
        """Server sockets to QEMU's user; by numbers, for it is a user of the root, not of here."""
        self.lab.host.vsctl("set", "Open_vSwitch", ".",
                            f"other_config:vhost-sock-owner={self.user}",
                            f"other_config:vhost-sock-group={self.group}",
                            "other_config:vhost-sock-mode=0660")

    def lets_in(self, port: str) -> bool:
        """Whether QEMU's user may connect to the port's socket."""
        socket = self.lab.host.directory / port
        return subprocess.run(self.libvirt.command(
            "setpriv", f"--reuid={QEMU_USER}", "--regid=kvm", "--clear-groups",
            "python3", "-c", CONNECT, str(socket))).returncode == 0

    def add_port(self, port: str, mode: str) -> None:
        """A port for an interface of this mode; QEMU makes the sockets of "server"."""
        if mode == "server":
            directory = self.lab.host.directory / "sockets"
            directory.mkdir(exist_ok=True)
            os.chown(directory, self.user, self.group)
            self.lab.host.vsctl("add-port", "br0", port, "--", "set", "Interface", port,
                                "type=dpdkvhostuserclient",
                                f"options:vhost-server-path={directory}/{port}")
        else:
            self.lab.add_port(port, client=False)

    def printed(self, *ports: str, memory: tuple[str, ...] = ()) -> tuple[str, str]:
        """What libvirt-xml prints: what is in the comment, and the interfaces."""
        text = self.lab.host.check(AGENT, "libvirt-xml", "--memory", "256M", "--vcpus", "2",
                                   "--queues", "2", *memory, *ports)
        comment, interfaces = text.split("-->\n")
        return comment.removeprefix("<!--"), interfaces

    def create(self, name: str, xml: str) -> Console:
        """virsh create, and virsh console."""
        file = self.lab.host.directory / f"{name}.xml"
        file.write_text(xml)
        self.libvirt.virsh("create", str(file))
        console = self.libvirt.console(name)
        self.lab.stack.callback(console.kill)
        console.start()
        return console


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with new_lab() as lab:
        libvirt = Libvirt(lab.host.directory)
        lab.stack.callback(libvirt.close)
        libvirt.start()
        user, group = map(int, libvirt.run("sh", "-c", f"id -u {QEMU_USER}; id -g {QEMU_USER}")
                          .split())
        yield Site(lab, libvirt, user, group)


def adapted(interfaces: str) -> str:
    """The sample with these interfaces, changed where this machine demands it."""
    root = made_root()
    boot = (f"<kernel>{inner(root, kernel(root))}</kernel>"
            f"<initrd>{inner(root, made_initramfs(root))}</initrd>"
            f"<cmdline>console=ttyS0 quiet panic=-1 {ONE_PROCESSOR}</cmdline>")
    cpus = sorted(os.sched_getaffinity(0))
    xml = SAMPLE.read_text()
    for theirs, ours in (
            ("<domain type='kvm'>", "<domain type='qemu'>"),            # stock kernels hang on KVM
            ("4194304", "262144"),                                      # KiB of memory
            ("<shares>4096</shares>", ""),                              # no control groups
            ("cpuset='4'", f"cpuset='{cpus[0]}'"),
            ("cpuset='5'", f"cpuset='{cpus[-1]}'"),
            ("cpuset='4,5'", f"cpuset='{cpus[0]},{cpus[-1]}'"),
            ("<boot dev='hd'/>", boot),                                 # in place of an image
            (only(r"<disk.*</disk>", xml), ""),
            (only(r"<interface.*</interface>", xml), interfaces)):
        assert theirs in xml, theirs
        xml = xml.replace(theirs, ours)
    return xml


def second(xml: str, needs: str) -> str:
    """A second domain of the sample's kind, its memory as the comment of libvirt-xml has it."""
    xml = re.sub(r"<uuid>.*</uuid>", "", xml)
    xml = xml.replace("<name>demovm</name>", "<name>demovm2</name>")
    for element in ("memory", "memoryBacking", "vcpu", "cpu"):
        pattern = rf"<{element}\b.*</{element}>"
        xml = xml.replace(only(pattern, xml), only(pattern, needs))
    return xml


def only(pattern: str, text: str) -> str:
    (found,) = re.findall(pattern, text, re.DOTALL)
    return str(found)


@dataclass(frozen=True)
class Pair:
    """Two domains with two devices each: eth0 of one reaches eth0 of the other."""

    mode: str
    ports: list[str]
    domains: list[Console]

    def ping(self, number: int = 5) -> list[int]:
        """How many of so many pings were answered, for each device."""
        return [received(self.domains[0].attempt(
                    f"{PING} -c {number} -l {number} -i 2 -W 2 10.30.{device}.2")[1])
                for device in range(DEVICES)]


@pytest.fixture(scope="module", params=["server", "client"])
def pair(request: pytest.FixtureRequest, site: Site) -> Iterator[Pair]:
    mode = request.param
    ports = {name: [f"{mode}{name}{device}" for device in range(DEVICES)] for name in DOMAINS}
    for own in ports.values():
        for port in own:
            site.add_port(port, mode)
    if mode == "client":
        site.give_sockets()
    comment, interfaces = site.printed(*ports["demovm"], memory=("--hugepages",))
    xmls = {"demovm": adapted(interfaces)}
    comment, interfaces = site.printed(*ports["demovm2"])
    xmls["demovm2"] = second(adapted(interfaces), comment)
    pair = Pair(mode, [*ports["demovm"], *ports["demovm2"]],
                [site.create(name, xmls[name]) for name in DOMAINS])
    for number, domain in enumerate(pair.domains, 1):
        domain.wait_ready()
        # on one bridge with all its devices: each answers for its own address alone
        domain.run("sysctl -qw net.ipv4.conf.all.arp_ignore=1")
        for device in range(DEVICES):
            domain.run(f"ethtool -L eth{device} combined 2; ip link set eth{device} up; "
                       f"ip addr add 10.30.{device}.{number}/24 dev eth{device}")
    yield pair
    for name in DOMAINS:
        site.libvirt.virsh("destroy", name)


@says(SECTION, "You must change the user and group that QEMU runs under to root")
def test_sockets_for_the_user_of_qemu(site: Site) -> None:
    """Beyond OVS: libvirt-qemu may connect once vhost-sock-owner, -group and -mode say so, of all
    ports or of one (options); not before, and not where a port's own options say otherwise."""
    lab = site.lab
    for port in ("s0", "s1"):
        lab.add_port(port, client=False)
        wait_until(partial(is_listening, lab.host.directory / port), f"{port} has a socket")
    assert not site.lets_in("s0")
    assert not site.lets_in("s1")
    lab.host.vsctl("set", "Interface", "s0", f"options:vhost-sock-owner={site.user}")
    wait_until(partial(site.lets_in, "s0"), "QEMU's user may connect to s0")
    assert not site.lets_in("s1")
    site.give_sockets()
    wait_until(partial(site.lets_in, "s1"), "QEMU's user may connect to s1")
    found = (lab.host.directory / "s1").stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (
        site.user, site.group, 0o660)
    lab.host.vsctl("set", "Interface", "s1", "options:vhost-sock-mode=0600",
                   "options:vhost-sock-owner=0")
    wait_until(lambda: not site.lets_in("s1"), "s1 is closed to QEMU's user")
    assert site.lets_in("s0")


@says(SECTION, "virsh create demovm.xml, virsh console demovm: mode='{pair}'")
def test_sample_domains_ping(site: Site, pair: Pair) -> None:
    """Two sample domains, QEMU under Debian's libvirt-qemu, with the interfaces that libvirt-xml
    prints; memory on hugepages, or as its comment has it; 5 of 5 pings on both devices."""
    for port in pair.ports:
        wait_until(partial(site.lab.host.connected, port), f"{port} is connected")
    users = [line.split()[0] for line in site.libvirt.run("ps", "-eo", "user:20=,comm=")
             .splitlines() if line.split()[1].startswith("qemu-system")]
    assert users == [QEMU_USER] * 2
    assert pair.ping() == [5, 5]


@says(SECTION, "Once the switch is back up, ports reconnect by themselves: mode='{pair}'")
def test_sample_domains_outlive_the_switch(site: Site, pair: Pair) -> None:
    """The agent is killed and started again: once one ping is answered, 5 of 5 are, on both devices
    of the same domains."""
    site.lab.host.kill_agent()
    site.lab.host.start_agent()
    wait_until(lambda: pair.ping(1) == [1, 1], "the domains reach each other again", 60.0)
    assert pair.ping() == [5, 5]


@says(SECTION, "Guests come and go: virsh attach-device and detach-device, mode='{pair}'")
def test_a_device_of_a_running_domain(site: Site, pair: Pair) -> None:
    """What libvirt-xml prints for one more port, comment and all, is attached to a running domain:
    5 of 5 pings on it; then detached: the port's link is down."""
    one, two = pair.domains
    port = f"{pair.mode}more"
    site.add_port(port, pair.mode)
    file = site.lab.host.directory / "nic.xml"
    file.write_text(site.lab.host.check(AGENT, "libvirt-xml", port))
    site.libvirt.virsh("attach-device", "demovm2", str(file))
    two.run("until [ -e /sys/class/net/eth2 ]; do usleep 100000; done; ip link set eth2 up; "
            "ip addr add 10.30.2.2/24 dev eth2")
    one.run("ip addr add 10.30.2.1/24 dev eth0")
    wait_until(partial(site.lab.host.connected, port), f"{port} is connected")
    assert received(one.attempt(f"{PING} -c 5 -l 5 -i 2 -W 2 10.30.2.2")[1]) == 5
    site.libvirt.virsh("detach-device", "demovm2", str(file))
    wait_until(lambda: not site.lab.host.connected(port), f"{port} is not connected")
