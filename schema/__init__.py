"""The contract with OVSDB as data: columns used, and by whom written; options and their ranges;
keys of the maps that are written; and what Open vSwitch has that does nothing here."""
from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Option:
    """One key of an options or other_config column."""

    table: str
    column: str
    key: str
    # "string", "boolean", "integer", "octal", "choice", "cpu mask", "words", "list"
    type: str
    takes_effect: str               # "now", "next registration", "new ports", "restart"
    doc: str
    unit: str = ""
    default: str | int | bool | None = None
    minimum: int | None = None
    maximum: int | None = None
    words: tuple[str, ...] = ()     # what a choice may be
    invalid: str = "the default is used"
    port_types: tuple[str, ...] = ()    # Interface: who has it; elsewhere: whom it concerns


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a map column that the agent writes; <i>, <q> and <d> stand for a vring, a queue
    and rx or tx."""

    name: str
    when: str
    doc: str
    blame: str = ""                 # of a key that counts drops: whose they are


def _read(name: str) -> dict[str, Any]:
    return tomllib.loads((_HERE / name).read_text(encoding="utf-8"))


@cache
def options() -> tuple[Option, ...]:
    """Every option the agent reads."""
    return tuple(
        Option(table, column, key, **{**o, "port_types": tuple(o.get("port_types", ())),
                                      "words": tuple(o.get("words", ()))})
        for table, columns in _read("options.toml").items()
        for column, keys in columns.items() for key, o in keys.items())


@cache
def options_of(table: str, column: str, port_type: str | None = None) -> tuple[Option, ...]:
    """Options of one column; with 'port_type' those that ports of that type have."""
    return tuple(o for o in options() if (o.table, o.column) == (table, column)
                 and (port_type is None or port_type in o.port_types))


@cache
def option(table: str, column: str, key: str) -> Option:
    """The option of that name; KeyError when the contract has none."""
    for o in options_of(table, column):
        if o.key == key:
            return o
    raise KeyError(f"{table}.{column}:{key}")


@cache
def without_effect(table: str, column: str | None = None) -> dict[str, str]:
    """{key of the column: why it does nothing}; without 'column', {column of the table: why}."""
    found: dict[str, Any] = _read("without_effect.toml").get(table, {})
    if column is not None:
        of_column = found.get(column)
        return dict(of_column) if isinstance(of_column, dict) else {}
    return {name: why for name, why in found.items() if isinstance(why, str)}


@cache
def columns() -> dict[str, dict[str, dict[str, Any]]]:
    """{table: {column: {"type": OVSDB type, "writer": who, "doc": what, ...}}}"""
    return _read("columns.toml")


@cache
def columns_read() -> dict[str, tuple[str, ...]]:
    """{table: columns that the agent watches}"""
    return {table: tuple(name for name, c in members.items()
                         if (c["writer"] == "user" and not c.get("asked")) or c.get("read"))
            for table, members in columns().items()}


@cache
def columns_written() -> dict[str, tuple[str, ...]]:
    """{table: columns that the agent writes}"""
    return {table: tuple(name for name, c in members.items() if c["writer"] == "agent")
            for table, members in columns().items()}


@cache
def keys(table: str, column: str) -> tuple[Key, ...]:
    """Keys that the agent writes into a map column."""
    return tuple(Key(name, **k) for name, k in _read("keys.toml")[table][column].items())


def ovsdb_schema() -> dict[str, Any]:
    """The part of the vswitch schema that the agent uses, as an OVSDB schema of its own."""
    return {
        "name": "Open_vSwitch",
        "tables": {
            table: {"columns": {name: {"type": c["type"]} for name, c in members.items()}}
            for table, members in columns().items()
        },
    }
