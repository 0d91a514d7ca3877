"""The contract with OVSDB as data: columns used, and by whom written; options and their ranges."""
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
    type: str                       # "string", "boolean", "integer", "cpu mask", "words"
    takes_effect: str               # "now", "next registration", "restart"
    doc: str
    default: str | int | bool | None = None
    minimum: int | None = None
    maximum: int | None = None
    port_types: tuple[str, ...] = ()    # Interface options: the types that have it


@cache
def options() -> tuple[Option, ...]:
    """Every option the agent reads."""
    raw = tomllib.loads((_HERE / "options.toml").read_text(encoding="utf-8"))
    return tuple(
        Option(table=table, column=column, key=key, type=o["type"],
               takes_effect=o["takes_effect"], doc=o["doc"], default=o.get("default"),
               minimum=o.get("minimum"), maximum=o.get("maximum"),
               port_types=tuple(o.get("port_types", ())))
        for table, columns in raw.items() for column, keys in columns.items()
        for key, o in keys.items()
    )


@cache
def option(table: str, column: str, key: str) -> Option:
    """The option of that name; KeyError when the contract has none."""
    for o in options():
        if (o.table, o.column, o.key) == (table, column, key):
            return o
    raise KeyError(f"{table}.{column}:{key}")


@cache
def columns() -> dict[str, dict[str, dict[str, Any]]]:
    """{table: {column: {"type": OVSDB type, "writer": who, "doc": what}}}"""
    return tomllib.loads((_HERE / "columns.toml").read_text(encoding="utf-8"))


def ovsdb_schema() -> dict[str, Any]:
    """The part of the vswitch schema that the agent uses, as an OVSDB schema of its own."""
    return {
        "name": "Open_vSwitch",
        "tables": {
            table: {"columns": {name: {"type": c["type"]} for name, c in members.items()}}
            for table, members in columns().items()
        },
    }
