"""What should be, made again and again: a row that did not change is not looked at twice."""
from __future__ import annotations

from dataclasses import replace
from functools import partial
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from agent.hostconfig import HostConfig
from agent.model import (
    CLIENT_TYPE,
    SERVER_TYPE,
    BridgeRow,
    InterfaceRow,
    PmdSpec,
    PortRow,
    PortSpec,
    Snapshot,
)
from agent.validate import Memo, desired

CONFIG = HostConfig("/run/ovs", pmds=(PmdSpec(0),), dpdk_initialized=True)
CONFIGS = (CONFIG, replace(CONFIG, dpdk_initialized=False), replace(CONFIG, iommu=True),
           replace(CONFIG, socket_dir="/run/ovs/sub", shared_mtus=(9000,)),
           replace(CONFIG, pmds=(PmdSpec(1),)))
BRIDGES = tuple(BridgeRow(UUID(int=i), name, datapath_type) for i, (name, datapath_type) in
                enumerate([("br0", "netdev"), ("br0", "system"), ("br1", "netdev"), ("a", "netdev"),
                           ("a/b", "netdev")]))


def variants(name: str) -> list[InterfaceRow]:
    base = InterfaceRow(UUID(bytes=name.encode().rjust(16, b"\0")), name, CLIENT_TYPE,
                        options={"vhost-server-path": f"/{name}"})
    return [base, replace(base), replace(base, type=SERVER_TYPE, options={}),
            replace(base, options={"vhost-server-path": "/same"}),
            replace(base, type="internal", options={}), replace(base, type="dpdk"),
            replace(base, mtu_request=9000), replace(base, port=PortRow(tag=1)),
            replace(base, other_config={"pmd-rxq-affinity": "0:1"}),
            replace(base, options={"vhost-server-path": f"/{name}", "tx-retries-max": "99"})]


ROWS = {name: variants(name) for name in ("a", "b", "br0")}     # always these same objects


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    bridges = draw(st.lists(st.sampled_from(BRIDGES), max_size=3, unique_by=lambda b: b.name))
    on: dict[str, list[InterfaceRow]] = {bridge.name: [] for bridge in bridges}
    for name in sorted(draw(st.sets(st.sampled_from(sorted(ROWS))))):
        if bridges:
            on[draw(st.sampled_from(sorted(on)))].append(draw(st.sampled_from(ROWS[name])))
    return Snapshot(bridges=tuple(
        replace(bridge, interfaces=tuple(on[bridge.name])) for bridge in bridges))


@given(st.lists(st.tuples(snapshots(), st.sampled_from(CONFIGS),
                          st.dictionaries(st.sampled_from(["/a", "/b", "/same"]),
                                          st.sampled_from(["a", "b"]))), max_size=5))
def test_result_with_memo_is_that_without(
        steps: list[tuple[Snapshot, HostConfig, dict[str, str]]]) -> None:
    memo: Memo = {}
    for snapshot, config, owners in steps:
        ask = partial(dict, owners)
        assert desired(snapshot, config, ask, memo) == desired(snapshot, config, ask)


class Looked:
    """What is made of interface 'a' from call to call."""

    def __init__(self) -> None:
        self.memo: Memo = {}
        self.bridge = BridgeRow(UUID(int=9), "br0", "netdev", interfaces=(ROWS["a"][0],))
        self.config = CONFIG

    def __call__(self) -> object:
        snapshot = Snapshot(bridges=(self.bridge,))
        result = desired(snapshot, self.config, dict, self.memo)
        assert result == desired(snapshot, self.config, dict)
        return result.ports.get("a") or result.errors["a"]


def test_unchanged_row_is_not_looked_at_again() -> None:
    look = Looked()
    first = look()
    assert look() is first
    # neither its neighbours nor what a port does not depend on changes that
    look.bridge = replace(look.bridge, fail_mode="secure", interfaces=(
        *look.bridge.interfaces, ROWS["b"][0]))
    assert look() is first


def test_changed_row_config_or_bridge_is_heeded() -> None:
    look = Looked()
    made = [look()]
    look.bridge = replace(look.bridge, interfaces=(ROWS["a"][1],))
    made.append(look())
    look.config = replace(CONFIG)
    made.append(look())
    look.bridge = replace(look.bridge, datapath_type="system")
    made.append(look())
    look.bridge = replace(look.bridge, datapath_type="netdev", name="br1")
    made.append(look())
    assert len({id(spec) for spec in made}) == 5
    assert made[0] == made[1] == made[2] != made[4]
    assert isinstance(made[3], str)


def test_core_of_a_pinned_queue_is_looked_for_among_the_pmd_threads_of_the_day() -> None:
    look = Looked()
    look.bridge = replace(look.bridge, interfaces=(
        replace(ROWS["a"][0], other_config={"pmd-rxq-affinity": "0:1"}),))
    for cores in ((0,), (0, 1), (0,)):
        look.config = replace(CONFIG, pmds=tuple(map(PmdSpec, cores)))
        spec = look()
        assert isinstance(spec, PortSpec)
        assert bool(spec.problems) == (1 not in cores)
        assert spec.affinity == ((0, 1),)


def test_memo_forgets_rows_that_are_gone() -> None:
    look = Looked()
    look()
    desired(Snapshot(), CONFIG, dict, look.memo)
    assert look.memo == {}
