"""A transaction of operations that are sent as they are."""
from __future__ import annotations

from typing import Any

import ovs.db.idl
import ovs.jsonrpc


class OldTransaction(ovs.db.idl.Transaction):       # type: ignore[misc]
    """For python-ovs that has no Transaction.add_op, as the 3.1 of Debian 12."""

    def __init__(self, idl: Any) -> None:
        super().__init__(idl)
        self._operations: list[dict[str, Any]] = []

    def add_op(self, op: dict[str, Any]) -> None:
        self._operations.append(op)

    def commit(self) -> Any:
        first = self is self.idl.txn
        status = super().commit()       # no rows: refuses, or finds nothing to do; ends the first
        if not first or status != self.UNCHANGED or not self._operations:
            return status
        request = ovs.jsonrpc.Message.create_request("transact", [
            self.idl._db.name, {"op": "assert", "lock": self.idl.lock_name}, *self._operations])
        self._request_id = request.id
        if self.idl._session.send(request):
            self._status = self.TRY_AGAIN
        else:
            self.idl._outstanding_txns[request.id] = self
            self._status = self.INCOMPLETE
        return self._status


Transaction = (ovs.db.idl.Transaction if hasattr(ovs.db.idl.Transaction, "add_op")
               else OldTransaction)
