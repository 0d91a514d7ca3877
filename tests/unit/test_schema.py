"""The contract files are well-formed, and the code keeps to them."""
from __future__ import annotations

import ast
import re
from pathlib import Path
from uuid import UUID

import pytest
from ovs.db.schema import DbSchema

import agent
import schema
from agent import report
from agent.model import (
    CLIENT_TYPE,
    VHOST_TYPES,
    BridgeRow,
    Desired,
    InterfaceRow,
    Observed,
    PortSpec,
    Snapshot,
)

AGENT = Path(agent.__file__).parent
TYPES = {"string": str, "words": str, "cpu mask": str, "boolean": bool, "integer": int}
TAKES_EFFECT = {"now", "next registration", "restart"}
COLUMNS = [(table, name, column) for table, members in schema.columns().items()
           for name, column in members.items()]


def option_id(o: schema.Option) -> str:
    return f"{o.table}.{o.column}:{o.key}"


@pytest.mark.parametrize("o", schema.options(), ids=option_id)
def test_option_is_well_formed(o: schema.Option) -> None:
    assert o.doc.endswith(".")
    assert o.takes_effect in TAKES_EFFECT
    assert o.default is None or type(o.default) is TYPES[o.type]
    assert schema.columns()[o.table][o.column]["writer"] == "user"
    assert set(o.port_types) <= set(VHOST_TYPES)
    assert bool(o.port_types) == (o.table == "Interface")
    if o.type == "integer":
        assert isinstance(o.default, int)
        bounds = [n for n in (o.minimum, o.default, o.maximum) if n is not None]
        assert bounds == sorted(bounds)
    else:
        assert o.minimum is None
        assert o.maximum is None


def test_option_of_no_such_name() -> None:
    assert schema.option("Interface", "options", "tx-retries-max").port_types == (CLIENT_TYPE,)
    with pytest.raises(KeyError, match=r"Interface\.options:nonsense"):
        schema.option("Interface", "options", "nonsense")


@pytest.mark.parametrize(("table", "name", "column"), COLUMNS,
                         ids=[f"{table}.{name}" for table, name, _ in COLUMNS])
def test_column_is_well_formed(table: str, name: str, column: dict[str, object]) -> None:
    assert column.keys() == {"type", "writer", "doc"}
    assert column["writer"] in ("user", "agent")
    assert str(column["doc"]).endswith(".")


def test_column_types_are_such_that_ovs_takes_them() -> None:
    tables = DbSchema.from_json(schema.ovsdb_schema()).tables
    assert [(t, c) for t, table in tables.items() for c in table.columns] == [
        (table, name) for table, name, _ in COLUMNS]


# --- the code against the contract ----------------------------------------------------------------

def strings(tree: ast.AST) -> set[str]:
    return {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant)
            and isinstance(n.value, str)}


def written_by_report() -> set[str]:
    """Columns of rows served, refused and local."""
    rows = tuple(InterfaceRow(UUID(int=1), name, "internal") for name in ("br0", "bad", "p"))
    bridge = BridgeRow(UUID(int=1), "br0", "netdev", interfaces=rows)
    desired = Desired(ports=(PortSpec("p", "br0", True, None, 8),))
    columns = report.bridge_interfaces(bridge, desired, Observed(), {"bad": "why"})
    return {name for row in columns.values() for name in row} | report.host(
        Snapshot(), "DPDK", True).keys()


def written_by_main() -> set[str]:
    """Column names that _write() spells: keys of its dicts, and what it sets by subscript."""
    tree = ast.parse((AGENT / "main.py").read_text())
    (write,) = (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == "_write")
    keys = [key for n in ast.walk(write) if isinstance(n, ast.Dict) for key in n.keys]
    keys += [n.slice for n in ast.walk(write) if isinstance(n, ast.Subscript)]
    return {key.value for key in keys
            if isinstance(key, ast.Constant) and isinstance(key.value, str)}


def test_agent_writes_the_columns_that_are_its_own_and_all_of_them() -> None:
    written = written_by_report() | written_by_main()
    assert {"datapath_id", "statistics"} <= written_by_main()
    assert written == {name for _, name, column in COLUMNS if column["writer"] == "agent"}
    assert written.isdisjoint(name for _, name, column in COLUMNS if column["writer"] == "user")


def test_every_option_is_read_and_every_option_read_is_in_the_contract() -> None:
    sources = [path.read_text() for path in AGENT.glob("*.py")]
    keys = {o.key for o in schema.options()}
    assert keys <= set().union(*(strings(ast.parse(text)) for text in sources))
    read = {key for text in sources for key in re.findall(
        r'\b(?:other_config|options|config)(?:\.get\(|\[)\s*"([^"]+)"', text)}
    assert "dpdk-init" in read
    assert read <= keys
