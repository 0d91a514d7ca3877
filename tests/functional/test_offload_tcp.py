"""TCP between namespaces, of a guest that leaves its checksums and its segmentation to the switch.

The guest is testpmd: what a kernel made whole it hands to the switch unfinished, in larger pieces
than it says the receiver takes. The other guest changes nothing, and the kernel behind it checks.
"""
from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ext.packets import TCP, Packet
from tests.functional.conftest import Site
from tools.host import wait_until

SEGMENT = 500
BYTES = 2_000_000
NET_F_CSUM, NET_F_HOST_TSO4 = 1 << 0, 1 << 11
LISTEN = """
import hashlib, socket, sys
listener = socket.create_server((sys.argv[1], 5000))
print("listening", flush=True)
peer, _ = listener.accept()
digest = hashlib.sha256()
while data := peer.recv(65536):
    digest.update(data)
print(digest.hexdigest(), flush=True)
"""
SEND = """
import socket, sys
peer = socket.create_connection((sys.argv[1], 5000), 5)
peer.sendall(bytes(i * 31 >> 3 & 255 for i in range(int(sys.argv[2]))))
"""
CAPTURE = """
import socket, struct, sys
frames = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
frames.setsockopt(socket.SOL_SOCKET, 33, 1 << 26)
frames.bind(("eth0", 0))
print("capturing", flush=True)
with open(sys.argv[1], "wb") as file:
    while True:
        frame, (_, _, kind, _, _) = frames.recvfrom(65536)
        if kind != socket.PACKET_OUTGOING:
            file.write(struct.pack("=I", len(frame)) + frame)
            file.flush()
"""


def leave_to_switch(site: Site, name: str, peer: str, segment: int) -> None:
    """Makes a guest leave checksums to the switch, and frames to be cut unless 'segment' is 0."""
    guest = site.guests[name]
    offloads = ["tcp_cksum", "udp_cksum", *(["tcp_tso"] if segment else [])]
    for command in (
            "stop", "port stop 0", *(f"port config 0 tx_offload {o} on" for o in offloads),
            "csum set tcp hw 0", "csum set udp hw 0", f"tso set {segment} 0", "set fwd csum",
            f"set eth-peer 0 {site.namespaces[peer].mac}",
            f"set eth-peer 1 {site.namespaces[name].mac}", "port start 0", "start"):
        guest.command(command)
    wanted = NET_F_CSUM | (NET_F_HOST_TSO4 if segment else 0)
    wait_until(lambda: int(site.host.interface(name, "status").get("features", "0"), 0)
               & (NET_F_CSUM | NET_F_HOST_TSO4) == wanted, f"{name} has negotiated {wanted:#x}")


def captured(file: Path) -> list[bytes]:
    data, frames = file.read_bytes(), []
    while len(data) >= 4:
        size = int.from_bytes(data[:4], sys.byteorder)
        if len(data) < 4 + size:
            break                   # it was still being written
        frames.append(data[4:4 + size])
        data = data[4 + size:]
    return frames


@pytest.mark.parametrize("segment", [0, SEGMENT], ids=["checksums", "segmentation"])
def test_tcp_of_a_guest_that_leaves_it_to_the_switch(site: Site, tmp_path: Path, segment: int
                                                     ) -> None:
    site.host.vsctl("set", "Open_vSwitch", ".", "other_config:userspace-tso-enable=true")
    site.guest("a")
    site.guest("b")
    leave_to_switch(site, "a", "b", segment)
    a, b = site.namespaces["a"], site.namespaces["b"]
    a.add_neighbour(b.ip, b.mac)
    b.add_neighbour(a.ip, a.mac)
    capture = b.popen([sys.executable, "-c", CAPTURE, str(tmp_path / "frames")],
                      stdout=subprocess.PIPE)
    listener = b.popen([sys.executable, "-c", LISTEN, b.ip], stdout=subprocess.PIPE)
    for process in (capture, listener):
        assert process.stdout is not None
        assert process.stdout.readline()
    sent = a.run([sys.executable, "-c", SEND, b.ip, str(BYTES)], capture_output=True, timeout=60)
    assert sent.returncode == 0, sent.stderr
    data = bytes(i * 31 >> 3 & 255 for i in range(BYTES))
    got, _ = listener.communicate(timeout=30)
    assert got.strip() == hashlib.sha256(data).hexdigest()
    errors = b.run(["nstat", "-asz", "TcpInCsumErrors"], capture_output=True).stdout
    assert errors.split("TcpInCsumErrors")[1].split()[0] == "0"

    wait_until(lambda: sum(len(p.payload) for p in packets(tmp_path / "frames")) >= BYTES,
               "all of it was captured")
    seen = packets(tmp_path / "frames")
    assert [p.frame.hex() for p in seen if not p.complete()] == []
    assert max(len(p.payload) for p in seen) == (segment or 1448)
    statistics = {name: site.host.interface(name, "statistics") for name in "ab"}
    assert statistics["b"]["ovs_tx_invalid_hwol_drops"] == 0, statistics


def packets(file: Path) -> list[Packet]:
    """The TCP packets among what was captured."""
    return [packet for frame in captured(file) if frame[12:14] == b"\x08\x00"
            if (packet := Packet(frame)).protocol == TCP]
