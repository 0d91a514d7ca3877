"""One question to an OVSDB, for a command that ends with the answer."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import ovs.stream

from agent import jsonrpc, remotes
from agent.db_schema import DATABASE
from agent.jsonrpc import NoReplyError
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
    try:
        reply = jsonrpc.call(server, method, params, answer_ms)
    except NoReplyError as e:
        what = "no answer" if e.connected else "database connection failed"
        raise AskError(f"{what} ({e})") from e
    if reply.error is not None:
        raise _refused(reply.error)
    if method == TRANSACT:
        _check(reply.result)
    return reply.result


def _check(results: list[Any]) -> None:
    for result in results:
        if "error" in result:
            raise _refused(result)


def _refused(error: Any) -> AskError:
    """'error' as RFC 7047, 3.1, has it."""
    said = (error["error"], error.get("details")) if isinstance(error, dict) else (str(error),)
    return AskError(f"the server refuses: {': '.join(filter(None, said))}")
