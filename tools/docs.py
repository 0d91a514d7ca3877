"""Writes docs/options.md and docs/columns.md from schema/, docs/metrics.md, and docs/cli.md from
the command line; a test holds the files against what they are made of."""
from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import schema
from agent import drops, metrics
from tools.cli_page import cli_page

DOCS = Path(__file__).parents[1] / "docs"
MADE_BY = "<!-- Made from schema/ by `make docs`: change that, not this. -->\n"
SERVED = {"dpdkvhostuser": "server", "dpdkvhostuserclient": "client"}     # others as they are
ROW = {"Open_vSwitch": ".", "Bridge": "BRIDGE", "Port": "PORT", "Interface": "PORT",
       "QoS": "UUID", "Queue": "UUID"}
OPTIONS_HEAD = """# Options

Every option the agent reads. A value that cannot be used is never replaced in silence: it is said
once in the log and, where it concerns ports, in `status:problems` of these ports, while they work
on with what the last column says. An unknown key of a port's options is named there too, with the
key that it resembles; in the other columns, which hold other programs' keys as well, only a key
that resembles one.

*Takes effect*: **now**; **next registration** (of the port's socket: at once where no guest is
connected, otherwise when it disconnects, and `status:pending` says what waits); **new ports**
(those that are added, or made anew for another reason, afterwards; the others keep what they have);
**restart** (of the agent).

An agent that runs with `--role companion` reads the keys of `Open_vSwitch.other_config` that begin
with `vhost-agent-`, as in `vhost-agent-pmd-cpu-mask`, and no others of that column; it starts DPDK
unless `vhost-agent-dpdk-init` says something else, and its PMD threads are on the last core of each
NUMA node unless a mask says where.
"""
WITHOUT_EFFECT = """
## Without effect

Open vSwitch has these; here they do nothing, and the port's status or the log says so where one is
set.

| table | key | why |
|---|---|---|
"""
COLUMNS_HEAD = """# Columns

The columns of the Open_vSwitch database that the agent reads (those a user writes) and writes. A
column that an older server lacks is left out.
"""
METRICS_HEAD = """<!-- Made from agent/metrics.py by `make docs`: change that, not this. -->
# Metrics

What `vhost-agent run --metrics=[IP:]PORT` serves at `/metrics`; how to use it is in
[prometheus.md](prometheus.md). Besides, `process_...` are those of the process.

Counters of a port begin anew when the port is made anew, those of its packets and bytes with each
guest, those of a PMD with its thread: what Prometheus' `rate()` and `increase()` expect. A reason
for drops has a series from the beginning while a guest runs, on other ports once there was one.

"""


def row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


def type_name(o: schema.Option) -> str:
    """Type, unit and range or words."""
    if o.words:
        return f"{o.type} of {', '.join(o.words)}"
    name = f"{o.type}, {o.unit}" if o.unit else o.type
    if o.minimum is None and o.maximum is None:
        return name
    form = "04o" if o.type == "octal" else ""
    low = "" if o.minimum is None else f"{o.minimum:{form}}"
    high = "" if o.maximum is None else f"{o.maximum:{form}}"
    return f"{name}, {low}..{high}"


def default_text(o: schema.Option) -> str:
    return "" if o.default is None else f"`{str(o.default).lower()}`"


def options_page() -> str:
    text = MADE_BY + OPTIONS_HEAD
    seen = dict.fromkeys((o.table, o.column) for o in schema.options())
    for table, column in seen:
        text += f"\n## {table}.{column}\n\n"
        text += f"```text\novs-vsctl set {table} {ROW[table]} {column}:KEY=VALUE\n```\n\n"
        text += row("key", "type", "default", "takes effect", "ports", "meaning", "unusable value")
        text += row(*["---"] * 7)
        for o in schema.options_of(table, column):
            ports = ", ".join(SERVED.get(t, t) for t in o.port_types)
            text += row(f"`{o.key}`", type_name(o), default_text(o), o.takes_effect, ports, o.doc,
                        f"{o.invalid}.")
    text += WITHOUT_EFFECT
    for table, key, why in without_effect():
        text += row(table, f"`{key}`", f"{why}.")
    return text


def without_effect() -> Iterator[tuple[str, str, str]]:
    """(table and column, key or column, why)"""
    for table, members in schema.columns().items():
        for column in members:
            for key, why in schema.without_effect(table, column).items():
                yield f"{table}.{column}", key, why
    for table in schema.columns():
        for column, why in schema.without_effect(table).items():
            yield table, column, why


def shown_type(notation: Any) -> str:
    """OVSDB's notation of a type in a few words."""
    if isinstance(notation, str):
        return notation
    key, value = base(notation["key"]), notation.get("value")
    if value is not None:
        return f"map of {key} to {base(value)}"
    if notation.get("max", 1) != 1:
        return f"set of {key}"
    return f"optional {key}" if notation.get("min", 1) == 0 else key


def base(notation: Any) -> str:
    if isinstance(notation, str):
        return notation
    return str(notation.get("refTable", notation["type"]))


def columns_page() -> str:
    text = MADE_BY + COLUMNS_HEAD
    for table, members in schema.columns().items():
        text += f"\n## {table}\n\n" + row("column", "type", "written by", "meaning")
        text += row(*["---"] * 4)
        for name, column in members.items():
            doc = column["doc"]
            if "minimum" in column:
                default = f", else {column['default']}" if "default" in column else ""
                doc = f"{column['minimum']}..{column['maximum']}{default}. {doc}"
            text += row(f"`{name}`", shown_type(column["type"]), column["writer"], doc)
    for name in ("status", "statistics"):
        text += f"\n## Keys of Interface.{name}\n\n"
        text += ("`<name>` is a driver's word, `<i>` a vring, `<q>` a queue of the port, `<d>` is "
                 "`rx` (the guest sent it) or `tx` (sent to the guest).\n\n")
        text += (keys(schema.keys("Interface", name)) if name == "status"
                 else statistics_keys(schema.keys("Interface", name)))
    text += "\n## Keys of Mirror.statistics\n\n" + keys(schema.keys("Mirror", "statistics"))
    return text


def keys(rows: Iterable[schema.Key]) -> str:
    return row("key", "there", "meaning") + row(*["---"] * 3) + "".join(
        row(f"`{key.name}`", key.when, key.doc) for key in rows)


def statistics_keys(rows: Iterable[schema.Key]) -> str:
    """With whose fault a drop is."""
    words = "".join(f"* **{word}**: {what}.\n" for word, what in drops.BLAMES.items())
    return (f"*Blame* says of drops whose fault they are:\n\n{words}\n"
            + row("key", "there", "blame", "meaning") + row(*["---"] * 4)
            + "".join(row(f"`{key.name}`", key.when, key.blame, key.doc) for key in rows))


def metrics_page() -> str:
    text = METRICS_HEAD + row("metric", "type", "labels", "meaning") + row(*["---"] * 4)
    return text + "".join(
        row(f"`{metric.full_name}`", metric.kind, ", ".join(f"`{name}`" for name in metric.labels),
            metric.help) for metric in metrics.METRICS)


PAGES = {"options.md": options_page, "columns.md": columns_page, "metrics.md": metrics_page,
         "cli.md": cli_page}


def main() -> None:
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
