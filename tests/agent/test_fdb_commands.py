"""Sections 1.3, 5.3 and 5.7 of the contract, and A.3: MAC tables as ovs-appctl shows them."""
from __future__ import annotations

import re

import pytest

from tests.agent.conftest import Contract
from tests.agent.test_contract_pmd import refused
from tools.frontend import FrontEnd, ethernet
from tools.host import wait_until

ALL = "ff:ff:ff:ff:ff:ff"
A, B, C = (f"02:00:00:00:00:0{x}" for x in "abc")
HEADER = " Port  VLAN  MAC                Age\n"


def show(contract: Contract, bridge: str = "br0") -> str:
    return contract.host.appctl("fdb/show", bridge)


def entries(contract: Contract) -> set[tuple[str, str]]:
    """{(port number, address)}"""
    return {(row.split()[0], row.split()[2]) for row in show(contract).splitlines()[1:]}


def say(contract: Contract, port: str, guest: FrontEnd, mac: str) -> None:
    """A frame from the address, which is learned when this returns."""
    number = str(contract.get(port, "ofport"))
    guest.send([ethernet(ALL, mac)])
    wait_until(lambda: (number, mac) in entries(contract), f"{mac} is known at {port}")


def statistics(contract: Contract) -> dict[str, str]:
    """{what, as fdb/stats-show names it: count}"""
    head, *rows = contract.host.appctl("fdb/stats-show", "br0").splitlines()
    assert head == 'Statistics for bridge "br0":'
    return {words[0].strip(): words[1] for row in rows if (words := row.split(": "))}


def bridge_set(contract: Contract, *settings: str) -> None:
    contract.host.vsctl("set", "Bridge", "br0", *(f"other_config:{s}" for s in settings))


# --- 5.3 ------------------------------------------------------------------------------------------

def test_static_entries_and_their_replies(contract: Contract) -> None:
    appctl = contract.host.appctl
    contract.client("p")
    contract.client("q")
    p, q = (str(contract.get(name, "ofport")) for name in "pq")
    assert appctl("fdb/add", "br0", "p", "10", "02:00:00:00:00:A") == ""
    assert show(contract) == f"{HEADER}{p:>5}    10  {A}  static\n"
    assert appctl("fdb/add", "br0", "p", "10", A) == ""
    assert appctl("fdb/add", "br0", "q", "10", A) == (
        f"Overriding already existing static entry on {p}\n")
    assert show(contract) == f"{HEADER}{q:>5}    10  {A}  static\n"
    say(contract, "p", contract.joined("p"), B)
    assert appctl("fdb/add", "br0", "p", "0", B) == (
        f"Overriding already existing dynamic entry on {p}\n")
    assert appctl("fdb/flush", "br0") == "table successfully flushed\n"
    assert appctl("fdb/flush") == "table successfully flushed\n"
    assert entries(contract) == {(q, A), (p, B)}
    assert appctl("fdb/del", "br0", "10", A) == ""
    contract.host.vsctl("del-port", "p")
    wait_until(lambda: show(contract) == HEADER, "it goes with its port")


@pytest.mark.parametrize(("words", "error"), [
    (("add", "br9", "p", "0", A), "no such bridge"),
    (("add", "br0", "p", "0", "02:00"), "bad MAC address"),
    (("add", "br0", "nope", "0", A), "software error, odp port is present but no ofp port"),
    (("add", "br0", "nope", "0", "x"), "bad MAC address"),
    (("add", "br0", "p", "4096", A),
     "could not add static mac entry: VLAN 4096 is outside 0..4095"),
    (("add", "br0", "p", "0", ALL),
     f"could not add static mac entry: {ALL} is multicast, which is always flooded"),
    (("del", "br9", "0", A), "no such bridge"),
    (("del", "br0", "0", "x"), "bad MAC address"),
    (("del", "br0", "0", A), "could not find static mac entry"),
    (("del", "br0", "9999", A), "could not find static mac entry"),
    (("flush", "br9"), "no such bridge"),
    (("show", "br9"), "no such bridge br9"),
    (("show", "br0", "br9"), "no such bridge br9"),
    (("stats-show", "br9"), "no such bridge"),
    (("stats-clear", "br9"), "no such bridge"),
])
def test_what_commands_refuse(contract: Contract, words: tuple[str, ...], error: str) -> None:
    contract.client("p")
    command, *rest = words
    said = refused(contract.host, f"fdb/{command}", *rest)
    assert said.splitlines()[0] == error


def test_learned_entry_is_not_deleted_by_hand(contract: Contract) -> None:
    say(contract, "p", contract.attached("p"), A)
    assert "could not find static mac entry\n" in refused(contract.host, "fdb/del", "br0", "0", A)


def test_statistics_to_the_byte_and_cleared(contract: Contract) -> None:
    appctl = contract.host.appctl
    guest, other = contract.attached("p"), contract.attached("q")
    say(contract, "p", guest, A)
    say(contract, "p", guest, B)
    say(contract, "q", other, A)
    appctl("fdb/add", "br0", "p", "7", C)
    assert appctl("fdb/stats-show", "br0") == (
        'Statistics for bridge "br0":\n'
        "  Current/maximum MAC entries in the table: 3/8192\n"
        "  Current static MAC entries in the table : 1\n"
        "  Total number of learned MAC entries     : 2\n"
        "  Total number of expired MAC entries     : 0\n"
        "  Total number of evicted MAC entries     : 0\n"
        "  Total number of port moved MAC entries  : 1\n")
    assert appctl("fdb/stats-clear", "br0") == "statistics successfully cleared\n"
    assert appctl("fdb/stats-clear") == "statistics successfully cleared\n"
    assert statistics(contract) == {
        "Current/maximum MAC entries in the table": "3/8192",
        "Current static MAC entries in the table": "1",
        "Total number of learned MAC entries": "0", "Total number of expired MAC entries": "0",
        "Total number of evicted MAC entries": "0", "Total number of port moved MAC entries": "0"}


# --- 5.7 ------------------------------------------------------------------------------------------

def test_events_are_counted_in_coverage(contract: Contract) -> None:
    def read(name: str) -> int:
        return int(contract.host.appctl("coverage/read-counter", f"mac_learning_{name}"))

    before = {name: read(name) for name in ("learned", "moved", "static_none_move")}
    guest, other = contract.attached("p"), contract.attached("q")
    say(contract, "p", guest, A)
    say(contract, "q", other, A)
    contract.host.appctl("fdb/add", "br0", "p", "0", B)
    other.send([ethernet(ALL, B)])
    wait_until(lambda: read("static_none_move") > before["static_none_move"], "it is counted")
    assert read("learned") == before["learned"] + 1
    assert read("moved") == before["moved"] + 1
    for name in ("expired", "evicted", "refused", "held"):
        read(name)


# --- 1.3 ------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("text", "size"), [
    ("20", 20), ("9", 10), ("1000001", 1_000_000), ("-1", 1_000_000), ("0", 8192), ("x", 8192)])
def test_table_size_is_clamped_and_said(contract: Contract, text: str, size: int) -> None:
    contract.client("p")
    bridge_set(contract, f"mac-table-size={text}")
    found = statistics(contract)["Current/maximum MAC entries in the table"]
    assert found == f"0/{size}"
    assert (f"using {size}" in contract.log()) == (text != "20")


def test_settings_change_under_a_guest(contract: Contract) -> None:
    say(contract, "p", contract.attached("p"), A)
    bridge_set(contract, "mac-table-size=1000000", "mac-aging-time=3600")
    assert statistics(contract)["Current/maximum MAC entries in the table"] == "1/1000000"
    bridge_set(contract, "mac-table-size=10")
    assert statistics(contract)["Current/maximum MAC entries in the table"] == "1/10"
    contract.host.vsctl("clear", "Bridge", "br0", "other_config")
    assert statistics(contract)["Current/maximum MAC entries in the table"] == "1/8192"
    assert len(entries(contract)) == 1


# --- A.3, and beyond it ---------------------------------------------------------------------------

def test_guest_that_leaves_is_forgotten(contract: Contract) -> None:
    guest, other = contract.attached("p"), contract.attached("q")
    say(contract, "p", guest, A)
    say(contract, "q", other, B)
    contract.host.appctl("fdb/add", "br0", "p", "0", C)
    guest.close()
    p, q = (str(contract.get(name, "ofport")) for name in "pq")
    wait_until(lambda: entries(contract) == {(q, B), (p, C)}, "what was learned is gone")


def test_address_that_flaps_is_a_problem_of_both_ports(contract: Contract) -> None:
    guests = [contract.attached("p"), contract.attached("q")]
    contract.client("r")

    def said() -> bool:
        for guest in guests:
            guest.send([ethernet(ALL, A)])
            guest.recv()
        return A in contract.problems("p") and A in contract.problems("q")

    wait_until(said, "status names the address")
    assert re.search(f"{A} in VLAN 0 moves between this port and q ", contract.problems("p"))
    assert re.search(f"{A} in VLAN 0 moves between this port and p ", contract.problems("q"))
    assert contract.problems("r") == ""
    contract.host.vsctl("del-port", "q")
    wait_until(lambda: A not in contract.problems("p"), "it is not said any more")
