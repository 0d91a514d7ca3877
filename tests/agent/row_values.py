"""Values for columns and options: good ones, those at and beyond a limit, huge, empty, and odd."""
from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

import schema
from tools.host import SCHEMA


class Vlans(list[int]):
    """All of them, in a word."""

    def __repr__(self) -> str:
        return "VLANS"


class Long(str):
    """Whose value a report of a failure need not have."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"{self[0]!r} * {len(self)}"


VLANS = Vlans(range(4096))
INT64 = (-(1 << 63), (1 << 63) - 1)
MARKED = "{DIR}"                # stands for the run directory of the host
NUMBERS = (0, 1, -1, 2, 3, 4094, 4095, 65535, 1 << 31, (1 << 32) - 1, 1 << 32, *INT64)
ODD_TEXTS = ("", " ", "0", "none", "ja", "true", "FALSE", "1e9", "+5", " 7", "0x10", "-1", "08",
             "99999999999999999999", "٣", "½", "ünï\u202ecode", "a b", "'", '"', "%s{0}\\", "🐙",
             "\t\n\x7f", Long("x" * 3000),
             Long("7" * 5000))
# What is good, or nearly, for an option that is more than a number or a word.
TEXTS: dict[str, tuple[str, ...]] = {
    "pmd-cpu-mask": ("1", "2", "3", "0x3", "0", "8", "zz", Long("f" * 600),
                     Long("f" * 400_000)),
    "pmd-rxq-affinity": ("0:0", "0:1", "0:0,1:1", "0:7", "0:0,0:1", "1", ":", "0:99999999999"),
    "pmd-sleep-max": ("100", "0:50,1:100", "1000000", "0:", "7:7"),
    "shared-mempool-config": ("1500", "4000,9000:0", "1500:1,9702", "67", "1500:-1", ",,"),
    "vhost-sock-dir": ("sub", "süb", "sub/", "missing", "..", "/", Long("x" * 256), Long("x" * 90)),
    "vhost-sock-owner": ("root", "0", "4294967294", "4294967295", "nobody-of-that-name", "1 2"),
    "vhost-sock-group": ("root", "0", "nobody-of-that-name", "-1"),
    "vhost-sock-mode": ("0660", "777", "1000", "8", "0"),
    "vhost-server-path": (f"{MARKED}/v0", f"{MARKED}/v1", f"{MARKED}/p1", f"{MARKED}/sub/p1",
                          f"{MARKED}/sub/../v0", "relative", "/dev/vduse/v", "/dev/vduse/control",
                          "/dev/vduse/../x", Long("/" * 107), Long("/" * 108), "/tmp", "/é" * 40),
    "tap-name": ("tap0", "tap1", "p2", "br0", "eth0", "lo", "x" * 15, "x" * 16, "a/b",
                 "tap:0"),
    "peer": ("p0", "p1", "p2", "p3", "br1"),
    "dpdk-devargs": ("net_af_packet0,iface=eth0", "net_af_packet0,iface=missing", "net_tap0",
                     "0000:ff:1f.7", "bogus", "class=eth,mac=02:00:00:00:00:01", "🐙"),
    "storm-rate": ("1000", "broadcast:10,multicast:0", "broadcast:-1", "all:1", "4294967296"),
    "datapath-id": ("0000000000000001", "0x2", "0", "0x", Long("1" * 17)),
    "hwaddr": ("02:00:00:00:00:99", "2:0:0:0:0:1", "01:00:00:00:00:00", "00:00:00:00:00:00"),
    "cir": ("1000000", "1", "1000000000001"), "cbs": ("2000", "1", "0"),
    "eir": ("500000",), "ebs": ("1500",),
}
COLUMN_VALUES: dict[str, tuple[str, ...]] = {
    "Bridge.datapath_type": ("netdev",) * 24 + ("system", "vhost"),
    "Interface.type": ("dpdkvhostuser", "dpdkvhostuserclient", "internal", "tap", "system",
                       "patch", "dpdk", "vxlan", "DPDKVHOSTUSER"),
    "Interface.mac": ("02:00:00:00:00:77", "01:00:00:00:00:00", "ff"),
    "QoS.type": ("egress-policer", "trtcm-policer", "linux-htb"),
}


def server_schema() -> dict[str, Any]:
    tables: dict[str, Any] = json.loads(SCHEMA.read_text())["tables"]
    return tables


TABLES = server_schema()


def column_type(table: str, column: str) -> dict[str, Any]:
    """OVSDB's type of a column, with a base type for its key and the number of values."""
    kind = TABLES[table]["columns"][column]["type"]
    kind = {"key": kind} if isinstance(kind, str) or "key" not in kind else kind
    key = kind["key"] if isinstance(kind["key"], dict) else {"type": kind["key"]}
    return {"min": 1, "max": 1, **kind, "key": key}


def is_plain(table: str, column: str) -> bool:
    """Whether a value of it needs no other row, and is no map."""
    kind = column_type(table, column)
    return kind["key"]["type"] != "uuid" and "value" not in kind


# Columns that edits set as they are, and maps whose keys they set.
SET_COLUMNS = [(table, name) for table, names in schema.columns_read().items() for name in names
               if name in TABLES[table]["columns"] and is_plain(table, name)
               and name not in ("name", "next_cfg", "ofport")]
MAPS = sorted({(o.table, o.column) for o in schema.options()})


def atoms(table: str, column: str) -> SearchStrategy[Any]:
    base = column_type(table, column)["key"]
    if "enum" in base:
        return st.sampled_from(base["enum"][1])
    match base["type"]:
        case "boolean":
            return st.booleans()
        case "integer":
            known = schema.columns()[table][column]
            edges = [known[end] + step for end in ("minimum", "maximum") if end in known
                     for step in (-1, 0, 1)]
            low, high = base.get("minInteger", INT64[0]), base.get("maxInteger", INT64[1])
            return st.sampled_from([n for n in (*edges, *NUMBERS) if low <= n <= high])
    return st.sampled_from((*COLUMN_VALUES.get(f"{table}.{column}", ()), *ODD_TEXTS))


def column_value(table: str, column: str) -> SearchStrategy[Any]:
    """A value in OVSDB's notation that the schema allows."""
    kind = column_type(table, column)
    one = atoms(table, column)
    if kind["min"] == kind["max"] == 1:
        return one
    most = 5 if kind["max"] == "unlimited" or kind["max"] > 1 else 1
    sets = st.lists(one, unique=True, max_size=most)
    if most > 1 and kind["key"]["type"] == "integer":
        sets = st.one_of(sets, st.just(VLANS))
    return sets.map(lambda values: ["set", values])


def option_value(option: schema.Option) -> SearchStrategy[str]:
    good = [*option.words, *TEXTS.get(option.key, ())]
    if option.default is not None:
        good.append(str(option.default).lower())
    if option.type == "boolean":
        good += ["true", "false"]
    if option.type == "integer":
        good += [str(end + step) for end in (option.minimum, option.maximum) if end is not None
                 for step in (-1, 0, 1)]
    return st.sampled_from((*good, *good, *ODD_TEXTS))


@st.composite
def settings_of(draw: st.DrawFn, table: str, column: str, most: int = 3) -> dict[str, str]:
    """A few pairs for a map: options of ours, what has no effect, what nobody knows."""
    options = schema.options_of(table, column)
    found = {}
    for option in draw(st.lists(st.sampled_from(options), max_size=most, unique=True)):
        found[option.key] = draw(option_value(option))
    for key in draw(st.lists(st.sampled_from(
            (*schema.without_effect(table, column), "n_rxqs", "ünknown", "")), max_size=1)):
        found[key] = draw(st.sampled_from(ODD_TEXTS))
    return found
