"""One question to an OVSDB, for a command that ends with the answer."""
from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from typing import Any

import ovs.jsonrpc
import ovs.poller
import ovs.stream
import ovs.timeval
import ovs.util

from agent import remotes, rpc
from agent.db_schema import DATABASE
from agent.remotes import TlsFiles

TRANSACT = "transact"
ANSWER_MS = 10_000              # for each server to answer


class AskError(Exception):
    """No server has answered; the text says of each why."""


def transact(remote: str, tls: TlsFiles, *operations: Mapping[str, Any],
             answer_ms: int = ANSWER_MS) -> list[Any]:
    """A result for each operation (RFC 7047, 5.2), from the first server of 'remote' that answers.
    Raises AskError."""
    return list(call(remote, tls, TRANSACT, [DATABASE, *operations], answer_ms))


def call(remote: str, tls: TlsFiles, method: str, params: Sequence[Any],
         answer_ms: int = ANSWER_MS) -> Any:
    """What the first server of 'remote' that answers says to a request (RFC 7047, 4.1). Raises
    AskError."""
    rpc.install()
    ovs.stream.Stream.ssl_set_private_key_file(tls.private_key)
    ovs.stream.Stream.ssl_set_certificate_file(tls.certificate)
    ovs.stream.Stream.ssl_set_ca_cert_file(tls.ca_cert)
    said = []
    for server in remotes.split(remote):
        try:
            return _ask(server, method, params, answer_ms)
        except AskError as e:
            said.append(f"{server}: {e}")
    raise AskError("; ".join(said))


def _ask(server: str, method: str, params: Sequence[Any], answer_ms: int) -> Any:
    due_ms = ovs.timeval.msec() + answer_ms
    error, stream = ovs.stream.Stream.open_block(ovs.stream.Stream.open(server), answer_ms)
    if error:
        raise AskError(f"database connection failed ({ovs.util.ovs_retval_to_string(error)})")
    connection = ovs.jsonrpc.Connection(stream)
    try:
        request = ovs.jsonrpc.Message.create_request(method, list(params))
        error = connection.send(request)
        while not error:
            connection.run()
            error, reply = connection.recv()
            if not error and reply.id == request.id:
                if reply.type != ovs.jsonrpc.Message.T_REPLY:
                    raise _refused(reply.error)
                if method == TRANSACT:
                    _check(reply.result)
                return reply.result
            if error == errno.EAGAIN:
                error = _wait(connection, due_ms)
        raise AskError(f"no answer ({ovs.util.ovs_retval_to_string(error)})")
    finally:
        connection.close()


def _wait(connection: ovs.jsonrpc.Connection, due_ms: int) -> int:
    """0 when there may be more of the answer, or ETIMEDOUT."""
    if ovs.timeval.msec() >= due_ms:
        return errno.ETIMEDOUT
    poller = ovs.poller.Poller()
    connection.wait(poller)
    connection.recv_wait(poller)
    poller.timer_wait_until(due_ms)
    poller.block()
    return 0


def _check(results: list[Any]) -> None:
    for result in results:
        if "error" in result:
            raise _refused(result)


def _refused(error: Any) -> AskError:
    """'error' as RFC 7047, 3.1, has it."""
    said = (error["error"], error.get("details")) if isinstance(error, dict) else (str(error),)
    return AskError(f"the server refuses: {': '.join(filter(None, said))}")
