"""The schema of a real server is learned, whatever it lacks and however late it comes."""
from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import ovs.poller
import ovs.timeval
import pytest

import schema
from agent.db_schema import Columns, SchemaProbe, usable
from tools.host import SCHEMA, Host, temporary_host

# What older servers lack.
LATER = {f"{table}.{name}" for table, columns in schema.columns().items()
         for name, column in columns.items() if "since" in column}
OTHER = {"name": "Other", "version": "1.0.0",
         "tables": {"T": {"columns": {"c": {"type": "string"}}}}}


@pytest.fixture
def bare() -> Iterator[Host]:
    with temporary_host("vhost-test") as host:
        yield host


def without(directory: Path, *lacking: str) -> Path:
    """Open vSwitch's schema less some 'Table.column's."""
    whole = json.loads(SCHEMA.read_text())
    for name in lacking:
        table, column = name.split(".")
        del whole["tables"][table]["columns"][column]
    path = directory / "less.ovsschema"
    path.write_text(json.dumps(whole))
    return path


def drive(probe: SchemaProbe, until: Callable[[], bool], timeout_ms: int = 15_000) -> None:
    """The main loop of a process that has nothing but the probe."""
    end_ms = ovs.timeval.msec() + timeout_ms
    probe.run()
    while not until():
        assert ovs.timeval.msec() < end_ms
        poller = ovs.poller.Poller()
        probe.wait(poller)
        poller.timer_wait_until(end_ms)
        poller.block()
        probe.run()


def answer(probe: SchemaProbe) -> Columns:
    drive(probe, lambda: probe.columns is not None)
    assert probe.columns is not None
    probe.run()                                     # does nothing any more
    probe.wait(ovs.poller.Poller())
    probe.close()
    return probe.columns


def test_server_of_this_host_has_all_we_want(bare: Host) -> None:
    bare.start_ovsdb()
    has, lacks = usable(schema.columns(), answer(SchemaProbe(bare.remote)))
    assert set(lacks) <= LATER
    assert {t: [name for name in c if f"{t}.{name}" not in lacks]
            for t, c in schema.columns().items()} == has


def test_server_that_lacks_columns(bare: Host) -> None:
    lacking = ["Interface.error", "Open_vSwitch.dpdk_initialized"]
    bare.start_ovsdb(schema=without(bare.directory, *lacking))
    has, lacks = usable(schema.columns(), answer(SchemaProbe(bare.remote)))
    assert set(lacking) <= set(lacks) <= {*lacking, *LATER}
    assert "error" not in has["Interface"]
    assert "name" in has["Interface"]


def test_server_that_comes_late(bare: Host) -> None:
    probe = SchemaProbe(bare.remote)
    tried = ovs.timeval.msec() + 100
    drive(probe, lambda: ovs.timeval.msec() > tried, 200)
    assert probe.columns is None
    bare.start_ovsdb()
    assert "Interface" in answer(probe)


def test_list_of_which_one_server_has_the_database(bare: Host) -> None:
    other = bare.directory / "other.ovsschema"
    other.write_text(json.dumps(OTHER))
    bare.check("ovsdb-tool", "create", f"{bare.directory}/other.db", str(other))
    server = bare.spawn_ovsdb("other", bare.directory / "other.db", "other.sock")
    try:
        bare.start_ovsdb()
        remote = f"unix:{bare.directory}/other.sock,unix:/nowhere/x.sock,{bare.remote}"
        for _ in range(3):                          # they are tried in any order
            assert "Interface" in answer(SchemaProbe(remote))
    finally:
        server.kill()
        server.wait()


def test_it_may_be_given_up(bare: Host) -> None:
    bare.start_ovsdb()
    probe = SchemaProbe(bare.remote)
    probe.run()
    probe.close()
    probe.run()
    probe.close()
    assert probe.columns is None
