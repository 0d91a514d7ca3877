"""Why a port is down: each fault is made for real, and is gone from the row when it is mended."""
from __future__ import annotations

import mmap
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.agent.conftest import Contract
from tests.agent.talker import talker
from tools.frontend import FrontEnd, ethernet
from tools.host import AGENT, ORDINARY_MEMORY, Host, wait_until
from tools.vhost_user import Request

A, B = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
F_ACCESS_PLATFORM, F_HOST_TSO4 = 1 << 33, 1 << 11
NOBODY = 65534
START = "start the guest: qemu-system-x86_64 ... $(vhost-agent qemu-args c0)"
LOOKS_S = 10.0                      # some looks at what only shows when it is looked at


@pytest.fixture
def asked(contract: Contract) -> Contract:
    """A host that is looked at when a test waits, and not each 5 s."""
    contract.host.look()
    return contract


def reason(contract: Contract, name: str = "c0") -> str:
    return contract.status(name).get("reason", "")


def has(contract: Contract, words: str, name: str = "c0") -> bool:
    """Whether status:reason has these words; "" is for none."""
    return words in reason(contract, name) if words else not reason(contract, name)


def wait_reason(contract: Contract, words: str, name: str = "c0", says: bool = True) -> None:
    """Has the host looked at until status:reason has these words, or has them no more."""
    def looked() -> bool:
        contract.host.look()
        return has(contract, words, name) is says
    wait_until(looked, f"{name} says {words!r}: {says}, last {reason(contract, name)!r}", LOOKS_S)


def explained(contract: Contract, name: str = "c0") -> str:
    """Without line breaks."""
    return " ".join(contract.host.appctl("vhost/explain", name).split())


# --- sockets --------------------------------------------------------------------------------------

def test_socket_that_is_not_there_comes_and_is_left_behind(asked: Contract) -> None:
    path = asked.client()
    assert reason(asked) == f"there is no socket {path}, which the guest's QEMU makes ({START})"
    assert explained(asked).startswith(
        f"c0 is down: there is no socket {path}, which the guest's QEMU makes do: {START} ")
    guest = asked.joined("c0")
    assert reason(asked) == ""
    assert explained(asked).startswith("c0 is up type dpdkvhostuserclient on bridge br0")
    guest.close()
    wait_reason(asked, f"nobody listens on the socket {path}: who made it has ended ({START})")
    Path(path).unlink()
    wait_reason(asked, f"there is no socket {path}")


def test_commands_of_ports_with_odd_names_are_quoted(asked: Contract) -> None:
    directory = f"{asked.host.directory}/no dir;touch x"
    asked.host.vsctl("add-port", "br0", "$(c 0)", "--", "set", "Interface", "$(c 0)",
                     "type=dpdkvhostuserclient",
                     f'options:vhost-server-path="{directory}/s"')
    wait_reason(asked, f"(mkdir -p '{directory}', then start the guest: qemu-system-x86_64 ... "
                "$(vhost-agent qemu-args '$(c 0)'))", "$(c 0)")
    assert f" mkdir -p '{directory}', then " in explained(asked, "$(c 0)")


def test_directory_of_the_socket_is_missing(asked: Contract) -> None:
    directory = asked.host.directory / "qemu"
    asked.client("c0", f"options:vhost-server-path={directory}/c0")
    assert reason(asked) == (f"there is no directory {directory} for the socket {directory}/c0 "
                             f"(mkdir -p {directory}, then {START})")
    directory.mkdir()
    wait_reason(asked, f"there is no socket {directory}/c0")
    directory.rmdir()


def test_links_on_the_way_to_the_socket_lead_in_a_circle(asked: Contract) -> None:
    loop = asked.host.directory / "loop"
    loop.symlink_to("loop")
    asked.client("c0", f"options:vhost-server-path={loop}/c0")
    assert reason(asked).startswith(f"the symbolic links on the way to the socket {loop}/c0 lead "
                                    f"in a circle (namei -l {loop}/c0 shows them; ")
    loop.unlink()
    wait_reason(asked, f"there is no directory {loop}")


def test_what_is_there_is_no_socket_and_each_statistics_interval_is_looked_again(
        contract: Contract) -> None:
    path = contract.path("c0")
    Path(path).write_text("")
    contract.client()
    assert reason(contract).startswith(f"{path} is no socket (ovs-vsctl set Interface ")
    Path(path).unlink()
    wait_until(lambda: has(contract, f"there is no socket {path}"), "it is seen by itself", LOOKS_S)


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_SEQPACKET])
def test_socket_of_another_type_is_no_guests(asked: Contract, kind: socket.SocketKind) -> None:
    path = asked.path("c0")
    with asked.host.netns.call(lambda: socket.socket(socket.AF_UNIX, kind)) as other:
        other.bind(path)
        if kind is socket.SOCK_SEQPACKET:
            other.listen()
        asked.client()
        assert reason(asked).startswith(f"the socket {path} is none of SOCK_STREAM, ")
    wait_reason(asked, f"nobody listens on the socket {path}")


def test_server_socket_waits_says_who_may_connect_and_is_removed_by_somebody(asked: Contract
                                                                            ) -> None:
    asked.config("vhost-sock-owner=nobody", "vhost-sock-group=nogroup", "vhost-sock-mode=0660")
    path = asked.server("s0")
    assert reason(asked, "s0").startswith(
        f"no guest has connected to the socket {path}; user nobody and group nogroup may (start "
        "it: qemu-system-x86_64 ... $(vhost-agent qemu-args s0); ")
    for mode, who in (("0666", "everybody"), ("0600", "user nobody"), ("0400", "nobody but root")):
        asked.set("s0", f"options:vhost-sock-mode={mode}")
        wait_reason(asked, f"{path}; {who} may (", "s0")
    asked.joined("s0", server=True)
    assert reason(asked, "s0") == ""
    asked.guests.pop().close()
    wait_reason(asked, "no guest has connected", "s0")
    Path(path).unlink()
    Path(path).write_text("")           # else it would be there again at once
    wait_reason(asked, f"somebody removed the socket {path}, which the agent made", "s0")
    Path(path).unlink()
    wait_reason(asked, "no guest has connected", "s0")


# --- who may what ---------------------------------------------------------------------------------

@contextmanager
def agent_of(host: Host, *words: str) -> Iterator[Contract]:
    """A host with an agent that is started by these words of setpriv."""
    host.enable_dpdk(ORDINARY_MEMORY)
    host.start(*host.netns.command("setpriv", *words, AGENT, "run"))
    host.vsctl("add-br", "br0", "--", "set", "Bridge", "br0", "datapath_type=netdev")
    yield Contract(host)


def test_agent_of_another_user_may_not_connect(host: Host) -> None:
    """User nobody, with what a network daemon needs; and what tests run from is root's alone."""
    capabilities = "+net_admin,+net_raw,+ipc_lock,+sys_nice,+dac_read_search"
    os.chown(host.directory, NOBODY, NOBODY)
    for file in host.directory.iterdir():
        os.chown(file, NOBODY, NOBODY)
    with agent_of(host, f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups",
                  f"--inh-caps={capabilities}", f"--ambient-caps={capabilities}") as contract:
        path = contract.path("c0")
        with talker(path) as front_end:
            os.chmod(path, 0o640)
            contract.client()
            assert reason(contract) == (
                "user nobody, who the agent runs as, may not connect to the socket "
                f"{path}: it has user root, group root, mode 0640 (setfacl -m u:nobody:rw {path}; "
                "for good, let QEMU and the agent have a group in common, and QEMU a umask of 007)")
            os.chmod(path, 0o666)
            front_end.accept()
            wait_reason(contract, "may not", says=False)


def test_agent_may_not_enter_the_directory_of_the_socket(host: Host) -> None:
    """As root without root's rights over files."""
    closed = host.directory / "closed"
    closed.mkdir()
    os.chown(closed, NOBODY, NOBODY)
    closed.chmod(0o700)
    without = "-dac_override,-dac_read_search"
    with (agent_of(host, f"--bounding-set={without}", f"--inh-caps={without}") as contract,
          talker(str(closed / "c0"))):
        contract.client("c0", f"options:vhost-server-path={closed}/c0")
        assert reason(contract) == (
            f"user root, who the agent runs as, may not enter the directory {closed} of the socket "
            f"{closed}/c0: it has user nobody, group nogroup, mode 0700 (setfacl -m u:root:x "
            f"{closed})")
        closed.chmod(0o755)
        wait_reason(contract, "may not enter", says=False)


# --- what front ends say --------------------------------------------------------------------------

def test_guest_says_nothing_waits_for_its_driver_and_shares_no_memory(asked: Contract) -> None:
    with talker(asked.path("c0")) as front_end:
        asked.client()
        front_end.accept()
        wait_reason(asked, "the socket " + asked.path("c0") + " is connected, and nothing comes: "
                    "another switch was first, for QEMU talks to one, or QEMU hangs")
        offered = front_end.ask(Request.GET_FEATURES)
        wait_reason(asked, "the guest is connected, and waits for its driver: it boots, is on "
                    "its way from another host, or has none for this device (in the guest: "
                    "modprobe virtio_net)")
        front_end.take(offered)
        front_end.ask(Request.GET_FEATURES)
        wait_reason(asked, "the guest's memory is not shared: its driver has started, and QEMU had "
                    "no memory to give to the switch (QEMU: -object memory-backend-memfd,id=mem,"
                    "size=SIZE,share=on -machine memory-backend=mem, as vhost-agent qemu-args c0 "
                    "prints it; libvirt: ")
        assert "its last request was GET_FEATURES, it took " in explained(asked)
    wait_reason(asked, "the guest's QEMU ended the connection before a driver ran; its last "
                "request was GET_FEATURES (see what QEMU said as it ended); nobody listens on the ")
    asked.joined("c0")
    wait_reason(asked, "")


def test_what_a_guest_says_as_it_comes_is_seen_long_before_statistics_are_due(asked: Contract
                                                                             ) -> None:
    """By itself, once the guest is quiet."""
    with talker(asked.path("c0")) as front_end:
        asked.client()
        front_end.accept()
        wait_until(lambda: has(asked, "and nothing comes"), "silence is seen", LOOKS_S)
    with talker(asked.path("c0")) as front_end:
        front_end.accept().ask(Request.GET_FEATURES)
        wait_until(lambda: has(asked, "waits for its driver"), "what it said is seen", LOOKS_S)


def test_memory_that_is_mapped_privately_looks_like_zeros(asked: Contract) -> None:
    path = asked.client()
    guest = FrontEnd(path, listen=True)
    guest.mapping = mmap.MAP_PRIVATE
    asked.guests.append(guest.connect())
    wait_reason(asked, "the guest's memory is not shared: its driver has started, and the switch "
                "sees only zeros in it (QEMU: -object memory-backend-memfd,")
    assert explained(asked).startswith("c0 is up, with something to say: - the guest's memory")
    guest.close()
    asked.joined("c0")
    wait_reason(asked, "")


def test_driver_that_stopped(asked: Contract) -> None:
    path = asked.client()
    guest = asked.guest(path)
    wait_until(lambda: asked.host.connected("c0"), "connected")
    guest._ask(Request.GET_VRING_BASE, struct.pack("<II", 0, 0))
    wait_reason(asked, "the guest's driver has stopped its queues: it starts again, or was taken "
                "out (in the guest: modprobe virtio_net)")


def test_feature_that_is_not_offered_is_named(asked: Contract) -> None:
    with talker(asked.path("c0")) as front_end:
        asked.client()
        front_end.accept()
        front_end.take(front_end.ask(Request.GET_FEATURES) | F_ACCESS_PLATFORM | F_HOST_TSO4)
        front_end.accept()          # the switch hung up, and calls again
        wait_reason(asked, "the guest insists on what the port does not offer: HOST_TSO4, "
                    "ACCESS_PLATFORM (for iommu_platform=on: ovs-vsctl set Interface c0 "
                    "options:vhost-iommu-support=true; for a guest that ran with segmentation "
                    "offloads: ovs-vsctl set Open_vSwitch . other_config:userspace-tso-enable=true")
        front_end.take(front_end.ask(Request.GET_FEATURES))
        front_end.ask(Request.GET_FEATURES)
        wait_reason(asked, "insists", says=False)


def test_front_end_that_gives_up_again_and_again(asked: Contract) -> None:
    with talker(asked.path("c0")) as front_end:
        asked.client()
        for _ in range(3):
            front_end.accept().ask(Request.GET_FEATURES)
            front_end.hang_up()
        front_end.accept().hang_up()        # as a QEMU that ends leaves one unheard
    wait_reason(asked, "the guest's QEMU ended the connection before a driver ran, 3 times in a "
                "row; its last request was GET_FEATURES. Not offered are HOST_TSO4, HOST_TSO6, "
                "ACCESS_PLATFORM (see what QEMU said as it ended; for iommu_platform=on: ")
    asked.joined("c0")
    assert reason(asked) == ""


def test_ring_behind_an_iommu_that_cannot_be_put_in_order(asked: Contract) -> None:
    path = asked.client("c0", "options:vhost-iommu-support=true",
                        "options:vhost-postcopy-support=true")
    asked.guest(path, iommu=True, scattered=True, queue_size=1024, tx_buffer_bytes=2048)
    wait_reason(asked, "a ring of the guest lies, behind its IOMMU, on pages that cannot be put in "
                "a row")


# --- half working ---------------------------------------------------------------------------------

def test_guest_that_takes_nothing(asked: Contract) -> None:
    sender, guest = asked.attached("c1"), asked.attached("c0", queue_size=64)
    burst = [ethernet(A, B)] * 32

    def send_until(words: str, takes: bool) -> None:
        def said() -> bool:
            wanted = sender.sent_back() + sender.send(burst)
            wait_until(lambda: sender.sent_back() == wanted, "the switch took them, in each look")
            sender.recv()
            if takes:
                guest.recv()
            asked.host.look()
            return has(asked, words)
        wait_until(said, f"c0 says {words!r}, last {reason(asked)!r}", LOOKS_S)

    send_until("the guest takes no packets: its ring of 64 is full, and all that was sent to it in "
               "the last statistics interval was dropped (see whether the guest hangs", False)
    assert explained(asked).startswith("c0 is up, with something to say: - the guest takes no ")
    assert reason(asked, "c1") == ""
    send_until("", True)


def test_queues_and_rings_that_were_asked_for(asked: Contract) -> None:
    path = asked.client("c0", "options:n_rxq=4", "options:n_rxq_desc=1024",
                        "options:n_txq_desc=300")
    guest = asked.guest(path, queues=4, enable=[0])
    wait_reason(asked, "1 of 4 queue pairs of the guest is enabled (in the guest: ethtool -L "
                "DEVICE combined 4); n_rxq_desc=1024 was asked for, and the guest's rings have 256 "
                "(start it with longer ones: vhost-agent qemu-args --tx-queue-size 1024 c0); "
                "n_txq_desc=300 was asked for, and the guest's rings have 256 (QEMU has 256, 512, "
                "1024)")
    for queue in (1, 2, 3):
        guest.enable(queue, True)
    asked.set("c0", "options:n_rxq_desc=256")
    asked.host.vsctl("remove", "Interface", "c0", "options", "n_txq_desc")
    wait_reason(asked, "")
    asked.set("c0", "options:n_rxq=2")
    wait_reason(asked, "n_rxq=2 was asked for, and the guest has 4 queue pairs (start it with as "
                "many: vhost-agent qemu-args --queues 2 c0)")


def test_nobody_is_told_of_rings_who_asked_for_none(asked: Contract) -> None:
    asked.attached("c0", queue_size=64)
    assert reason(asked) == ""
    assert "the guest sends by 64 and receives by 64 descriptors" in explained(asked)


def test_queue_that_no_pmd_polls(asked: Contract) -> None:
    asked.config("pmd-cpu-mask=0x1")
    asked.client("c1", 'other_config:pmd-rxq-affinity="0:0"')
    asked.attached("c0")
    asked.joined("c1")
    wait_reason(asked, "rx queue 0 is not polled by any PMD thread (see status:problems, ")
    assert reason(asked, "c1") == ""
    asked.host.vsctl("clear", "Interface", "c1", "other_config")
    wait_reason(asked, "")


# --- set so ---------------------------------------------------------------------------------------

def test_port_that_was_set_down_and_a_bridge_that_forwards_nothing(asked: Contract) -> None:
    asked.attached("c0")
    asked.host.appctl("netdev-dpdk/set-admin-state", "c0", "down")
    wait_reason(asked, "it was set down (ovs-appctl -t vhost-agent netdev-dpdk/set-admin-state c0 "
                "up)")
    asked.host.appctl("netdev-dpdk/set-admin-state", "c0", "up")
    wait_reason(asked, "")
    asked.host.vsctl("set-fail-mode", "br0", "secure")
    wait_reason(asked, "bridge br0 forwards nothing: fail_mode is secure, and there is no OpenFlow "
                "here (ovs-vsctl del-fail-mode br0)")
    asked.host.vsctl("del-fail-mode", "br0")
    wait_reason(asked, "")


def test_device_of_the_host_that_is_down(asked: Contract) -> None:
    asked.host.vsctl("add-port", "br0", "i0", "--", "set", "Interface", "i0", "type=internal")
    wait_reason(asked, "the device is down (ip link set i0 up)", "i0")
    asked.host.inside("ip", "link", "set", "i0", "up")
    wait_reason(asked, "", "i0")
    assert explained(asked, "i0").startswith("i0 is up type internal on bridge br0 device i0, tun")


def test_without_dpdk(host: Host) -> None:
    host.vsctl("--no-wait", "remove", "Open_vSwitch", ".", "other_config", "dpdk-init")
    host.start_agent()
    host.vsctl("add-br", "br0", "--", "set", "Bridge", "br0", "datapath_type=netdev")
    said = ("DPDK has not started (ovs-vsctl set Open_vSwitch . other_config:dpdk-init=true)")
    assert host.interface("br0", "status") == {"reason": said}
    assert host.appctl("vhost/explain", "br0").startswith("br0 is down: DPDK has not started\n")
    host.vsctl("--no-wait", "set", "Open_vSwitch", ".", "other_config:dpdk-init=true")
    host.enable_dpdk()
    wait_until(lambda: "DPDK" not in host.interface("br0", "status").get("reason", ""), "started")
