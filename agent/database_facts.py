"""Asks the database for all that doctor has to know of it, in two questions; writes nothing."""
from __future__ import annotations

from typing import Any

import schema
from agent import ask, select_rows
from agent.ask import AskError
from agent.database_values import DatabaseFacts
from agent.db_schema import DATABASE, usable
from agent.remotes import TlsFiles

ANSWER_MS = 4_000               # a database of a thousand ports answers in less than one


def gather(remote: str, tls: TlsFiles) -> DatabaseFacts:
    try:
        found = ask.call(remote, tls, "get_schema", [DATABASE], ANSWER_MS)
        return read(remote, tls, found)
    except AskError as e:
        return DatabaseFacts(remote, str(e))
    except (KeyError, TypeError, ValueError, AttributeError) as e:
        return DatabaseFacts(remote, f"{remote}: what it answers is not what an ovsdb-server "
                             f"answers ({type(e).__name__}: {e})")


def read(remote: str, tls: TlsFiles, found: Any) -> DatabaseFacts:
    """The rows of a database with this schema. Raises AskError, or whatever an odd answer makes."""
    server = {table: set(members["columns"]) for table, members in found["tables"].items()}
    wanted = {table: {*schema.columns_read().get(table, ()),
                      *schema.columns_written().get(table, ())} for table in schema.columns()}
    version = str(found["version"])
    _, lacks = usable(wanted, server)
    if any(set(columns) - {"_uuid"} - server.get(table, set())
           for table, columns in select_rows.COLUMNS.items()):
        return DatabaseFacts(remote, "", version, tuple(lacks))
    results = ask.transact(remote, tls, *(
        {"op": "select", "table": table, "where": [], "columns": list(columns)}
        for table, columns in select_rows.COLUMNS.items()), answer_ms=ANSWER_MS)
    tables = {table: result["rows"]
              for table, result in zip(select_rows.COLUMNS, results, strict=True)}
    return DatabaseFacts(remote, "", version, tuple(lacks), select_rows.snapshot(tables),
                         select_rows.told(tables["Interface"]))
