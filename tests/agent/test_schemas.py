"""What schema/columns.toml says holds on every Open vSwitch that is supported."""
from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from ovs.db.types import BaseType, Type

import schema
from tools import ovs_schemas
from tools.guest import is_listening
from tools.host import Host, temporary_host


@pytest.fixture(params=sorted(ovs_schemas.RELEASES), scope="module")
def real(request: pytest.FixtureRequest) -> Path:
    """The schema file of an Open vSwitch."""
    try:
        return ovs_schemas.fetch(request.param)
    except ovs_schemas.SchemaError as e:
        if os.environ.get("CI"):
            pytest.fail(f"no schema of Open vSwitch {request.param}: {e}", pytrace=False)
        pytest.skip(f"no schema of Open vSwitch {request.param}: {e}")


@pytest.fixture
def bare() -> Iterator[Host]:
    with temporary_host("vhost-test") as host:
        yield host


def kind(base: BaseType | None) -> str | None:
    """What a key or a value is, whatever its bounds. A reference is an UUID, to any table."""
    return None if base is None else str(base.type.to_string())


def is_bounded(base: BaseType | None) -> bool:
    """Whether some keys or values of that kind are refused: an enumeration, a range."""
    json_ = None if base is None else base.to_json()
    return isinstance(json_, dict) and not json_.keys() <= {"type", "refTable", "refType"}


def test_every_column_is_there_and_of_our_type(real: Path) -> None:
    """A server may bound what it takes; we must take whatever it sends."""
    tables = json.loads(real.read_text())["tables"]
    for table, columns in schema.columns().items():
        for name, column in columns.items():
            if "since" in column and name not in tables[table]["columns"]:
                continue            # an older Open vSwitch
            ours = Type.from_json(column["type"])
            theirs = Type.from_json(tables[table]["columns"][name]["type"])
            assert (kind(ours.key), kind(ours.value), ours.n_min, ours.n_max) == (
                kind(theirs.key), kind(theirs.value), theirs.n_min, theirs.n_max), (table, name)
            assert not any(map(is_bounded, (ours.key, ours.value))), (table, name)


def test_port_is_served_on_a_database_of_that_schema(real: Path, bare: Host) -> None:
    bare.start_ovsdb(schema=real)
    bare.enable_dpdk()
    bare.start_agent()
    bare.vsctl("add-br", "br0", "--", "set", "Bridge", "br0", "datapath_type=netdev")
    bare.vsctl("add-port", "br0", "s0", "--", "set", "Interface", "s0", "type=dpdkvhostuser")
    assert bare.interface("s0", "error") is None
    assert bare.interface("s0", "ofport") == 1
    assert is_listening(bare.directory / "s0")
    assert bare.get("Open_vSwitch", ".", "dpdk_initialized") is True
