"""OVSDB in and out: rows to a Snapshot, columns to rows. Knows nothing of ports or packets."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import ovs.db.idl
import ovs.poller

import schema
from agent import log
from agent.model import BridgeRow, InterfaceRow, Snapshot

LOCK = "ovs_vswitchd"
VLAN_COLUMNS = ("tag", "trunks", "vlan_mode")

Updates = Mapping[tuple[str, UUID], Mapping[str, Any]]      # (table, row) -> column -> value


def first(values: list[Any], default: Any = None) -> Any:
    """Value of an optional column."""
    return values[0] if values else default


class Database:
    """The replica and the one writer of our columns; at most one transaction in flight."""

    def __init__(self, remote: str) -> None:
        helper = ovs.db.idl.SchemaHelper(schema_json=schema.ovsdb_schema())
        for table, members in schema.columns().items():
            helper.register_columns(table, list(members))
        self._idl = ovs.db.idl.Idl(remote, helper)
        self._idl.set_lock(LOCK)
        self._txn: Any = None
        self._wanted: dict[tuple[str, UUID], Mapping[str, Any]] = {}
        self._dirty = False
        self.commits = 0                # transactions that the server has taken, or needed none

    @property
    def seqno(self) -> int:
        """Moves when the replica may have changed: look again."""
        return int(self._idl.change_seqno)

    @property
    def has_lock(self) -> bool:
        return bool(self._idl.has_lock)

    @property
    def is_contended(self) -> bool:
        """Another process has the lock: it serves this database."""
        return bool(self._idl.is_lock_contended)

    def run(self) -> None:
        self._idl.run()
        self._advance()

    def wait(self, poller: ovs.poller.Poller) -> None:
        self._idl.wait(poller)
        if self._txn is not None:
            self._txn.wait(poller)

    def close(self) -> None:
        self._idl.close()

    def root(self) -> UUID | None:
        return next(iter(self._idl.tables["Open_vSwitch"].rows), None)

    def snapshot(self) -> Snapshot | None:
        """The database; None while it was never seen or holds no Open_vSwitch row."""
        root = self.root()
        if root is None:
            return None
        row = self._idl.tables["Open_vSwitch"].rows[root]
        return Snapshot(
            next_cfg=row.next_cfg, other_config=dict(row.other_config),
            bridges=tuple(sorted((self._bridge(b) for b in row.bridges), key=lambda b: b.name)))

    def _bridge(self, row: Any) -> BridgeRow:
        return BridgeRow(
            uuid=row.uuid, name=row.name, datapath_type=row.datapath_type,
            fail_mode=first(row.fail_mode, ""), other_config=dict(row.other_config),
            interfaces=tuple(sorted(
                (self._interface(port, interface)
                 for port in row.ports for interface in port.interfaces),
                key=lambda i: i.name)))

    def _interface(self, port: Any, row: Any) -> InterfaceRow:
        return InterfaceRow(
            uuid=row.uuid, name=row.name, type=row.type, options=dict(row.options),
            ofport=first(row.ofport), ofport_request=first(row.ofport_request),
            port_name=port.name, port_interfaces=len(port.interfaces),
            vlan_columns=tuple(c for c in VLAN_COLUMNS if getattr(port, c)))

    def write(self, updates: Updates) -> None:
        """Brings the named columns to these values, now or as soon as the database is there.

        Replaces what an earlier call wanted of the same rows; values that are there already
        are not sent.
        """
        for key, columns in updates.items():
            self._wanted[key] = {**self._wanted.get(key, {}), **columns}
        self._dirty = True
        self._advance()

    def _advance(self) -> None:
        """Looks after the transaction in flight, then starts the next one if there is need."""
        if self._txn is not None:
            txn = self._txn
            status = txn.commit()
            if status == ovs.db.idl.Transaction.INCOMPLETE:
                return
            self._txn = None
            if status in (ovs.db.idl.Transaction.SUCCESS, ovs.db.idl.Transaction.UNCHANGED):
                self.commits += 1
            elif status == ovs.db.idl.Transaction.ERROR:
                # sent again with the next write(): at once it would only fail again
                log.main.err(f"the database refused a write: {txn.get_error()}")
            else:
                self._dirty = True      # lost the race or the connection: compare and send again
        if self._dirty and self.has_lock:
            self._send()

    def _send(self) -> None:
        txn = ovs.db.idl.Transaction(self._idl)
        changed = False
        for (table, uuid), columns in list(self._wanted.items()):
            row = self._idl.tables[table].rows.get(uuid)
            if row is None:
                del self._wanted[table, uuid]
                continue
            for column, value in columns.items():
                if getattr(row, column) != value:
                    setattr(row, column, value)
                    changed = True
        self._dirty = False
        if changed:
            txn.commit()
            self._txn = txn
        else:
            txn.abort()
            self.commits += 1
