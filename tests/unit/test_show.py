"""The picture of an agent, and what of it stands on one screen."""
from __future__ import annotations

import json
from dataclasses import replace

import pytest

from agent import show
from agent.model import Desired
from agent.picture import LOCK_NONE, LOCK_TAKEN, DatabaseFacts, Seen
from agent.show import Style
from tests.unit.pictures import count, guest, port, seen, taken


def lines(of: Seen, width: int | None = None) -> list[str]:
    return [text for _, text in show.lines(taken(of), None, width)]


# --- the picture ----------------------------------------------------------------------------------

def test_picture_is_plain_data() -> None:
    shown = taken(count(seen("a", "b"), "a", rx=(5, 500), tx=(2, 200), cycles=70,
                        tx_failure_drops=4, tx_retries=1))
    assert json.loads(json.dumps(shown)) == shown
    a = port(shown, "a")
    assert a["traffic"] == {
        "rx_packets": 5, "rx_bytes": 500, "tx_packets": 2, "tx_bytes": 200, "rx_dropped": 0,
        "tx_dropped": 4, "tx_retries": 1, "drops": {"ovs_tx_failure_drops": 4}}
    assert a["rxqs"] == [{"core": 3, "cycles": 70, "enabled": True, "size": 256, "packets": 5,
                          "bytes": 500}]
    assert (a["link_state"], a["ofport"], a["device"], a["connects"]) == ("up", 1, "/tmp/a", 1)
    assert port(shown, "b")["traffic"]["drops"] == {}


def test_port_without_a_guest_has_no_queues_of_its_own() -> None:
    a = port(taken(seen("a", guests=False)), "a")
    assert (a["link_state"], a["connected"], a["txqs"]) == ("down", False, [])
    assert [rxq["enabled"] for rxq in a["rxqs"]] == [False]


def test_agent_that_has_seen_no_database() -> None:
    bare = Seen(0, seen().agent, DatabaseFacts("unix:/x", False, LOCK_NONE, 0), None)
    assert taken(bare)["ports"] == []
    assert lines(bare)[1:] == [
        "database  unix:/x: not connected: ports are served on as they are",
        "memory    no hugepages",
        "PMDs      none: DPDK is not started (other_config:dpdk-init=true)"]


# --- the screen -----------------------------------------------------------------------------------

def test_screen_of_a_host_where_all_is_well() -> None:
    assert lines(count(seen("c10", "c2"), "c2", rx=(1500, 10), tx_mtu_drops=7)) == [
        "vhost-agent (ovs-vhost-agent) 1.2, DPDK 22.11, role vswitchd, pid 77, up 9 s",
        "database  unix:/db.sock: connected, lock held",
        "memory    2 MiB pages: 4 of 10 free; DPDK uses 3 MiB of 4 MiB; 9 packet buffers in use",
        "PMD       core 3 (node 1): 50 % busy, 30 % in 10 s, 2 rx queues",
        "",
        "bridge br0: 2 ports, 2 up",
        "  PORT  OFPORT  TYPE                 LINK  QUEUES          MTU  RX PACKETS  TX PACKETS  "
        "DROPS  DEVICE",
        "  c2         2  dpdkvhostuserclient  up    1/1 rx 1/1 tx  1500       1.50k           0  "
        "    7  /tmp/c2",
        "  c10        1  dpdkvhostuserclient  up    1/1 rx 1/1 tx  1500           0           0  "
        "    0  /tmp/c10"]


def test_problems_come_first_and_those_of_many_once() -> None:
    names = [f"p{i}" for i in range(200)]
    of = replace(seen(*names), problems=dict.fromkeys(names, ("not polled",)),
                 errors={"p7": "no such type"})
    of = replace(of, desired=replace(of.desired, problems=("vhost-sock-dir: bad",)))
    shown = lines(of)
    at = shown.index("problems")
    assert shown[at + 1:at + 4] == [
        "  vhost-sock-dir: bad", "  p0, p1, p2, p3 and 195 more: not polled",
        "  p7: not served: no such type"]
    assert at < shown.index("bridge br0: 200 ports, 199 up")
    assert any(style is Style.BAD and " p7 " in text for style, text in show.lines(taken(of)))


def test_reasons_of_many_ports_are_one_sentence() -> None:
    names = ["p1", "p2", "p10"]
    of = replace(seen(*names, guests=False), reasons={
        name: f"there is no socket /tmp/{name} (vhost-agent qemu-args {name})" for name in names})
    assert (Style.PLAIN, "  p1, p2, p10: there is no socket DEVICE (vhost-agent qemu-args PORT)"
            ) in list(show.lines(taken(of)))
    one = replace(of, reasons={"p1": of.reasons["p1"]}, errors={"p2": "bad"})
    at = lines(one).index("problems")
    assert lines(one)[at + 1:at + 3] == [
        "  p2: not served: bad", "  p1: there is no socket /tmp/p1 (vhost-agent qemu-args p1)"]


def test_port_that_works_but_half_is_bad() -> None:
    of = replace(seen("a", "b"), reasons={"a": "1 of 4 queues is enabled"})
    shown = list(show.lines(taken(of)))
    assert (Style.BAD, "  a: 1 of 4 queues is enabled") in shown
    assert [style for style, text in shown if "/tmp/" in text] == [Style.BAD, Style.PLAIN]


@pytest.mark.parametrize(("lock", "connected", "said"), [
    (LOCK_TAKEN, True, "another process holds the lock and serves it: nothing is changed or "
                       "written here"),
    (LOCK_NONE, True, "connected, waiting for the lock"),
    (LOCK_NONE, False, "not connected: ports are served on as they are")])
def test_database_that_is_not_served(lock: str, connected: bool, said: str) -> None:
    of = replace(seen("a"), database=DatabaseFacts("unix:/x", connected, lock, 0))
    assert (Style.BAD, f"database  unix:/x: {said}") in list(show.lines(taken(of)))


def test_one_bridge_and_bridges_that_are_not_served() -> None:
    of = replace(seen("a"), desired=Desired())
    assert "bridge br0: 1 port, 0 up, not served: datapath_type is 'netdev'" in lines(of)
    assert "bridge" not in show.text(taken(of), "br9")


def test_port_that_was_set_down_by_hand() -> None:
    assert " disabled " in lines(guest(seen("a"), "a", up=False))[-1]


def test_narrow_terminal_has_what_matters() -> None:
    shown = lines(seen("a"), 60)
    assert shown[-2] == "  PORT  LINK  QUEUES         RX PACKETS  TX PACKETS  DROPS"
    assert max(map(len, shown[-2:])) <= 60


def test_names_that_are_no_names() -> None:
    name = "a\x1b[2J"
    of = replace(seen(name, guests=False), reasons={name: f"there is no socket {name}"})
    assert "there is no socket a\\x1b[2J" in show.text(taken(of))
    assert "\x1b" not in show.text(taken(of))
