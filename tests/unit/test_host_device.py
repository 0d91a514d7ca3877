"""Rows of ports that are devices of the host."""
from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agent.host_model import HostDevice
from agent.validate import Memo
from tests.unit.test_validate import CONFIG, on_bridges, row, wish


@pytest.mark.parametrize("type_", ["internal", ""])
def test_local_port_is_a_tap_with_the_address_of_the_bridge(type_: str) -> None:
    result = wish(row("br0", type_), other_config={"hwaddr": "2:0:0:0:0:a"})
    assert result.ports["br0"].device == HostDevice("internal", "br0", "02:00:00:00:00:0a")
    assert on_bridges(result) == {"br0": ("br0",)}
    found = wish(row("br0", type_)).ports["br0"].device
    assert found == HostDevice("internal", "br0", "02:00:00:00:00:00")      # of the row's UUID


def test_local_port_follows_the_address_of_its_bridge() -> None:
    memo: Memo = {}
    own = row("br0", "internal")
    for hwaddr in ("02:00:00:00:00:0a", "02:00:00:00:00:0b"):
        device = wish(own, memo=memo, other_config={"hwaddr": hwaddr}).ports["br0"].device
        assert device == HostDevice("internal", "br0", hwaddr)


def test_local_port_waits_for_dpdk_and_others_say_so() -> None:
    result = wish(row("br0", "internal"), row("p", "tap"),
                  config=replace(CONFIG, dpdk_initialized=False))
    assert (result.ports, result.errors.keys(), on_bridges(result)) == ({}, {"p"}, {"br0": ()})


@pytest.mark.parametrize(("type_", "kind"), [("internal", "internal"), ("tap", "tap"),
                                             ("system", "system"), ("", "system")])
def test_devices_of_the_host(type_: str, kind: str) -> None:
    result = wish(row("p", type_, mtu_request=9000, mac="02:00:00:00:00:0C"))
    mac = "02:00:00:00:00:0c" if kind == "internal" else None
    assert result.ports["p"].device == HostDevice(kind, "p", mac, 9000)
    assert result.ports["p"].problems == ()
    assert result.pmds == ()            # no PMD polls it


@pytest.mark.parametrize(("kw", "problem"), [
    ({"mac": "01:00:00:00:00:01"}, "mac: '01:00:00:00:00:01' is not a unicast Ethernet address; "
     "using an automatic one"),
    ({"mtu_request": 9703}, "unsupported MTU 9703: mtu_request is outside 68..9702, using 1500"),
    ({"options": {"x": "y"}}, "x: not an option of type internal"),
    ({"other_config": {"tx-steering": "hash"}},
     "tx-steering: has no effect on type internal: no PMD thread polls the port"),
    ({"other_config": {"pmd-rxq-affinity": "0:x"}},
     "pmd-rxq-affinity: has no effect on type internal: no PMD thread polls the port")])
def test_what_a_device_of_the_host_cannot_use_is_said(kw: dict[str, Any], problem: str) -> None:
    spec = wish(row("p", "internal", **kw)).ports["p"]
    assert spec.problems == (problem,)
    assert spec.device == HostDevice("internal", "p")


def test_tap_with_a_name_of_its_own_lasts() -> None:
    named = row("p" * 20, "tap", options={"tap-name": "t0"})
    spec = wish(named).ports["p" * 20]
    assert spec.device == HostDevice("tap", "t0", None, 1500, lasts=True)
    assert spec.problems == ()
    assert wish(row("p", "tap", options={"tap-name": ""})).ports["p"].device == HostDevice(
        "tap", "p")
    only_taps = wish(row("p", "internal", options={"tap-name": "t0"})).ports["p"]
    assert only_taps.device == HostDevice("internal", "p")
    assert only_taps.problems == ("tap-name: not an option of type internal",)


@pytest.mark.parametrize(("name", "why"), [
    ("x" * 16, "(File name too long): tap-name: 'xxxxxxxxxxxxxxxx': the name of a device of the "
     "host has 15 bytes at most"),
    ("a/b", "(Invalid argument): tap-name: 'a/b': the name of a device of the host has no '/', ':' "
     "and blanks")])
def test_tap_name_that_the_kernel_does_not_take(name: str, why: str) -> None:
    assert wish(row("p", "tap", options={"tap-name": name})).errors["p"] == (
        f"could not open network device p {why}")
