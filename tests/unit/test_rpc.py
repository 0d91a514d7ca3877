"""Our connection does what python-ovs's own does, faster."""
from __future__ import annotations

import errno
import json
import socket
from collections.abc import Iterator
from itertools import pairwise
from threading import Thread
from typing import Any

import ovs.jsonrpc
import ovs.poller
import ovs.stream
import ovs.util
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import rpc
from agent.rpc import FastConnection

NOTE = {"method": "update", "params": [None, {"a": ["set", [1, "x\\é\"}"]]}], "id": None}
REPLY = {"id": 1, "result": {}, "error": None}
ERROR = {"id": 1, "result": None, "error": "unknown method"}
REQUEST = {"id": "echo", "method": "echo", "params": []}

Received = tuple[list[dict[str, Any]], int]


class FakeStream:
    """Passes pieces of data as ovs.stream.Stream does; None is EAGAIN, a number another error.
    In the end it is closed by the other side."""

    name = "fake"

    def __init__(self, *pieces: bytes | int | None) -> None:
        self._pieces = list(pieces)
        self.is_closed = False

    def recv(self, most: int) -> tuple[int, Any]:
        assert not self.is_closed
        if not self._pieces:
            return 0, b""
        piece = self._pieces.pop(0)
        if not isinstance(piece, bytes):
            return piece or errno.EAGAIN, ""
        if len(piece) > most:
            self._pieces.insert(0, piece[most:])
        return (0, piece[:most]) if piece else (errno.EAGAIN, "")

    def send(self, data: str) -> int:
        return len(data)

    def recv_wait(self, poller: ovs.poller.Poller) -> None:
        pass

    def close(self) -> None:
        self.is_closed = True


def received(connection: ovs.jsonrpc.Connection) -> Received:
    """All messages until the connection ends, and how it ends."""
    messages = []
    while True:
        error, message = connection.recv()
        if message is not None:
            assert error == 0
            messages.append(message.to_json())
        elif error != errno.EAGAIN:
            assert error == connection.get_status() == connection.recv()[0]
            assert connection.get_backlog() == 0
            return messages, error


def both(*pieces: bytes | int | None) -> Received:
    """What comes through our connection, which must be what comes through python-ovs's."""
    ours, theirs = FakeStream(*pieces), FakeStream(*pieces)
    got = received(FastConnection(ours))
    assert got == received(ovs.jsonrpc.Connection(theirs))
    assert ours.is_closed == theirs.is_closed
    return got


def encoded(*messages: Any) -> bytes:
    return b"".join(json.dumps(m, ensure_ascii=False).encode() for m in messages)


def test_messages_of_every_type_then_the_end() -> None:
    messages = [NOTE, REPLY, ERROR, REQUEST]
    assert both(encoded(*messages)) == (messages, ovs.util.EOF)


def test_nothing_for_a_while() -> None:
    assert both(None, encoded(NOTE)[:9], None, None, encoded(NOTE)[9:], None) == (
        [NOTE], ovs.util.EOF)


@pytest.mark.parametrize("rest", [b"", b"  \n", b"{", encoded(REPLY)[:-1]])
def test_end_in_the_middle(rest: bytes) -> None:
    assert both(encoded(NOTE) + rest) == ([NOTE], ovs.util.EOF)


@pytest.mark.parametrize("error", [errno.ECONNRESET, errno.EPIPE, errno.ETIMEDOUT])
def test_error_of_the_stream(error: int) -> None:
    assert both(encoded(NOTE), encoded(NOTE)[:5], error) == ([NOTE], error)


@pytest.mark.parametrize("bad", [
    {}, {"id": 1}, {"method": 1, "params": []}, {"method": "x", "params": {}}, {"x": 1, **NOTE},
    {"id": 1, "result": 1, "error": 1}, {"id": None, "result": 1}, {"method": "x"}, [], ["x"],
    [NOTE]])
def test_what_is_no_message_ends_the_connection(bad: Any) -> None:
    assert both(encoded(NOTE, bad, NOTE)) == ([NOTE], errno.EPROTO)


@pytest.mark.parametrize("bad", [b"}", b"GET / HTTP/1.1\r\n\r\n", b"\x00", b'{"a":nan}', b'{"a":1}',
                                 b"{'id':1}", b'{"id":1,}', b"[" * 5000, b'{"a":' * 5000])
def test_what_is_no_json_ends_the_connection(bad: bytes) -> None:
    assert both(encoded(NOTE) + bad) == ([NOTE], errno.EPROTO)


def test_what_is_no_utf_8_ends_the_connection() -> None:
    assert both(encoded(NOTE), None, b'{"method":"\xff') == ([NOTE], errno.EILSEQ)


def test_cut_inside_a_character() -> None:
    data = encoded(NOTE)
    at = data.index("é".encode()) + 1
    assert received(FastConnection(FakeStream(data[:at], None, data[at:]))) == (
        [NOTE], ovs.util.EOF)


@given(st.lists(st.sampled_from([NOTE, REPLY, ERROR, REQUEST]), max_size=6),
       st.lists(st.integers(0), max_size=8))
def test_cut_anywhere(messages: list[Any], cuts: list[int]) -> None:
    data = encoded(*messages)
    at = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    pieces = [data[a:b] for a, b in pairwise(at)]
    assert received(FastConnection(FakeStream(*pieces))) == (messages, ovs.util.EOF)


@given(st.lists(st.sampled_from([NOTE, REPLY]), min_size=1, max_size=3), st.data())
def test_damaged_stream_is_refused_where_python_ovs_refuses_it(messages: list[Any],
                                                               data: st.DataObject) -> None:
    stream = bytearray(encoded(*messages))
    at = data.draw(st.integers(0, len(stream) - 1))
    stream[at:at + data.draw(st.integers(0, 2))] = data.draw(
        st.text(st.characters(codec="utf-8", exclude_characters="0123456789.eE"), max_size=2)
    ).encode()
    try:
        stream.decode()
    except UnicodeDecodeError:
        return
    assert both(bytes(stream) + b'"}x"}x')[1] == errno.EPROTO


def test_bytes_are_counted_before_a_message_is_complete() -> None:
    """Session.recv() takes that for a sign of life."""
    data = encoded(REPLY)
    connection = FastConnection(FakeStream(data[:10], None, data[10:]))
    assert connection.recv() == (errno.EAGAIN, None)
    assert connection.get_received_bytes() == 10
    assert connection.get_status() == 0
    assert connection.recv()[0] == 0
    assert connection.get_received_bytes() == len(data)


class Poller:
    """Tells whether it was told to wake at once."""

    is_immediate = False

    def immediate_wake(self) -> None:
        self.is_immediate = True


def wakes(connection: FastConnection) -> bool:
    poller = Poller()
    connection.recv_wait(poller)
    return poller.is_immediate


def test_wakes_while_something_is_left_and_sleeps_on_half_a_message() -> None:
    connection = FastConnection(FakeStream(encoded(NOTE, NOTE)[:-1], None, b"}", None))
    assert not wakes(connection)
    assert connection.recv()[1].to_json() == NOTE
    assert wakes(connection)                            # it was read and not yet looked at
    assert connection.recv() == (errno.EAGAIN, None)
    assert not wakes(connection)
    assert connection.recv()[1].to_json() == NOTE
    assert not wakes(connection)
    assert connection.recv() == (errno.EAGAIN, None)
    assert connection.recv() == (ovs.util.EOF, None)
    assert wakes(connection)


def test_what_is_read_ahead_is_bounded() -> None:
    """Messages are taken one by one; the rest stays in the socket."""
    stream = FakeStream(encoded(NOTE) * 10_000)
    connection = FastConnection(stream)
    connection.recv()
    assert connection.get_received_bytes() <= rpc.READ_BYTES


# --- real sockets ---------------------------------------------------------------------------------

@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, FastConnection]]:
    """The two ends of a connection: the server's socket, and ours."""
    ours, server = socket.socketpair()
    ours.setblocking(False)
    stream = ovs.stream.Stream(ours, "unix:pair", 0)
    yield server, FastConnection(stream)
    server.close()
    stream.close()


def test_large_message_through_a_socket(ends: tuple[socket.socket, FastConnection]) -> None:
    server, connection = ends
    large = {**REPLY, "result": [{"name": f"port{n}", "x": "é" * 10} for n in range(20_000)]}
    data = encoded(large, NOTE)
    sender = Thread(target=server.sendall, args=(data,), daemon=True)
    sender.start()
    for expected in (large, NOTE):
        error, message = connection.recv_block()
        assert error == 0
        assert message.to_json() == expected
    sender.join()
    server.close()
    assert connection.recv_block() == (ovs.util.EOF, None)


def test_request_and_reply_through_a_socket(ends: tuple[socket.socket, FastConnection]) -> None:
    server, connection = ends
    request = ovs.jsonrpc.Message.create_request("echo", ["x"])
    server.sendall(encoded(NOTE, {"id": request.id, "result": ["x"], "error": None}))
    error, reply = connection.transact_block(request)
    assert (error, reply.result) == (0, ["x"])
    assert json.loads(server.recv(1000)) == request.to_json()


def test_session_connects_with_ours_once_it_is_installed(
        monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setattr(ovs.jsonrpc, "Connection", ovs.jsonrpc.Connection)
    rpc.install()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "sock"))
        listener.listen()
        session = ovs.jsonrpc.Session.open(f"unix:{tmp_path}/sock")
        while not session.is_connected():
            session.run()
        server = listener.accept()[0]
        server.sendall(encoded(REQUEST, NOTE))
        assert session.recv() is None                   # an echo, answered by the session
        assert session.recv().to_json() == NOTE
        assert json.loads(server.recv(1000)) == {"id": "echo", "result": [], "error": None}
        server.sendall(b"nonsense")
        assert session.recv() is None
        session.run()
        assert not session.is_connected()
        assert isinstance(ovs.jsonrpc.Connection(FakeStream()), FastConnection)
        session.close()
        server.close()
