"""The contract files are well-formed, and the code keeps to them."""
from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest
from ovs.db.schema import DbSchema

import agent
import schema
from agent import mirroring, report, report_eth, report_host
from agent.eth_values import EthDevice, EthInfo
from agent.host_model import HostDevice, HostState, Link
from agent.mirror_model import MirrorCounters
from agent.model import (
    CLIENT_TYPE,
    ETH_TYPE,
    SERVER_TYPE,
    TSO_DISABLED,
    BridgeRow,
    Counters,
    InterfaceRow,
    Memory,
    PortSpec,
    PortState,
    Registration,
    Snapshot,
)
from agent.validate import DEVICES
from tests.unit.test_report import PORT, QUEUE_NAMES

AGENT = Path(agent.__file__).parent
TYPES = {"string": str, "words": str, "cpu mask": str, "list": str, "choice": str, "boolean": bool,
         "integer": int, "octal": int}
TAKES_EFFECT = {"now", "next registration", "new ports", "restart"}
COLUMNS = [(table, name, column) for table, members in schema.columns().items()
           for name, column in members.items()]
WRITERS = {(table, name): column["writer"] for table, name, column in COLUMNS}
WITHOUT_EFFECT = {(table, column): schema.without_effect(table, column)
                  for table in schema.columns() for column in ("options", "other_config")
                  if schema.without_effect(table, column)}
FOR_DEVICES = "type=dpdk"
KEYS = [(column, key) for column in ("status", "statistics")
        for key in schema.keys("Interface", column)]


# --- the files ------------------------------------------------------------------------------------

def option_id(o: schema.Option) -> str:
    return f"{o.table}.{o.column}:{o.key}"


@pytest.mark.parametrize("o", schema.options(), ids=option_id)
def test_option_is_well_formed(o: schema.Option) -> None:
    assert o.doc.endswith(".")
    assert not o.invalid.endswith(".")
    assert o.takes_effect in TAKES_EFFECT
    assert o.default is None or type(o.default) is TYPES[o.type]
    assert schema.columns()[o.table][o.column]["writer"] == "user"
    assert set(o.port_types) <= DEVICES.keys()
    assert o.port_types or o.table != "Interface"
    # what is wrong with a port's option is said of the port anyway
    assert not o.port_types or o.table in ("Interface", "Open_vSwitch")
    if o.type == "integer":
        assert isinstance(o.default, int)
        bounds = [n for n in (o.minimum, o.default, o.maximum) if n is not None]
        assert bounds == sorted(bounds)
    elif o.type not in ("list", "octal"):
        assert o.minimum is None
        assert o.maximum is None
    if o.type == "choice":
        assert o.default in o.words
        assert len(set(o.words)) == len(o.words) > 1
    else:
        assert o.words == ()


def test_each_option_is_there_once() -> None:
    names = [option_id(o) for o in schema.options()]
    assert len(names) == len(set(names))
    assert [schema.option(o.table, o.column, o.key) for o in schema.options()] == [
        *schema.options()]


def test_option_of_no_such_name() -> None:
    assert schema.option("Interface", "options", "tx-retries-max").port_types == (CLIENT_TYPE,)
    with pytest.raises(KeyError, match=r"Interface\.options:nonsense"):
        schema.option("Interface", "options", "nonsense")


@pytest.mark.parametrize(("key", "default"), [
    ("vhost-iommu-support", False), ("vhost-postcopy-support", False),
    ("vhost-sock-owner", None), ("vhost-sock-group", None), ("vhost-sock-mode", None)])
def test_own_option_of_a_port_is_that_of_all_ports_but_for_its_default(
        key: str, default: bool | None) -> None:
    everywhere = schema.option("Open_vSwitch", "other_config", key)
    own = schema.option("Interface", "options", key)
    assert (own.type, own.takes_effect, own.port_types, own.minimum, own.maximum) == (
        everywhere.type, everywhere.takes_effect, everywhere.port_types, everywhere.minimum,
        everywhere.maximum)
    assert (own.default, everywhere.default) == (None, default)


@pytest.mark.parametrize(("table", "name", "column"), COLUMNS,
                         ids=[f"{table}.{name}" for table, name, _ in COLUMNS])
def test_column_is_well_formed(table: str, name: str, column: dict[str, object]) -> None:
    bounds = {"minimum", "maximum", "default"}
    assert {"type", "writer", "doc"} <= column.keys()
    assert column.keys() <= {"type", "writer", "doc", "read", "since", "asked", *bounds}
    assert column["writer"] in ("user", "agent")
    assert str(column["doc"]).endswith(".")
    assert column.get("read", True) is True
    assert column["writer"] == "agent" or "read" not in column
    assert column["writer"] == "user" or bounds.isdisjoint(column)
    assert column.get("asked", True) is True
    assert column["writer"] == "user" or "asked" not in column


def test_column_types_are_such_that_ovs_takes_them() -> None:
    tables = DbSchema.from_json(schema.ovsdb_schema()).tables
    assert [(t, c) for t, table in tables.items() for c in table.columns] == [
        (table, name) for table, name, _ in COLUMNS]


def test_every_column_is_read_or_written_and_the_number_is_both() -> None:
    read = {(t, c) for t, names in schema.columns_read().items() for c in names}
    written = {(t, c) for t, names in schema.columns_written().items() for c in names}
    asked = {(table, name) for table, name, column in COLUMNS if "asked" in column}
    assert read | written | asked == {(table, name) for table, name, _ in COLUMNS}
    assert (read | written).isdisjoint(asked)
    assert read & written == {("Interface", "ofport")}


@pytest.mark.parametrize(("table", "column"), WITHOUT_EFFECT)
def test_keys_without_effect_have_a_reason_and_are_no_options(table: str, column: str) -> None:
    assert WRITERS[table, column] == "user"
    known = WITHOUT_EFFECT[table, column]
    assert known.keys().isdisjoint(o.key for o in schema.options_of(table, column))
    for why in known.values():
        assert why == why.strip()
        assert not why.endswith(".")
        assert why[0].islower() or why.startswith(("PMD ", "VLAN ", "Open "))


@pytest.mark.parametrize("table", list(schema.columns()))
def test_columns_without_effect_have_a_reason_and_are_read(table: str) -> None:
    for name, why in schema.without_effect(table).items():
        assert table in ("Bridge", "Queue")     # others are not looked at for such columns
        assert WRITERS[table, name] == "user"
        assert why
        assert not why.endswith(".")


@pytest.mark.parametrize(("column", "key"), KEYS, ids=[f"{c}:{k.name}" for c, k in KEYS])
def test_key_is_well_formed(column: str, key: schema.Key) -> None:
    assert WRITERS["Interface", column] == "agent"
    assert key.doc.endswith(".")
    assert not key.when.endswith(".")
    assert set(re.findall("<.*?>", key.name)) <= {"<i>", "<q>", "<d>", "<name>"}


# --- the code against the contract: options -------------------------------------------------------

def key_of(call: ast.Call) -> Iterator[tuple[str, str]]:
    """(how, key) when the call reads or blames an option that it spells."""
    if not (isinstance(call.func, ast.Attribute) and call.args
            and isinstance(call.args[0], ast.Constant) and isinstance(call.args[0].value, str)):
        return
    how, on = call.func.attr, ast.unparse(call.func.value)
    if ((how in ("text", "integer", "boolean", "choice", "complain") and on.endswith("texts"))
            or (how == "get" and re.search(r"\b(other_config|options)$", on))):
        yield how, call.args[0].value


def options_in_code() -> set[tuple[str, str]]:
    """(how, key) of each option that the code spells where it reads or blames it."""
    found: set[tuple[str, str]] = set()
    for path in AGENT.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                found |= set(key_of(node))
            elif (isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant)
                  and ast.unparse(node.value).endswith(("other_config", ".options"))):
                found.add(("get", str(node.slice.value)))
    return found


def test_every_option_is_read_and_every_option_read_is_in_the_contract() -> None:
    read = {key for how, key in options_in_code() if how != "complain"}
    assert read == {o.key for o in schema.options()}


def test_option_is_read_as_what_it_is_and_blamed_only_where_it_is_read() -> None:
    types: dict[str, set[str]] = {}
    for o in schema.options():
        types.setdefault(o.key, set()).add(o.type)
    for how, key in options_in_code():
        if how in ("integer", "boolean", "choice"):
            assert types[key] == {how}, key
        assert key in types, key


# --- columns --------------------------------------------------------------------------------------

U = UUID(int=1)
SPEC = PortSpec("p", "br0", CLIENT_TYPE, Registration("/p", True), 8, Memory(1500, 2048))
READY = PortState("p", Registration("/p", True), 8, SPEC.memory)
GUEST = replace(READY, connections=1, attached=True, connects=1, connected=True, numa=0,
                guest_mtu=1500, vring_sizes=(256,) * 4, enabled_rxqs=(0,), enabled_txqs=(0,))
OFFERS = replace(READY.device, iommu=True, postcopy=True, tso=TSO_DISABLED)
# every combination of what a port may be
SITUATIONS = [
    (spec, state and replace(state, device=registration, numa=numa), problems)
    for spec in (SPEC, replace(SPEC, type=SERVER_TYPE), replace(SPEC, problems=("x",)),
                 replace(SPEC, device=None), replace(SPEC, device=OFFERS))
    for state in (None, READY, GUEST, replace(READY, connections=1, connects=1))
    for registration in (READY.device, OFFERS) for numa in (-1, 0)
    for problems in ((), ("y",))]


def written_to_interfaces() -> list[report.Columns]:
    """Columns of rows served in every situation, refused, and local."""
    own = InterfaceRow(U, "br0", "internal")
    on = BridgeRow(U, "br0", "netdev", interfaces=(own,))
    rows = [report.interface(on, InterfaceRow(U, "p", CLIENT_TYPE), spec, state, None, problems)
            for spec, state, problems in SITUATIONS]
    return [*rows, report.interface(on, own, None, None, None),
            report.interface(on, own, None, None, "no")]


def test_agent_writes_the_columns_that_are_its_own_and_all_of_them() -> None:
    written = {"ofport", "statistics"}.union(*written_to_interfaces())      # these by publish
    assert written == set(schema.columns_written()["Interface"])
    bridge = BridgeRow(U, "br0", "netdev")
    assert report.bridge(bridge).keys() == set(schema.columns_written()["Bridge"])
    for initialized in (False, True):
        assert report.host(Snapshot(), "DPDK", initialized).keys() == set(
            schema.columns_written()["Open_vSwitch"])
    assert schema.columns_written()["Port"] == ()


def test_what_is_written_is_of_the_column_s_type() -> None:
    tables = DbSchema.from_json(schema.ovsdb_schema()).tables
    rows = [("Interface", columns) for columns in written_to_interfaces()]
    rows += [("Bridge", report.bridge(BridgeRow(U, "br0", "netdev"))),
             ("Open_vSwitch", report.host(Snapshot(), "DPDK", True))]
    rows += [("Interface", {"statistics": values}) for _, values in statistics()]
    for table, columns in rows:
        for name, value in columns.items():
            kind = tables[table].columns[name].type
            if kind.is_map():
                assert type(value) is dict, name
            else:
                assert (type(value) is list) == (kind.n_min != 1), name
            assert value == [] or value == {} or kind.key.type.to_string() in (
                {str: "string", int: "integer", bool: "boolean"}[
                    type(next(iter(value)) if isinstance(value, list | dict) else value)]), name


# --- keys of the maps -----------------------------------------------------------------------------

def statistics() -> list[tuple[bool, dict[str, int]]]:
    """(whether a guest is connected, statistics) in every situation."""
    queue = dict.fromkeys(QUEUE_NAMES, 1)
    counted = [Counters(), Counters(dict.fromkeys(PORT, 0)), Counters(PORT)]
    running = [replace(c, rx_queues=(queue,) * 2, tx_queues=(queue,) * 2) for c in counted]
    return [(on, report.statistics(c, on)) for on in (False, True) for c in (*counted, *running)]


def made() -> dict[str, list[tuple[bool, set[str]]]]:
    """{column: (whether a guest is connected, keys) in every situation}"""
    return {
        "status": [(bool(state and state.connected), {*report.interface(
                        BridgeRow(U, "br0", "netdev"), InterfaceRow(U, "p", CLIENT_TYPE), spec,
                        state, None, problems, reason)["status"]})
                   for spec, state, problems in SITUATIONS for reason in ("", "z")],
        "statistics": [(on, {*values}) for on, values in statistics()],
    }


def of_patch_ports() -> list[tuple[bool, set[str]]]:
    queue = dict.fromkeys(QUEUE_NAMES, 1)
    return [(True, {*report.patch_statistics(Counters(port, (queue,), (queue,)))})
            for port in ({}, {**PORT, "tx_loop_drops": 1})]


def host_keys() -> dict[str, set[str]]:
    """{column: keys of a port that is a device of the host}"""
    device = HostDevice("internal", "br0")
    memory = Memory(1500, 2048)
    state = PortState("br0", device, 8, memory, host=HostState(
        Link(2, True, True, 9000, "02:00:00:00:00:0a"), segmentable=True))
    spec = PortSpec("br0", "br0", "", device, 8, memory)
    return {"status": {*report_host.status(spec, state, ())},
            "statistics": {*report_host.statistics(Counters(dict.fromkeys(PORT, 1)))}}


def pattern(key: schema.Key) -> re.Pattern[str]:
    text = re.escape(key.name)
    for name, digits in (("<i>", "[0-9]+"), ("<q>", "[0-9]+"), ("<d>", "(rx|tx)"),
                         ("<name>", "[a-z0-9_]+")):
        text = text.replace(re.escape(name), digits)
    return re.compile(text)


def named(column: str, key: str) -> list[str]:
    """Where the contract has a key: as it is, else by the patterns that it fits."""
    names = [k.name for k in schema.keys("Interface", column)]
    return [key] if key in names else [
        k.name for k in schema.keys("Interface", column) if pattern(k).fullmatch(key)]


def made_of_devices() -> dict[str, set[str]]:
    """{column: keys of a port of type dpdk}"""
    spec = replace(SPEC, type=ETH_TYPE, device=EthDevice("x"), problems=("x",))
    counted = Counters(PORT, device={name: 1 for d in ("rx", "tx") for name in (
        f"{d}_q0_packets", f"{d}_q1_bytes", f"{d}_crc_errors", f"{d}_ring_dropped",
        f"{d}_management_packets", f"{d}_broadcast_packets", f"{d}_size_64_packets", "nothing")})
    return {"status": {*report_eth.status(spec, EthInfo(0))},
            "statistics": {*report.statistics(counted, connected=True)}}


def test_keys_of_devices_are_in_the_contract_once_and_the_other_way_round() -> None:
    for column, keys in made_of_devices().items():
        own = [k for k in schema.keys("Interface", column) if k.when == FOR_DEVICES]
        assert [k.name for k in own if not any(pattern(k).fullmatch(key) for key in keys)] == []
        for key in keys:
            assert len(named(column, key)) == 1, key


@pytest.mark.parametrize("column", ["status", "statistics"])
def test_each_key_that_is_written_is_in_the_contract_once(column: str) -> None:
    for key in host_keys()[column].union(*(keys for _, keys in made()[column])):
        assert len(named(column, key)) == 1, key


OF_GUESTS = [(c, k) for c, k in KEYS if k.when != FOR_DEVICES]


@pytest.mark.parametrize(("column", "key"), OF_GUESTS, ids=[f"{c}:{k.name}" for c, k in OF_GUESTS])
def test_key_of_the_contract_is_written_when_it_says(column: str, key: schema.Key) -> None:
    if key.when.endswith("a device of the host"):
        assert key.name in host_keys()[column]
        return
    there = {(connected, any(pattern(key).fullmatch(k) for k in keys))
             for connected, keys in (of_patch_ports() if key.when.endswith("of patch ports")
                                     else made()[column])}
    assert (True, True) in there
    if key.when.startswith("not 0"):
        assert (True, False) in there
    if key.when == "always":
        assert there == {(False, True), (True, True)}
    elif key.when == "connected, or not 0":
        assert (True, False) not in there
        assert there >= {(False, False), (False, True)}
    elif key.when.startswith("connected"):
        assert (False, True) not in there


def test_map_columns_that_are_written_have_their_keys_in_the_contract() -> None:
    maps = {(table, name) for table, name, column in COLUMNS
            if column["writer"] == "agent" and "value" in column["type"]}
    # that of another daemon is only emptied
    assert maps - {("Interface", "bfd_status")} == {
        ("Interface", "status"), ("Interface", "statistics"), ("Mirror", "statistics")}
    counted = mirroring.counted(MirrorCounters(1, 60))
    assert counted.keys() == {key.name for key in schema.keys("Mirror", "statistics")}
    assert schema.columns_written()["Mirror"] == ("statistics",)
