"""An interface that several ports have is the first one's."""
from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from agent.model import BridgeRow, InterfaceRow, PortRow
from agent.sharing import Memo, each_once
from agent.validate import bridge_problems

P = InterfaceRow(UUID(int=1), "p", "tap", port=PortRow("p"))
ALSO_P = replace(P, port=PortRow("q"))
R = InterfaceRow(UUID(int=2), "r", "tap", port=PortRow("r"))


def bridge(name: str, *rows: InterfaceRow) -> BridgeRow:
    return BridgeRow(UUID(bytes=name.encode().rjust(16, b"\0")), name, "netdev", interfaces=rows)


def test_bridges_that_share_nothing_stay_the_same_objects() -> None:
    bridges = (bridge("a", P), bridge("b", R))
    assert [x is y for x, y in zip(each_once(bridges, {}), bridges, strict=True)] == [True, True]


def test_first_port_has_the_interface_and_the_others_are_told() -> None:
    a, b, c = each_once([bridge("a", P, ALSO_P, R), bridge("b", R), bridge("c", ALSO_P)], {})
    assert [a.interfaces, b.interfaces, c.interfaces] == [(P, R), (), ()]
    assert list(bridge_problems(a)) == [
        "bridge a: port q names interface p, which is that of port p of bridge a: it is served "
        "there alone"]
    assert "port p of bridge a" in next(bridge_problems(c))


def test_result_is_the_same_object_until_something_changes() -> None:
    memo: Memo = {}
    a, b = bridge("a", P), bridge("b", P, R)
    first = each_once([a, b], memo)
    assert each_once([a, b], memo)[1] is first[1]
    assert each_once([bridge("a"), b], memo)[1] is b
    assert each_once([a, b], memo)[1] == first[1]
