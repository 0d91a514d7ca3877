"""OVSDB in and out: rows to a Snapshot, columns to rows. Knows nothing of ports or packets."""
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

import ovs.db.idl
import ovs.jsonrpc
import ovs.poller

import schema
from agent import log, standing
from agent.db_schema import DATABASE, SchemaProbe, usable
from agent.role import Role
from agent.row_columns import first, pairs, values
from agent.transaction import Transaction

if TYPE_CHECKING:
    from agent.model import Snapshot
    from agent.rows import Rows

MISSING = object()
REFRESH_CALLS = 12      # of look_after(), until each row was written anew

RowKey = tuple[str, UUID]                                   # (table, row)
Updates = Mapping[RowKey, Mapping[str, Any]]                # row -> column -> value


def differs(a: Any, b: Any) -> bool:
    return a is not b and bool(a != b)


def to_json(value: Any) -> Any:
    """A column's value in OVSDB's notation (RFC 7047, 5.1)."""
    if isinstance(value, dict):
        return ["map", list(value.items())]
    if isinstance(value, list):
        return ["set", value]
    return value


class Replica(ovs.db.idl.Idl):      # type: ignore[misc]
    """python-ovs's replica of the columns we read; remembers which rows changed."""

    def __init__(self, remote: str, columns: Mapping[str, Sequence[str]]) -> None:
        helper = ovs.db.idl.SchemaHelper(schema_json=schema.ovsdb_schema())
        for table, names in columns.items():
            helper.register_columns(table, list(names))
        # since somebody emptied them
        self.changed: set[UUID] = set()
        self.deleted: set[RowKey] = set()
        self.connections = 0                # made so far: nothing known from an older one is sure
        self.comings = 0                    # of interfaces, and changes of bridges, so far
        self._standing: list[Any] = []      # ids of the transactions that wait in the server
        super().__init__(remote, helper)

    def notify(self, event: str, row: Any, updates: Any = None) -> None:
        self.changed.add(row.uuid)
        table = row._table.name
        if table == "Bridge" or (table == "Interface" and event == ovs.db.idl.ROW_CREATE):
            self.comings += 1
        if event == ovs.db.idl.ROW_DELETE:
            self.deleted.add((table, row.uuid))

    def stand_by(self, orders: Iterable[standing.Operations]) -> None:
        """Has these transactions wait in the server, in place of those before."""
        before, self._standing = self._standing, []
        for operations in orders:
            request = ovs.jsonrpc.Message.create_request("transact", [DATABASE, *operations])
            self._session.send(request)
            self._standing.append(request.id)       # nobody waits for the answer: a change tells
        for order in before:
            self._session.send(ovs.jsonrpc.Message.create_notify("cancel", [order]))

    def restart_fsm(self) -> None:
        self.connections += 1
        self._standing = []
        super().restart_fsm()

    @property
    def is_up(self) -> bool:
        """Whether transactions can be sent. The lock alone does not tell: it counts as held until
        there is another connection."""
        return bool(self.state == self.IDL_S_MONITORING and self._session.is_connected())


class Database:
    """The replica and the one writer of our columns; at most one transaction in flight.

    What we write is not read back (but for ofport): the record of what the server took stands for
    it, and is forgotten whenever it may be wrong.
    """

    def __init__(self, remote: str, role: Role) -> None:
        self.remote = remote
        self._role = role
        self._probe: SchemaProbe | None = SchemaProbe(remote)
        self._columns: dict[str, list[str]] = {}        # that the server has
        self._idl: Replica | None = None
        self._rows: Rows | None = None                  # of the first snapshot on
        self._txn: Any = None
        self._sent: dict[RowKey, dict[str, Any]] = {}   # by the transaction in flight
        self._wanted: dict[RowKey, dict[str, Any]] = {}
        self._stored: dict[RowKey, dict[str, Any]] = {}     # what the server has taken
        self._dirty: set[RowKey] = set()                # rows to compare
        self._suspects: list[RowKey] = []       # rows of a refused transaction: sent one by one
        self._refused: set[RowKey] = set()      # rows that were refused alone
        self._refresh: list[RowKey] = []        # rows whose turn is still to come
        self._refresh_size = 0
        self._refusals: set[str] = set()        # said in the log since the last success
        self._had_lock = False                  # as of the last look
        self._connections = 0                   # of the replica, as of the last look
        self._seqno_base = 0                    # of the replicas before this one
        self._standing: Any = None              # what the orders that stand are made of
        self.commits = 0                # transactions that the server has taken, or needed none

    @property
    def seqno(self) -> int:
        """Moves when the replica may have changed: look again."""
        return self._seqno_base + (0 if self._idl is None else int(self._idl.change_seqno))

    @property
    def has_lock(self) -> bool:
        return self._idl is not None and bool(self._idl.has_lock)

    @property
    def is_connected(self) -> bool:
        """Whether the replica is that of a server that answers now."""
        return self._idl is not None and self._idl.is_up

    @property
    def is_contended(self) -> bool:
        """Another process has the lock: it serves this database."""
        return self._idl is not None and bool(self._idl.is_lock_contended)

    def run(self) -> None:
        if self._probe is not None:
            self._look_at_schema(self._probe)
        if self._idl is not None:
            self._idl.run()
            if self._idl.connections != self._connections:
                self._connections = self._idl.connections
                self._connected_anew()
            if self.has_lock != self._had_lock:
                self._had_lock = self.has_lock
                self._forget_stored()           # who had it meanwhile may have written our columns
            for key in self._idl.deleted:
                self._drop(key)
            self._idl.deleted.clear()
            self._compare_ofports(self._idl)
            self._advance()

    def wait(self, poller: ovs.poller.Poller) -> None:
        if self._probe is not None:
            self._probe.wait(poller)
        if self._idl is not None:
            self._idl.wait(poller)
        if self._txn is not None:
            self._txn.wait(poller)

    def close(self) -> None:
        if self._probe is not None:
            self._probe.close()
        if self._idl is not None:
            self._idl.close()

    def root(self) -> UUID | None:
        if self._idl is None:
            return None
        return next(iter(self._idl.tables["Open_vSwitch"].rows), None)

    def snapshot(self) -> Snapshot | None:
        """The role's view of the database; None while that was never seen or holds no Open_vSwitch
        row."""
        if self._idl is None:
            return None
        if self._rows is None:
            # Not at the top: DPDK starts before this is needed, which takes long enough to load it.
            from agent.rows import Rows

            self._rows = Rows(self._role)
        return self._rows.read(self._idl)

    def other_config(self) -> dict[str, str] | None:
        """What the role reads of Open_vSwitch.other_config; None as of snapshot()."""
        root = self.root()
        if self._idl is None or root is None:
            return None
        return self._role.config(pairs(self._idl.tables["Open_vSwitch"].rows[root],
                                       "other_config"))

    def bridge_of(self, interface: str) -> tuple[str, str] | None:
        """As rows.bridge_of()."""
        from agent.rows import bridge_of

        return None if self._idl is None else bridge_of(self._idl, interface)

    def write(self, updates: Updates) -> None:
        """Brings the named columns to these values, now or as soon as the database is there.

        Replaces what an earlier call wanted of the same columns; what the server has taken already
        is not sent.
        """
        for key, columns in updates.items():
            self._wanted.setdefault(key, {}).update(columns)
            self._dirty.add(key)
        if not self._wanted:
            self.commits += 1           # there is no row of ours to write
        self._advance()

    def release(self, keys: Iterable[RowKey]) -> None:
        """These rows are not ours any more: they stay as they are."""
        for key in keys:
            self._drop(key)
            self._dirty.discard(key)
            self._refused.discard(key)

    def stand_by(self, numbers: Sequence[int]) -> None:
        """Has the server give these numbers to ports that come to bridges of ours. To be called
        when the replica changed."""
        idl = self._idl
        if idl is None or not (self.has_lock and idl.is_up):
            return
        unnumbered = [uuid for uuid, row in idl.tables["Interface"].rows.items()
                      if first(row, "ofport") is None]
        made_of = (idl, idl.connections, idl.comings, unnumbered, numbers)
        if made_of != self._standing:       # else they stand as they are: none was used up
            self._standing = made_of
            others = {first(row, "name"): values(row, "ports")
                      for row in idl.tables["Bridge"].rows.values()
                      if first(row, "datapath_type") != self._role.datapath_type}
            idl.stand_by(standing.orders(self._role, others, unnumbered, numbers))

    def look_after(self) -> None:
        """Sends again what was refused, for the reason may be gone; and, of all rows in turn, a
        part as if the server had not taken it, for somebody else may have written there. To be
        called every few seconds: a row's turn comes each REFRESH_CALLS calls."""
        self._dirty |= self._refused
        self._refused.clear()
        if not self._refresh:
            self._refresh = list(self._wanted)
            self._refresh_size = -(-len(self._refresh) // REFRESH_CALLS)
        for key in self._refresh[:self._refresh_size]:
            self._stored.pop(key, None)
            self._dirty.add(key)
        del self._refresh[:self._refresh_size]
        self._advance()

    def _look_at_schema(self, probe: SchemaProbe) -> None:
        """Makes the replica of the columns that the server has; again when it has others."""
        probe.run()
        if probe.columns is None:
            return
        columns, missing = usable(schema.columns(), probe.columns)
        self._probe = None
        if self._idl is not None:
            if columns == self._columns:
                return
            self._seqno_base = self.seqno + 1
            self._idl.close()
        if missing:
            log.bridge.info(f"the database has no {', '.join(missing)}: going on without")
        self._columns = columns
        self._idl = Replica(self.remote, {
            table: [name for name in names if name in columns[table]]
            for table, names in schema.columns_read().items() if table in columns})
        self._idl.set_lock(self._role.lock)
        self._connections = 0
        self._txn = None

    def _connected_anew(self) -> None:
        """The server may be another one, with other columns, or have lost what it took."""
        self._forget_stored()
        if self._connections > 1 and self._probe is None:
            self._probe = SchemaProbe(self.remote)

    def _forget_stored(self) -> None:
        self._stored.clear()
        self._standing = None
        self._dirty = set(self._wanted)

    def _compare_ofports(self, idl: Replica) -> None:
        """The one column that we write and read: somebody else's number is written over."""
        rows = idl.tables["Interface"].rows
        for uuid in idl.changed:
            stored = self._stored.get(("Interface", uuid), {})
            if ("ofport" in stored and uuid in rows
                    and values(rows[uuid], "ofport") != stored["ofport"]):
                del stored["ofport"]
                self._dirty.add(("Interface", uuid))

    def _drop(self, key: RowKey) -> None:
        for rows in (self._wanted, self._stored):
            rows.pop(key, None)

    def _advance(self) -> None:
        """Looks after the transaction in flight, then starts the next one if there is need."""
        if self._txn is not None:
            txn, sent = self._txn, self._sent
            status = txn.commit()
            if status == ovs.db.idl.Transaction.INCOMPLETE:
                return
            self._txn = None
            if status == ovs.db.idl.Transaction.SUCCESS:
                self.commits += 1
                self._refusals.clear()
                for key, columns in sent.items():
                    if key not in self._wanted:
                        continue        # released meanwhile
                    self._stored.setdefault(key, {}).update(columns)
            elif status == ovs.db.idl.Transaction.ERROR:
                self._was_refused(sent, txn.get_error())
            else:
                self._dirty |= sent.keys()      # lost the race or the connection
        if self._idl is None or not (self.has_lock and self._idl.is_up):
            return
        if self._txn is None and self._dirty:
            dirty, self._dirty = self._dirty, set()
            self._send(dirty)
        while self._txn is None and self._suspects:
            self._send([self._suspects.pop()])

    def _was_refused(self, sent: Mapping[RowKey, Any], why: str) -> None:
        """One bad row must not keep the others from being written."""
        if len(sent) > 1:
            log.main.warn(f"the database refused a write of {len(sent)} rows ({why}), trying them "
                          "one by one")
            self._suspects += sent
            return
        for table, uuid in sent:
            if why not in self._refusals:
                log.main.err(f"the database refused a write of {table} {uuid}: {why}")
        self._refusals.add(why)
        self._refused |= sent.keys()

    def _send(self, keys: Iterable[RowKey]) -> None:
        assert self._idl is not None
        self._sent = {}
        txn = Transaction(self._idl)
        for key in keys:
            table, uuid = key
            if uuid not in self._idl.tables[table].rows:
                self._drop(key)
                continue
            stored, server_has = self._stored.get(key, {}), self._columns[table]
            columns = {name: value for name, value in self._wanted.get(key, {}).items()
                       if name in server_has and differs(stored.get(name, MISSING), value)}
            if columns:
                self._sent[key] = columns
                txn.add_op({"op": "update", "table": table,
                            "where": [["_uuid", "==", ["uuid", str(uuid)]]],
                            "row": {name: to_json(value) for name, value in columns.items()}})
        if self._sent:
            txn.commit()
            self._txn = txn
        else:
            txn.abort()
            self.commits += 1
