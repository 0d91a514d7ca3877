"""Mirrors from their rows: what is in force, and what is said of the rest."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from uuid import UUID

import pytest

from agent import mirroring
from agent.actions import RemovePort, SetBridges
from agent.hostconfig import HostConfig, host_config
from agent.mirror_model import MirrorCounters, MirrorRow, MirrorSpec
from agent.model import CLIENT_TYPE, BridgeRow, InterfaceRow, PortRow, Snapshot
from agent.validate import desired
from tests.unit.conftest import OneBridge

U = UUID(int=7)
NAMES = ("a", "b", "m")


def interface(name: str, port: str = "") -> InterfaceRow:
    return InterfaceRow(UUID(int=sum(name.encode())), name, CLIENT_TYPE,
                        options={"vhost-server-path": f"/tmp/{name}"}, port=PortRow(port or name))


def bridge(*rows: MirrorRow) -> BridgeRow:
    return BridgeRow(UUID(int=1), "br0", "netdev",
                     interfaces=tuple(interface(name) for name in NAMES), mirrors=rows)


def row(**said: object) -> MirrorRow:
    return MirrorRow(U, "m0", **said)       # type: ignore[arg-type]


def found(*rows: MirrorRow) -> tuple[tuple[MirrorSpec, ...], tuple[str, ...]]:
    return mirroring.mirrors(bridge(*rows), NAMES)


@pytest.mark.parametrize(("said", "spec"), [
    ({"select_src_port": ("a",), "select_dst_port": ("b",), "output_port": "m"},
     MirrorSpec(U, ("a",), ("b",), (), "m")),
    ({"select_all": True, "output_port": "m"}, MirrorSpec(U, NAMES, NAMES, (), "m")),
    ({"select_all": True, "select_vlan": (1, 5), "output_vlan": 9, "snaplen": 64},
     MirrorSpec(U, NAMES, NAMES, (1, 5), None, 9, 64)),
])
def test_rows_without_fault_say_nothing(said: dict[str, object], spec: MirrorSpec) -> None:
    assert found(row(**said)) == ((spec,), ())


@pytest.mark.parametrize(("said", "text"), [
    ({}, "does not specify output; ignoring: neither output_port nor output_vlan is set"),
    ({"output_port": "x"}, "outputs to port not on bridge: output_port x; the mirror is not in "
     "force"),
    ({"output_port": "m", "filter": "icmp"}, "has a filter: OpenFlow matches are not served, so "
     "the mirror is not in force rather than copy more than was asked for"),
])
def test_row_that_cannot_be_in_force(said: dict[str, object], text: str) -> None:
    assert found(row(select_all=True, **said)) == ((), (f"bridge br0: mirror m0 {text}",))


def test_output_that_is_not_served_is_waited_for() -> None:
    specs, problems = mirroring.mirrors(bridge(row(select_all=True, output_port="m")), ("a", "b"))
    assert specs == ()
    assert problems == ("bridge br0: mirror m0 outputs to port m, which is not served; the mirror "
                        "is not in force until it is",)


OUT = {"output_port": "m"}


@pytest.mark.parametrize(("said", "sources", "text"), [
    ({**OUT, "output_vlan": 5, "select_src_port": ("a",)}, ("a",),
     "specifies both output port and output vlan; ignoring output vlan: output_vlan 5 has no "
     "effect beside output_port m"),
    ({**OUT, "select_src_port": ("a", "x")}, ("a",),
     "cannot match on nonexistent port x: select_src_port names a port of another bridge"),
    ({**OUT, "select_src_port": ("m",)}, ("m",),
     "outputs to port m and selects it: select_src_port m has no effect, for nothing is received "
     "there and nothing but the copies is sent"),
    ({**OUT, "select_dst_port": ("m",)}, (),
     "outputs to port m and selects it: select_dst_port m has no effect, for nothing is received "
     "there and nothing but the copies is sent"),
    ({**OUT, "select_all": True, "select_src_port": ("a",)}, NAMES,
     "selects all ports: select_src_port has no effect beside select_all"),
    ({**OUT, "select_vlan": (5,)}, (),
     "selects no port, so it copies nothing: set select_all, select_src_port or select_dst_port"),
    ({"output_vlan": 5, "select_vlan": (4, 5), "select_src_port": ("a",)}, ("a",),
     "outputs to VLAN 5 and selects it: what is in that VLAN already is counted, but not copied"),
])
def test_contradictions_are_said_of_a_mirror_in_force(
        said: dict[str, object], sources: tuple[str, ...], text: str) -> None:
    specs, problems = found(row(**said))
    assert [spec.sources for spec in specs] == [sources]
    assert problems == (f"bridge br0: mirror m0 {text}",)


def test_port_that_another_mirror_outputs_to_is_no_source() -> None:
    tap = MirrorRow(UUID(int=8), "tap", select_all=True, output_port="m")
    other = MirrorRow(UUID(int=9), "other", select_src_port=("m", "a"), output_vlan=5)
    assert found(tap, other)[1] == (
        "bridge br0: mirror other selects port m, which mirror tap outputs to: select_src_port m "
        "has no effect, for nothing is received there",)
    assert found(replace(tap, filter="ip"), other)[1] != found(tap, other)[1]


def test_32_mirrors_of_a_bridge_are_in_force() -> None:
    rows = [MirrorRow(UUID(int=i), f"m{i:02}", select_all=True, output_vlan=1 + i)
            for i in range(34)]
    specs, problems = found(*reversed(rows))
    assert [spec.output_vlan for spec in specs] == list(range(1, 33))
    assert problems == tuple(
        f"bridge br0: maximum of 32 port mirrors reached, cannot create m{i}: it is not in force, "
        "the first 32 by name are" for i in (32, 33))


def test_ports_are_named_by_their_port_rows() -> None:
    named = replace(bridge(row(select_src_port=("pa",), output_port="pm")), interfaces=(
        interface("a", "pa"), interface("m", "pm")))
    (spec,), problems = mirroring.mirrors(named, ("a", "m"))
    assert (spec.sources, spec.output_port, problems) == (("a",), "m", ())


@pytest.mark.parametrize(("names", "left"), [
    (("a", "b", "m"), MirrorSpec(U, ("a",), ("b",), (), "m")),
    (("a", "m"), MirrorSpec(U, ("a",), (), (), "m")),
    (("b", "m"), MirrorSpec(U, (), ("b",), (), "m")),
    (("a", "b"), None),
])
def test_among_the_ports_that_are_there(names: tuple[str, ...], left: MirrorSpec | None) -> None:
    specs = (MirrorSpec(U, ("a",), ("b",), (), "m"),)
    assert mirroring.among(specs, names) == (() if left is None else (left,))
    by_vlan = MirrorSpec(U, ("a",), (), (), None, 5)
    assert len(mirroring.among((by_vlan,), names)) == 1


# --- in the whole ---------------------------------------------------------------------------------

def config(**other: str) -> HostConfig:
    return host_config(other, rundir="/run/ovs", numa_cores={0: (0,)}, dpdk_initialized=True)


def wish(on: BridgeRow) -> tuple[Mapping[str, tuple[MirrorSpec, ...]], tuple[str, ...]]:
    made = desired(Snapshot(bridges=(on,)), config(), dict)
    return {b.name: b.mirrors for b in made.bridges}, made.problems


def test_bridge_has_its_mirrors() -> None:
    mirrors, problems = wish(bridge(row(select_src_port=("a",), output_port="m")))
    assert mirrors == {"br0": (MirrorSpec(U, ("a",), (), (), "m"),)}
    assert problems == ()


def test_faults_are_said_in_the_log() -> None:
    assert wish(bridge(row(select_all=True))) == ({"br0": ()}, (
        "bridge br0: mirror m0 does not specify output; ignoring: neither output_port nor "
        "output_vlan is set",))


def test_bridge_that_forwards_nothing_mirrors_nothing() -> None:
    mirrors, (problem,) = wish(replace(bridge(row(select_all=True, output_port="m")),
                                       fail_mode="secure"))
    assert mirrors == {"br0": ()}
    assert "is not in force until it is" in problem


def test_mirror_leaves_before_the_port_that_it_outputs_to(pair: OneBridge) -> None:
    snapshot = Snapshot(1, {}, (replace(
        bridge(row(select_src_port=("a",), output_port="b")),
        interfaces=tuple(pair.rows.values())),))
    pair.reconciler.step(snapshot, pair.datapath, pair.now_ms, retry_all=True)
    assert [b.mirrors for b in pair.plane.bridges] == [(MirrorSpec(U, ("a",), (), (), "b"),)]
    del pair.plane.tried[:]
    pair.reconciler.step(Snapshot(2, {}, (replace(
        snapshot.bridges[0], interfaces=(pair.rows["a"],)),)), pair.datapath, pair.now_ms,
        retry_all=True)
    kinds = [type(action) for action in pair.plane.tried]
    assert kinds.index(SetBridges) < kinds.index(RemovePort)
    assert [b.mirrors for b in pair.plane.bridges] == [()]


def test_statistics_of_rows_in_force_and_of_others() -> None:
    other = MirrorRow(UUID(int=8), "other")
    snapshot = Snapshot(bridges=(bridge(row(), other),))
    assert mirroring.statistics(snapshot, {U: MirrorCounters(3, 200)}) == {
        ("Mirror", U): {"statistics": {"tx_packets": 3, "tx_bytes": 200}},
        ("Mirror", other.uuid): {"statistics": {}}}
