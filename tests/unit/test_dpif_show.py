"""dpif/show, dpctl/show and ofproto/list."""
from __future__ import annotations

import pytest

from agent.command import CommandError
from agent.dpif_show import Bridges, Shown, dpctl_show, dpif_show, ofproto_list, size
from agent.model import (
    CLIENT_TYPE,
    OFPORT_LOCAL,
    PATCH_TYPE,
    SERVER_TYPE,
    Memory,
    PatchDevice,
    PortSpec,
    PortState,
    Registration,
)

MEMORY = Memory(1500, 2048)
STATISTICS = {"rx_packets": 3, "rx_bytes": 180, "rx_dropped": 1, "tx_packets": 2000,
              "tx_bytes": 2_000_000, "tx_dropped": 0}


def port(name: str, ofport: int, number: int, type_: str = CLIENT_TYPE, retries: int = 8,
         served: bool = True) -> Shown:
    device = (PatchDevice("q") if type_ == PATCH_TYPE
              else Registration(f"/run/{name}", type_ == CLIENT_TYPE))
    spec = PortSpec(name, "br0", type_, device, retries, MEMORY)
    state = PortState(name, device, retries, MEMORY, number=number) if served else None
    return Shown(name, ofport, spec, state)


def counted(port: Shown) -> dict[str, int]:
    assert port.name == "vhu0"
    return STATISTICS


BRIDGES: Bridges = {
    "br1": [],
    "br0": [Shown("br0", OFPORT_LOCAL), port("vhu1", 2, 3, SERVER_TYPE),
            port("vhu0", 1, 2, retries=4), port("p", 5, 4, PATCH_TYPE),
            port("none", 7, 0, served=False)],
}


def test_dpif_show_has_bridges_and_ports_by_name() -> None:
    assert dpif_show(BRIDGES, 1200).splitlines() == [
        "netdev@ovs-netdev: hit:1200 missed:0",
        "  br0:",
        "    br0 65534/none: (tap)",
        "    none 7/none: (dpdkvhostuserclient: vhost-server-path=/run/none)",
        "    p 5/none: (patch: peer=q)",
        "    vhu0 1/2: (dpdkvhostuserclient: tx-retries-max=4, vhost-server-path=/run/vhu0)",
        "    vhu1 2/3: (dpdkvhostuser)",
        "  br1:"]


def test_without_a_bridge_there_is_no_datapath() -> None:
    assert dpif_show({}, 5) == dpctl_show([], {}, 5, counted) == ofproto_list({}) == ""


@pytest.mark.parametrize("words", [[], ["ovs-netdev"], ["netdev@ovs-netdev"]])
def test_dpctl_show_has_ports_by_number(words: list[str]) -> None:
    assert dpctl_show(words, BRIDGES, 1200, counted).splitlines() == [
        "netdev@ovs-netdev:",
        "  lookups: hit:1200 missed:0 lost:0",
        "  flows: 0",
        "  port 0: ovs-netdev (tap)",
        "  port 2: vhu0 (dpdkvhostuserclient: tx-retries-max=4, vhost-server-path=/run/vhu0)",
        "  port 3: vhu1 (dpdkvhostuser)"]


@pytest.mark.parametrize("option", ["-s", "--statistics"])
def test_dpctl_show_with_statistics(option: str) -> None:
    lines = dpctl_show([option], {"br0": [port("vhu0", 1, 2)]}, 0, counted).splitlines()
    assert lines[-6:] == [
        "  port 2: vhu0 (dpdkvhostuserclient: vhost-server-path=/run/vhu0)",
        "    RX packets:3 errors:? dropped:1 overruns:? frame:?",
        "    TX packets:2000 errors:? dropped:0 aborted:? carrier:?",
        "    collisions:?",
        "    RX bytes:180  TX bytes:2000000 (1.9 MiB)",
        "    UPCALL packets:? errors:?"]


@pytest.mark.parametrize("bridges", [{}, BRIDGES])
def test_dpctl_show_of_another_datapath(bridges: Bridges) -> None:
    with pytest.raises(CommandError, match="opening datapath ovs-system failed"):
        dpctl_show(["ovs-system"], bridges, 0, counted)


@pytest.mark.parametrize(("number", "text"), [
    (None, "?"), (0, "0"), (1023, "1023"), (1024, "1024 (1.0 KiB)"), (1536, "1536 (1.5 KiB)"),
    (5 << 40, f"{5 << 40} (5.0 TiB)"), (5 << 50, f"{5 << 50} (5120.0 TiB)")])
def test_size(number: int | None, text: str) -> None:
    assert size(number) == text


def test_ofproto_list_has_a_bridge_a_line() -> None:
    assert ofproto_list(BRIDGES) == "br0\nbr1\n"
