"""One JSON-RPC request (RFC 7047, 4) to a daemon of OVS's kind, for a command that ends with the
reply."""
from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Any

import ovs.jsonrpc
import ovs.poller
import ovs.stream
import ovs.timeval
import ovs.util

from agent import rpc


class NoReplyError(Exception):
    """Nobody replies: 'connected' tells whether somebody is there. The text is the reason."""

    def __init__(self, error: int, connected: bool) -> None:
        super().__init__(ovs.util.ovs_retval_to_string(error))
        self.connected = connected


def call(to: str, method: str, params: Sequence[Any], most_ms: int) -> Any:
    """The reply, an ovs.jsonrpc.Message, of who listens at 'to', as of ovs.stream. Raises
    NoReplyError."""
    rpc.install()           # python-ovs's own parser takes a minute for a large reply
    due_ms = ovs.timeval.msec() + most_ms
    error, stream = ovs.stream.Stream.open_block(ovs.stream.Stream.open(to), most_ms)
    if error:
        raise NoReplyError(error, connected=False)
    connection = ovs.jsonrpc.Connection(stream)
    try:
        request = ovs.jsonrpc.Message.create_request(method, list(params))
        error = connection.send(request)
        while not error:
            connection.run()
            error, reply = connection.recv()
            if not error and reply.id == request.id:
                return reply
            if error == errno.EAGAIN:
                error = _wait(connection, due_ms)
        raise NoReplyError(error, connected=True)
    finally:
        connection.close()


def _wait(connection: ovs.jsonrpc.Connection, due_ms: int) -> int:
    """0 when there may be more of the reply, or ETIMEDOUT."""
    if ovs.timeval.msec() >= due_ms:
        return errno.ETIMEDOUT
    poller = ovs.poller.Poller()
    connection.wait(poller)
    connection.recv_wait(poller)
    poller.timer_wait_until(due_ms)
    poller.block()
    return 0
