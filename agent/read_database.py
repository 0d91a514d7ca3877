"""One look at a database, for a command that ends with the answer: no lock, nothing written."""
from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import ovs.poller
import ovs.timeval

import schema
from agent import ask, rpc
from agent.ask import AskError
from agent.db_schema import DATABASE, SchemaProbe, usable
from agent.model import Snapshot
from agent.ovsdb import Replica
from agent.remotes import TlsFiles
from agent.role import VSWITCHD, Role, usual
from agent.rows import Rows
from agent.standalone import OwnDatabase, StandaloneError, program, run

ANSWER_MS = 30_000


def snapshot(remote: str, tls: TlsFiles, role: Role | None) -> tuple[Role, Snapshot | None]:
    """The role, or the usual one for the database, and its view of that; None while it holds no
    Open_vSwitch row. Raises AskError."""
    # says at once what a replica would try again and again; makes TLS known, too
    ask.transact(remote, tls, {"op": "select", "table": DATABASE, "where": [],
                               "columns": ["_uuid"]})
    rpc.install()
    due_ms = ovs.timeval.msec() + ANSWER_MS
    probe = SchemaProbe(remote)
    try:
        until(lambda: probe.columns is not None, probe.run, probe.wait, due_ms, remote)
    finally:
        probe.close()
    assert probe.columns is not None
    columns, _ = usable(schema.columns(), probe.columns)
    replica = Replica(remote, {
        table: [name for name in names if name in columns[table]]
        for table, names in schema.columns_read().items() if table in columns})
    try:
        until(replica.has_ever_connected, replica.run, replica.wait, due_ms, remote)
        role = role or usual(Rows(VSWITCHD).read(replica))
        return role, Rows(role).read(replica)
    finally:
        replica.close()


def until(there: Callable[[], bool], run: Callable[[], object],
          wait: Callable[[ovs.poller.Poller], None], due_ms: int, remote: str) -> None:
    """Runs until it is there. Raises AskError."""
    while True:
        run()
        if there():
            return
        if ovs.timeval.msec() >= due_ms:
            raise AskError(f"{remote}: the database does not answer")
        poller = ovs.poller.Poller()
        wait(poller)
        poller.timer_wait_until(due_ms)
        poller.block()


@contextmanager
def served(file: Path) -> Iterator[str]:
    """A remote at which a copy of a database file is served meanwhile; of a cluster's database
    what its file holds. Raises AskError."""
    try:
        with tempfile.TemporaryDirectory(prefix="vhost-agent-plan.") as directory:
            copy = Path(directory, "conf.db")
            tool = program("ovsdb-tool")
            if not file.is_file():
                what = "a directory" if file.is_dir() else "a device, a socket or a pipe"
                raise AskError(f"{file}: " + (f"it is {what}, not a database file"
                                              if file.exists() else "there is no such file"))
            if (name := run(tool, "db-name", str(file))) != DATABASE:
                raise AskError(f"{file}: it holds the database {name}, not {DATABASE}")
            if clustered(tool, file):
                run(tool, "cluster-to-standalone", str(copy), str(file))
            else:
                copy.write_bytes(file.read_bytes())
            server = OwnDatabase(Path(directory), schema_file=Path())
            server.serve()
            try:
                yield server.remote
            finally:
                server.stop()
    except StandaloneError as e:
        raise AskError(f"{file}: {e}") from e
    except OSError as e:
        raise AskError(f"{file}: {e.strerror}") from e


def clustered(tool: str, file: Path) -> bool:
    try:
        run(tool, "db-is-clustered", str(file))
    except StandaloneError:
        return False
    return True
