"""What a server's database has: an older or newer Open vSwitch lacks columns that we know."""
from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import ovs.jsonrpc
import ovs.poller

from agent import log, remotes

DATABASE = "Open_vSwitch"

Columns = dict[str, set[str]]           # table -> columns


def usable(wanted: Mapping[str, Iterable[str]], server: Mapping[str, Iterable[str]]
           ) -> tuple[dict[str, list[str]], list[str]]:
    """What of the wanted the server has, and the 'Table.column's that it lacks, sorted."""
    has: dict[str, list[str]] = {}
    lacks = []
    for table, columns in wanted.items():
        there = set(server.get(table, ()))
        if table in server:
            has[table] = [column for column in columns if column in there]
        lacks += [f"{table}.{column}" for column in columns if column not in there]
    return has, sorted(lacks)


class SchemaProbe:
    """Asks the servers, one after the other, until one has told the schema of the database."""

    def __init__(self, remote: str) -> None:
        self.columns: Columns | None = None         # the answer, once there is one
        self._session: Any = ovs.jsonrpc.Session.open_multiple(remotes.split(remote))
        self._connection = -1                       # the session's number of it
        self._request: Any = None

    def run(self) -> None:
        """Goes on as far as that is possible without waiting."""
        if self._session is None:
            return
        self._session.run()
        if not self._session.is_connected():
            return
        if self._session.get_seqno() != self._connection:
            self._connection = self._session.get_seqno()
            self._request = ovs.jsonrpc.Message.create_request("get_schema", [DATABASE])
            self._session.send(self._request)
        while self._session is not None and self._session.is_connected():
            message = self._session.recv()
            if message is None:
                break
            if message.id == self._request.id:
                self._take(message)

    def _take(self, reply: ovs.jsonrpc.Message) -> None:
        name = self._session.get_name()
        if reply.type == ovs.jsonrpc.Message.T_REPLY:
            try:
                self.columns = {table: set(members["columns"])
                                for table, members in reply.result["tables"].items()}
            except (AttributeError, KeyError, TypeError):
                log.main.warn(f"{name}: what the server calls a schema is none")
            else:
                self.close()
                return
        else:
            log.main.warn(f"{name}: no schema of database {DATABASE}: {reply.error}")
        self._session.force_reconnect()             # to the next server, after a while

    def wait(self, poller: ovs.poller.Poller) -> None:
        if self._session is not None:
            self._session.wait(poller)
            self._session.recv_wait(poller)

    def close(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None
