"""MAC tables: settings and their nearest values, replies to the byte, what is said of flaps."""
from __future__ import annotations

import pytest

from agent import fdb
from agent.fdb import FdbCounters, Flap
from agent.model import OFPORT_LOCAL, FdbEntry
from agent.options import Texts

OFPORTS = {"a": 2, "b": 12345, "br0": OFPORT_LOCAL}
A = FdbEntry("a", 10, "52:54:00:aa:bb:01", 7)
B = FdbEntry("b", 4095, "52:54:00:aa:bb:03", 123)
LOCAL = FdbEntry("br0", 0, "52:54:00:aa:bb:02", 0)


def test_single_bridge() -> None:
    assert fdb.show({"br0": [A, LOCAL, B]}, OFPORTS, several=False) == (
        " Port  VLAN  MAC                Age\n"
        "12345  4095  52:54:00:aa:bb:03  123\n"
        "    2    10  52:54:00:aa:bb:01    7\n"
        "LOCAL     0  52:54:00:aa:bb:02    0\n")


def test_single_bridge_without_entries() -> None:
    assert fdb.show({"br0": []}, OFPORTS, several=False) == (
        " Port  VLAN  MAC                Age\n")


def test_several_bridges_named_once_each_even_when_empty() -> None:
    older = FdbEntry("a", 10, "52:54:00:aa:bb:03", 9)
    assert fdb.show({"br-tenant": [A, older], "br0": []}, OFPORTS, several=True) == (
        " Bridge     Port  VLAN  MAC                Age\n"
        " br-tenant     2    10  52:54:00:aa:bb:03    9\n"
        "               2    10  52:54:00:aa:bb:01    7\n"
        " br0\n")


def test_column_is_as_wide_as_its_title_at_least() -> None:
    assert fdb.show({"b": [A], "c": [LOCAL]}, OFPORTS, several=True) == (
        " Bridge  Port  VLAN  MAC                Age\n"
        " b          2    10  52:54:00:aa:bb:01    7\n"
        " c      LOCAL     0  52:54:00:aa:bb:02    0\n")


def test_rows_come_longest_unseen_first_then_by_address() -> None:
    entries = [FdbEntry("a", vlan, f"00:00:00:00:00:0{mac}", age)
               for vlan, mac, age in ((0, 3, 1), (2, 1, 1), (1, 1, 1), (0, 2, 9))]
    rows = fdb.lines(entries, OFPORTS)
    assert [(r.split()[1], r.split()[2][-1], r.split()[3]) for r in rows] == [
        ("0", "2", "9"), ("1", "1", "1"), ("2", "1", "1"), ("0", "3", "1")]
    assert fdb.lines(entries[::-1], OFPORTS) == rows


def test_static_rows_come_first_and_say_so() -> None:
    static = FdbEntry("br0", 0, "52:54:00:aa:bb:02", fdb.STATIC)
    assert fdb.show({"br0": [A, static]}, OFPORTS, several=False) == (
        " Port  VLAN  MAC                Age\n"
        "LOCAL     0  52:54:00:aa:bb:02  static\n"
        "    2    10  52:54:00:aa:bb:01    7\n")


def test_stats_show_counts_since_they_were_cleared() -> None:
    counters = FdbCounters(3, 1, {"learned": 5, "expired": 2, "evicted": 7, "moved": 1, "held": 9},
                           {"learned": 0, "expired": 1, "evicted": 7, "moved": 0, "held": 0})
    assert fdb.stats_show("br0", counters, 8192) == (
        'Statistics for bridge "br0":\n'
        "  Current/maximum MAC entries in the table: 3/8192\n"
        "  Current static MAC entries in the table : 1\n"
        "  Total number of learned MAC entries     : 5\n"
        "  Total number of expired MAC entries     : 1\n"
        "  Total number of evicted MAC entries     : 0\n"
        "  Total number of port moved MAC entries  : 1\n")


@pytest.mark.parametrize(("text", "aging", "size", "said"), [
    ("", 300, 8192, False), ("15", 15, 15, False), ("3600", 3600, 3600, False),
    ("+20", 20, 20, False), ("14", 15, 14, True), ("1", 15, 10, True), ("9", 15, 10, True),
    ("1000000", 3600, 1000000, True), ("1000001", 3600, 1000000, True), ("0", 300, 8192, True),
    ("-1", 3600, 1000000, True), ("-2147483647", 3600, 1000000, True),
    ("2147483647", 3600, 1000000, True), ("2147483648", 300, 8192, True),
    ("x", 300, 8192, True), ("1.5", 300, 8192, True), ("9" * 5000, 300, 8192, True)])
def test_settings_are_the_nearest_that_is_allowed(text: str, aging: int, size: int, said: bool
                                                  ) -> None:
    column = {"mac-aging-time": text, "mac-table-size": text}
    texts = Texts(column, "Bridge", "other_config")
    assert (fdb.aging_s(texts), fdb.table_size(texts)) == (aging, size)
    assert bool(texts.problems) == said
    for o, problem in texts.problems:
        assert problem.startswith(f"{o.key}: ")
        assert len(problem) < 300


def test_what_is_said_of_a_setting_names_what_is_used() -> None:
    texts = Texts({"mac-aging-time": "5", "mac-table-size": "many"}, "Bridge", "other_config")
    fdb.aging_s(texts)
    fdb.table_size(texts)
    assert [problem for _, problem in texts.problems] == [
        "mac-aging-time: 5 is outside 15..3600, using 15",
        "mac-table-size: 'many' is not an integer, using 8192"]


@pytest.mark.parametrize(("text", "found"), [
    ("52:54:00:AA:bb:1", "52:54:00:aa:bb:01"), ("52:54:00:aa:bb", None), ("", None),
    ("52:54:00:aa:bb:01:02", None), ("52:54:00:aa:bb:001", None), ("52-54-00-aa-bb-01", None)])
def test_address(text: str, found: str | None) -> None:
    assert fdb.address(text) == found


@pytest.mark.parametrize(("text", "found"), [
    ("10", 10), (" 7x", 7), ("x", 0), ("", 0), ("-1", -1), ("4096", 4096)])
def test_vlan_is_read_as_c_does(text: str, found: int) -> None:
    assert fdb.vlan(text) == found


def test_both_ports_of_an_address_that_flaps_name_it_and_the_other() -> None:
    flap = Flap("02:00:00:00:00:0a", 10, ("a", "b"))
    said = fdb.flap_problems([flap, flap])
    assert said.keys() == {"a", "b"}
    assert said["a"] == ("02:00:00:00:00:0a in VLAN 10 moves between this port and b all the time: "
                         "it stays for 10 s where it is after 5 moves",)
    assert "this port and a " in said["b"][0]


def test_of_many_addresses_that_flap_a_few_are_named() -> None:
    said = fdb.flap_problems([Flap(f"02:00:00:00:00:{i:02x}", 0, ("a", "b")) for i in range(9)])
    assert len(said["a"]) == 4
    assert said["a"][-1] == "and 6 more addresses do"
