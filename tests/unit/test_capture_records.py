"""Records of the agent become blocks, however the connection cuts them."""
from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import pcapng
from agent.appctl import NoAgentError, control_socket
from agent.capture import RECORD, Capture, CaptureError, Wish


def record(frame: bytes, *, length: int, direction: int = 1, queue: int = 0, time_ns: int = 5,
           lost: int = 0) -> bytes:
    body = frame + bytes(-len(frame) % 32)
    return RECORD.pack(RECORD.size + len(body), len(frame), length, queue, direction, time_ns,
                       lost) + body


@pytest.fixture
def agent() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


STREAM = (record(b"a" * 60, length=60) + record(b"b" * 33, length=1500, direction=2, queue=3)
          + record(b"c" * 64, length=64, lost=7) + record(b"", length=0, direction=0, lost=9))
BLOCKS = [pcapng.packet(5, b"a" * 60, 60, 1, 0), pcapng.packet(5, b"b" * 33, 1500, 2, 3),
          pcapng.packet(5, b"c" * 64, 64, 1, 0)]


@pytest.mark.parametrize("piece", [7, 31, 32, 33, 97, len(STREAM)])
@pytest.mark.parametrize("count", [None, 2, 3])
def test_records_in_pieces(agent: tuple[socket.socket, socket.socket], tmp_path: Path, piece: int,
                           count: int | None, capsys: pytest.CaptureFixture[str]) -> None:
    ours, theirs = agent
    for at in range(0, len(STREAM), piece):
        theirs.send(STREAM[at:at + piece])
    theirs.shutdown(socket.SHUT_WR)
    capture = Capture(Wish("p", 1500, "both", count), ours)
    file = (tmp_path / "out").open("wb")
    with file:
        if count is None:
            with pytest.raises(CaptureError, match="the capture is over: port p was removed"):
                capture.copy(file.fileno(), "out")
        else:
            assert capture.copy(file.fileno(), "out") == 0
            assert theirs.recv(1) == b""                # it asked for the end
    written = count or 3
    expected = pcapng.interface("p", 1500) + b"".join(BLOCKS[:written])
    assert expected in (tmp_path / "out").read_bytes()
    assert capsys.readouterr().err.splitlines()[1:] == [
        f"{written} packets captured", "9 packets lost for a slow reader"]


def test_agent_is_found_as_ovs_appctl_does(tmp_path: Path) -> None:
    (tmp_path / "ovs-vswitchd.pid").write_text("12\n")
    assert control_socket("ovs-vswitchd", str(tmp_path)) == f"{tmp_path}/ovs-vswitchd.12.ctl"
    assert control_socket("/x/y.ctl", str(tmp_path)) == "/x/y.ctl"
    (tmp_path / "odd.pid").write_text("twelve\n")
    with pytest.raises(NoAgentError, match="no agent is known as vhost-agent"):
        control_socket("vhost-agent", str(tmp_path))
    with subprocess.Popen(["sleep", "60"], executable="/bin/sleep") as other:
        (tmp_path / "ovs-vswitchd.pid").write_text(f"{other.pid}\n")
        with pytest.raises(NoAgentError):
            control_socket("vhost-agent", str(tmp_path))        # it is not ours
        other.kill()
    with subprocess.Popen(["vhost-agent", "60"], executable="/bin/sleep") as ours:
        (tmp_path / "ovs-vswitchd.pid").write_text(f"{ours.pid}\n")
        found = control_socket("vhost-agent", str(tmp_path))
        assert found == f"{tmp_path}/ovs-vswitchd.{ours.pid}.ctl"
        ours.kill()
    with pytest.raises(NoAgentError, match=r"no agent is known as odd: .*no number in it"):
        control_socket("odd", str(tmp_path))
