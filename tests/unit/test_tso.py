"""userspace-tso-enable: from the column to registrations, and what is told of them."""
from __future__ import annotations

from dataclasses import replace

import pytest

from agent import report
from agent.actions import AddPort
from agent.hostconfig import HostConfig, host_config
from agent.model import (
    CLIENT_TYPE,
    ETH_TYPE,
    SERVER_TYPE,
    TSO_DISABLED,
    TSO_OFF,
    TSO_ON,
    Memory,
    PortSpec,
    PortState,
    Registration,
)
from agent.plan import stays
from agent.tso import next_device
from tests.unit.conftest import OneBridge

OFF = Registration("/p", True)
ON, DISABLED = replace(OFF, tso=TSO_ON), replace(OFF, tso=TSO_DISABLED)
SERVER = Registration("/p", False, tso=TSO_ON)
SPEC = PortSpec("p", "br0", CLIENT_TYPE, ON, 8, Memory(1500, 2048))
NEW = PortState("p", ON, 8, SPEC.memory)
NEVER_READY = replace(NEW, connections=1)
WAS_READY = replace(NEW, connections=2, connects=1)
STAYS_ON = "segmentation offload was enabled and stays so until the agent ends"


def config(text: str, on: bool = False) -> HostConfig:
    return host_config({"userspace-tso-enable": text} if text else {}, rundir="/run/ovs",
                       numa_cores={0: (0,)}, dpdk_initialized=True, tso_on=on)


@pytest.mark.parametrize(("text", "on", "wanted", "problems"), [
    ("", False, False, ()), ("false", False, False, ()), ("true", False, True, ()),
    ("TRUE", True, True, ()),
    ("", True, True, (f"userspace-tso-enable: {STAYS_ON}",)),
    ("false", True, True, (f"userspace-tso-enable: {STAYS_ON}",)),
])
def test_setting_is_one_way(text: str, on: bool, wanted: bool, problems: tuple[str, ...]) -> None:
    got = config(text, on)
    assert (got.tso, got.problems) == (wanted, problems)
    assert got.port_problems == {ETH_TYPE: (), CLIENT_TYPE: problems, SERVER_TYPE: problems}


def offers(host: OneBridge) -> dict[str, str]:
    return {name: state.device.tso for name, state in host.plane.ports.items()}


def come_and_go(host: OneBridge, port: str) -> None:
    """A front end connects and leaves before its guest is ready."""
    state = host.plane.ports[port]
    host.plane.ports[port] = replace(state, connections=state.connections + 1)


@pytest.fixture
def tso(pair: OneBridge) -> OneBridge:
    """A host with one port, registered with TSO."""
    pair.rows.clear()
    pair.step()
    pair.other_config["userspace-tso-enable"] = "true"
    pair.client("a")
    pair.step()
    assert offers(pair) == {"a": TSO_ON}
    return pair


def test_ports_that_are_there_keep_what_they_have_and_later_ones_get_it(pair: OneBridge) -> None:
    pair.plane.guest("a")
    pair.other_config["userspace-tso-enable"] = "true"
    pair.step()
    pair.plane.leave("a")
    come_and_go(pair, "b")
    pair.step()
    assert offers(pair) == {"a": TSO_OFF, "b": TSO_OFF}
    assert pair.tried(AddPort) == 0
    row = pair.rows.pop("a")
    pair.step()
    pair.rows["a"] = row
    del pair.other_config["userspace-tso-enable"]
    pair.step()
    assert offers(pair) == {"a": TSO_ON, "b": TSO_OFF}


def test_port_whose_front_end_gives_up_tries_without_and_with_in_turn(tso: OneBridge) -> None:
    for tried in (TSO_DISABLED, TSO_ON, TSO_DISABLED):
        come_and_go(tso, "a")
        tso.step()
        assert offers(tso) == {"a": tried}
        tso.step()
        assert offers(tso) == {"a": tried}


def test_guest_that_was_ready_once_with_tso_keeps_it(tso: OneBridge) -> None:
    tso.plane.guest("a")
    tso.plane.leave("a")
    come_and_go(tso, "a")
    tso.tried(AddPort)
    tso.step()
    assert (offers(tso), tso.tried(AddPort)) == ({"a": TSO_ON}, 0)


def test_guest_that_was_ready_without_tso_gets_it_the_next_time(tso: OneBridge) -> None:
    come_and_go(tso, "a")
    tso.step()
    tso.plane.guest("a")
    tso.step()
    assert offers(tso) == {"a": TSO_DISABLED}
    tso.plane.leave("a")
    tso.step()
    assert offers(tso) == {"a": TSO_ON}


@pytest.mark.parametrize(("wanted", "state", "kept"), [
    (ON, NEVER_READY, False), (ON, replace(NEVER_READY, attached=True), True),
    (ON, WAS_READY, True), (ON, NEW, True), (ON, replace(NEW, device=DISABLED), True),
    (ON, replace(WAS_READY, device=DISABLED), False), (ON, replace(WAS_READY, device=OFF), True),
    (OFF, replace(NEVER_READY, device=OFF), True),
    (SERVER, replace(NEVER_READY, device=SERVER), True),
])
def test_when_a_port_is_made_anew(wanted: Registration, state: PortState, kept: bool) -> None:
    assert stays(replace(SPEC, device=wanted), state) == kept


def test_what_a_port_is_made_anew_with() -> None:
    moved = replace(ON, path="/q")
    assert next_device(ON, None) is ON
    assert next_device(ON, NEVER_READY) == DISABLED
    assert next_device(ON, replace(WAS_READY, device=DISABLED)) == ON
    assert next_device(moved, NEVER_READY) == moved         # other guests are there


def test_what_status_says() -> None:
    both, one = 1 << 7 | 1 << 8, 1 << 7
    for device, features, segments, disabled in (
            (ON, both, "true", None), (ON, one, "false", None), (OFF, both, "false", None),
            (DISABLED, both, "false", "disabled")):
        guest = replace(NEW, device=device, features=features, connections=1, attached=True,
                        connects=1, connected=True)
        status = report.status(SPEC, guest)
        assert status["tx_tcp_seg_offload"] == segments
        assert status.get("userspace-tso") == disabled
        assert "pending" not in status
        gone = report.status(SPEC, replace(guest, connected=False, attached=False))
        assert (gone["tx_tcp_seg_offload"], gone.get("userspace-tso")) == ("false", None)
