"""Port and Interface rows that more than one row names: served once, and followed."""
from __future__ import annotations

import json

from tests.agent.conftest import Contract
from tools.host import wait_until

# The server names a bridge's rows in order of their ids; the agent serves them in that of names.
FIRST, LAST = "ffffffff-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000001"


def share(contract: Contract) -> None:
    """One port on two bridges, a and b."""
    contract.host.transact(
        {"op": "insert", "table": "Interface", "uuid-name": "i", "row": {
            "name": "p", "type": "dpdkvhostuserclient",
            "options": ["map", [["vhost-server-path", contract.path("p")]]]}},
        {"op": "insert", "table": "Port", "uuid-name": "p", "row": {
            "name": "p", "interfaces": ["named-uuid", "i"]}},
        *({"op": "insert", "table": "Bridge", "uuid": uuid, "row": {
            "name": name, "datapath_type": "netdev", "ports": ["named-uuid", "p"]}}
          for name, uuid in (("a", FIRST), ("b", LAST))),
        {"op": "mutate", "table": "Open_vSwitch", "where": [], "mutations": [
            ["bridges", "insert", ["set", [["uuid", FIRST], ["uuid", LAST]]]]]})
    wait_until(lambda: contract.get("p", "ofport"), "the port is served")


def test_port_of_two_bridges_is_the_first_ones_and_follows_its_row(contract: Contract) -> None:
    share(contract)
    picture = json.loads(contract.host.appctl("vhost/state"))
    assert [(port["bridge"], port["ofport"]) for port in picture["ports"]
            if port["name"] == "p"] == [("a", 1)]
    assert any("port p names interface p" in problem for problem in picture["problems"])
    contract.set("p", "mtu_request=1")
    assert "unsupported MTU 1" in contract.problems("p")
    contract.host.vsctl("del-br", "a")
    picture = json.loads(contract.host.appctl("vhost/state"))
    assert [port["bridge"] for port in picture["ports"] if port["name"] == "p"] == ["b"]
    assert "unsupported MTU 1" in contract.problems("p")


def test_interface_of_two_ports_keeps_its_number(contract: Contract) -> None:
    contract.client("p")
    row = contract.host.get("Interface", "p", "_uuid")
    contract.host.transact(
        {"op": "insert", "table": "Port", "uuid-name": "q", "row": {
            "name": "q", "interfaces": ["uuid", row]}},
        {"op": "mutate", "table": "Bridge", "where": [["name", "==", "br0"]],
         "mutations": [["ports", "insert", ["named-uuid", "q"]]]})
    for mtu in (1, 2, 3):
        contract.set("p", f"mtu_request={mtu}")
        assert f"unsupported MTU {mtu}:" in contract.problems("p")
        assert contract.get("p", "ofport") == 1
